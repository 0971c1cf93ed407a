# SPDX-License-Identifier: Apache-2.0
"""How problems are printed, and what is the same problem."""

from __future__ import annotations

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.model.problem import (
    PLACEMENT,
    RELEASED_GUESTS,
    Problem,
    Reason,
    Subject,
    SubjectKind,
    one_per_subject,
)

WEB = Subject(SubjectKind.SERVER, "web", "1")


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        (WEB, "server web (1)"),
        (Subject(SubjectKind.TEMPLATE, "gold"), "template gold"),
        (Subject(SubjectKind.DEFINITION, "instance-1"), "definition of instance-1"),
        (Subject(SubjectKind.TRIGGER, "notifications"), "trigger notifications"),
        (RELEASED_GUESTS, "released guests"),
        (PLACEMENT, "Placement"),
    ],
)
def test_a_subject_in_words(subject: Subject, words: str) -> None:
    """The kind stands in front of the name, and the id of a server behind it."""
    assert words == str(subject)


def test_a_problem_begins_with_its_subject() -> None:
    """So that a line of the log stands alone."""
    assert "server web (1): no room on node 0" == str(Problem(Reason.NO_PLACE, WEB, "no room on node 0"))


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (SubjectKind.PLACEMENT, exceptions.PlacementUnavailable("list providers", "it does not answer")),
        (SubjectKind.LIBVIRT, exceptions.HypervisorUnavailable("list domains", "it does not answer")),
        (SubjectKind.NOVA, exceptions.ComputeError("read server 1", "it does not answer")),
    ],
)
def test_errors_of_services_name_them_already(kind: SubjectKind, error: exceptions.KongMingError) -> None:
    """Their name is not repeated in front of them."""
    words = str(Problem(Reason.PLACEMENT, Subject(kind), str(error)))

    assert words == str(error)
    assert words.startswith(str(kind))


def test_one_problem_for_each_subject() -> None:
    """The last of a subject counts, in the place of its first: what keeps a guest from being changed comes last."""
    placement = Problem(Reason.PLACEMENT, PLACEMENT, "it does not answer")
    no_place, busy = Problem(Reason.NO_PLACE, WEB, "no room"), Problem(Reason.BUSY, WEB, "it is migrating")

    assert (busy, placement) == one_per_subject([no_place, placement, busy])


def test_a_text_without_end() -> None:
    """The middle of a text that some server or tenant has made endless is left out, and its ends are kept."""
    problem = Problem(Reason.PLACEMENT, PLACEMENT, f"<html>{'x' * 20_000}</html>")

    assert problem.text.startswith("<html>x")
    assert problem.text.endswith("x</html>")
    assert len(problem.text) < 2100
