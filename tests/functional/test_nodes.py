# SPDX-License-Identifier: Apache-2.0
"""NodeRegistry on the real Placement: what a host writes, what it reads again, and how it survives failures."""

from __future__ import annotations

import itertools
import uuid

import pytest

from kongming_sched.cpuset import CpuSet
from kongming_sched.exceptions import PlacementConflict, PlacementUnavailable, ProviderNotFound
from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory, PlacementClient, Provider
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.transport import Adapter
from kongming_sched.placement.tree import DesiredNode, NodeState, desired_tree
from kongming_sched.pools import HostCpus, HostPools
from kongming_sched.template import PinningTemplate
from testbed.adapters import Counting, Failing, Failure, Meddling
from testbed.topologies import two_nodes_smt2
from tests.functional.conftest import PlacementService

HOST = "5a1e0000-0000-4000-8000-000000000001"
OTHER_HOST = "5a1e0000-0000-4000-8000-000000000002"
NODE_0 = names.node_uuid(HOST, 0)
NODE_1 = names.node_uuid(HOST, 1)
AGGREGATE = "a9900000-0000-4000-8000-000000000001"

POOLS = HostPools(CpuSet.parse("1-3,9-11,5-7,13-15"), CpuSet.parse("4,12"), CpuSet.parse("0,8"))
NODE_0_ONLY = HostPools(CpuSet.parse("1-3,9-11"), CpuSet(), CpuSet.parse("0,8"))
NO_NODE = HostPools(CpuSet(), CpuSet(), CpuSet.parse("0,8"))


def explicit(name: str, pins: str) -> PinningTemplate:
    """A template of one vCPU on these host CPUs."""
    cell = {"vcpus": "0", "cpus": "explicit", "pins": pins}
    return PinningTemplate.from_mapping({"name": name, "cells": [cell]})


GOLD = PinningTemplate.from_mapping({"name": "gold", "cells": [{"vcpus": "0-1", "cpus": "dedicated"}]})
PINNED = explicit("pinned", "2")


@pytest.fixture
def cloud(placement: PlacementService) -> PlacementService:
    """A Placement in which nova-compute has registered compute1."""
    placement.add_host("compute1", HOST)
    return placement


def registry(adapter: Adapter) -> NodeRegistry:
    """A registry that has seen nothing yet, as of an agent that has just started."""
    return NodeRegistry(PlacementClient(adapter), "compute1")


def desired(current: dict[str, NodeState], pools: HostPools, *templates: PinningTemplate) -> tuple[DesiredNode, ...]:
    """What the host should have."""
    return desired_tree(HOST, "compute1", HostCpus(two_nodes_smt2(), pools), templates, current).nodes


def reconcile(nodes: NodeRegistry, pools: HostPools, *templates: PinningTemplate) -> list[str]:
    """One round: observe, decide, write."""
    root, _, current = nodes.observe()
    return nodes.write(root, desired(current, pools, *templates), current)


def stored(cloud: PlacementService) -> dict[str, tuple[str, frozenset[str], dict[str, Inventory]]]:
    """Placement's node providers of compute1, without what differs between ways of getting there."""
    _, _, states = registry(cloud.adapter).observe()
    return {uuid: (state.name, state.traits, dict(state.inventories)) for uuid, state in states.items()}


def wanted(
    pools: HostPools, *templates: PinningTemplate
) -> dict[str, tuple[str, frozenset[str], dict[str, Inventory]]]:
    """The same of what the host should have when there is nothing yet."""
    return {node.uuid: (node.name, node.traits, dict(node.inventories)) for node in desired({}, pools, *templates)}


def test_a_host_that_nova_has_not_registered_is_told(placement: PlacementService) -> None:
    """With what to check; nothing is created in Nova's stead."""
    with pytest.raises(ProviderNotFound, match="nova-compute has not registered this host"):
        registry(placement.adapter).observe()
    assert [] == placement.client.providers()


def test_a_new_host_has_no_nodes(cloud: PlacementService) -> None:
    """Only the root that nova-compute has made."""
    root, aggregates, states = registry(cloud.adapter).observe()
    assert (HOST, "compute1", frozenset(), {}) == (root.uuid, root.name, aggregates, states)


def test_what_was_desired_is_in_placement(cloud: PlacementService) -> None:
    """Below the root, with traits and inventories, and each change has a line."""
    changes = reconcile(registry(cloud.adapter), POOLS, GOLD, PINNED)
    assert wanted(POOLS, GOLD, PINNED) == stored(cloud)
    assert {HOST} == {provider.parent_uuid for provider in cloud.client.providers() if provider.uuid != HOST}
    assert [
        "created compute1_kongming_numa0",
        "compute1_kongming_numa0: CUSTOM_KONGMING_MEMORY_MB=16384, CUSTOM_KONGMING_NODE=1, CUSTOM_KONGMING_PCPU=4,"
        " CUSTOM_KONGMING_SLOT_PINNED=1",
        "compute1_kongming_numa0: now CUSTOM_KONGMING_NODE_0, CUSTOM_KONGMING_SMT_2, CUSTOM_KONGMING_TEMPLATE_GOLD,"
        " CUSTOM_KONGMING_TEMPLATE_PINNED, HW_NUMA_ROOT",
    ] == changes[:3]


def test_nothing_is_written_while_nothing_changes(cloud: PlacementService) -> None:
    """Also by an agent that has just started."""
    reconcile(registry(cloud.adapter), POOLS, GOLD, PINNED)
    counting = Counting(cloud.adapter)
    assert [] == reconcile(registry(counting), POOLS, GOLD, PINNED)
    assert {"GET"} == {method for method, _ in counting.requests}


def test_a_pass_costs_one_request_and_one_per_node(cloud: PlacementService) -> None:
    """While nothing changes; what has changed is read again, and the other node's traits and inventories are not."""
    reconcile(registry(cloud.adapter), POOLS, GOLD)
    counting = Counting(cloud.adapter)
    nodes = registry(counting)
    first = nodes.observe()
    counting.requests.clear()
    assert first == nodes.observe()
    allocations = [("GET", f"/resource_providers/{node}/allocations") for node in (NODE_0, NODE_1)]
    assert ("GET", "/resource_providers") == counting.requests[0]
    assert sorted(allocations) == sorted(counting.requests[1:])
    cloud.allocate(str(uuid.uuid4()), {NODE_0: {names.PCPU: 2}})
    counting.requests.clear()
    nodes.observe()
    again = [("GET", f"/resource_providers/{NODE_0}/{part}") for part in ("inventories", "traits")]
    assert sorted(allocations + again) == sorted(counting.requests[1:])


def test_allocations_are_seen_when_they_come_and_when_they_go(cloud: PlacementService) -> None:
    """Nova deletes those of a deleted server, which raises no generation in Placement."""
    nodes = registry(cloud.adapter)
    reconcile(nodes, POOLS, GOLD)
    server = str(uuid.uuid4())
    cloud.allocate(server, {NODE_0: {names.PCPU: 2, names.MEMORY_MB: 512}})
    taken = {server: {names.PCPU: 2, names.MEMORY_MB: 512}}
    _, _, states = nodes.observe()
    assert (taken, {}) == (states[NODE_0].allocations, states[NODE_1].allocations)
    assert (2, 0) == (states[NODE_0].used(names.PCPU), states[NODE_0].used(names.VCPU))
    before = states[NODE_0].generation
    cloud.adapter.delete(f"/allocations/{server}")
    _, _, states = nodes.observe()
    assert ({}, before) == (states[NODE_0].allocations, states[NODE_0].generation)


def test_the_aggregates_of_the_host_are_followed(cloud: PlacementService) -> None:
    """They say which templates the host is offered."""
    nodes = registry(cloud.adapter)
    root, aggregates, _ = nodes.observe()
    assert frozenset() == aggregates
    cloud.client.set_aggregates(HOST, root.generation, [AGGREGATE])
    assert {AGGREGATE} == nodes.observe()[1]


def test_only_our_own_nodes_are_observed(cloud: PlacementService) -> None:
    """Other children of the host belong to other services, whatever their names; so are other hosts' nodes."""
    client = cloud.client
    cloud.add_host("compute11", OTHER_HOST)
    client.create_provider(names.node_uuid(OTHER_HOST, 0), "compute11_kongming_numa0", OTHER_HOST)
    client.create_provider(str(uuid.uuid4()), "compute1_pci_0000_81_00", HOST)
    client.create_provider(str(uuid.uuid4()), "compute1_kongming_numa0", HOST)
    client.create_provider(str(uuid.uuid4()), "compute1_kongming_numaX", HOST)
    client.create_provider(NODE_1, "compute1_kongming_numa1", HOST)
    assert [NODE_1] == list(registry(cloud.adapter).observe()[2])


def test_a_template_that_comes_and_goes_takes_its_slot_along(cloud: PlacementService) -> None:
    """Trait and slot; the pool has its cores again."""
    nodes = registry(cloud.adapter)
    reconcile(nodes, POOLS, GOLD)
    reconcile(nodes, POOLS, GOLD, PINNED)
    assert wanted(POOLS, GOLD, PINNED) == stored(cloud)
    changes = reconcile(nodes, POOLS, GOLD)
    assert wanted(POOLS, GOLD) == stored(cloud)
    assert "compute1_kongming_numa0: no longer CUSTOM_KONGMING_TEMPLATE_PINNED" == changes[0]


def test_at_no_request_is_a_template_offered_without_its_resources(cloud: PlacementService) -> None:
    """A trait comes after the inventory behind it, and goes before: a scheduler may ask between any two requests."""
    seen: list[tuple[str, bool, bool]] = []

    def inspect(method: str, url: str) -> None:
        if method == "PUT" and url.startswith(f"/resource_providers/{NODE_0}"):
            state = registry(cloud.adapter).observe()[2][NODE_0]
            offered = names.template_trait("pinned") in state.traits
            seen.append((url.rpartition("/")[2], offered, names.slot_class("pinned") in state.inventories))

    nodes = registry(Meddling(cloud.adapter, inspect))
    reconcile(nodes, POOLS, PINNED)
    reconcile(nodes, POOLS)
    assert ["inventories", "traits", "traits", "inventories"] == [part for part, _, _ in seen]
    assert all(slot for _, offered, slot in seen if offered)
    assert any(offered for _, offered, _ in seen)


def test_a_slot_in_use_survives_its_template(cloud: PlacementService) -> None:
    """Placement keeps the server's claim; nobody gets another one, and when the server goes the slot goes."""
    nodes = registry(cloud.adapter)
    reconcile(nodes, POOLS, PINNED)
    server = str(uuid.uuid4())
    slot = names.slot_class("pinned")
    cloud.allocate(server, {NODE_0: {slot: 1}})
    reconcile(nodes, POOLS)
    assert Inventory(1, 1) == cloud.client.inventories(NODE_0)[slot]
    assert {server: {slot: 1}} == cloud.client.allocations(NODE_0)
    cloud.adapter.delete(f"/allocations/{server}")
    reconcile(nodes, POOLS)
    assert wanted(POOLS) == stored(cloud)


def test_a_retired_node_stays_and_takes_nothing_more(cloud: PlacementService) -> None:
    """With a server on it, which keeps its claim; and it comes back."""
    nodes = registry(cloud.adapter)
    reconcile(nodes, POOLS, GOLD)
    server = str(uuid.uuid4())
    cloud.allocate(server, {NODE_1: {names.PCPU: 2}})
    reconcile(nodes, NODE_0_ONLY, GOLD)
    assert {0} == {inventory.capacity for inventory in cloud.client.inventories(NODE_1).values()}
    assert {server: {names.PCPU: 2}} == cloud.client.allocations(NODE_1)
    assert [NODE_0] == [summary.uuid for summary in cloud.client.node_summaries()]
    assert [] == reconcile(nodes, NODE_0_ONLY, GOLD)
    reconcile(nodes, POOLS, GOLD)
    assert wanted(POOLS, GOLD) == stored(cloud)


def test_somebody_elses_write_in_between_is_a_conflict(cloud: PlacementService) -> None:
    """A server was placed after the pass: nothing is written, and the next round sees it."""
    nodes = registry(cloud.adapter)
    reconcile(nodes, POOLS, GOLD)
    root, _, current = nodes.observe()
    cloud.allocate(str(uuid.uuid4()), {NODE_0: {names.PCPU: 6}})
    with pytest.raises(PlacementConflict):
        nodes.write(root, desired(current, POOLS, GOLD, PINNED), current)
    assert wanted(POOLS, GOLD) == stored(cloud)
    reconcile(nodes, POOLS, GOLD, PINNED)
    assert wanted(POOLS, GOLD) == stored(cloud), "the six CPUs are taken, so that the template cannot be offered"


def test_a_host_that_was_deleted_and_made_anew_is_found_again(cloud: PlacementService) -> None:
    """Nova deletes the compute service with its providers; the new one has another id, and so have its nodes."""
    nodes = registry(cloud.adapter)
    reconcile(nodes, NODE_0_ONLY, GOLD)
    for provider in (NODE_0, HOST):
        cloud.client.delete_provider(provider)
    with pytest.raises(ProviderNotFound, match="it does not exist any more"):
        nodes.observe()
    cloud.add_host("compute1", OTHER_HOST)
    root, _, states = nodes.observe()
    assert (OTHER_HOST, {}) == (root.uuid, states)


def test_a_root_that_goes_between_two_requests_is_told(cloud: PlacementService) -> None:
    """As gone, not as an empty host."""

    def meddle(_: str, url: str) -> None:
        if url.endswith("/aggregates"):
            cloud.client.delete_provider(HOST)

    with pytest.raises(ProviderNotFound):
        registry(Meddling(cloud.adapter, meddle)).observe()


@pytest.mark.parametrize("failure", [Failure.LOST_ANSWER, Failure.SERVER_ERROR, Failure.CONFLICT])
def test_a_round_that_failed_anywhere_is_repaired_by_the_next(cloud: PlacementService, failure: Failure) -> None:
    """Each request in turn fails, first for a new node, then for one that is retired while a template goes.

    The next round, of the same agent or of one that has just started, ends in the same state as without the failure.
    """
    stages = [(NODE_0_ONLY, [GOLD, PINNED]), (NO_NODE, [GOLD])]
    goals = []
    for pools, templates in stages:
        reconcile(registry(cloud.adapter), pools, *templates)
        goals.append(stored(cloud))
    for failing in itertools.count():
        cloud.client.delete_provider(NODE_0)
        for (pools, templates), goal in zip(stages, goals, strict=True):
            adapter = Failing(cloud.adapter, failing, failure)
            nodes = registry(adapter)
            if not succeeds(nodes, pools, *templates):
                reconcile(nodes if failing % 2 else registry(cloud.adapter), pools, *templates)
            assert goal == stored(cloud)
            if adapter.count <= failing:  # the round for a new node has more requests
                break
        if pools is NODE_0_ONLY:
            break
    assert failing >= 10


def succeeds(nodes: NodeRegistry, pools: HostPools, *templates: PinningTemplate) -> bool:
    """Whether a round of an agent went well; a failure is one that the agent knows how to take."""
    try:
        reconcile(nodes, pools, *templates)
    except (PlacementUnavailable, PlacementConflict):
        return False
    return True


def test_the_provider_is_given_as_placement_lists_it(cloud: PlacementService) -> None:
    """With its generation, by which the caller sees that it changed."""
    reconcile(registry(cloud.adapter), POOLS)
    root, _, _ = registry(cloud.adapter).observe()
    (expected,) = cloud.client.providers(uuid=HOST)
    assert Provider(HOST, "compute1", expected.generation, HOST, None) == root
