# SPDX-License-Identifier: Apache-2.0
"""How often a write is tried that others come before."""

from __future__ import annotations

import time

import pytest

from kongming_sched.exceptions import PlacementConflict, PlacementError
from kongming_sched.placement.conflict import retry_on_conflict


class Writer:
    """Writes after so many conflicts.

    :ivar tries: how often it was tried
    """

    def __init__(self, conflicts: int, error: type[PlacementError] = PlacementConflict) -> None:
        self.conflicts = conflicts
        self.error = error
        self.tries = 0

    @retry_on_conflict
    def write(self) -> str:
        """Write, or be too late."""
        self.tries += 1
        if self.tries <= self.conflicts:
            raise self.error("write", "resource provider changed", 409)
        return "written"


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited, in seconds, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


@pytest.mark.parametrize("conflicts", range(5))
def test_a_write_succeeds_after_some_conflicts(conflicts: int, waits: list[float]) -> None:
    """Four conflicts in a row do no harm; before each new try is a short pause."""
    writer = Writer(conflicts)

    assert "written" == writer.write()
    assert (conflicts + 1, conflicts) == (writer.tries, len(waits))
    assert all(0 <= seconds <= 0.1 for seconds in waits)


def test_conflicts_without_end_are_reported() -> None:
    """The fifth is given up."""
    writer = Writer(99)

    with pytest.raises(PlacementConflict):
        writer.write()
    assert 5 == writer.tries


def test_a_refusal_is_not_tried_again() -> None:
    """What Placement refuses it refuses again."""
    writer = Writer(1, PlacementError)

    with pytest.raises(PlacementError):
        writer.write()
    assert 1 == writer.tries
