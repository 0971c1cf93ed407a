# SPDX-License-Identifier: Apache-2.0
"""The allocator: which host CPUs each guest gets, and that counting is enough."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kongming_sched.allocator import Demand, Layout, allocate, usable_cores
from kongming_sched.cpuset import CpuSet
from kongming_sched.template import ThreadPolicy, count_cpus
from kongming_sched.topology import Core
from testbed import topologies

NO_SMT = topologies.one_node_no_smt().nodes[0].cores
"""Cores 0 1 2 3."""
SMT2 = topologies.one_node_smt2().nodes[0].cores
"""Cores 0,4 1,5 2,6 3,7."""
SMT4 = topologies.one_node_smt4().nodes[0].cores
"""Cores 0,4,8,12 1,5,9,13 2,6,10,14 3,7,11,15."""
TWO_CACHES = topologies.one_node_two_caches_smt2().nodes[0].cores
"""Cores 0,8 1,9 2,10 3,11 on one last-level cache and 4,12 5,13 6,14 7,15 on another."""
FOUR_CACHES = topologies.make_topology(1, 8, 1, cores_per_cache=2).nodes[0].cores
"""Cores 0 1 | 2 3 | 4 5 | 6 7."""
MIXED = topologies.describe_host({0: "0-1 2-3 16 17"}).nodes[0].cores
"""Cores 0-1 2-3 16 17."""
PAIRS_OF_CORES = topologies.make_topology(1, 4, 2, cores_per_cache=2).nodes[0].cores
"""Cores 0,4 1,5 | 2,6 3,7."""


def widest(cores: Sequence[Core]) -> tuple[Core, ...]:
    """Those that whole-core demands count."""
    width = max((len(core.cpus) for core in cores), default=0)
    return tuple(core for core in cores if len(core.cpus) == width)


ANY_SHAPE = [
    cores for topology in topologies.SHAPES.values() for node in topology.nodes if (cores := widest(node.cores))
]
"""The widest cores of each node of every shape of host."""


def demand(key: str, vcpus: int, threads: str, *present: int | None) -> Demand:
    """A demand as the tables below write it."""
    return Demand(key, vcpus, ThreadPolicy(threads), present)


def settle(demands: Iterable[Demand], layout: Layout) -> list[Demand]:
    """The demands as they are once the layout is real."""
    return [replace(each, present=layout.pins.get(each.key, ())) for each in demands]


def moved_vcpus(demands: Iterable[Demand], layout: Layout) -> dict[str, int]:
    """How many vCPUs of each guest leave a host CPU that they were on."""
    moves = {
        each.key: sum(
            old is not None and old != new
            for old, new in zip(each.present, layout.pins.get(each.key, ()), strict=False)
        )
        for each in demands
    }
    return {key: count for key, count in moves.items() if count}


def check(cores: Sequence[Core], demands: Sequence[Demand], layout: Layout) -> None:
    """The rules that every layout keeps."""
    width = len(cores[0].cpus)
    assert {each.key for each in demands} == layout.pins.keys() | layout.unplaced.keys()
    assert layout.pins.keys() == layout.reserved.keys()
    assert sum(map(len, layout.reserved.values())) == len(CpuSet.union(layout.reserved.values())), "a CPU given twice"
    assert CpuSet.union(layout.reserved.values()) <= CpuSet.union(core.cpus for core in cores)
    for each in demands:
        if each.key not in layout.pins:
            continue
        pins, reserved = layout.pins[each.key], layout.reserved[each.key]
        assert each.vcpus == len(pins) == len(set(pins))
        assert CpuSet.of(pins) <= reserved
        assert count_cpus(each.vcpus, each.threads, width) == len(reserved)
        mine = [core for core in cores if not core.cpus.isdisjoint(reserved)]
        if each.takes_whole_cores:
            assert CpuSet.union(core.cpus for core in mine) == reserved, "part of a core"
            assert all(not core.cpus.isdisjoint(CpuSet.of(pins)) for core in mine), "a core for nothing"
        if each.threads is ThreadPolicy.ISOLATE:
            assert each.vcpus == len(mine)


@dataclass(frozen=True)
class Case:
    """What the demands on some cores come to."""

    cores: tuple[Core, ...]
    demands: list[Demand]
    pins: Mapping[str, tuple[int, ...]]
    unplaced: Mapping[str, str] | None = None


ARRIVALS = {
    "nobody": Case(SMT2, [], {}),
    "any takes threads in order": Case(SMT2, [demand("a", 3, "any")], {"a": (0, 4, 1)}),
    "any fills fragments before it breaks a core": Case(
        SMT2, [demand("a", 1, "any", 2), demand("b", 2, "any")], {"a": (2,), "b": (6, 0)}
    ),
    "any fills the core of four threads where it fits most closely": Case(
        SMT4,
        [demand("a", 1, "any", 0), demand("b", 3, "any", 1, 5, 9), demand("c", 1, "any")],
        {"a": (0,), "b": (1, 5, 9), "c": (13,)},
    ),
    "prefer takes a whole core although a fragment is there": Case(
        SMT2, [demand("a", 1, "any", 0), demand("b", 2, "prefer")], {"a": (0,), "b": (1, 5)}
    ),
    "prefer takes fragments for what does not fill a core": Case(
        SMT2, [demand("a", 1, "any", 0), demand("b", 3, "prefer")], {"a": (0,), "b": (1, 5, 4)}
    ),
    "prefer does with fragments where no core is free": Case(
        SMT2,
        [demand("a", 4, "any", 0, 1, 2, 3), demand("b", 2, "prefer")],
        {"a": (0, 1, 2, 3), "b": (4, 5)},
    ),
    "prefer puts a lost vCPU beside its sibling": Case(
        SMT2,
        [demand("a", 1, "any", 0), demand("b", 2, "prefer", 2, None)],
        {"a": (0,), "b": (2, 6)},
    ),
    "prefer keeps siblings together in a core of four threads": Case(
        SMT4,
        [demand("a", 3, "any", 0, 4, 8), demand("b", 2, "any", 1, 5), demand("c", 2, "prefer")],
        {"a": (0, 4, 8), "b": (1, 5), "c": (9, 13)},
    ),
    "require packs siblings": Case(SMT2, [demand("a", 4, "require")], {"a": (0, 4, 1, 5)}),
    "require leaves the rest of its last core idle": Case(
        SMT2, [demand("a", 3, "require"), demand("b", 4, "any")], {"a": (0, 4, 1), "b": (2, 6, 3, 7)}
    ),
    "isolate takes the first thread of each core": Case(SMT2, [demand("a", 3, "isolate")], {"a": (0, 1, 2)}),
    "isolate leaves the siblings idle": Case(
        SMT2, [demand("a", 3, "isolate"), demand("b", 2, "any")], {"a": (0, 1, 2), "b": (3, 7)}
    ),
    "isolate without SMT is one CPU each": Case(
        NO_SMT, [demand("a", 2, "isolate"), demand("b", 2, "any")], {"a": (0, 1), "b": (2, 3)}
    ),
    "a node may be full to the last thread": Case(
        SMT2,
        [demand("a", 1, "isolate"), demand("b", 3, "require"), demand("c", 1, "prefer"), demand("d", 1, "any")],
        {"a": (2,), "b": (0, 4, 1), "c": (3,), "d": (7,)},
    ),
}

CACHES = {
    "whole cores share a cache": Case(
        TWO_CACHES,
        [demand("a", 2, "isolate", 0, 1), demand("b", 3, "isolate")],
        {"a": (0, 1), "b": (4, 5, 6)},
    ),
    "the closest fit leaves the larger cache free": Case(
        TWO_CACHES,
        [demand("a", 2, "isolate", 4, 5), demand("b", 2, "isolate")],
        {"a": (4, 5), "b": (6, 7)},
    ),
    "threads share a cache": Case(
        TWO_CACHES,
        [demand("a", 3, "any", 0, 8, 1), demand("b", 8, "prefer")],
        {"a": (0, 8, 1), "b": (4, 12, 5, 13, 6, 14, 7, 15)},
    ),
    "a whole core in one cache is better than two parts in two": Case(
        PAIRS_OF_CORES,
        [demand("a", 1, "any", 0), demand("b", 1, "any", 2), demand("c", 2, "any")],
        {"a": (0,), "b": (2,), "c": (4, 1)},
    ),
    "siblings in a cache with room for all": Case(
        TWO_CACHES,
        [demand("a", 7, "any", 0, 8, 1, 9, 2, 10, 3), demand("b", 3, "any", 4, 5, 6), demand("c", 3, "prefer")],
        {"a": (0, 8, 1, 9, 2, 10, 3), "b": (4, 5, 6), "c": (7, 15, 12)},
    ),
    "of caches with room the one that keeps most cores whole": Case(
        TWO_CACHES,
        [demand("a", 2, "any", 4, 5), demand("b", 2, "any")],
        {"a": (4, 5), "b": (12, 13)},
    ),
    "what fits no cache takes as few as possible": Case(
        FOUR_CACHES,
        [demand("a", 1, "any", 0), demand("b", 1, "any", 2), demand("c", 4, "any")],
        {"a": (0,), "b": (2,), "c": (4, 5, 6, 7)},
    ),
    "the rest of it goes where it fits most closely": Case(
        FOUR_CACHES,
        [demand("a", 1, "any", 2), demand("b", 3, "isolate")],
        {"a": (2,), "b": (0, 1, 3)},
    ),
    "a guest that grows stays in its cache": Case(
        FOUR_CACHES,
        [demand("a", 1, "any", 0), demand("b", 2, "isolate", 4)],
        {"a": (0,), "b": (4, 5)},
    ),
    "threads of a guest that grows stay in its cache": Case(
        FOUR_CACHES,
        [demand("a", 1, "any", 0), demand("b", 2, "any", 4)],
        {"a": (0,), "b": (4, 5)},
    ),
    "the largest guest chooses first": Case(
        FOUR_CACHES,
        [demand("a", 1, "isolate"), demand("b", 2, "isolate")],
        {"a": (2,), "b": (0, 1)},
    ),
}

RESIDENTS = {
    "a guest that is placed well stays": Case(
        SMT2,
        [
            demand("a", 2, "any", 7, 0),
            demand("b", 1, "isolate", 6),
            demand("c", 2, "require", 5, 1),
            demand("d", 1, "prefer", 3),
        ],
        {"a": (7, 0), "b": (6,), "c": (5, 1), "d": (3,)},
    ),
    "a vCPU out of the pool comes in, the others stay": Case(SMT2, [demand("a", 3, "any", 3, 40, 2)], {"a": (3, 6, 2)}),
    "a vCPU that floats is pinned, the others stay": Case(SMT2, [demand("a", 2, "isolate", None, 5)], {"a": (0, 5)}),
    "two vCPUs of a guest on one CPU: the first stays": Case(SMT2, [demand("a", 2, "any", 3, 3)], {"a": (3, 7)}),
    "two guests on one CPU: the first by key stays": Case(
        SMT2, [demand("b", 1, "any", 3), demand("a", 1, "any", 3)], {"a": (3,), "b": (7,)}
    ),
    "a whole-core guest stays, the thread guest on its core goes": Case(
        SMT2, [demand("a", 1, "any", 7), demand("b", 1, "isolate", 3)], {"a": (0,), "b": (3,)}
    ),
    "a guest that is placed well goes before one that is not": Case(
        SMT2, [demand("a", 2, "isolate", 3, None), demand("b", 1, "any", 7)], {"a": (0, 1), "b": (7,)}
    ),
    "isolate on siblings: the first stays": Case(SMT2, [demand("a", 2, "isolate", 4, 0)], {"a": (4, 1)}),
    "require that is spread out: the fullest cores stay": Case(
        SMT2, [demand("a", 4, "require", 0, 1, 2, 6)], {"a": (0, 4, 2, 6)}
    ),
    "require with a vCPU lost: it returns to its sibling": Case(
        SMT2, [demand("a", 4, "require", 1, 5, None, 7)], {"a": (1, 5, 3, 7)}
    ),
    "require unevenly on enough whole cores is placed well": Case(
        SMT4, [demand("a", 6, "require", 0, 4, 8, 1, 5, 9)], {"a": (0, 4, 8, 1, 5, 9)}
    ),
    "a guest that shrank keeps the pins it still needs": Case(SMT2, [demand("a", 1, "any", 3, 2)], {"a": (3,)}),
    "a guest whose policy became isolate moves only siblings apart": Case(
        SMT2, [demand("a", 4, "isolate", 0, 4, 2, 3)], {"a": (0, 1, 2, 3)}
    ),
}

ROOM = {
    "no move while a core is free": Case(
        SMT2,
        [demand("a", 3, "any", 0, 1, 2), demand("b", 1, "isolate")],
        {"a": (0, 1, 2), "b": (3,)},
    ),
    "one vCPU makes room for a core": Case(
        SMT2,
        [demand("a", 4, "any", 0, 1, 2, 3), demand("b", 1, "isolate")],
        {"a": (5, 1, 2, 3), "b": (0,)},
    ),
    "the core with the fewest vCPUs is vacated": Case(
        SMT2,
        [demand("a", 5, "any", 0, 4, 1, 2, 3), demand("b", 1, "isolate")],
        {"a": (0, 4, 6, 2, 3), "b": (1,)},
    ),
    "one guest makes all the room if it can": Case(
        SMT2,
        [demand("a", 1, "any", 0), demand("b", 2, "any", 1, 2), demand("c", 1, "any", 3), demand("d", 2, "isolate")],
        {"a": (0,), "b": (4, 7), "c": (3,), "d": (1, 2)},
    ),
    "who moves anyway makes the room": Case(
        SMT2,
        [
            demand("a", 2, "any", 0, 1),
            demand("b", 3, "any", 2, 3, None),
            demand("c", 1, "isolate"),
        ],
        {"a": (0, 1), "b": (7, 3, 4), "c": (2,)},
    ),
    "whole-core guests never make room": Case(
        SMT2,
        [
            demand("a", 1, "isolate", 0),
            demand("b", 2, "any", 1, 2),
            demand("c", 2, "require", 3, 7),
            demand("d", 1, "isolate"),
        ],
        {"a": (0,), "b": (6, 2), "c": (3, 7), "d": (1,)},
    ),
}

REFUSALS = {
    "a newcomer too many": Case(
        SMT2,
        [demand("a", 7, "any", 0, 1, 2, 3, 4, 5, 6), demand("b", 1, "isolate")],
        {"a": (0, 1, 2, 3, 4, 5, 6)},
        {"b": "asked: 2 dedicated CPUs (vcpus=1, threads=isolate); available: 1 of 8"},
    ),
    "a smaller one after it still fits": Case(
        SMT2,
        [demand("a", 3, "isolate", 0, 1, 2), demand("b", 3, "any"), demand("c", 2, "any")],
        {"a": (0, 1, 2), "c": (3, 7)},
        {"b": "asked: 3 dedicated CPUs (vcpus=3, threads=any); available: 2 of 8"},
    ),
    "guests of this node come before newcomers": Case(
        SMT2,
        [demand("a", 4, "isolate"), demand("b", 2, "isolate", 3, None)],
        {"b": (3, 0)},
        {"a": "asked: 8 dedicated CPUs (vcpus=4, threads=isolate); available: 4 of 8"},
    ),
    "require without SMT": Case(
        NO_SMT,
        [demand("a", 2, "require", 0, 1), demand("b", 1, "any", 0)],
        {"b": (0,)},
        {"a": "asked: sibling threads (vcpus=2, threads=require); available: cores of one thread each"},
    ),
    "no cores at all": Case(
        (),
        [demand("a", 1, "any", 3)],
        {},
        {"a": "asked: 1 dedicated CPUs (vcpus=1, threads=any); available: 0 of 0"},
    ),
}

TWO_WIDTHS = {
    "threads fill narrow cores first": Case(MIXED, [demand("a", 3, "any")], {"a": (16, 17, 0)}),
    "siblings are on wide cores": Case(
        MIXED, [demand("a", 2, "prefer"), demand("b", 1, "prefer")], {"a": (0, 1), "b": (16,)}
    ),
    "siblings where none are left": Case(
        MIXED, [demand("a", 4, "require"), demand("b", 2, "prefer")], {"a": (0, 1, 2, 3), "b": (16, 17)}
    ),
    "whole cores are wide ones": Case(
        MIXED, [demand("a", 2, "isolate"), demand("b", 2, "any")], {"a": (0, 2), "b": (16, 17)}
    ),
    "who is on wide cores makes room": Case(
        MIXED, [demand("a", 2, "any", 0, 2), demand("b", 2, "isolate")], {"a": (16, 17), "b": (0, 2)}
    ),
    "isolate leaves a narrow core": Case(MIXED, [demand("a", 1, "isolate", 16)], {"a": (0,)}),
    "more whole cores than there are": Case(
        MIXED,
        [demand("a", 2, "isolate", 0, 2), demand("b", 1, "isolate")],
        {"a": (0, 2)},
        {"b": "asked: 1 whole cores (vcpus=1, threads=isolate); available: 0, the others have fewer threads"},
    ),
}

CASES = ARRIVALS | CACHES | RESIDENTS | ROOM | REFUSALS | TWO_WIDTHS


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_demands_come_to_this_layout(case: Case) -> None:
    """The name of the case says which rule it shows."""
    layout = allocate(case.cores, case.demands)
    assert case.pins == layout.pins
    assert (case.unplaced or {}) == layout.unplaced


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        pytest.param("0-7", ["0,4", "1,5", "2,6", "3,7"], id="all of the node"),
        pytest.param("2-3,6-7", ["2,6", "3,7"], id="whole cores"),
        pytest.param("1-6", ["1,5", "2,6"], id="half a core is no core"),
        pytest.param("8-15", [], id="another node's pool"),
        pytest.param("", [], id="no pool"),
    ],
)
def test_usable_cores_lie_wholly_in_the_pool(pool: str, expected: list[str]) -> None:
    """The dedicated pool of the host is cut down to whole cores of the node."""
    assert expected == [str(core.cpus) for core in usable_cores(reversed(SMT2), CpuSet.parse(pool))]


def test_a_node_without_online_cores_has_no_usable_one() -> None:
    """Nor does it break anything."""
    assert () == usable_cores([], CpuSet.parse("0-7"))


def test_two_demands_with_one_key_are_a_mistake() -> None:
    """One of them would vanish in the answer."""
    with pytest.raises(ValueError, match="same key"):
        allocate(SMT2, [demand("a", 1, "any"), demand("a", 2, "isolate")])


@dataclass(frozen=True)
class Step:
    """A guest arrives, or (vcpus 0) some guest departs."""

    vcpus: int
    threads: ThreadPolicy
    pick: int


@dataclass(frozen=True)
class World:
    """The dedicated cores of each NUMA node of a host, and what happens on it.

    :ivar scattered: guests lie anywhere that their policies allow whenever the next one arrives, which leaves nodes
        full of fragments; else they lie where the allocator has put them, which seldom does
    """

    nodes: tuple[tuple[Core, ...], ...]
    history: list[Step]
    scattered: bool


def make_world(
    seed: int, length: int, max_nodes: int = 4, max_cpus: int = 256, widths: Sequence[int] = (1, 2, 4)
) -> World:
    """A host of at most so many nodes and CPUs, with guests enough to keep it nearly full."""
    rng = random.Random(seed)
    nodes = rng.choice([make_nodes, choose_nodes])(rng, max_nodes, max_cpus, widths)
    largest = min(rng.choice([2, 4, 16, 64]), max([1, *map(len, nodes)]))
    history = []
    for number in range(length):
        if number % 10 == 0:  # the tide turns: from threads to whole cores, from arrivals to departures
            policies = rng.choices(list(ThreadPolicy), k=2)
            departures = rng.choice([0.1, 0.3, 0.6])
        vcpus = 0 if rng.random() < departures else 1 + int(largest * rng.random() ** 2)
        history.append(Step(vcpus, rng.choice(policies), rng.getrandbits(16)))
    return World(nodes, history, rng.random() < 0.75)


def make_nodes(
    rng: random.Random, max_nodes: int, max_cpus: int, widths: Sequence[int]
) -> tuple[tuple[Core, ...], ...]:
    """The dedicated cores of each node of a regular host of any size."""
    threads, count = rng.choice(widths), rng.randint(1, max_nodes)
    cores = min(rng.randint(1, rng.choice([4, 8, 256])), max_cpus // count // threads)
    topology = topologies.make_topology(count, cores, threads, rng.choice([None, 1, 2, 4, 8]))
    pool = topology.cpus - CpuSet.of(range(rng.randint(0, 2)))
    return tuple(usable_cores(node.cores, pool) for node in topology.nodes)


def choose_nodes(
    rng: random.Random, max_nodes: int, max_cpus: int, widths: Sequence[int]
) -> tuple[tuple[Core, ...], ...]:
    """The same of a host of any shape, as many cores of as many nodes as are allowed."""
    fitting = [
        [node for node in topology.nodes if node.threads_per_core in widths] for topology in topologies.SHAPES.values()
    ]
    nodes = rng.choice([nodes for nodes in fitting if nodes])
    chosen = rng.sample(nodes, min(len(nodes), max_nodes))
    pool = CpuSet.union(node.cpus for node in chosen) - CpuSet.of(range(rng.randint(0, 2)))
    limits = [max_cpus // len(chosen) // node.threads_per_core for node in chosen]
    return tuple(widest(usable_cores(node.cores, pool))[:limit] for node, limit in zip(chosen, limits, strict=True))


def worlds(**limits: Any) -> st.SearchStrategy[World]:
    """Worlds by their seed: drawn piece by piece most would be too small to fill a node."""
    return st.builds(make_world, st.integers(0, 2**64), st.sampled_from([5, 20, 60, 120]), **limits)


def scatter(cores: Sequence[Core], demands: Sequence[Demand], rng: random.Random) -> list[Demand]:
    """The same guests somewhere else, each as its policy wants it."""
    free_cores = rng.sample(cores, len(cores))
    scattered = []
    for each in demands:
        if each.takes_whole_cores:
            count = count_cpus(each.vcpus, each.threads, len(cores[0].cpus)) // len(cores[0].cpus)
            mine, free_cores = free_cores[:count], free_cores[count:]
            shuffled = [rng.sample(list(core.cpus), len(core.cpus)) for core in mine]
            pins = [cpu for threads in shuffled for cpu in threads][: each.vcpus]
            if each.threads is ThreadPolicy.ISOLATE:
                pins = [threads[0] for threads in shuffled]
            scattered.append(replace(each, present=tuple(pins)))
    free = [cpu for core in free_cores for cpu in core.cpus]
    rng.shuffle(free)
    for each in demands:
        if not each.takes_whole_cores:
            scattered.append(replace(each, present=tuple(free.pop() for _ in range(each.vcpus))))
    return scattered


@dataclass(frozen=True)
class Event:
    """What became of one step on its node: the demands before and after, and the answer."""

    cores: tuple[Core, ...]
    arrival: Demand | None
    demands: list[Demand]
    layout: Layout


def play(world: World, seed: int | None = None) -> list[Event]:
    """Let guests come and go; like Placement, let in what the counts of a node admit and nothing else.

    :param seed: hand the demands over in an order shuffled with it
    """
    events: list[Event] = []
    on_node: list[list[Demand]] = [[] for _ in world.nodes]
    for number, step in enumerate(world.history):
        index = step.pick % len(world.nodes)
        cores, guests = world.nodes[index], on_node[index]
        width = len(cores[0].cpus) if cores else 1
        arrival = None
        if step.vcpus:
            arrival = Demand(f"guest-{number}", step.vcpus, step.threads)
            counts = sum(count_cpus(each.vcpus, each.threads, width) for each in [*guests, arrival])
            if counts > width * len(cores) or (step.threads is ThreadPolicy.REQUIRE and width == 1):
                continue
            guests = [*guests, arrival]
        elif guests:
            guests = [each for each in guests if each is not guests[step.pick % len(guests)]]
        if seed is not None:
            random.Random(seed).shuffle(guests)
        layout = allocate(cores, guests)
        events.append(Event(cores, arrival, guests, layout))
        settled = sorted(settle(guests, layout), key=lambda each: each.key)
        on_node[index] = scatter(cores, settled, random.Random(step.pick)) if world.scattered else settled
    return events


@settings(max_examples=300, deadline=None)
@given(worlds(), st.integers())
def test_every_arrival_that_the_counts_admit_is_placed(world: World, seed: int) -> None:
    """No CPU is given twice, whole-core demands get whole cores, and the same history gives the same answer."""
    events = play(world)
    for event in events:
        assert {} == event.layout.unplaced
        if event.cores:
            check(event.cores, event.demands, event.layout)
    assert [event.layout for event in events] == [event.layout for event in play(world, seed)]


def caches_with_room(event: Event) -> set[int]:
    """The caches in which the newcomer of an event fits as its policy wants it, where all others are before it."""
    arrival, width = event.arrival, len(event.cores[0].cpus)
    assert arrival is not None
    others = [each for each in event.demands if each.key != arrival.key]
    taken = CpuSet.union(event.layout.reserved[each.key] for each in others)
    found = set()
    for cache in {core.cache for core in event.cores}:
        free = sorted((len(core.cpus - taken) for core in event.cores if core.cache == cache), reverse=True)
        if arrival.threads is ThreadPolicy.ANY:
            fits = sum(free) >= arrival.vcpus
        elif arrival.threads is ThreadPolicy.PREFER:  # whole cores for its pairs, and another for what is left
            wanted = [width] * (arrival.vcpus // width) + [arrival.vcpus % width]
            fits = all(has >= need for has, need in zip_longest(free, wanted, fillvalue=0))
        else:
            fits = free.count(width) * width >= count_cpus(arrival.vcpus, arrival.threads, width)
        if fits:
            found.add(cache)
    return found


@settings(max_examples=300, deadline=None)
@given(worlds())
def test_a_newcomer_that_fits_into_a_cache_gets_one(world: World) -> None:
    """Wherever it has room for all vCPUs in one last-level cache while no other guest moves."""
    for event in play(world):
        if event.arrival is None or moved_vcpus(event.demands, event.layout) or not caches_with_room(event):
            continue
        pins = event.layout.pins[event.arrival.key]
        assert 1 == len({core.cache for core in event.cores for cpu in pins if cpu in core.cpus})


@settings(deadline=None)
@given(worlds())
def test_a_guest_that_is_placed_well_moves_for_whole_cores_only(world: World) -> None:
    """Nobody moves for a departure, for thread demands or while cores are free; whole-core guests never move."""
    for event in play(world):
        moves = moved_vcpus(event.demands, event.layout)
        used = CpuSet.union(CpuSet.of(cpu for cpu in each.present if cpu is not None) for each in event.demands)
        free_cores = sum(core.cpus.isdisjoint(used) for core in event.cores)
        needed = 0
        if event.arrival is not None and event.arrival.takes_whole_cores:
            width = len(event.cores[0].cpus)
            needed = count_cpus(event.arrival.vcpus, event.arrival.threads, width) // width
        if needed <= free_cores:
            assert {} == moves
        assert not [each for each in event.demands if each.takes_whole_cores and each.key in moves]


def can_be_done_with(cores: Sequence[Core], demands: Sequence[Demand], moves: int) -> bool:
    """True if any layout at all serves the demands with so few moves: every layout is tried."""
    width = len(cores[0].cpus)
    whole = {each.key: each.takes_whole_cores for each in demands}
    limits = {each.key: count_cpus(each.vcpus, each.threads, width) // width for each in demands}
    vcpus = [
        (each, each.present[vcpu] if each.present else None)
        for each in sorted(demands, key=lambda each: not each.present)
        for vcpu in range(each.vcpus)
    ]
    users: list[list[tuple[str, int]]] = [[] for _ in cores]

    def fits(each: Demand, index: int, cpu: int) -> bool:
        here = users[index]
        if any(cpu == taken for _, taken in here) or any(whole[key] for key, _ in here if key != each.key):
            return False
        if not whole[each.key]:
            return True
        if any(key != each.key for key, _ in here) or (here and each.threads is ThreadPolicy.ISOLATE):
            return False
        mine = sum(any(key == each.key for key, _ in other) for other in users)
        return bool(here) or mine < limits[each.key]

    def search(number: int, left: int) -> bool:
        if number == len(vcpus):
            return True
        each, present = vcpus[number]
        for index, core in enumerate(cores):
            for cpu in core.cpus:
                cost = int(present is not None and cpu != present)
                if cost <= left and fits(each, index, cpu):
                    users[index].append((each.key, cpu))
                    if search(number + 1, left - cost):
                        return True
                    users[index].pop()
        return False

    return search(0, moves)


@settings(max_examples=200, deadline=None)
@given(worlds(max_nodes=st.just(1), max_cpus=st.just(12), widths=st.just([2])))
def test_no_layout_moves_fewer_vcpus(world: World) -> None:
    """On small nodes of two threads per core every other layout has been tried."""
    for event in play(world):
        moves = sum(moved_vcpus(event.demands, event.layout).values())
        assert moves == 0 or not can_be_done_with(event.cores, event.demands, moves - 1)


def make_crowd(seed: int, cores: Sequence[Core]) -> list[Demand]:
    """Guests on threads all over the node, and whole-core newcomers that need all that is left of it."""
    rng = random.Random(seed)
    width = len(cores[0].cpus)
    left = width * len(cores)
    demands = []
    for number in range(rng.randint(1, left // 2)):
        vcpus = rng.randint(1, 2)
        if left - vcpus >= width:
            demands.append(Demand(f"resident-{number}", vcpus, rng.choice([ThreadPolicy.ANY, ThreadPolicy.PREFER])))
            left -= vcpus
    demands = scatter(cores, demands, rng)
    while left >= width:
        count = rng.randint(1, left // width)
        threads, vcpus = rng.choice([(ThreadPolicy.ISOLATE, count), (ThreadPolicy.REQUIRE, count * width - 1)])
        demands.append(Demand(f"newcomer-{left}", vcpus, threads))
        left -= count * width
    return demands


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 2**64),
    st.sampled_from([cores for cores in ANY_SHAPE if len(cores) > 1 and len(cores[0].cpus) == 2]),
    st.integers(2, 5),
)
def test_room_for_whole_cores_costs_the_fewest_moves(seed: int, cores: tuple[Core, ...], count: int) -> None:
    """Also when every core is touched and all that is left is asked for."""
    node = cores[:count]
    demands = make_crowd(seed, node)
    layout = allocate(node, demands)
    check(node, demands, layout)
    assert {} == layout.unplaced
    moves = sum(moved_vcpus(demands, layout).values())
    assert moves == 0 or not can_be_done_with(node, demands, moves - 1)


def make_mess(seed: int, guests: int) -> tuple[tuple[Core, ...], list[Demand]]:
    """Guests that sit anywhere: on each other, out of the pool, in the wrong shape, too many of them."""
    rng = random.Random(seed)
    cores = rng.choice([rng.choice([NO_SMT, SMT2, SMT4, TWO_CACHES, FOUR_CACHES]), rng.choice(ANY_SHAPE)])
    mine = sorted(CpuSet.union(core.cpus for core in cores))[:16]
    cpus = [None, *mine, mine[-1] + 1, mine[-1] + 2]
    demands = [
        Demand(f"guest-{number}", rng.randint(1, 6), rng.choice(list(ThreadPolicy)), tuple(rng.choices(cpus, k=6)))
        for number in range(guests)
    ]
    return cores, [replace(each, present=each.present[: rng.choice([0, each.vcpus, 6])]) for each in demands]


def messes() -> st.SearchStrategy[tuple[tuple[Core, ...], list[Demand]]]:
    """Messes by their seed."""
    return st.builds(make_mess, st.integers(0, 2**64), st.integers(0, 8))


@given(messes(), st.integers())
def test_the_order_of_the_demands_does_not_matter(mess: tuple[tuple[Core, ...], list[Demand]], seed: int) -> None:
    """The same guests get the same answer, also from the worst of states."""
    cores, demands = mess
    shuffled = random.Random(seed).sample(demands, len(demands))
    assert allocate(cores, demands) == allocate(cores, shuffled)
    assert list(allocate(cores, demands).pins) == list(allocate(cores, shuffled).pins)


@given(messes())
def test_any_mess_is_put_in_order_at_once(mess: tuple[tuple[Core, ...], list[Demand]]) -> None:
    """The layout keeps the rules whatever was there before, and once it is real nothing moves any more."""
    cores, demands = mess
    layout = allocate(cores, demands)
    check(cores, demands, layout)
    placed = [each for each in settle(demands, layout) if each.key in layout.pins]
    again = allocate(cores, placed)
    assert (layout.pins, layout.reserved, {}) == (again.pins, again.reserved, again.unplaced)


@given(messes())
def test_nobody_is_refused_while_there_is_room(mess: tuple[tuple[Core, ...], list[Demand]]) -> None:
    """What is left is less than what the smallest refused demand counts."""
    cores, demands = mess
    width = len(cores[0].cpus)
    layout = allocate(cores, demands)
    left = width * len(cores) - sum(map(len, layout.reserved.values()))
    refused = [each for each in demands if each.key in layout.unplaced]
    assert all(
        count_cpus(each.vcpus, each.threads, width) > left
        for each in refused
        if not (each.threads is ThreadPolicy.REQUIRE and width == 1)
    )


@settings(deadline=None)
@given(worlds(max_nodes=st.just(1)), st.data())
def test_a_pool_that_shrank_evicts_nobody_who_is_placed_well(world: World, data: st.DataObject) -> None:
    """Guests wholly on cores that are left stay admitted, and no newcomer gets in at their cost."""
    events = play(world)
    if not events or len(events[-1].cores) < 2:
        return
    last = events[-1]
    cores = last.cores[: data.draw(st.integers(1, len(last.cores) - 1), label="cores left")]
    newcomers = [Demand(f"a-newcomer-{threads}", 2, threads) for threads in ThreadPolicy]
    residents = settle(last.demands, last.layout)
    layout = allocate(cores, [*newcomers, *residents])
    check(cores, [*newcomers, *residents], layout)
    left = CpuSet.union(core.cpus for core in cores)
    well = {key for key, reserved in last.layout.reserved.items() if reserved <= left}
    assert well <= layout.pins.keys()
    whole = {each.key for each in residents if each.takes_whole_cores}
    assert {key: last.layout.pins[key] for key in well & whole} == {key: layout.pins[key] for key in well & whole}


def make_blocked(cores: Sequence[Core], seed: int) -> CpuSet:
    """Some hardware threads that another guest is on."""
    rng = random.Random(seed)
    cpus = [cpu for core in cores for cpu in core.cpus]
    return CpuSet.of(rng.sample(cpus, rng.randint(0, len(cpus) // 2)))


@given(messes(), st.integers())
def test_a_layout_goes_round_whoever_cannot_be_moved(mess: tuple[tuple[Core, ...], list[Demand]], seed: int) -> None:
    """Nobody gets a blocked CPU, and nobody is refused while the counts and the cores that are left admit it."""
    cores, demands = mess
    blocked = make_blocked(cores, seed)
    width = len(cores[0].cpus)
    layout = allocate(cores, demands, blocked)
    check(cores, demands, layout)
    taken = CpuSet.union(layout.reserved.values())
    assert CpuSet() == taken & blocked
    left = width * len(cores) - len(taken) - len(blocked)
    whole = {each.key for each in demands if each.takes_whole_cores}
    in_cores = sum(width for core in cores if core.cpus.isdisjoint(blocked)) - sum(
        len(cpus) for key, cpus in layout.reserved.items() if key in whole
    )
    for each in demands:
        if each.key in layout.unplaced and not (each.threads is ThreadPolicy.REQUIRE and width == 1):
            room = min(left, in_cores) if each.key in whole else left
            assert count_cpus(each.vcpus, each.threads, width) > room


@given(worlds(max_nodes=st.just(1)), st.integers())
def test_who_is_placed_well_stays_admitted_beside_blocked_cpus(world: World, seed: int) -> None:
    """Of guests beside one that cannot be moved each keeps its place, unless another's whole cores need it."""
    events = play(world)
    if not events or not events[-1].cores:
        return
    last = events[-1]
    residents = settle(last.demands, last.layout)
    keys = sorted(last.layout.pins)
    stuck = set(random.Random(seed).sample(keys, len(keys) // 2))
    blocked = CpuSet.union(last.layout.reserved[key] for key in stuck)
    layout = allocate(last.cores, [each for each in residents if each.key not in stuck], blocked)
    assert ({}, {key: cpus for key, cpus in last.layout.pins.items() if key not in stuck}) == (
        layout.unplaced,
        layout.pins,
    )


def test_whole_cores_that_are_not_to_be_had() -> None:
    """A whole-core demand says that another guest stands in its way."""
    layout = allocate(SMT2, [demand("a", 3, "isolate")], CpuSet.parse("0,1"))

    expected = "asked: 3 whole cores (vcpus=3, threads=isolate); available: 2, because some guests cannot be moved now"
    assert {"a": expected} == layout.unplaced
