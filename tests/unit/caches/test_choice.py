# SPDX-License-Identifier: Apache-2.0
"""Which cache each cell gets, and that the allocator lays guests out by it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kongming_sched.agent.decide.siblings import groups_of, put_together
from kongming_sched.allocator import Demand, Layout, allocate
from kongming_sched.caches.choice import CacheCell, CacheChoice
from kongming_sched.caches.rooms import count_rooms
from kongming_sched.cpuset import CpuSet
from kongming_sched.template import ThreadPolicy, count_cpus
from kongming_sched.topology import Core
from testbed import topologies
from tests.unit.caches.nodes import CHAINS, admits, make_caches

TWO_BY_TWO = topologies.make_topology(1, 4, 2, cores_per_cache=2).nodes[0].cores
"""Cores 0,4 1,5 | 2,6 3,7."""
TWO_BY_FOUR = topologies.make_topology(1, 8, 1, cores_per_cache=4).nodes[0].cores
"""Cores 0 1 2 3 | 4 5 6 7."""


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(1, 17), min_size=1, max_size=5), st.sampled_from(CHAINS), st.integers())
def test_cells_that_the_counts_admit_get_a_cache_in_any_order(
    rooms: list[int], chain: tuple[int, ...], seed: int
) -> None:
    """Those that were there before leave theirs if need be, and each has one in the end."""
    rng, cores = random.Random(seed), make_caches(rooms)
    counted = {size: count_rooms(cores, size) for size in range(1, 18)}
    choice = CacheChoice(cores, lambda _cache, _cores: 0)
    cells: list[CacheCell] = []
    for number in range(20):
        cell = CacheCell(str(number), rng.choice(chain), {rng.randrange(sum(rooms)): 1})
        sizes = [each.cores for each in [*cells, cell]]
        if admits(counted, sizes) and sum(sizes) <= len(cores):
            cells.append(cell)
            assert choice.add(cell)
    used: Counter[int] = Counter()
    for each in cells:
        used[choice.chosen[each.key]] += each.cores
    assert {cache: count for cache, count in used.items() if count > choice.room[cache]} == {}


def test_a_cell_that_finds_no_cache_changes_nothing() -> None:
    """The others have the caches that they had, and it is not among them."""
    choice = CacheChoice(TWO_BY_FOUR, lambda _cache, _cores: 0)
    cells = [CacheCell("a", 2, {0: 2}), CacheCell("b", 2, {4: 2}), CacheCell("c", 2, {4: 2})]
    for cell, cache in zip(cells, (0, 4, 4), strict=True):
        choice.keep(cell, cache)
    assert (False, {"a": 0, "b": 4, "c": 4}) == (choice.add(CacheCell("d", 4)), choice.chosen)


def one(key: str, vcpus: int, threads: str, *present: int | None) -> Demand:
    """A demand that must lie in one cache."""
    return Demand(key, vcpus, ThreadPolicy(threads), present, in_one_cache=True)


def any_cache(key: str, vcpus: int, threads: str, *present: int | None) -> Demand:
    """A demand that may lie anywhere."""
    return Demand(key, vcpus, ThreadPolicy(threads), present)


@pytest.mark.parametrize(
    ("cores", "demands", "pins"),
    [
        pytest.param(
            TWO_BY_TWO,
            [any_cache("a", 1, "isolate", 0), any_cache("b", 1, "isolate", 2), one("c", 4, "require")],
            {"a": (3,), "b": (2,), "c": (0, 4, 1, 5)},
            id="guests of whole cores make room",
        ),
        pytest.param(
            TWO_BY_TWO,
            [any_cache("a", 1, "any", 0), any_cache("b", 2, "any", 2, 3), one("c", 2, "isolate")],
            {"a": (6,), "b": (2, 3), "c": (0, 1)},
            id="the fewest vCPUs make room",
        ),
        pytest.param(
            TWO_BY_TWO,
            [any_cache("a", 2, "any", 0, 1), one("b", 1, "isolate"), one("c", 2, "isolate")],
            {"a": (5, 1), "b": (0,), "c": (2, 3)},
            id="the cache that disturbs nobody, and a single core anywhere",
        ),
        pytest.param(
            TWO_BY_FOUR,
            [one("a", 2, "isolate", 0, 1), one("b", 2, "isolate", 4, 5), one("c", 4, "isolate")],
            {"a": (6, 7), "b": (4, 5), "c": (0, 1, 2, 3)},
            id="smaller cells of one cache make room",
        ),
        pytest.param(
            TWO_BY_FOUR,
            [one("a", 3, "isolate", 1, 4, 5), any_cache("b", 3, "isolate", 0, 2, 6)],
            {"a": (7, 4, 5), "b": (0, 2, 6)},
            id="a guest that lies in two caches goes where most of it is",
        ),
        pytest.param(
            TWO_BY_FOUR,
            [one("a", 4, "isolate", 0, 1, 2, 3), one("b", 2, "isolate", 5, 7), any_cache("c", 2, "any", 4, 6)],
            {"a": (0, 1, 2, 3), "b": (5, 7), "c": (4, 6)},
            id="guests that are placed well stay",
        ),
    ],
)
def test_demands_of_one_cache_come_to_this_layout(
    cores: Sequence[Core], demands: list[Demand], pins: dict[str, tuple[int, ...]]
) -> None:
    """The name of the case says which rule it shows."""
    layout = allocate(cores, demands)
    assert ({}, pins) == (layout.unplaced, layout.pins)


def test_a_demand_that_finds_no_cache_is_refused_with_the_room() -> None:
    """The others stay, although there are cores enough in two caches."""
    demands = [one("a", 3, "isolate", 0, 1, 2), one("b", 3, "isolate", 4, 5, 6), one("c", 2, "isolate")]
    layout = allocate(TWO_BY_FOUR, demands)
    assert {
        "c": "asked: 2 whole cores of one cache (vcpus=2, threads=isolate); available: none has so many left beside"
        " others that must lie in one; the largest has 4"
    } == layout.unplaced
    assert {"a": (0, 1, 2), "b": (4, 5, 6)} == layout.pins


def test_blocked_cores_are_no_room_of_a_cache() -> None:
    """A guest that cannot be moved leaves its cache too small."""
    demands = [one("a", 4, "isolate")]
    assert {"a": (4, 5, 6, 7)} == allocate(TWO_BY_FOUR, demands, blocked=CpuSet.of([3])).pins
    assert {"a"} == allocate(TWO_BY_FOUR, demands, blocked=CpuSet.of([3, 4])).unplaced.keys()


@pytest.mark.parametrize("threads", ["any", "prefer"])
def test_threads_cannot_be_asked_into_one_cache(threads: str) -> None:
    """Odd ones would leave half cores in each cache, which no whole-core demand can have."""
    with pytest.raises(ValueError, match="only whole cores"):
        one("a", 3, threads)


@dataclass(frozen=True)
class Stage:
    """A node after one more guest came or went.

    :ivar cores: how many threads the cores have is that of all of them
    """

    cores: tuple[Core, ...]
    demands: list[Demand]
    layout: Layout


def play(seed: int) -> list[Stage]:
    """Guests of all policies come to a node with several caches, and go; what the counts admit comes in.

    Between two of them all guests lie anywhere that their policies allow, or as the allocator has put them.
    """
    rng = random.Random(seed)
    width = rng.choice([1, 2, 2, 4])
    cores = make_caches([rng.randint(1, rng.choice([3, 9])) for _ in range(rng.randint(2, 4))], width)
    chain = rng.choice(CHAINS)
    counted = {size: count_rooms(cores, size) for size in range(1, 18)}
    demands: list[Demand] = []
    stages = []
    for number in range(40):
        if demands and rng.random() < 0.3:
            demands.remove(rng.choice(demands))
        else:
            threads = rng.choice([ThreadPolicy.ISOLATE, *[ThreadPolicy.REQUIRE] * (width > 1)])
            per_core = 1 if threads is ThreadPolicy.ISOLATE else width
            newcomer = Demand(str(number), rng.randint(1, 4), rng.choice(list(ThreadPolicy)))
            if newcomer.threads is ThreadPolicy.REQUIRE and width == 1:
                continue
            if rng.random() < 0.5:
                vcpus = rng.choice(chain) * per_core - rng.randrange(per_core)
                newcomer = Demand(str(number), vcpus, threads, in_one_cache=True)
            trial = [*demands, newcomer]
            cells = [size_of(each, width) for each in trial if each.in_one_cache]
            counts = sum(count_cpus(each.vcpus, each.threads, width) for each in trial)
            if counts > width * len(cores) or not admits(counted, cells):
                continue
            demands = trial
        rng.shuffle(demands)
        stage = Stage(cores, list(demands), allocate(cores, demands))
        stages.append(stage)
        demands = [replace(each, present=stage.layout.pins.get(each.key, ())) for each in demands]
        if rng.random() < 0.7:
            demands = scatter(cores, demands, rng)
    return stages


def size_of(demand: Demand, width: int) -> int:
    """How many cores a whole-core demand takes."""
    return count_cpus(demand.vcpus, demand.threads, width) // width


def scatter(cores: Sequence[Core], demands: Sequence[Demand], rng: random.Random) -> list[Demand]:
    """The same guests elsewhere: those of one cache packed anew in another order, the others anywhere."""
    width = len(cores[0].cpus)
    fresh = [replace(each, key=f"{rng.random()} {each.key}", present=()) for each in demands if each.in_one_cache]
    packed = {key.partition(" ")[2]: pins for key, pins in allocate(cores, fresh).pins.items()}
    taken = CpuSet.of(cpu for pins in packed.values() for cpu in pins)
    free_cores = [core for core in cores if core.cpus.isdisjoint(taken)]
    rng.shuffle(free_cores)
    found = {}
    for each in demands:
        if each.takes_whole_cores and not each.in_one_cache:
            mine = [free_cores.pop() for _ in range(size_of(each, width))]
            is_isolate = each.threads is ThreadPolicy.ISOLATE
            cpus = [cpu for core in mine for cpu in list(core.cpus)[: 1 if is_isolate else width]]
            found[each.key] = tuple(cpus[: each.vcpus])
    threads = [cpu for core in free_cores for cpu in core.cpus]
    rng.shuffle(threads)
    for each in demands:
        if not each.takes_whole_cores:
            found[each.key] = tuple(threads.pop() for _ in range(each.vcpus))
    return [replace(each, present=packed.get(each.key, found.get(each.key, ()))) for each in demands]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**64))
def test_every_guest_that_the_counts_admit_has_a_place(seed: int) -> None:
    """Those of one cache in one, whole cores for whole-core guests, and no CPU for two."""
    for stage in play(seed):
        width, layout = len(stage.cores[0].cpus), stage.layout
        cache_of = {cpu: core.cache for core in stage.cores for cpu in core.cpus}
        core_of = {cpu: core for core in stage.cores for cpu in core.cpus}
        assert {} == layout.unplaced
        assert sum(map(len, layout.reserved.values())) == len(CpuSet.union(layout.reserved.values()))
        for each in stage.demands:
            pins, reserved = layout.pins[each.key], layout.reserved[each.key]
            assert each.vcpus == len(set(pins))
            assert CpuSet.of(pins) <= reserved
            assert count_cpus(each.vcpus, each.threads, width) == len(reserved)
            if each.takes_whole_cores:
                assert CpuSet.union(core_of[cpu].cpus for cpu in pins) == reserved
            if each.in_one_cache:
                assert 1 == len({cache_of[cpu] for cpu in pins})


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**64))
def test_nobody_moves_for_a_departure_or_a_guest_that_fits_into_a_cache(seed: int) -> None:
    """Wherever all guests are placed well, and a newcomer of one cache finds one that is free of others."""
    for stage in play(seed):
        newcomers = [each for each in stage.demands if not each.present]
        taken = CpuSet.of(cpu for each in stage.demands for cpu in each.present if cpu is not None)
        free = Counter(core.cache for core in stage.cores if core.cpus.isdisjoint(taken))
        width = len(stage.cores[0].cpus)
        fits = all(each.in_one_cache and size_of(each, width) <= max(free.values(), default=0) for each in newcomers)
        if fits:
            moved = [each.key for each in stage.demands if each.present and each.present != stage.layout.pins[each.key]]
            assert [] == moved


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**64))
def test_guest_siblings_lie_on_one_core_after_guests_have_moved_for_a_cache(seed: int) -> None:
    """Of guests whose vCPUs 2k and 2k+1 are threads of one core to them, wherever the host's cores have two threads."""
    for stage in play(seed):
        if len(stage.cores[0].cpus) < 2:
            continue
        cores = {cpu: core for core in stage.cores for cpu in core.cpus}
        for each in stage.demands:
            if each.in_one_cache and each.threads is ThreadPolicy.REQUIRE:
                groups = groups_of(CpuSet.of(range(each.vcpus)), 2)
                owned = stage.layout.reserved[each.key]
                pins = put_together(stage.layout.pins[each.key], owned, stage.cores, groups)
                assert 1 == len({cores[cpu].cache for cpu in pins})
                assert [1] * len(groups) == [len({cores[pins[vcpu]] for vcpu in group}) for group in groups]
