# SPDX-License-Identifier: Apache-2.0
"""Who is on which CPUs of the pool while threads move."""

from __future__ import annotations

from kongming_sched.agent.decide.occupancy import Occupancy
from kongming_sched.agent.model.actions import Action, Kind, Unit
from kongming_sched.cpuset import CpuSet

DEDICATED = CpuSet.parse("2-7")


def unit(guest: str, cpus: str, vcpu: int = 0, *, is_fixed: bool = False) -> Unit:
    """A vCPU of a guest."""
    where = CpuSet.parse(cpus)
    return Unit(guest, Kind.VCPU, vcpu, where, where, is_fixed)


def move(guest: str, cpus: str, vcpu: int = 0) -> Action:
    """A vCPU goes to other CPUs."""
    return Action(guest, Kind.VCPU, vcpu, CpuSet.parse(cpus))


def on(occupancy: Occupancy, cpus: str, guest: str = "x") -> tuple[str | None, str | None]:
    """Who may be on these CPUs beside a guest, and who is pinned there."""
    wanted = CpuSet.parse(cpus)
    return occupancy.blocker(guest, wanted), occupancy.owner(guest, wanted)


def test_a_cpu_is_taken_by_whoever_is_pinned_there() -> None:
    """It is so for all guests but itself."""
    occupancy = Occupancy([unit("a", "2")], DEDICATED)

    assert [("a", "a"), (None, None), (None, None)] == [
        on(occupancy, "2"),
        on(occupancy, "3"),
        on(occupancy, "2", "a"),
    ]


def test_a_thread_that_floats_blocks_and_owns_nothing() -> None:
    """It may run there, and the CPU was not given to it. If it cannot be moved it does not even block."""
    moving, fixed = Occupancy([unit("a", "0-7")], DEDICATED), Occupancy([unit("a", "0-7", is_fixed=True)], DEDICATED)

    assert [("a", None), (None, None)] == [on(moving, "2"), on(fixed, "2")]


def test_a_move_frees_what_was_left() -> None:
    """The CPUs that may be free for others come back."""
    occupancy = Occupancy([unit("a", "2")], DEDICATED)

    assert CpuSet.parse("2") == occupancy.move(move("a", "3"))
    assert [(None, None), ("a", "a")] == [on(occupancy, "2"), on(occupancy, "3")]


def test_cpus_on_which_one_guest_is_left_may_be_free_for_it() -> None:
    """A guest waits for CPUs over which it floats itself: they count as freed when the last other has left."""
    occupancy = Occupancy([unit("a", "0-7"), unit("b", "0-7"), unit("c", "0-7")], DEDICATED)

    assert [CpuSet(), CpuSet.parse("0-7")] == [occupancy.move(move("a", "2")), occupancy.move(move("b", "3"))]
    assert (None, None) == on(occupancy, "4", "c")


def test_a_thread_in_doubt_is_on_both() -> None:
    """Until a call has succeeded the old and the new CPUs are taken; then the new ones."""
    occupancy = Occupancy([unit("a", "2")], DEDICATED)

    occupancy.doubt(move("a", "3"))
    during = [on(occupancy, "2"), on(occupancy, "3")]
    occupancy.move(move("a", "3"))

    assert [("a", "a"), ("a", "a")] == during
    assert [(None, None), ("a", "a")] == [on(occupancy, "2"), on(occupancy, "3")]


def test_a_guest_that_ended_is_on_nothing() -> None:
    """All of its threads are gone."""
    occupancy = Occupancy([unit("a", "2"), unit("a", "3", 1), unit("b", "4")], DEDICATED)

    occupancy.drop("a")

    assert [(None, None), ("b", "b")] == [on(occupancy, "2-3"), on(occupancy, "4")]
