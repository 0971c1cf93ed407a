# SPDX-License-Identifier: Apache-2.0
"""Servers in one last-level cache, with the real Placement: what it counts, and what the agent makes of it."""

from __future__ import annotations

import uuid

import pytest
from keystoneauth1.exceptions import Conflict

from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.flavor import cell_requests, extra_specs
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.pools import HostPools
from kongming_sched.template import PinningTemplate
from testbed.topologies import make_topology
from tests.functional.agent.world import World
from tests.functional.conftest import PlacementService


def template(name: str, vcpus: int, **more: str) -> PinningTemplate:
    """A template of one cell of whole cores."""
    cell = {"vcpus": f"0-{vcpus - 1}", "cpus": "dedicated", "threads": "isolate", "memory": "none", **more}
    return PinningTemplate.from_mapping({"name": name, "cells": [cell]})


ALONE, PAIR, CLOSE = template("alone", 1), template("pair", 2, caches="one"), template("close", 4, caches="one")


def start(placement: PlacementService, cores_per_cache: int) -> World:
    """A host of one node with two caches and one core more for the housekeeping; its agent offers what it can."""
    for item in (ALONE, PAIR, CLOSE):
        TemplateStore(placement.client).create(item)
    cores = 2 * cores_per_cache
    topology = make_topology(1, cores + 1, 1, cores_per_cache=cores_per_cache)
    pools = HostPools(CpuSet.of(range(cores)), CpuSet(), CpuSet.of([cores]))
    world = World(placement, "c1", topology=topology, pools=pools)
    world.settle()
    return world


def claim(world: World, of: PinningTemplate) -> str:
    """Claim what a server takes; gives its id.

    :raises Conflict: if Placement does not admit it
    """
    server = str(uuid.UUID(int=len(world.servers) + 1 << 64))
    [cell] = cell_requests(of, 0, 1)
    world.placement.allocate(server, {world.node(0): dict(cell.resources)})
    world.servers[server] = server
    return server


def boot(world: World, of: PinningTemplate) -> str:
    """Start a server, which Placement has to admit; gives its id."""
    server = claim(world, of)
    world.host.spawn(server, of.vcpus, extra_specs(of, {}, vcpus=of.vcpus, memory_mb=0, threads_per_core=1))
    assert not world.settle().problems
    return server


def delete(world: World, server: str) -> None:
    """Delete a server."""
    world.host.destroy(server)
    world.placement.adapter.delete(f"/allocations/{server}")


def cpus(world: World, server: str) -> CpuSet:
    """The host CPUs of the vCPUs of a server."""
    return CpuSet.union(map(CpuSet.parse, world.host.pins()[server][:-2]))


def test_the_node_has_a_class_for_each_size(placement: PlacementService) -> None:
    """Two caches of four cores have two rooms for four, and four rooms for two."""
    host = start(placement, 4)
    found = placement.client.inventories(host.node(0))
    sizes = {size: item.capacity for name, item in found.items() if (size := names.cores_of_cache_class(name))}
    assert {2: 4, 4: 2} == sizes


def test_others_move_for_a_server_that_placement_admits(placement: PlacementService) -> None:
    """Here one that runs on a whole core in each cache; after that all CPUs are in use."""
    host = start(placement, 4)
    alone = [boot(host, ALONE) for _ in range(8)]
    for server in alone:
        if cpus(host, server).first not in (1, 5):
            delete(host, server)

    close, pair = cpus(host, boot(host, CLOSE)), cpus(host, boot(host, PAIR))

    left = CpuSet.union(cpus(host, server) for server in alone if server in host.host.pins())
    assert {4, 2} == {len(close), len(pair)}
    assert close in (CpuSet.parse("0-3"), CpuSet.parse("4-7"))
    assert CpuSet.parse("0-7") - close == pair | left


def test_placement_admits_no_more_than_have_a_cache(placement: PlacementService) -> None:
    """Of two caches of three cores each a core is left, which others can have."""
    host = start(placement, 3)
    pairs = [cpus(host, boot(host, PAIR)) for _ in range(2)]
    with pytest.raises(Conflict):
        claim(host, PAIR)
    singles = [cpus(host, boot(host, ALONE)) for _ in range(2)]
    assert [1, 1] == [sum(not pair.isdisjoint(CpuSet.parse(cache)) for pair in pairs) for cache in ("0-2", "3-5")]
    assert CpuSet.parse("0-5") == CpuSet.union([*pairs, *singles])
