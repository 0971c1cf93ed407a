# SPDX-License-Identifier: Apache-2.0
"""The agent on hosts of every shape: what it offers in the real Placement is what its servers get."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import replace

import pytest

from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.flavor import cell_requests, extra_specs
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.pools import HostPools
from kongming_sched.template import PinningTemplate
from kongming_sched.topology import HostTopology
from testbed.topologies import SHAPES
from tests.functional.agent.world import MEMORY_MB, World
from tests.functional.conftest import PlacementService

STRICT, ANYWHERE = (
    PinningTemplate.from_mapping({"name": name, "cells": [{"vcpus": "0", "cpus": "dedicated", "memory": memory}]})
    for name, memory in (("strict", "strict"), ("anywhere", "none"))
)
CORES = PinningTemplate.from_mapping(
    {"name": "cores", "cells": [{"vcpus": "0", "cpus": "dedicated", "threads": "isolate"}]}
)
NUMBERS = itertools.count(1)


def start(placement: PlacementService, topology: HostTopology) -> World:
    """A host whose agent has registered it, the first core of which is for housekeeping and the others dedicated."""
    for template in (STRICT, ANYWHERE):
        TemplateStore(placement.client).create(template)
    first, *others = [core.cpus for node in topology.nodes for core in node.cores]
    pools = HostPools(CpuSet.union(others), CpuSet(), first)
    number = next(NUMBERS)
    world = World(placement, f"host-{number}", number, topology=topology, pools=pools)
    world.settle()
    return world


def boot(world: World, template: PinningTemplate, node_id: int) -> str | None:
    """Start a server where the node offers its template and has room; gives the server's id."""
    client, node = world.placement.client, world.node(node_id)
    if all(provider.uuid != node for provider in client.providers(in_tree=world.root)):
        return None
    if names.template_trait(template.name) not in client.traits(node):
        return None
    server = f"{template.name}-{node_id}-{len(world.servers)}"
    world.servers[server] = str(uuid.UUID(int=(len(world.servers) + 1 << 64) + world.number))
    topology_node = world.topology.node(node_id)
    assert topology_node is not None
    threads = world.cpus.threads_per_core(topology_node)
    [cell] = cell_requests(template, MEMORY_MB, threads)
    world.placement.allocate(world.servers[server], {node: dict(cell.resources)})
    specs = extra_specs(template, {}, vcpus=1, memory_mb=MEMORY_MB, threads_per_core=threads)
    world.host.spawn(world.servers[server], 1, specs)
    return server


@pytest.mark.parametrize("shape", SHAPES)
def test_servers_get_what_was_offered(placement: PlacementService, shape: str) -> None:
    """A CPU of their own on the node that they have claimed, and memory there if they asked for it."""
    world = start(placement, SHAPES[shape])
    booted = {
        (node.id, template.name): boot(world, template, node.id)
        for node in world.topology.nodes
        for template in (ANYWHERE, STRICT)
        if template is ANYWHERE or len(node.cores) > 2
    }

    outcome = world.settle()

    assert () == outcome.problems
    assert CpuSet() == world.host.shared_at_any_time
    everywhere = world.topology.memory_nodes
    for (node_id, template), server in booted.items():
        node = world.topology.node(node_id)
        assert node is not None
        if server is None:
            free = [core for core in node.cores if core.cpus <= world.pools.dedicated]
            assert not free or (template == "strict" and not node.memory_mb)
            continue
        pin, _, memory = world.pins()[server]
        assert CpuSet.parse(pin) <= node.cpus & world.pools.dedicated
        bound = template == "strict" and everywhere != CpuSet.of([node_id])
        assert (f"memory {node_id}" if bound else "memory anywhere") == memory


def test_a_node_that_vanishes_under_its_servers(placement: PlacementService) -> None:
    """It is retired, its servers are reported, and those of other nodes are untouched."""
    topology = SHAPES["sparse node ids"]
    world = start(placement, topology)
    stays, loses = boot(world, ANYWHERE, 0), boot(world, ANYWHERE, 8)
    assert stays is not None
    assert loses is not None
    world.settle()
    before = world.pins()[stays]
    gone = topology.nodes[1].cpus
    world.topology = replace(topology, nodes=tuple(node for node in topology.nodes if node.id != 8))
    world.host.take_offline(gone, world.topology)

    outcome = world.settle()

    assert before == world.pins()[stays]
    [problem] = outcome.problems
    assert world.servers[loses] == problem.subject.id
    inventories = placement.client.inventories(world.node(8))
    assert {0} == {inventory.capacity for inventory in inventories.values()}
    assert names.template_trait("anywhere") not in placement.client.traits(world.node(8))


def test_servers_of_both_kinds_on_cores_of_two_widths(placement: PlacementService) -> None:
    """All threads are offered until whole cores are, which the servers that are there make room for."""
    world = start(placement, SHAPES["i7-14700"])
    servers = [boot(world, ANYWHERE, 0) for _ in range(3)]
    assert None not in servers
    world.settle()
    pcpus = [placement.client.inventories(world.node(0))[names.PCPU].total]
    TemplateStore(placement.client).create(CORES)
    world.settle()
    pcpus.append(placement.client.inventories(world.node(0))[names.PCPU].total)

    cores = boot(world, CORES, 0)
    outcome = world.settle()

    assert [26, 14] == pcpus
    assert () == outcome.problems
    assert CpuSet() == world.host.shared_at_any_time
    assert cores is not None
    pinned = {name: CpuSet.parse(pins[0]) for name, pins in world.pins().items()}
    assert CpuSet.union(pinned.values()) <= CpuSet.parse("2-15")
    sibling = CpuSet.of(cpu ^ 1 for cpu in pinned[cores])
    assert all(sibling.isdisjoint(cpus) for cpus in pinned.values())
