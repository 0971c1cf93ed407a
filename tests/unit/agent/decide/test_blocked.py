# SPDX-License-Identifier: Apache-2.0
"""What guests that cannot be moved keep from the others."""

from __future__ import annotations

import pytest

from kongming_sched.agent.decide.blocked import Obstacles, find_obstacles, pinned_cpus
from kongming_sched.cpuset import CpuSet
from tests.unit.agent.hosts import POOLS, TEMPLATES, TOPOLOGY, Tenant, tenant


def obstacles(*immovable: Tenant, explicit: tuple[tuple[Tenant, str], ...] = ()) -> Obstacles:
    """What is in the way on a host of two nodes of SMT2 cores: 1,9 2,10 3,11 and 5,13 6,14 7,15 are dedicated."""
    wanted = [(each.guest, CpuSet.parse(cpus)) for each, cpus in explicit]
    return find_obstacles(TOPOLOGY, POOLS.dedicated, TEMPLATES, [each.guest for each in immovable], wanted)


@pytest.mark.parametrize(
    ("template", "vcpus", "occupied", "blocked"),
    [
        pytest.param("gold", ["1", "2"], "1-2", "1-2", id="any threads"),
        pytest.param("alone", ["1"], "1", "1,9", id="isolate: the sibling stays idle"),
        pytest.param("cores", ["1", "9"], "1,9", "1,9", id="require: both threads are used"),
        pytest.param("cores", ["1", "2"], "1-2", "1-2", id="require, never placed on whole cores"),
        pytest.param("alone", ["0-15"], "", "", id="floating: no CPU is its own"),
    ],
)
def test_a_guest_that_cannot_be_moved_keeps_its_cpus(
    template: str, vcpus: list[str], occupied: str, blocked: str
) -> None:
    """It keeps those to which it is pinned, and the idle siblings that belong to whole cores."""
    found = obstacles(tenant("b", template, [0], *vcpus))

    assert (CpuSet.parse(occupied), CpuSet.parse(blocked)) == (found.occupied, found.blocked)


def test_an_explicit_guest_waits_for_its_cpus() -> None:
    """One whose CPUs are in use stays where it is, and so do others who wait for those."""
    first, second = tenant("c", "exact", [1], "14"), tenant("d", "exact", [1], "13")

    found = obstacles(tenant("b", "gold", [1], "15", "7"), explicit=((first, "15"), (second, "14")))

    assert {"a-c": "15", "a-d": "14"} == {uuid: text.split()[1] for uuid, text in found.waiting.items()}
    assert CpuSet.parse("7,13-15") == found.blocked


def test_an_explicit_guest_does_not_wait_for_itself() -> None:
    """One that is on some of its CPUs already has them."""
    mine = tenant("c", "exact", [1], "15")

    assert {} == obstacles(explicit=((mine, "15"),)).waiting


def test_threads_that_float_are_not_pinned() -> None:
    """Only affinities that lie wholly in the pool count."""
    mine = tenant("c", "gold", [1], "15", "0-15", emulator="14-15").guest

    assert CpuSet.parse("14-15") == pinned_cpus(mine, POOLS.dedicated)


@pytest.mark.parametrize(
    ("template", "emulator", "blocked"),
    [
        pytest.param("own", "2", "1-2", id="one CPU"),
        pytest.param("apart", "2,10", "1-2,9-10", id="a whole core"),
        pytest.param("apart", "2", "1-2,9-10", id="a thread of its core only, as after a pin by hand"),
        pytest.param("apart", "2-3", "1-3,9", id="on two cores, which it was never given"),
        pytest.param("apart", "0,4,8", "1,9", id="on the housekeeping CPUs still"),
    ],
)
def test_emulator_of_a_guest_that_cannot_be_moved_keeps_its_cpus(template: str, emulator: str, blocked: str) -> None:
    """The sibling of a core of its own as well."""
    assert CpuSet.parse(blocked) == obstacles(tenant("b", template, [0], "1", emulator=emulator)).blocked
