# SPDX-License-Identifier: Apache-2.0
"""Dedicated CPUs of a guest on its nodes: of its vCPUs, and of QEMU's own threads where the template says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.agent.decide.demands import demands_on
from kongming_sched.agent.decide.layout import lay_out
from kongming_sched.agent.model.guest import Domain, Guest, Identity, Threads
from kongming_sched.agent.model.view import GuestLayout, HostLayout, HostView, OverrideRequest
from kongming_sched.allocator import allocate, usable_cores
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.flavor import cell_requests
from kongming_sched.placement.tree import NodeState
from kongming_sched.pools import HostCpus, HostPools
from kongming_sched.request import PinningRequest
from kongming_sched.template import EmulatorPolicy, Override, PinningTemplate, ThreadPolicy
from kongming_sched.topology import HostTopology, NumaNode
from testbed.topologies import SHAPES
from tests.unit.agent.hosts import TEMPLATES as SAMPLES
from tests.unit.agent.hosts import host, tenant

ROOT = "00000000-0000-0000-0000-000000000001"


def on(layout: HostLayout, name: str) -> tuple[str, str]:
    """The CPUs of a guest's vCPUs, and of its emulator."""
    guest = layout.guests[f"a-{name}"]
    return str(CpuSet.union(guest.vcpus)), str(guest.emulator)


def test_emulator_gets_a_cpu_of_its_own_beside_the_vcpu() -> None:
    """One thread is enough where the cell takes threads."""
    assert ("1", "9") == on(lay_out(host(tenant("a", "own", [0], "0-15", emulator="0-15"))), "a")


def test_emulator_of_a_guest_of_whole_cores_gets_a_core() -> None:
    """With both of its threads, of which the vCPU has none."""
    assert ("1", "2,10") == on(lay_out(host(tenant("a", "apart", [0], "0-15", emulator="0-15"))), "a")


@pytest.mark.parametrize(
    ("template", "vcpu", "emulator"),
    [("own", "11", "1"), ("own", "1", "3"), ("apart", "3", "1,9"), ("apart", "9", "3,11")],
)
def test_emulator_that_is_placed_well_stays(template: str, vcpu: str, emulator: str) -> None:
    """Wherever in the pool that is."""
    assert (vcpu, emulator) == on(lay_out(host(tenant("a", template, [0], vcpu, emulator=emulator))), "a")


def test_emulator_on_the_cpu_of_its_vcpu_leaves_it() -> None:
    """As after a change from ``cell``; the vCPU stays."""
    assert ("1", "9") == on(lay_out(host(tenant("a", "own", [0], "1", emulator="1"))), "a")


def test_emulator_that_was_moved_by_hand_goes_back() -> None:
    """Where it was given a CPU counts, and not where it is."""
    moved = host(tenant("a", "own", [0], "1", emulator="3"))
    assigned = {"a-a": GuestLayout((CpuSet.of([1]),), CpuSet.of([10]))}

    assert ("1", "10") == on(lay_out(replace(moved, assigned=assigned)), "a")


def test_emulator_makes_room_for_a_guest_of_whole_cores() -> None:
    """It moves as a vCPU does, as the counts say that there is room for both."""
    view = host(
        tenant("a", "own", [0], "2", emulator="1"),
        tenant("b", "loose", [0], "3"),
        tenant("c", "cores", [0], "0-15", "0-15"),
    )

    layout = lay_out(view)

    assert {} == layout.problems
    assert [("2", "10"), ("3", "0,4,8"), ("1,9", "0,4,8")] == [on(layout, name) for name in "abc"]


@pytest.mark.parametrize(("template", "lacks"), [("own", "1 dedicated CPUs"), ("apart", "2 dedicated CPUs")])
def test_emulator_for_which_there_is_no_room_is_reported(template: str, lacks: str) -> None:
    """As after the pool has shrunk; its vCPU stays, and it goes to the housekeeping CPUs."""
    small = HostPools(CpuSet.parse("1,9"), CpuSet(), CpuSet.parse("0,4,8"))
    other = tenant("b", "loose", [0], "9")
    guests = [tenant("a", template, [0], "1", emulator="2"), *([other] if template == "own" else [])]
    view = replace(host(*guests), cpus=HostCpus(host().topology, small))

    layout = lay_out(view)

    assert f"no room on node 0: asked: {lacks} (vcpus=1" in layout.problems["a-a"].text
    assert "1" == on(layout, "a")[0]


def test_guest_whose_template_is_gone_holds_the_cpu_of_its_emulator() -> None:
    """No other guest gets it while the agent does not know what it is for."""
    lost, newcomer = tenant("a", "own", [0], "1", emulator="2"), tenant("b", "gold", [0], "0-15", "0-15")

    layout = lay_out(host(lost, newcomer, templates=["gold"]))

    assert (("1", "2"), "3,11") == (on(layout, "a"), on(layout, "b")[0])


def test_emulator_without_a_place_does_not_stay_on_the_cpu_of_another() -> None:
    """A guest without a claim here came with pins to an emulator's own CPU."""
    rightful, intruder = tenant("b", "own", [0], "1", emulator="2"), tenant("a", "gold", [0], "2", "3")
    view = host(rightful, intruder)
    uuid = view.node_uuids()[0]
    state = replace(view.states[uuid], allocations={"a-b": rightful.guest.request.cells[0].resources})

    layout = lay_out(replace(view, states={**view.states, uuid: state}))

    assert (("1", "2"), "0,3-4,8") == (on(layout, "b"), on(layout, "a")[0])


@pytest.mark.parametrize(
    ("template", "threads_per_core", "expected"),
    [
        pytest.param("pairs", 2, ["1", "9", "2", "10"], id="require"),
        pytest.param("rather", 2, ["1", "9", "2", "10"], id="prefer"),
        pytest.param("large", 2, ["1", "2", "9", "10"], id="any: it stays"),
        pytest.param("pairs", 1, ["1", "2", "9", "10"], id="a guest that sees no threads"),
    ],
)
def test_siblings_of_the_guest_come_together(template: str, threads_per_core: int, expected: list[str]) -> None:
    """By exchanging its own CPUs."""
    crosswise = tenant("a", template, [0], "1", "2", "9", "10", threads_per_core=threads_per_core)

    assert expected == list(map(str, lay_out(host(crosswise)).guests["a-a"].vcpus))


def test_siblings_of_the_guest_are_where_its_metadata_asks_for() -> None:
    """The CPUs that a server names are for just these vCPUs."""
    open_one = replace(SAMPLES["pairs"], override=Override.PINS)
    view = host(tenant("a", "pairs", [0], "1", "9", "2", "10", threads_per_core=2))
    asked = OverrideRequest({"kongming:cpus": "0:1;1:2;2:9;3:10"})

    layout = lay_out(replace(view, templates={**view.templates, "pairs": open_one}, overrides={"a-a": asked}))

    assert ({}, ["1", "2", "9", "10"]) == (layout.problems, list(map(str, layout.guests["a-a"].vcpus)))


def test_siblings_of_the_guest_stay_apart_while_it_waits_for_cpus_of_another() -> None:
    """It keeps the CPUs that it was granted before."""
    open_one = replace(SAMPLES["pairs"], override=Override.PINS)
    view = host(tenant("a", "pairs", [0], "1", "2", "9", "10", threads_per_core=2), tenant("b", "loose", [0], "3"))
    asked = OverrideRequest({"kongming:cpus": "0:3;1:2;2:11;3:10"}, {"kongming:cpus": "0:1;1:2;2:9;3:10"})

    layout = lay_out(replace(view, templates={**view.templates, "pairs": open_one}, overrides={"a-a": asked}))

    assert "asks for host CPU 3, which server a-b has" in layout.problems["a-a"].text
    assert ["1", "2", "9", "10"] == list(map(str, layout.guests["a-a"].vcpus))


def test_vcpus_that_float_beside_dedicated_ones() -> None:
    """They are on the shared pool of the cell's node, and the others on a core of theirs."""
    view = host(tenant("a", "mixed", [1], "0-15", "0-15", "0-15", "0-15"))

    layout = lay_out(view)

    assert ({}, ["12", "5", "13", "12"]) == (layout.problems, list(map(str, layout.guests["a-a"].vcpus)))


def test_vcpus_that_float_without_a_shared_pool() -> None:
    """Node 0 has none any more: the guest is reported, and its other vCPUs stay where they are."""
    layout = lay_out(host(tenant("a", "mixed", [0], "0", "1", "9", "4")))

    assert "cell 0 has vCPUs that float, and node 0 has no shared CPUs now" == layout.problems["a-a"].text
    assert ["0", "1", "9", "4"] == list(map(str, layout.guests["a-a"].vcpus))


@pytest.mark.parametrize(
    ("cpus", "reason"),
    [
        pytest.param("0,3:12;1:6;2:14", None, id="other CPUs of both pools"),
        pytest.param("0,3:5;1:6;2:14", "host CPU 5 is not in the shared pool of node 1", id="a dedicated one to float"),
        pytest.param("0,3:12;1:12;2:14", "host CPU 12 is not in the dedicated pool of node 1", id="a shared one alone"),
        pytest.param("0,3:12;1:5;2:6", "does not lie on cores as threads require", id="two cores"),
    ],
)
def test_cpus_that_a_server_with_both_asks_for(cpus: str, reason: str | None) -> None:
    """Each kind of vCPUs has those of its pool."""
    open_one = replace(SAMPLES["mixed"], override=Override.PINS)
    view = host(tenant("a", "mixed", [1], "12", "5", "13", "12"))
    templates = {**view.templates, "mixed": open_one}

    layout = lay_out(replace(view, templates=templates, overrides={"a-a": OverrideRequest({"kongming:cpus": cpus})}))

    assert (reason or "") in (layout.problems["a-a"].text if reason else "")
    expected = ["12", "5", "13", "12"] if reason else ["12", "6", "14", "12"]
    assert expected == list(map(str, layout.guests["a-a"].vcpus))


# On hosts of every shape


@dataclass(frozen=True)
class Claimed:
    """A guest and the node that it has claimed.

    :ivar count: the dedicated CPUs that it has claimed
    """

    guest: Guest
    node: int
    count: int


def _template(vcpus: int, threads: ThreadPolicy, emulator: EmulatorPolicy) -> PinningTemplate:
    cell = {"vcpus": f"0-{vcpus - 1}", "cpus": "dedicated", "threads": threads.value, "memory": "none"}
    name = f"{threads.value}_{vcpus}_{emulator.value}"
    return PinningTemplate.from_mapping({"name": name, "cells": [cell], "emulator": emulator.value})


TEMPLATES = [
    _template(vcpus, threads, emulator)
    for vcpus in (1, 2, 3)
    for threads in ThreadPolicy
    for emulator in EmulatorPolicy
]


def _counted(cpus: HostCpus, node: NumaNode) -> CpuSet:
    """The CPUs of a node that Placement counts where templates of whole cores are offered."""
    width, cores = cpus.threads_per_core(node), usable_cores(node.cores, cpus.pools.dedicated)
    return CpuSet.union(core.cpus for core in cores if len(core.cpus) == width)


def _newcomer(number: int, cpus: HostCpus, node: NumaNode, template: PinningTemplate) -> Claimed:
    """A guest that floats over the whole host."""
    request = PinningRequest(template.name, cell_requests(template, 512, cpus.threads_per_core(node)))
    everywhere = cpus.topology.cpus
    threads = Threads(dict.fromkeys(range(template.vcpus), everywhere), everywhere)
    uuid = f"guest-{number}"
    guest = Guest(Domain(uuid, uuid, ""), Identity(uuid, template.vcpus, request), threads, request)
    return Claimed(guest, node.id, request.cells[0].resources[names.PCPU])


def _threads(layout: GuestLayout) -> Threads:
    return Threads(dict(enumerate(layout.vcpus)), layout.emulator)


def _view(cpus: HostCpus, claimed: Sequence[Claimed], given: Mapping[str, GuestLayout]) -> HostView:
    """A host on which these guests have claimed, each where it was given its CPUs."""
    states = {}
    for node in cpus.topology.nodes:
        uuid = names.node_uuid(ROOT, node.id)
        claims = {item.guest.uuid: item.guest.request.cells[0].resources for item in claimed if item.node == node.id}
        states[uuid] = NodeState(uuid, f"node{node.id}", 1, allocations=claims)
    guests = tuple(
        replace(item.guest, threads=_threads(given[item.guest.uuid])) if item.guest.uuid in given else item.guest
        for item in claimed
    )
    templates = {template.name: template for template in TEMPLATES}
    return HostView(cpus, ROOT, "host", states, templates, guests, assigned=given)


def _pools(topology: HostTopology) -> HostPools:
    """All cores but the first are dedicated."""
    housekeeping, *others = [core.cpus for node in topology.nodes for core in node.cores]
    return HostPools(CpuSet.union(others), CpuSet(), housekeeping)


def _turn_over(random: Random, cpus: HostCpus, claimed: list[Claimed], first: int) -> list[Claimed]:
    """Some guests go, and others come until nothing fits any more, by the counts alone as in Placement."""
    kept = [item for item in claimed if random.random() < 0.6]
    for node in cpus.topology.nodes:
        left = len(_counted(cpus, node)) - sum(item.count for item in kept if item.node == node.id)
        has_siblings = cpus.threads_per_core(node) > 1
        fitting = [each for each in TEMPLATES if has_siblings or each.cells[0].threads is not ThreadPolicy.REQUIRE]
        for _ in range(12):
            item = _newcomer(first + len(kept), cpus, node, random.choice(fitting))
            if item.count <= left:
                kept.append(item)
                left -= item.count
    return kept


def _check(view: HostView, layout: HostLayout, claimed: Sequence[Claimed]) -> None:
    """Every guest that the counts admit has its CPUs, which no other has, and its emulator some of its own."""
    assert {} == layout.problems
    seen = CpuSet()
    for item in claimed:
        template, place = view.templates[item.guest.request.template], layout.guests[item.guest.uuid]
        mine, node = CpuSet.union(place.vcpus), view.topology.node(item.node)
        assert node is not None
        if template.emulator is EmulatorPolicy.OWN:
            assert place.emulator.isdisjoint(mine)
            whole = any(core.cpus == place.emulator for core in node.cores)
            assert whole if template.cells[0].needs_smt_trait else len(place.emulator) == 1
            mine |= place.emulator
        else:
            assert place.emulator == (mine if template.emulator is EmulatorPolicy.CELL else view.cpus.housekeeping)
        assert mine <= _counted(view.cpus, node)
        assert mine.isdisjoint(seen)
        seen |= mine


def _check_counts(view: HostView, layout: HostLayout, claimed: Sequence[Claimed]) -> None:
    """What a guest has claimed is what it takes, idle siblings included."""
    for node in view.topology.nodes:
        found = demands_on(
            view, node.id, layout.tree.pools.get(node.id, CpuSet()), view.guests, layout.claims, CpuSet()
        )
        reserved = allocate(found.cores, [item.demand for item in found.demands]).reserved
        for item in claimed:
            if item.node == node.id:
                keys = [demand.demand.key for demand in found.demands if demand.guest == item.guest.uuid]
                assert item.count == sum(len(reserved[key]) for key in keys)


@given(st.sampled_from(sorted(SHAPES)), st.randoms(use_true_random=False))
def test_what_is_claimed_is_what_is_taken(shape: str, random: Random) -> None:
    """On a host of any shape, full by the counts, after each of some turns of guests that go and come."""
    cpus = HostCpus(SHAPES[shape], _pools(SHAPES[shape]))
    claimed: list[Claimed] = []
    places: dict[str, GuestLayout] = {}
    for turn in range(3):
        claimed = _turn_over(random, cpus, claimed, 1000 * turn)
        view = _view(cpus, claimed, {uuid: place for uuid, place in places.items() if uuid in _uuids(claimed)})
        layout = lay_out(view)
        _check(view, layout, claimed)
        _check_counts(view, layout, claimed)
        places = dict(layout.guests)
        assert layout.guests == lay_out(_view(cpus, claimed, places)).guests, "it has not come to rest"


def _uuids(claimed: Sequence[Claimed]) -> set[str]:
    return {item.guest.uuid for item in claimed}
