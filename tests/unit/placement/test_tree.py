# SPDX-License-Identifier: Apache-2.0
"""What a host should have in Placement: its node providers, and which templates each node offers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.allocator import Demand, allocate, usable_cores
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory
from kongming_sched.placement.disabling import disabled_traits
from kongming_sched.placement.tree import DesiredNode, DesiredTree, NodeState, Refusal, desired_tree
from kongming_sched.pools import HostCpus, HostPools, HugePages, PagesByNode, ReservedPages, check_pools
from kongming_sched.template import PinningTemplate, ThreadPolicy
from kongming_sched.topology import HostTopology
from testbed.topologies import (
    SHAPES,
    make_topology,
    one_node_no_smt,
    one_node_smt2,
    one_node_smt4,
    pools,
    two_nodes_no_smt,
    two_nodes_smt2,
    with_offline,
)
from tests.unit import strategies

ROOT = "5a1e0000-0000-4000-8000-000000000001"
SERVER = "5e4e0000-0000-4000-8000-000000000001"

POOLS = HostPools(
    dedicated=CpuSet.parse("1-3,9-11,5-7,13-15"),
    shared=CpuSet.parse("4,12"),
    housekeeping=CpuSet.parse("0,8"),
    vcpu_allocation_ratio=4.0,
    reserved_memory_mb=1024,
)
"""Of two_nodes_smt2: three cores of each node dedicated, the fourth of node 1 shared, that of node 0 housekeeping."""


def template(name: str, *cells: Mapping[str, object], **clauses: str) -> PinningTemplate:
    """A template whose cells are dedicated unless they say otherwise; one of a single vCPU if no cell is given."""
    filled = [{"cpus": "dedicated", **cell} for cell in cells or ({"vcpus": "0"},)]
    return PinningTemplate.from_mapping({"name": name, "cells": filled, **clauses})


def explicit(name: str, pins: str) -> PinningTemplate:
    """A template of one vCPU on these host CPUs."""
    return template(name, {"vcpus": "0", "cpus": "explicit", "pins": pins})


def plan(
    *templates: PinningTemplate,
    topology: HostTopology | None = None,
    of: HostPools = POOLS,
    current: Mapping[str, NodeState] | None = None,
    held: str = "",
) -> DesiredTree:
    """The tree of a host called compute1, which is two_nodes_smt2 with POOLS unless said otherwise."""
    host = topology or two_nodes_smt2()
    return desired_tree(ROOT, "compute1", HostCpus(host, of), templates, current or {}, CpuSet.parse(held))


def written(tree: DesiredTree, allocations: Mapping[int, Mapping[str, int]] | None = None) -> dict[str, NodeState]:
    """Placement after the tree was written and a server took resources, given by node."""
    used = {names.node_uuid(ROOT, node): {SERVER: taken} for node, taken in (allocations or {}).items()}
    return {
        node.uuid: NodeState(node.uuid, node.name, 7, node.traits, node.inventories, used.get(node.uuid, {}))
        for node in tree.nodes
    }


def node_of(tree: DesiredTree, node_id: int) -> DesiredNode:
    """One node provider."""
    return next(node for node in tree.nodes if node.uuid == names.node_uuid(ROOT, node_id))


def offers(tree: DesiredTree) -> dict[str, list[int]]:
    """Template to the nodes that offer it."""
    found: dict[str, list[int]] = {}
    for node in tree.nodes:
        node_id = next(number for trait in node.traits if (number := names.node_id_of(trait)) is not None)
        for trait in node.traits:
            if name := names.offered_template(trait):
                found.setdefault(name, []).append(node_id)
    return {name: sorted(nodes) for name, nodes in found.items()}


def pcpus(tree: DesiredTree) -> list[int]:
    """The dedicated pool's total of each node, 0 where there is none."""
    return [node.inventories.get(names.PCPU, Inventory(0)).total for node in tree.nodes]


# Nodes


def test_a_node_has_its_pools_its_memory_and_its_traits() -> None:
    """The whole provider, as Placement gets it."""
    fixed = {names.HW_NUMA_ROOT, "CUSTOM_KONGMING_SMT_2"}
    node_0 = DesiredNode(
        names.node_uuid(ROOT, 0),
        "compute1_kongming_numa0",
        frozenset({*fixed, "CUSTOM_KONGMING_NODE_0"}),
        {names.NODE: Inventory(1), names.PCPU: Inventory(6), names.MEMORY_MB: Inventory(16384, 1024)},
    )
    node_1 = DesiredNode(
        names.node_uuid(ROOT, 1),
        "compute1_kongming_numa1",
        frozenset({*fixed, "CUSTOM_KONGMING_NODE_1"}),
        {
            names.NODE: Inventory(1),
            names.PCPU: Inventory(6),
            names.VCPU: Inventory(2, 0, 4.0),
            names.MEMORY_MB: Inventory(16384, 1024),
        },
    )
    expected_pools = {0: CpuSet.parse("1-3,9-11"), 1: CpuSet.parse("5-7,13-15")}
    assert DesiredTree((node_0, node_1), (), expected_pools) == plan()


@pytest.mark.parametrize(
    ("chosen", "nodes"),
    [
        pytest.param(pools("1-3,9-11", "", "0,8"), [0], id="dedicated CPUs on one"),
        pytest.param(pools("", "4,12"), [1], id="shared CPUs on one"),
        pytest.param(pools("1,9", "4,12"), [0, 1], id="one pool on each"),
        pytest.param(pools(""), [], id="no pool"),
    ],
)
def test_only_nodes_with_pinnable_cpus_have_a_provider(chosen: HostPools, nodes: list[int]) -> None:
    """Candidates stay few."""
    assert [names.node_uuid(ROOT, node) for node in nodes] == [node.uuid for node in plan(of=chosen).nodes]


@pytest.mark.parametrize(("topology", "threads"), [(one_node_no_smt(), 1), (one_node_smt2(), 2), (one_node_smt4(), 4)])
def test_a_node_says_how_many_threads_its_cores_have(topology: HostTopology, threads: int) -> None:
    """Flavors whose count depends on it require the trait."""
    tree = plan(topology=topology, of=pools(str(topology.cpus - topology.nodes[0].cores[0].cpus)))
    assert [threads] == [number for trait in tree.nodes[0].traits if (number := names.smt_of(trait))]
    assert [3 * threads] == pcpus(tree)


@pytest.mark.parametrize(("threads", "count", "counted"), [("any", 5, "1-3,10-11"), ("isolate", 4, "2-3,10-11")])
def test_a_core_with_an_offline_thread_is_no_whole_core(threads: str, count: int, counted: str) -> None:
    """The thread that is left counts as long as nobody takes whole cores: then counting would no longer be enough."""
    tree = plan(of_cores("two", threads), topology=with_offline(two_nodes_smt2(), 9))
    assert [count, 6] == pcpus(tree)
    assert CpuSet.parse(counted) == tree.pools[0]
    assert [2, 2] == smt(tree)


def test_offline_shared_cpus_are_not_counted() -> None:
    """The pool shrinks with them."""
    assert Inventory(1, 0, 4.0) == node_of(plan(topology=with_offline(two_nodes_smt2(), 12)), 1).inventories[names.VCPU]


@pytest.mark.parametrize(
    ("memory_mb", "reserved", "expected"),
    [
        pytest.param(16384, 0, Inventory(16384), id="none reserved"),
        pytest.param(16384, 1024, Inventory(16384, 1024), id="some reserved"),
        pytest.param(512, 1024, Inventory(512, 512), id="more reserved than there is"),
        pytest.param(0, 0, Inventory(1, 1), id="a node without memory, of which Placement takes no total of 0"),
        pytest.param(0, 512, Inventory(1, 1), id="a node without memory, and some reserved"),
    ],
)
def test_memory_is_what_the_node_has(memory_mb: int, reserved: int, expected: Inventory) -> None:
    """Less what is reserved, and never less than nothing."""
    topology = make_topology(1, 4, memory_mb=memory_mb)
    tree = plan(topology=topology, of=pools("1-3", reserved_memory_mb=reserved))
    assert expected == tree.nodes[0].inventories[names.MEMORY_MB]


# Cores of several widths


HYBRID = SHAPES["i7-14700"]
"""Cores 0-1 to 14-15, and 16 to 27 of one thread."""
HYBRID_POOLS = pools("2-27", housekeeping="0-1")


def of_cores(name: str, threads: str, vcpus: str = "0-1") -> PinningTemplate:
    """A template of a thread policy."""
    return template(name, {"vcpus": vcpus, "threads": threads})


def smt(tree: DesiredTree) -> list[int]:
    """The threads per core that each node names."""
    return [number for node in tree.nodes for trait in node.traits if (number := names.smt_of(trait))]


def test_the_width_is_that_of_the_pool() -> None:
    """SMT is off on the dedicated cores alone: all of them count, as those of a host without SMT."""
    host, of = SHAPES["SMT off on all but two cores"], pools("2-7", housekeeping="0-1,8-9")
    tree = plan(of_cores("alone", "isolate", "0-5"), of_cores("pairs", "require"), topology=host, of=of)

    assert ([6], [1], {"alone": [0]}) == (pcpus(tree), smt(tree), offers(tree))
    assert "needs hardware threads (require), the node has one per core" == tree.refusal("pairs", 0)


def test_a_node_without_dedicated_cores_has_the_width_of_its_cores() -> None:
    """Its shared pool is used as before."""
    assert [2] == smt(plan(topology=one_node_smt2(), of=pools("", "1-3,5-7")))


@pytest.mark.parametrize("threads", ["any", "prefer"])
def test_every_thread_counts_where_nobody_takes_whole_cores(threads: str) -> None:
    """Whatever core it is on."""
    tree = plan(of_cores("most", threads, "0-25"), topology=HYBRID, of=HYBRID_POOLS)
    assert ([26], {"most": [0]}) == (pcpus(tree), offers(tree))
    assert {} == tree.narrow


@pytest.mark.parametrize("threads", ["isolate", "require"])
def test_the_widest_cores_count_alone_where_servers_take_whole_cores(threads: str) -> None:
    """Else Placement would admit more of them than there are cores."""
    tree = plan(of_cores("cores", threads), of_cores("most", "any", "0-14"), topology=HYBRID, of=HYBRID_POOLS)
    assert ([14], [2], {"cores": [0]}) == (pcpus(tree), smt(tree), offers(tree))
    assert "needs 15 dedicated CPUs, the node has 14" == tree.refusal("most", 0)
    assert {0: CpuSet.parse("16-27")} == tree.narrow


def test_whole_cores_that_there_are_not() -> None:
    """The template is refused by the cores that it could have, and the others go on to count."""
    tree = plan(of_cores("cores", "require", "0-15"), topology=HYBRID, of=HYBRID_POOLS)
    assert [26] == pcpus(tree)
    assert "needs 16 dedicated CPUs, the node has 14 on cores of 2 threads" == tree.refusal("cores", 0)


def test_threads_in_use_are_not_taken_by_a_template_of_whole_cores() -> None:
    """It is refused as long as servers have more than the wide cores hold, and offered after that."""
    cores, some = of_cores("cores", "require"), of_cores("some", "any")
    before = plan(some, topology=HYBRID, of=HYBRID_POOLS)
    full = written(before, {0: {names.PCPU: 15}})
    tree = plan(some, cores, topology=HYBRID, of=HYBRID_POOLS, current=full)
    assert ([26], {"some": [0]}) == (pcpus(tree), offers(tree))
    assert "15 CPUs of the dedicated pool are allocated, and only 14 are on cores of 2 threads" == tree.refusal(
        "cores", 0
    )
    enough = written(before, {0: {names.PCPU: 14}})
    assert [14] == pcpus(plan(some, cores, topology=HYBRID, of=HYBRID_POOLS, current=enough))


def test_an_explicit_template_takes_no_whole_cores_from_servers() -> None:
    """Those on narrow cores, which are not counted, do not make up for it."""
    cores = of_cores("cores", "require")
    full = written(plan(cores, topology=HYBRID, of=HYBRID_POOLS), {0: {names.PCPU: 14}})
    tree = plan(cores, explicit("wide", "2"), explicit("narrow", "16"), topology=HYBRID, of=HYBRID_POOLS, current=full)
    assert ([14], {"cores": [0], "narrow": [0]}) == (pcpus(tree), offers(tree))
    assert {0: CpuSet.parse("17-27")} == tree.narrow


def test_the_other_threads_count_again_when_nobody_takes_whole_cores() -> None:
    """The template goes, and its last server has gone before."""
    before = written(plan(of_cores("cores", "require"), topology=HYBRID, of=HYBRID_POOLS))
    assert [26] == pcpus(plan(topology=HYBRID, of=HYBRID_POOLS, current=before))


@pytest.mark.parametrize("shape", SHAPES)
@given(st.data())
def test_what_is_counted_is_what_servers_can_have(shape: str, data: st.DataObject) -> None:
    """Any servers of the offered templates whose counts fit the inventory get their CPUs, on every shape of host."""
    topology = SHAPES[shape]
    cores = [core.cpus for node in topology.nodes for core in node.cores]
    chosen = data.draw(st.lists(st.sampled_from(cores), unique=True, min_size=1))
    cpus = HostCpus(topology, HostPools(CpuSet.union(chosen)))
    policies = data.draw(st.lists(st.sampled_from(list(ThreadPolicy)), unique=True, min_size=1))
    templates = {f"t{n}": of_cores(f"t{n}", str(policy), f"0-{n}") for n, policy in enumerate(policies)}
    tree = desired_tree(ROOT, "compute1", cpus, templates.values(), {})

    for node in topology.nodes:
        pool = tree.pools.get(node.id, CpuSet())
        if not pool:
            continue
        provider = node_of(tree, node.id)
        left = provider.inventories[names.PCPU].capacity
        assert len(pool) == left
        offered = [templates[name] for trait in provider.traits if (name := names.offered_template(trait))]
        demands: list[Demand] = []
        width = cpus.threads_per_core(node)
        for number in data.draw(st.lists(st.integers(0, len(offered) - 1), max_size=32)) if offered else ():
            cell = offered[number].cells[0]
            if (count := cell.dedicated_cpus(width)) <= left:
                left -= count
                demands.append(Demand(f"s{len(demands)}", len(cell.vcpus), cell.threads))
        assert {} == allocate(usable_cores(node.cores, pool), demands).unplaced
        narrow = CpuSet.union(core.cpus for core in node.cores if len(core.cpus) < width) & cpus.pools.dedicated
        takes_cores = any(item.cells[0].needs_smt_trait for item in offered)
        assert (narrow if takes_cores else CpuSet()) == tree.narrow.get(node.id, CpuSet())
        assert node.cpus & cpus.pools.dedicated == pool | tree.narrow.get(node.id, CpuSet())


# Huge pages


GIB_KIB = 1024**2


def with_pages(pages: PagesByNode, of: HostPools = POOLS) -> list[dict[str, Inventory]]:
    """The memory of each node of two_nodes_smt2, which has 16 GiB, and its huge pages."""
    tree = desired_tree(ROOT, "compute1", HostCpus(two_nodes_smt2(), of, pages), (), {})
    others = {names.NODE, names.PCPU, names.VCPU}
    return [{name: node.inventories[name] for name in node.inventories.keys() - others} for node in tree.nodes]


def test_memory_in_huge_pages_is_counted_as_pages_alone() -> None:
    """What lies in a pool is not there for servers that do not ask for its pages."""
    assert [
        {names.MEMORY_MB: Inventory(16384, 1024)},
        {
            names.MEMORY_MB: Inventory(16384 - 8192 - 1024, 1024),
            "CUSTOM_KONGMING_PAGES_2MIB": Inventory(512),
            "CUSTOM_KONGMING_PAGES_1GIB": Inventory(8),
        },
    ] == with_pages({1: (HugePages(2048, 512), HugePages(GIB_KIB, 8))})


def test_pages_that_are_for_others_are_reserved() -> None:
    """Nova's option says how many, on which node, and may say more than there are."""
    of = replace(POOLS, reserved_pages=(ReservedPages(0, 2048, 100), ReservedPages(1, 2048, 600)))
    pages = {0: (HugePages(2048, 512),), 1: (HugePages(2048, 512),)}
    assert [Inventory(512, 100), Inventory(512, 512)] == [
        node["CUSTOM_KONGMING_PAGES_2MIB"] for node in with_pages(pages, of)
    ]


def test_pages_that_do_not_last_hold_memory_and_are_not_offered() -> None:
    """The kernel takes surplus pages back when their user ends."""
    [node_0, _] = with_pages({0: (HugePages(GIB_KIB, 4, surplus=4),)})
    assert {names.MEMORY_MB: Inventory(12288, 1024)} == node_0


@pytest.mark.parametrize("gib", [16, 20])
def test_a_node_whose_memory_is_all_in_huge_pages(gib: int) -> None:
    """It has no memory to give, and says why; a template that binds no memory does not need any."""
    strict = template("strict")
    loose = template("loose", {"vcpus": "0", "memory": "none"})
    pages = {0: (HugePages(GIB_KIB, gib),)}
    tree = desired_tree(ROOT, "compute1", HostCpus(two_nodes_smt2(), POOLS, pages), (strict, loose), {})

    assert Inventory(1, 1) == node_of(tree, 0).inventories[names.MEMORY_MB]
    assert {"strict": [1], "loose": [0, 1]} == offers(tree)
    assert "the node has no memory left after reserved_memory_mb and its huge pages" == tree.refusal("strict", 0)


@pytest.mark.parametrize("shape", SHAPES)
@given(st.data())
def test_memory_and_pages_are_what_the_node_has(shape: str, data: st.DataObject) -> None:
    """Nothing of a node's memory is counted twice, and only what the options leave of it can be claimed."""
    topology = SHAPES[shape]
    counts = st.integers(0, 16384)
    pages = {
        node.id: tuple(
            HugePages(size, count, min(data.draw(counts), count))
            for size in (2048, GIB_KIB)
            if (count := data.draw(counts) // (size // 2048))
        )
        for node in topology.nodes
    }
    reserved = tuple(ReservedPages(node.id, 2048, data.draw(counts)) for node in topology.nodes)
    of = HostPools(CpuSet(), topology.cpus, CpuSet(), 1.0, data.draw(counts), reserved)
    tree = desired_tree(ROOT, "compute1", HostCpus(topology, of, pages), (), {})

    for node in topology.nodes:
        if not node.cores:
            continue
        inventories = node_of(tree, node.id).inventories
        in_pages_mb = sum(item.memory_kib for item in pages[node.id]) // 1024
        assert max(node.memory_mb - in_pages_mb - of.reserved_memory_mb, 0) == inventories[names.MEMORY_MB].capacity
        expected = {
            names.pages_class(item.size_kib): max(item.lasting - of.reserved_of(node.id, item.size_kib), 0)
            for item in pages[node.id]
            if item.lasting
        }
        classes = {name: item.capacity for name, item in inventories.items() if names.page_size_of(name)}
        assert expected == classes


# Templates on one node


@pytest.mark.parametrize(
    ("cell", "nodes"),
    [
        pytest.param({"vcpus": "0-5"}, [0, 1], id="as many threads as there are"),
        pytest.param({"vcpus": "0-2", "threads": "isolate"}, [0, 1], id="as many cores as there are"),
        pytest.param({"vcpus": "0-4", "threads": "require"}, [0, 1], id="rounded up to whole cores"),
        pytest.param({"vcpus": "0-1", "cpus": "shared"}, [1], id="as many shared CPUs as there are"),
        pytest.param({"vcpus": "0", "node": 1}, [1], id="on one node only"),
    ],
)
def test_a_node_offers_what_it_can_honour(cell: dict[str, object], nodes: list[int]) -> None:
    """Also if servers have taken all of it at the moment: counting is Placement's."""
    tree = plan(template("gold", cell))
    assert {"gold": nodes} == offers(tree)
    full = written(tree, {0: {names.PCPU: 6}, 1: {names.PCPU: 6, names.VCPU: 8}})
    assert tree.nodes == plan(template("gold", cell), current=full).nodes


@pytest.mark.parametrize(
    ("cell", "reasons"),
    [
        pytest.param({"vcpus": "0-6"}, ["needs 7 dedicated CPUs, the node has 6"] * 2, id="too many threads"),
        pytest.param(
            {"vcpus": "0-3", "threads": "isolate"}, ["needs 8 dedicated CPUs, the node has 6"] * 2, id="too many cores"
        ),
        pytest.param(
            {"vcpus": "0-2", "cpus": "shared"},
            ["needs 3 shared CPUs, the node has 0", "needs 3 shared CPUs, the node has 2"],
            id="too many shared CPUs",
        ),
        pytest.param({"vcpus": "0", "node": 2}, ["the template asks for node 2"] * 2, id="a node that is not there"),
        pytest.param(
            {"vcpus": "0-1", "cpus": "explicit", "pins": {0: 3, 1: 5}},
            ["CPU 5 is not online on this node", "CPU 3 is not online on this node"],
            id="host CPUs of two nodes in one cell",
        ),
        pytest.param(
            {"vcpus": "0", "cpus": "explicit", "pins": "0-1"},
            ["CPU 0 is not in dedicated_cpu_set", "CPU 0-1 is not online on this node"],
            id="a host CPU outside of the pool",
        ),
        pytest.param(
            {"vcpus": "0", "cpus": "explicit", "pins": "512"},
            ["CPU 512 is not online on this node"] * 2,
            id="a host CPU that is not there",
        ),
    ],
)
def test_a_node_says_why_it_does_not_offer_a_template(cell: dict[str, object], reasons: list[str]) -> None:
    """One reason per node, with what was asked and what is there."""
    tree = plan(template("gold", cell))
    assert {} == offers(tree)
    assert tuple(Refusal("gold", node, reason) for node, reason in enumerate(reasons)) == tree.refusals
    assert reasons == [tree.refusal("gold", 0), tree.refusal("gold", 1)]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        pytest.param({"vcpus": "0-4"}, [0, 1], id="six of six CPUs"),
        pytest.param({"vcpus": "0-5"}, "needs 7 dedicated CPUs, the node has 6", id="seven of six CPUs"),
        pytest.param({"vcpus": "0-1", "threads": "isolate"}, [0, 1], id="three of three cores"),
        pytest.param(
            {"vcpus": "0-4", "threads": "require"}, "needs 8 dedicated CPUs, the node has 6", id="four of three cores"
        ),
        pytest.param({"vcpus": "0", "cpus": "explicit", "pins": "1-2"}, [0], id="one beside those set aside"),
        pytest.param(
            {"vcpus": "0", "cpus": "explicit", "pins": "1-3"},
            "needs 1 dedicated CPUs, the node has 0",
            id="none beside",
        ),
    ],
)
def test_an_emulator_of_its_own_needs_room_on_the_node(cell: dict[str, object], expected: list[int] | str) -> None:
    """A CPU or a core more than the cell takes; beside explicit CPUs it must be in the pool that is left."""
    tree = plan(template("gold", cell, emulator="own"))

    assert expected == (offers(tree).get("gold") or tree.refusal("gold", 0))


def test_an_emulator_of_its_own_needs_a_dedicated_pool_beside_a_shared_cell() -> None:
    """Node 1 of a host may have shared CPUs only."""
    shared = template("bronze", {"vcpus": "0", "cpus": "shared"}, emulator="own")

    tree = plan(shared, of=pools("1-3,9-11", shared="4,12"))

    assert "needs 1 dedicated CPUs, the node has 0" == tree.refusal("bronze", 1)
    assert {"bronze": [1]} == offers(plan(shared))


def test_pages_are_offered_where_they_are() -> None:
    """Of the size that the template asks for, and not all for others; the node's other memory does not matter."""
    gold = template("gold", {"vcpus": "0", "pages": "1GiB"})
    pages = {0: (HugePages(2048, 512),), 1: (HugePages(GIB_KIB, 16),)}
    pools = replace(POOLS, reserved_memory_mb=16384)
    tree = desired_tree(ROOT, "host", HostCpus(two_nodes_no_smt(), pools, pages), [gold], {})
    assert {"gold": [1]} == offers(tree)
    assert "the node has no huge pages of 1GiB" == tree.refusal("gold", 0)
    none_left = replace(pools, reserved_pages=(ReservedPages(1, GIB_KIB, 16),))
    reserved = desired_tree(ROOT, "host", HostCpus(two_nodes_no_smt(), none_left, pages), [gold], {})
    assert "the node has no huge pages of 1GiB" == reserved.refusal("gold", 1)


def test_an_offer_is_no_refusal() -> None:
    """Nothing is said of a node that offers the template."""
    assert plan(template("gold")).refusal("gold", 0) is None


def test_siblings_need_threads() -> None:
    """``require`` has no meaning on a host without SMT, as in Nova."""
    tree = plan(template("gold", {"vcpus": "0-1", "threads": "require"}), topology=one_node_no_smt(), of=pools("1-3"))
    assert "needs hardware threads (require), the node has one per core" == tree.refusal("gold", 0)


def test_strict_memory_needs_memory() -> None:
    """A node that has reserved everything offers templates without strict memory only."""
    full = pools("1-3", reserved_memory_mb=16384)
    strict, anywhere = template("strict"), template("anywhere", {"vcpus": "0", "memory": "none"})
    tree = plan(strict, anywhere, topology=one_node_no_smt(), of=full)
    assert {"anywhere": [0]} == offers(tree)
    assert "the node has no memory left after reserved_memory_mb" == tree.refusal("strict", 0)


def test_a_node_without_memory_offers_no_strict_template() -> None:
    """Also if nothing is reserved; its CPUs are for templates whose memory may be anywhere."""
    strict, anywhere = template("strict"), template("anywhere", {"vcpus": "0", "memory": "none"})
    tree = plan(strict, anywhere, topology=make_topology(1, 4, memory_mb=0), of=pools("1-3"))
    assert {"anywhere": [0]} == offers(tree)
    assert "the node has no memory" == tree.refusal("strict", 0)


# Explicit host CPUs


def test_explicit_cpus_are_set_aside_with_their_cores() -> None:
    """The pool loses whole cores, and the node gets the slot."""
    tree = plan(explicit("mine", "2"))
    assert {"mine": [0]} == offers(tree)
    assert [4, 6] == pcpus(tree)
    assert CpuSet.parse("1,3,9,11") == tree.pools[0]
    assert Inventory(1) == node_of(tree, 0).inventories["CUSTOM_KONGMING_SLOT_MINE"]
    assert "CUSTOM_KONGMING_SLOT_MINE" not in node_of(tree, 1).inventories


def test_explicit_templates_that_overlap_are_not_both_offered() -> None:
    """The first by name is; the other is refused with the CPU in question."""
    tree = plan(explicit("b", "2-3"), explicit("a", "1-2"))
    assert {"a": [0]} == offers(tree)
    assert "CPU 2 belongs to another template with explicit CPUs, or to a guest of one" == tree.refusal("b", 0)


def test_what_is_offered_already_goes_first() -> None:
    """A new template takes no CPUs away from one that guests may use."""
    current = written(plan(explicit("b", "2-3")))
    tree = plan(explicit("a", "1-2"), explicit("b", "2-3"), current=current)
    assert {"b": [0]} == offers(tree)


def test_explicit_templates_may_share_a_core() -> None:
    """Each has a thread of its own, which is what they ask."""
    tree = plan(explicit("a", "2"), explicit("b", "10"))
    assert {"a": [0], "b": [0]} == offers(tree)
    assert [4, 6] == pcpus(tree)


def test_a_pool_may_be_all_explicit() -> None:
    """Placement takes no inventory of 0, so that there is none."""
    tree = plan(explicit("mine", "1-3,9-11"))
    assert [0, 6] == pcpus(tree)
    assert names.PCPU not in node_of(tree, 0).inventories


def test_dedicated_templates_get_what_explicit_ones_leave() -> None:
    """Whatever the names."""
    tree = plan(template("a", {"vcpus": "0-4"}), explicit("b", "2"))
    assert {"a": [1], "b": [0]} == offers(tree)
    assert "needs 5 dedicated CPUs, the node has 4" == tree.refusal("a", 0)


@pytest.mark.parametrize(("used", "nodes"), [(4, [0]), (5, [])])
def test_explicit_cpus_are_not_taken_from_servers(used: int, nodes: list[int]) -> None:
    """A new explicit template waits until the dedicated pool can spare its cores."""
    current = written(plan(), {0: {names.PCPU: used}})
    tree = plan(explicit("mine", "2"), current=current)
    assert nodes == offers(tree).get("mine", [])
    if not nodes:
        reason = "5 CPUs of the dedicated pool are allocated, and without these only 4 would be left"
        assert reason == tree.refusal("mine", 0)
        assert [6, 6] == pcpus(tree)


def test_an_explicit_template_that_grows_takes_nothing_from_servers_either() -> None:
    """It was offered before, with fewer CPUs."""
    current = written(plan(explicit("mine", "2")), {0: {names.PCPU: 4}})
    assert {"mine": [0]} == offers(plan(explicit("mine", "2"), current=current))
    tree = plan(explicit("mine", "2-3"), current=current)
    assert {} == offers(tree)
    assert "4 CPUs of the dedicated pool are allocated, and without these only 2 would be left" == tree.refusal(
        "mine", 0
    )


# Held CPUs


def test_held_cpus_are_not_given_away() -> None:
    """Guests of a template that is gone keep theirs: the pool lacks whole cores, and no explicit template gets them."""
    tree = plan(explicit("mine", "2-3"), held="2")
    assert [4, 6] == pcpus(tree)
    assert {} == offers(tree)
    assert tree.refusal("mine", 0) == "CPU 2 belongs to another template with explicit CPUs, or to a guest of one"


# Several cells


def test_two_cells_need_two_nodes() -> None:
    """Each node that can hold one of them, with the other elsewhere, offers the template."""
    assert {"wide": [0, 1]} == offers(plan(template("wide", {"vcpus": "0-1"}, {"vcpus": "2-3"})))


def test_two_cells_do_not_fit_on_one_node() -> None:
    """However much room it has."""
    wide = template("wide", {"vcpus": "0"}, {"vcpus": "1"})
    tree = plan(wide, topology=one_node_no_smt(), of=pools("1-3"))
    assert (Refusal("wide", 0, "no other node of this host can hold the rest of its 2 cells"),) == tree.refusals


def test_a_node_is_offered_only_what_can_land_in_the_end() -> None:
    """Of three nodes the third can hold neither cell."""
    topology = make_topology(3, 4)
    tree = plan(template("wide", {"vcpus": "0-1"}, {"vcpus": "2-3"}), topology=topology, of=pools("1-3,4-7,8"))
    assert {"wide": [0, 1]} == offers(tree)
    assert "needs 2 dedicated CPUs, the node has 1" == tree.refusal("wide", 2)


def test_cells_that_are_named_nodes_land_there() -> None:
    """And the reasons are those of the cells that ask for the node."""
    cells = {"vcpus": "0-1", "node": 1}, {"vcpus": "2-8", "node": 0}
    tree = plan(template("wide", *cells))
    assert {} == offers(tree)
    assert "needs 7 dedicated CPUs, the node has 6" == tree.refusal("wide", 0)
    assert "no other node of this host can hold the rest of its 2 cells" == tree.refusal("wide", 1)
    fitting = template("wide", cells[0], {"vcpus": "2-7", "node": 0})
    assert {"wide": [0, 1]} == offers(plan(fitting))


def test_cells_of_different_kinds_land_side_by_side() -> None:
    """Explicit CPUs on node 0, and dedicated ones, which are then on node 1."""
    mixed = template("mixed", {"vcpus": "0-3"}, {"vcpus": "4", "cpus": "explicit", "pins": "2"})
    tree = plan(mixed)
    assert {"mixed": [0, 1]} == offers(tree)
    assert [4, 6] == pcpus(tree)
    assert [True, False] == [names.slot_class("mixed") in node.inventories for node in tree.nodes]


def test_explicit_cells_have_a_slot_on_each_of_their_nodes() -> None:
    """Two cells, two nodes, two slots."""
    cells = [{"vcpus": str(vcpu), "cpus": "explicit", "pins": pins} for vcpu, pins in enumerate(("2", "6"))]
    tree = plan(template("pair", *cells))
    assert {"pair": [0, 1]} == offers(tree)
    assert [Inventory(1)] * 2 == [node.inventories[names.slot_class("pair")] for node in tree.nodes]


@pytest.mark.parametrize(("last", "nodes"), [("15", list(range(16))), ("15-24", [])], ids=["fit", "no fit"])
def test_many_cells_on_many_nodes_take_no_time(last: str, nodes: list[int]) -> None:
    """Sixteen cells on sixteen nodes: there is no search that grows factorially, whether the last cell fits or not."""
    cells = [{"vcpus": str(vcpu)} for vcpu in range(15)]
    tree = plan(template("wide", *cells, {"vcpus": last}), topology=make_topology(16, 4), of=pools("1-63"))
    assert nodes == offers(tree).get("wide", [])


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_an_offer_means_that_all_cells_can_land(rooms: list[int], sizes: list[int]) -> None:
    """Against trying every way: nodes with so many dedicated CPUs, cells with so many vCPUs."""
    topology = make_topology(len(rooms), 5)
    dedicated = CpuSet.of(5 * node + 1 + cpu for node, room in enumerate(rooms) for cpu in range(room))
    starts = itertools.accumulate(sizes, initial=0)
    cells = [{"vcpus": f"{start}-{start + size - 1}"} for start, size in zip(starts, sizes, strict=False)]
    tree = plan(template("wide", *cells), topology=topology, of=pools(str(dedicated)))
    ways = [
        way
        for way in itertools.permutations(range(len(rooms)), len(sizes))
        if all(rooms[node] >= size for node, size in zip(way, sizes, strict=True))
    ]
    assert sorted({node for way in ways for node in way}) == offers(tree).get("wide", [])


# What is in Placement already


def test_a_node_without_pinnable_cpus_is_retired_and_not_deleted() -> None:
    """nova-compute fails for minutes when a child provider goes, so everything is reserved instead."""
    current = written(plan(template("gold")), {1: {names.PCPU: 2, names.VCPU: 1}})
    tree = plan(template("gold"), of=pools("1-3,9-11", "", "0,8"), current=current)
    retired = DesiredNode(
        names.node_uuid(ROOT, 1),
        "compute1_kongming_numa1",
        frozenset({names.HW_NUMA_ROOT, names.node_trait(1)}),
        {
            names.NODE: Inventory(1, 1),
            names.PCPU: Inventory(6, 6),
            names.VCPU: Inventory(2, 2, 4.0),
            names.MEMORY_MB: Inventory(16384, 16384),
        },
    )
    assert retired == node_of(tree, 1)
    assert {0} == tree.pools.keys()
    assert {"gold": [0]} == offers(tree)
    again = plan(template("gold"), of=pools("1-3,9-11", "", "0,8"), current=written(tree))
    assert retired == node_of(again, 1)


def test_a_node_that_the_host_has_lost_is_retired_too() -> None:
    """Its memory or its CPUs were taken out of the machine."""
    current = written(plan(topology=two_nodes_no_smt(), of=pools("1-7")))
    tree = plan(topology=one_node_no_smt(), of=pools("1-3"), current=current)
    assert {0} == {inventory.capacity for inventory in node_of(tree, 1).inventories.values()}


def test_a_retired_node_comes_back() -> None:
    """When it has pinnable CPUs again."""
    alive = plan(template("gold"))
    retired = plan(template("gold"), of=pools("1-3,9-11", "", "0,8"), current=written(alive))
    assert alive.nodes == plan(template("gold"), current=written(retired)).nodes


@pytest.mark.parametrize("resource_class", [names.VCPU, names.PCPU, names.slot_class("mine")])
def test_an_inventory_that_is_still_allocated_is_kept_and_reserved(resource_class: str) -> None:
    """Placement would refuse to take it away, and nobody shall get more of it."""
    alive = plan(explicit("mine", "6"))
    total = node_of(alive, 1).inventories[resource_class].total
    without = {
        names.VCPU: pools("1-3,9-11,5-7,13-15", "", "0,8"),
        names.PCPU: pools("1-3,9-11", "4,12", "0,8"),
        names.slot_class("mine"): POOLS,
    }[resource_class]
    in_use = plan(of=without, current=written(alive, {1: {resource_class: 1}}))
    assert Inventory(total, total) == node_of(in_use, 1).inventories[resource_class]
    assert 0 == node_of(in_use, 1).inventories[resource_class].capacity
    free = plan(of=without, current=written(alive))
    assert resource_class not in node_of(free, 1).inventories


def test_a_withdrawn_template_loses_its_trait_and_its_slot() -> None:
    """And its cores are in the pool again."""
    tree = plan(current=written(plan(explicit("mine", "2"))))
    assert plan().nodes == tree.nodes


# What must hold for everything


@st.composite
def hosts(draw: st.DrawFn) -> tuple[HostTopology, HostPools]:
    """A host of any shape with pools that work."""
    regular = st.builds(make_topology, st.integers(1, 4), st.integers(2, 6), st.sampled_from([1, 2, 4]))
    topology = draw(st.one_of(regular, st.sampled_from(list(SHAPES.values()))))
    cores = [core.cpus for node in topology.nodes for core in node.cores]
    dedicated = draw(st.sets(st.integers(1, len(cores) - 1))) if len(cores) > 1 else set()
    rest = [index for index in range(1, len(cores)) if index not in dedicated]
    shared = draw(st.sets(st.sampled_from(rest))) if rest else set()
    free, floating, first = (CpuSet.union(cores[index] for index in some) for some in (dedicated, shared, {0}))
    host_pools = HostPools(
        free, floating, first, draw(st.sampled_from([1.0, 1.5, 16.0])), draw(st.sampled_from([0, 1024, 99999]))
    )
    check_pools(HostCpus(topology, host_pools))
    return topology, host_pools


@st.composite
def offered_templates(draw: st.DrawFn) -> list[PinningTemplate]:
    """Templates of different names, among them explicit ones that fit on small hosts."""
    some = draw(st.lists(strategies.templates(), max_size=3))
    pins = draw(st.lists(st.sets(st.integers(0, 40), min_size=1, max_size=3).map(CpuSet.of), max_size=4))
    some += [explicit("pinned", str(cpus)) for cpus in pins]
    some += [template("small", cell) for cell in draw(st.lists(st.sampled_from(SMALL_CELLS), max_size=4))]
    return [replace(item, name=f"t{index}") for index, item in enumerate(some)]


SMALL_CELLS = [
    {"vcpus": "0"},
    {"vcpus": "0-1", "threads": "isolate"},
    {"vcpus": "0-2", "threads": "require"},
    {"vcpus": "0-1", "cpus": "shared"},
]


@given(hosts(), offered_templates(), st.randoms())
def test_the_order_of_the_templates_does_not_matter(
    host: tuple[HostTopology, HostPools], templates: list[PinningTemplate], random: Random
) -> None:
    """The same host and the same templates give the same tree."""
    topology, chosen = host
    shuffled = list(templates)
    random.shuffle(shuffled)
    tree = plan(*templates, topology=topology, of=chosen)
    other = plan(*shuffled, topology=topology, of=chosen)
    assert tree.nodes == other.nodes
    assert sorted(map(str, tree.refusals)) == sorted(map(str, other.refusals))


@given(hosts(), offered_templates())
def test_what_was_written_is_what_is_wanted(
    host: tuple[HostTopology, HostPools], templates: list[PinningTemplate]
) -> None:
    """The second pass over a host that nobody has touched changes nothing."""
    topology, chosen = host
    tree = plan(*templates, topology=topology, of=chosen)
    assert tree.nodes == plan(*templates, topology=topology, of=chosen, current=written(tree)).nodes


@given(hosts(), offered_templates())
def test_no_host_cpu_is_counted_twice(host: tuple[HostTopology, HostPools], templates: list[PinningTemplate]) -> None:
    """The pools that are counted and the CPUs of each explicit template offered are disjoint; pools are whole cores."""
    topology, chosen = host
    tree = plan(*templates, topology=topology, of=chosen)
    offered = offers(tree)
    owners = [item.host_cpus for item in templates if item.name in offered] + list(tree.pools.values())
    assert sum(map(len, owners)) == len(CpuSet.union(owners))
    assert CpuSet.union(owners) <= chosen.dedicated
    assert pcpus(tree) == [len(pool) for pool in tree.pools.values()]
    for core in (core for node in topology.nodes for core in node.cores):
        assert (core.cpus & CpuSet.union(tree.pools.values())) in (CpuSet(), core.cpus)


@pytest.mark.parametrize("shape", SHAPES)
def test_hosts_of_every_shape_offer_what_they_can(shape: str) -> None:
    """All threads of a node's cores are counted, and nothing where there is none or no memory for it."""
    topology = SHAPES[shape]
    first, *others = [core.cpus for node in topology.nodes for core in node.cores]
    chosen = HostPools(CpuSet.union(others), CpuSet(), first)
    anywhere = template("anywhere", {"vcpus": "0", "memory": "none"})
    tree = plan(template("strict"), anywhere, topology=topology, of=chosen)
    threads = {node.id: len(node.cpus - first) for node in topology.nodes}
    assert {node: count for node, count in threads.items() if node in tree.pools} == {
        node: len(pool) for node, pool in tree.pools.items()
    }
    wanted = [node for node, count in threads.items() if count]
    strict = [node for node in wanted if node in topology.memory_nodes]
    assert {name: on for name, on in {"anywhere": wanted, "strict": strict}.items() if on} == offers(tree)


@given(hosts(), offered_templates())
def test_every_node_offers_a_template_or_says_why_not(
    host: tuple[HostTopology, HostPools], templates: list[PinningTemplate]
) -> None:
    """Never both, and never neither."""
    topology, chosen = host
    tree = plan(*templates, topology=topology, of=chosen)
    offered = [(name, node) for name, nodes in offers(tree).items() for node in nodes]
    refused = [(refusal.template, refusal.node_id) for refusal in tree.refusals]
    everywhere = [(item.name, node) for item in templates for node in tree.pools]
    assert sorted(everywhere) == sorted(offered + refused)
    assert all(refusal.reason for refusal in tree.refusals)


# Disabled nodes


def disabled(states: Mapping[str, NodeState], *node_ids: int) -> dict[str, NodeState]:
    """The same after an operator has disabled these nodes."""
    chosen = {names.node_uuid(ROOT, node_id) for node_id in node_ids}
    return {
        uuid: replace(state, traits=disabled_traits(state.traits)) if uuid in chosen else state
        for uuid, state in states.items()
    }


def test_a_disabled_node_keeps_all_but_the_templates() -> None:
    """Its servers are still counted and its explicit CPUs still set aside."""
    templates = (template("gold"), explicit("pinned", "2"))
    before = plan(*templates)

    after = plan(*templates, current=disabled(written(before), 0))

    assert {"gold": [1]} == offers(after)
    assert [node.inventories for node in before.nodes] == [node.inventories for node in after.nodes]
    assert before.refusals == after.refusals
    assert names.DISABLED in node_of(after, 0).traits


def test_a_disabled_node_goes_on_to_hold_the_cpus_of_its_template() -> None:
    """A template of the same CPUs that comes first by its name does not get them meanwhile."""
    before = plan(explicit("second", "2"))

    after = plan(explicit("first", "2"), explicit("second", "2"), current=disabled(written(before), 0, 1))

    assert [Refusal("first", 0, "CPU 2 belongs to another template with explicit CPUs, or to a guest of one")] == [
        refusal for refusal in after.refusals if refusal.node_id == 0
    ]


@pytest.mark.parametrize(("nodes", "expected"), [((0,), True), ((), False)])
def test_a_node_that_comes_to_a_disabled_host_is_disabled(nodes: tuple[int, ...], expected: bool) -> None:
    """The operator meant the host."""
    first = plan(template("gold"), of=pools("1-3,9-11"))

    after = plan(template("gold"), current=disabled(written(first), *nodes))

    assert [expected, expected] == [names.DISABLED in node.traits for node in after.nodes]


def test_a_node_that_is_retired_while_it_is_disabled_comes_back_disabled() -> None:
    """Nobody has enabled it."""
    states = disabled(written(plan(template("gold"))), 0)
    retired = written(plan(template("gold"), of=pools("5-7,13-15"), current=states))

    after = plan(template("gold"), current=retired)

    assert {"gold": [1]} == offers(after)


@pytest.mark.parametrize(
    ("resource_class", "expected"),
    [
        pytest.param(names.PCPU, 1, id="allocated in part"),
        pytest.param(names.VCPU, -2, id="more is allocated than the node has by now"),
        pytest.param(names.MEMORY_MB, 0, id="the node has none"),
    ],
)
def test_what_is_free_on_a_node(resource_class: str, expected: int) -> None:
    """The capacity, without what all consumers have allocated."""
    inventories = {names.PCPU: Inventory(4), names.VCPU: Inventory(1)}
    allocations = {"a": {names.PCPU: 1, names.VCPU: 3}, "b": {names.PCPU: 2}}

    assert expected == NodeState("node", "host_numa0", 0, frozenset(), inventories, allocations).free(resource_class)
