# SPDX-License-Identifier: Apache-2.0
"""vCPUs that a guest takes for threads of one core lie on one core of the host."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.agent.decide.siblings import groups_of, put_together
from kongming_sched.allocator import Demand, Layout, allocate, usable_cores
from kongming_sched.cpuset import CpuSet
from kongming_sched.template import ThreadPolicy, count_cpus
from kongming_sched.topology import Core
from testbed import topologies

SMT2 = topologies.one_node_smt2().nodes[0].cores
"""Cores 0,4 1,5 2,6 3,7."""
SMT4 = topologies.one_node_smt4().nodes[0].cores
"""Cores 0,4,8,12 1,5,9,13 2,6,10,14 3,7,11,15."""
SHAPES = [
    tuple(core for core in usable_cores(node.cores, topology.cpus) if len(core.cpus) == node.threads_per_core)
    for topology in topologies.SHAPES.values()
    for node in topology.nodes
    if node.threads_per_core > 1
]
"""The widest cores of each node of every shape of host that has siblings."""


@pytest.mark.parametrize(
    ("vcpus", "threads", "expected"),
    [
        pytest.param("0-3", 2, ((0, 1), (2, 3)), id="pairs"),
        pytest.param("4-7", 2, ((0, 1), (2, 3)), id="pairs of a second cell"),
        pytest.param("1-4", 2, ((1, 2),), id="pairs that are cut by cells"),
        pytest.param("0,2,4", 2, (), id="one thread of each"),
        pytest.param("0-7", 4, ((0, 1, 2, 3), (4, 5, 6, 7)), id="four threads"),
        pytest.param("0-3", 1, (), id="a guest that sees no threads"),
    ],
)
def test_threads_of_a_core_have_numbers_one_after_the_other(
    vcpus: str, threads: int, expected: tuple[tuple[int, ...], ...]
) -> None:
    """Their positions in the cell are given, for so a demand counts its vCPUs."""
    assert expected == groups_of(CpuSet.parse(vcpus), threads)


@pytest.mark.parametrize(
    ("cores", "pins", "owned", "threads", "expected"),
    [
        pytest.param(SMT2, (0, 4, 1, 5), "0-1,4-5", 2, (0, 4, 1, 5), id="together already"),
        pytest.param(SMT2, (4, 0, 5, 1), "0-1,4-5", 2, (4, 0, 5, 1), id="the other way round"),
        pytest.param(SMT2, (0, 1, 4, 5), "0-1,4-5", 2, (0, 4, 1, 5), id="crosswise: one of each pair moves"),
        pytest.param(SMT2, (0, 1, 5, 2, 6, 4), "0-2,4-6", 2, (0, 4, 5, 1, 6, 2), id="in a ring"),
        pytest.param(SMT2, (0, 4, 1, 2), "0-2,4", 2, (0, 4, 1, 2), id="no second core for a pair"),
        pytest.param(SMT2, (0, 1, 2, 3), "0-3", 2, (0, 1, 2, 3), id="no siblings at all"),
        pytest.param(SMT2, (0, 1, 4), "0-1,4-5", 2, (0, 4, 1), id="a vCPU that has no partner makes room"),
        pytest.param(SMT2, (0, 1, 2, 3), "0-3,4-7", 2, (0, 4, 2, 6), id="idle siblings of its own are used"),
        pytest.param(SMT2, (0, 1, 4, 5), "0-1,4-5", 4, (0, 4, 1, 5), id="cores of the guest are wider: pairs of them"),
        pytest.param(SMT4, (0, 4, 8, 1, 5, 9), "0-1,4-5,8-9,12-13", 2, (0, 4, 13, 1, 5, 9), id="two pairs to a core"),
        pytest.param(SMT4, (0, 1, 4, 5, 8, 9, 12, 13), "0-1,4-5,8-9,12-13", 4, (0, 8, 4, 12, 1, 9, 5, 13), id="four"),
    ],
)
def test_groups_come_to_lie_on_one_core(
    cores: tuple[Core, ...], pins: tuple[int, ...], owned: str, threads: int, expected: tuple[int, ...]
) -> None:
    """With few moves, among the CPUs that the guest has."""
    groups = groups_of(CpuSet.of(range(len(pins))), threads)

    assert expected == put_together(pins, CpuSet.parse(owned), cores, groups)


def pairs_together(cores: tuple[Core, ...], pins: tuple[int, ...]) -> int:
    """How many pairs (2k, 2k+1) are on one core."""
    core_of = {cpu: core for core in cores for cpu in core.cpus}
    return sum(core_of[pins[first]] == core_of[pins[first + 1]] for first in range(0, len(pins) - 1, 2))


Groups = tuple[tuple[int, ...], ...]
Guest = tuple[Demand, Groups]


def newcomers(random: Random, cores: tuple[Core, ...], present: list[Guest], first: int) -> list[Guest]:
    """Some guests go, and others come as far as the counts admit them; a few are anywhere."""
    width = len(cores[0].cpus)
    kept = [each for each in present if random.random() < 0.6]
    left = width * len(cores) - sum(count_cpus(each.vcpus, each.threads, width) for each, _ in kept)
    everywhere = [cpu for core in cores for cpu in core.cpus]
    for number in range(12):
        vcpus, threads = random.choice([1, 2, 2, 3, 4, 6, 8]), random.choice(list(ThreadPolicy))
        if (takes := count_cpus(vcpus, threads, width)) <= left:
            left -= takes
            pins = tuple(random.sample(everywhere, vcpus)) if len(everywhere) >= vcpus and random.random() < 0.3 else ()
            together: Groups = ()
            if threads in (ThreadPolicy.PREFER, ThreadPolicy.REQUIRE):
                together = groups_of(CpuSet.of(range(vcpus)), random.choice([1, 2]))
            kept.append((Demand(f"{first + number:05}", vcpus, threads, pins), together))
    return kept


def places(cores: tuple[Core, ...], guests: list[Guest]) -> tuple[Layout, dict[str, tuple[int, ...]]]:
    """What the allocator gives each guest, and where its vCPUs are once siblings are together."""
    layout = allocate(cores, [demand for demand, _ in guests])
    assert {} == layout.unplaced
    return layout, {
        demand.key: put_together(layout.pins[demand.key], layout.reserved[demand.key], cores, together)
        for demand, together in guests
    }


@given(st.sampled_from(SHAPES), st.randoms(use_true_random=False))
def test_pairs_of_a_guest_share_a_core_after_every_move(cores: tuple[Core, ...], random: Random) -> None:
    """All with ``require``; with ``prefer`` as many as its CPUs allow. They stay so when nothing happens."""
    guests: list[Guest] = []
    for turn in range(4):
        guests = newcomers(random, cores, guests, 100 * turn)
        layout, pins = places(cores, guests)
        for demand, together in guests:
            mine, owned = pins[demand.key], layout.reserved[demand.key]
            assert demand.vcpus == len(set(mine))
            assert CpuSet.of(mine) <= owned
            if together:
                on_cores = sum(len(core.cpus & owned) // 2 for core in cores)
                most = demand.vcpus // 2 if demand.threads is ThreadPolicy.REQUIRE else on_cores
                assert min(most, demand.vcpus // 2) == pairs_together(cores, mine)
            else:
                assert layout.pins[demand.key] == mine
        guests = [(replace(demand, present=pins[demand.key]), together) for demand, together in guests]
        assert pins == places(cores, guests)[1], "it has not come to rest"
