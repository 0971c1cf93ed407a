# SPDX-License-Identifier: Apache-2.0
"""What a check says."""

from __future__ import annotations

from kongming_sched.exceptions import ComputeError, HypervisorError, PlacementError
from kongming_sched.status.verdict import Verdict, failure, warning


def test_details_have_one_full_stop() -> None:
    """Whether facts, remedies and what is fine end with one or not."""
    facts = Verdict.of("", [failure("The requested page was not found.", "see Nova's log."), warning("a", "b")])
    assert "The requested page was not found. To do: see Nova's log.\na. To do: b." == facts.details
    assert ["all is well."] * 2 == [Verdict(text).details for text in ("all is well.", "all is well")]


def test_reason_of_a_service_has_none() -> None:
    """What the services say is the middle of a sentence, after which a remedy may follow."""
    errors = [
        PlacementError("list x", "Not found.\n"),
        ComputeError("list x", "Not found."),
        HypervisorError("x", "a."),
    ]
    assert [
        "Placement could not list x: Not found",
        "Nova could not list x: Not found",
        "libvirt could not x: a",
    ] == list(map(str, errors))
