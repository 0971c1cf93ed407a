# SPDX-License-Identifier: Apache-2.0
"""What servers claim for another template than their flavor's, and where."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched import exceptions
from kongming_sched.placement import names
from kongming_sched.placement.classes.claims import (
    Place,
    claimed_nodes,
    find_place,
    placed_claim,
    root_vcpus,
    ways_to_count,
    why_flavor_bars,
    why_not_live,
)
from kongming_sched.placement.client import Claim, Inventory
from kongming_sched.placement.flavor import extra_specs
from kongming_sched.placement.tree import NodeState
from kongming_sched.request import PinningRequest
from tests.unit.agent.hosts import TEMPLATES, template

SERVER, ROOT = "server", "00000000-0000-0000-0000-000000000001"


def node(number: int, cpus: int, *, smt: int = 2, offers: str = "gold", **taken: int) -> NodeState:
    """A node with so many dedicated CPUs, of which consumers have taken some."""
    traits = {names.template_trait(offers), names.smt_trait(smt), names.node_trait(number)}
    inventories = {names.PCPU: Inventory(cpus), names.MEMORY_MB: Inventory(65536)}
    allocations = {consumer: {names.PCPU: amount} for consumer, amount in taken.items() if amount}
    uuid = names.node_uuid(ROOT, number)
    return NodeState(uuid, f"host_kongming_numa{number}", 1, frozenset(traits), inventories, allocations)


def host(*nodes: NodeState) -> dict[int, NodeState]:
    """Nodes by their numbers."""
    return dict(enumerate(nodes))


GOLD = ways_to_count(TEMPLATES["gold"], 512, [])
"""Two dedicated vCPUs."""


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param(host(node(0, 8), node(1, 4)), (1,), id="the fullest"),
        pytest.param(host(node(0, 8, server=2), node(1, 4)), (0,), id="the one that it is on"),
        pytest.param(host(node(0, 2, server=2), node(1, 4)), (0,), id="what it has itself is free"),
        pytest.param(host(node(0, 2, other=1), node(1, 4)), (1,), id="the one with room"),
        pytest.param(host(node(0, 8, offers="tin"), node(1, 9)), (1,), id="the one that offers it"),
    ],
)
def test_place(states: Mapping[int, NodeState], expected: tuple[int, ...]) -> None:
    """A server stays where it is if it can, and else goes to the fullest node that has room."""
    place, reason = find_place(GOLD, states, SERVER)
    assert (expected, "") == (place and place.nodes, reason)


@pytest.mark.parametrize(
    ("states", "on", "reason"),
    [
        pytest.param({}, None, "its host has no NUMA node in Placement", id="no node"),
        pytest.param(host(node(0, 8)), 3, "its host has no node 3 in Placement; it has 0", id="no such node"),
        pytest.param(
            host(node(0, 1), node(1, 8, offers="tin")),
            None,
            "node 0 has no room: asked: 2 CUSTOM_KONGMING_PCPU; available: 1; node 1 does not offer template 'gold'",
            id="each node has its reason",
        ),
        pytest.param(
            host(node(0, 1), node(1, 8)),
            0,
            "node 0 has no room: asked: 2 CUSTOM_KONGMING_PCPU; available: 1",
            id="not on the one that is named",
        ),
    ],
)
def test_no_place(states: Mapping[int, NodeState], on: int | None, reason: str) -> None:
    """The reason names what each node lacks."""
    assert (None, reason) == find_place(GOLD, states, SERVER, node=on)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.integers(1, 4))
def test_cells_find_a_place_if_there_is_one(free: list[int], cells: int) -> None:
    """Each cell gets a node of its own with room for it, unless no choice of nodes gives that."""
    wanted = template("wide", *({"vcpus": str(cell), "cpus": "dedicated"} for cell in range(cells)))
    states = host(*(node(number, cpus, offers="wide") for number, cpus in enumerate(free)))
    place, reason = find_place(ways_to_count(wanted, 0, states.values()), states, SERVER)
    possible = [nodes for nodes in itertools.permutations(states, cells) if all(free[number] for number in nodes)]
    assert bool(possible) == (place is not None)
    assert (place is None) == bool(reason)
    if place is not None:
        assert place.nodes in possible


def test_whole_cores_are_counted_by_the_threads_of_the_node() -> None:
    """A template of whole cores takes what the cores of the node have."""
    cores = TEMPLATES["alone"]
    for smt in (1, 2, 4):
        states = host(node(0, 8, smt=smt, offers="alone"))
        place, _ = find_place(ways_to_count(cores, 0, states.values()), states, SERVER)
        assert place is not None
        assert smt == place.cells[0].resources[names.PCPU]


def test_claimed_nodes() -> None:
    """They are found by any of the ways to count; there are none for another claim."""
    assert (1,) == claimed_nodes(GOLD, {1: {names.PCPU: 2, names.MEMORY_MB: 512}})
    assert () == claimed_nodes(GOLD, {1: {names.PCPU: 3, names.MEMORY_MB: 512}})


def claim(**root: int) -> Claim:
    """A claim of a node, of the compute node itself, and of something else."""
    resources = {ROOT: root, names.node_uuid(ROOT, 0): {names.PCPU: 2}, "disk": {"DISK_GB": 9}}
    return Claim(SERVER, 3, "project", "user", {uuid: amounts for uuid, amounts in resources.items() if amounts})


@pytest.mark.parametrize(("vcpus", "root"), [(0, {"MEMORY_MB": 512}), (2, {"MEMORY_MB": 512, "VCPU": 2})])
def test_placed(vcpus: int, root: dict[str, int]) -> None:
    """Nodes and VCPU are as they are to be; all else stays, and whose the claim is."""
    states = host(node(0, 8), node(1, 8))
    after = placed_claim(claim(MEMORY_MB=512, VCPU=1), ROOT, states, Place((1,), GOLD[0]), vcpus)
    want = {ROOT: root, names.node_uuid(ROOT, 1): GOLD[0][0].resources, "disk": {"DISK_GB": 9}}
    assert Claim(SERVER, 3, "project", "user", want) == after


def test_let_go() -> None:
    """Without a place it has nothing of the nodes."""
    after = placed_claim(claim(MEMORY_MB=512), ROOT, host(node(0, 8)), None, 2)
    assert {ROOT: {"MEMORY_MB": 512, "VCPU": 2}, "disk": {"DISK_GB": 9}} == after.resources


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        pytest.param({}, "it has no claim on its host", id="elsewhere"),
        pytest.param({"MEMORY_MB": 512, "PCPU": 2}, "Nova itself has pinned it", id="pinned by Nova"),
        pytest.param({"VCPU": 2}, "it would take nothing of the compute node itself", id="nothing left"),
    ],
)
def test_claims_that_stay(root: dict[str, int], reason: str) -> None:
    """What cannot be changed is refused."""
    with pytest.raises(exceptions.ClassRefused, match=reason):
        placed_claim(claim(**root), ROOT, host(node(0, 8)), None, 0)


@pytest.mark.parametrize(("specs", "expected"), [({}, 4), ({"resources:VCPU": "0"}, 0), ({"resources:VCPU": "2"}, 2)])
def test_vcpus_of_the_compute_node(specs: dict[str, str], expected: int) -> None:
    """Those of the flavor, unless its extra specs say another number."""
    assert expected == root_vcpus(specs, 4)


def test_what_nova_lays_out_stays() -> None:
    """Neither a template nor a flavor that Nova lays out at the start can change, nor one by which Nova pins."""
    paged = template("paged", {"vcpus": "0", "cpus": "dedicated", "pages": "2MiB"})
    specs = extra_specs(paged, {}, vcpus=1, memory_mb=512)
    assert "'paged'" in (why_not_live(paged) or "")
    assert why_not_live(TEMPLATES["gold"]) is None
    assert "lay it out" in (why_flavor_bars(specs, PinningRequest.from_extra_specs(specs)) or "")
    assert "hw:cpu_policy" in (why_flavor_bars({"hw:cpu_policy": "dedicated"}, None) or "")
    assert why_flavor_bars({"hw:watchdog_action": "reset"}, None) is None
