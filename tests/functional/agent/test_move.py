# SPDX-License-Identifier: Apache-2.0
"""A running server moves to the other NUMA node whole, or stays where it was whole."""

from __future__ import annotations

import contextlib
import itertools
import re
from dataclasses import replace
from typing import Any

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.act.mover import Mover
from kongming_sched.agent.loop.orders import ReconcilerAccess
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.client import PlacementClient
from testbed.adapters import Failing, Failure, Meddling
from tests.functional.agent.test_faults import Countdown, Interrupted, Killed
from tests.functional.agent.world import World, store_templates
from tests.functional.conftest import PlacementService


@pytest.fixture
def world(placement: PlacementService) -> World:
    """A host with a server of every template, each where it belongs, and room on the second node."""
    store_templates(placement.client)
    world = World(placement, "host")
    world.settle()
    world.boot("gold-1", "gold", 0)
    world.boot("silver-1", "silver", 0)
    world.boot("bronze-1", "bronze", 1)
    world.boot("exact-1", "exact", 1)
    world.boot("twin-1", "twin", 1, 0)
    world.settle()
    return world


def mover(world: World) -> Mover:
    """What carries out the order, on the world's own agent."""
    access = ReconcilerAccess(world.agent, world.cpus)
    return Mover(access, world.host, PlacementClient(world.adapter))


def claim(world: World, server: str) -> dict[str, Any]:
    """Everything that Placement says of a server's claim, but its generation."""
    url = f"/allocations/{world.servers[server]}"
    headers = {"OpenStack-API-Version": "placement 1.38"}
    body: dict[str, Any] = world.placement.adapter.get(url, headers=headers).json()
    del body["consumer_generation"]
    for item in body["allocations"].values():
        del item["generation"]
    return body


def state(world: World, server: str) -> tuple[dict[str, Any], set[int], str]:
    """Its claim, the nodes that its vCPUs are on, and its memory."""
    *vcpus, _, memory = world.pins()[server]
    nodes = {node.id for node in world.topology.nodes for cpus in vcpus if CpuSet.parse(cpus) <= node.cpus}
    return claim(world, server), nodes, memory


def test_moved(world: World) -> None:
    """Claim, vCPUs and memory are on the other node; whose the claim is and of which type has not changed."""
    before = claim(world, "silver-1")

    lines = mover(world).move(world.servers["silver-1"], 1)

    after, nodes, memory = state(world, "silver-1")
    want = {"allocations": {world.node(1): before["allocations"][world.node(0)]}}
    assert (before | want, {1}, "memory 1") == (after, nodes, memory)
    assert "INSTANCE" == after["consumer_type"]
    uuid = world.servers["silver-1"]
    assert [f"moved server server-instance-{uuid[-8:]} ({uuid}) from node 0 to node 1"] == lines


def test_other_allocations_stay(world: World) -> None:
    """What a server has claimed elsewhere is in its claim as before."""
    uuid = world.servers["silver-1"]
    mine = world.placement.client.allocations(world.node(0))[uuid]
    claimed = world.placement.client.claim(uuid)
    assert claimed is not None
    world.placement.client.replace_claim(
        replace(claimed, resources={world.node(0): mine, world.root: {"MEMORY_MB": 512}})
    )

    mover(world).move(uuid, 1)

    claimed = world.placement.client.claim(uuid)
    assert claimed is not None
    assert {world.node(1): mine, world.root: {"MEMORY_MB": 512}} == claimed.resources


def test_there_already(world: World) -> None:
    """A server that is on the node already is fine."""
    assert ["is on node 1 already"] == [line[-20:] for line in mover(world).move(world.servers["bronze-1"], 1)]


def test_dry_run(world: World) -> None:
    """What would be done is said, and nothing is done."""
    before = state(world, "silver-1"), list(world.host.log)

    lines = mover(world).explain(world.servers["silver-1"], 1)

    uuid = world.servers["silver-1"]
    name = f"server server-instance-{uuid[-8:]} ({uuid})"
    assert [f"would move {name} from node 0 to node 1", f"{name}: vCPU 0: CPU 2 -> 14"] == lines[:2]
    assert f"{name}: memory: node 0 -> 1" in lines
    assert before[0] == state(world, "silver-1")
    assert {"domains", "read", "threads", "is_busy"} >= set(world.host.log[len(before[1]) :])


def test_refused_for_two_names(world: World) -> None:
    """A name that several servers have is not enough."""
    name = f"server-instance-{world.servers['gold-1'][-8:]}"

    with pytest.raises(exceptions.MoveRefused, match=f"several servers have this name: {world.servers['gold-1']}, "):
        mover(world).move(name, 1)


def test_found_by_its_name(world: World) -> None:
    """A server is found by its name in Nova and by libvirt's name of it, too."""
    suffix = world.servers["silver-1"][-8:]
    for other in ("gold-1", "bronze-1", "exact-1", "twin-1"):
        world.host.destroy(world.servers[other])

    lines = mover(world).move(f"server-instance-{suffix}", 1)
    back = mover(world).move(f"instance-{suffix}", 0)

    assert ["from node 0 to node 1", "from node 1 to node 0"] == [line[-21:] for line in (*lines, *back)]


REFUSED = {
    "explicit CPUs": ("exact-1", 0, None, "template 'exact' names its host CPUs"),
    "several cells": ("twin-1", 1, None, "it has 2 cells; say which with --cell, 0 to 1"),
    "no such cell": ("silver-1", 1, 3, "it has no cell 3, only 1, counted from 0"),
    "no such node": ("silver-1", 7, None, "this host has no node 7 in Placement; it has 0, 1"),
    "other cell there": ("twin-1", 0, 0, "its cell 1 is on node 0, and two cells are never on one node"),
    "not offered": ("bronze-1", 0, None, "node 0 does not offer template 'bronze': needs 1 shared CPUs"),
    "unknown": ("gold-9", 1, None, "no server of this id or name runs on this host with a template"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(world: World, case: str) -> None:
    """What cannot be is refused with its reason, and nothing changes."""
    server, node, cell, reason = REFUSED[case]
    if case == "not offered":
        world.pools = replace(world.pools, shared=CpuSet.parse("12"))
        world.settle()
    before = world.pins()

    with pytest.raises(exceptions.MoveRefused, match=re.escape(reason)):
        mover(world).move(world.servers.get(server, server), node, cell)

    assert before == world.pins()


def test_refused_while_it_migrates(world: World) -> None:
    """No server is touched that migrates."""
    world.host.migrating.add(world.servers["silver-1"])

    with pytest.raises(exceptions.MoveRefused, match="it is migrating or being saved; try again when that is over"):
        mover(world).move(world.servers["silver-1"], 1)


def test_refused_for_want_of_room(world: World) -> None:
    """A node that is full takes nobody."""
    world.boot("silver-2", "silver", 1)
    world.settle()

    reason = "node 1 has no room: asked: 2 CUSTOM_KONGMING_PCPU; available: 1"
    with pytest.raises(exceptions.MoveRefused, match=reason):
        mover(world).move(world.servers["silver-1"], 1)


def test_refused_for_its_memory(world: World) -> None:
    """Memory that was bound strictly at the start cannot follow, so nothing moves."""
    world.host.bind_strictly(world.servers["silver-1"], "0")

    with pytest.raises(exceptions.MoveRefused, match=re.escape("its memory was bound to node 0 (strict) at its start")):
        mover(world).move(world.servers["silver-1"], 1)


def test_room_that_is_taken_meanwhile(world: World) -> None:
    """A scheduler that claims the room first wins, and the server is where it was."""
    before = state(world, "silver-1")
    rival = World(world.placement, "rival", 2)

    def claim_first(method: str, url: str) -> None:
        if method == "PUT" and world.servers["silver-1"] in url:
            world.adapter = world.placement.adapter
            world.claim("rival", "silver", 1, consumer=rival.root)

    world.adapter = Meddling(world.placement.adapter, claim_first)

    with pytest.raises(exceptions.MoveFailed, match="it is on node 0 as before"):
        mover(world).move(world.servers["silver-1"], 1)

    assert before == state(world, "silver-1")


def places(world: World) -> tuple[tuple[dict[str, Any], set[int], str], tuple[dict[str, Any], set[int], str]]:
    """What a server is on node 0, and what it is on node 1."""
    here = state(world, "silver-1")
    mover(world).move(world.servers["silver-1"], 1)
    there = state(world, "silver-1")
    mover(world).move(world.servers["silver-1"], 0)
    world.settle()
    assert here == state(world, "silver-1")
    return here, there


@pytest.mark.parametrize("name", ["pin_vcpu", "after pin_vcpu", "pin_emulator", "bind_memory", "after bind_memory"])
def test_undone_as_a_whole(world: World, name: str) -> None:
    """If its pins or its memory cannot follow, all of it is back at once: claim, pins and memory."""
    here, _ = places(world)

    def fail(called: str) -> None:
        if called == name:
            world.host.on_call = lambda _: None
            raise exceptions.HypervisorError("do it", "injected", 38)

    world.host.on_call = fail
    with pytest.raises(exceptions.MoveFailed, match="libvirt could not do it: injected; it is on node 0 as before"):
        mover(world).move(world.servers["silver-1"], 1)

    assert here == state(world, "silver-1")


def test_any_call_fails(world: World) -> None:
    """Whichever call of libvirt fails, the server ends whole on the one node or on the other."""
    here, there = places(world)

    for step in itertools.count():
        countdown = Countdown(step, exceptions.HypervisorError("do it", "injected", 38))
        world.host.on_call = countdown.step
        with contextlib.suppress(exceptions.KongMingError):
            mover(world).move(world.servers["silver-1"], 1)
        check_whole(world, here, there)
        if not countdown.has_happened:
            break
    assert step > 30


def check_whole(world: World, here: object, there: object) -> None:
    """The server is on one node whole; it gets back to the first one."""
    world.host.on_call = lambda _: None
    world.settle()
    assert state(world, "silver-1") in (here, there)
    mover(world).move(world.servers["silver-1"], 0)
    assert here == state(world, "silver-1")
    assert CpuSet() == world.host.shared_at_any_time


@pytest.mark.parametrize("failure", list(Failure))
def test_any_request_fails(world: World, failure: Failure) -> None:
    """Whichever request to Placement fails, it is the same."""
    here, there = places(world)

    for step in itertools.count():
        world.adapter = failing = Failing(world.placement.adapter, step, failure)
        world.start_agent()
        with contextlib.suppress(exceptions.KongMingError):
            mover(world).move(world.servers["silver-1"], 1)
        world.adapter = world.placement.adapter
        world.start_agent()
        check_whole(world, here, there)
        if failing.count <= step:
            break
    assert step > 10


def test_killed_at_any_step(world: World) -> None:
    """An agent that is killed during the move finishes it at its next start, or had not begun."""
    here, there = places(world)

    for step in itertools.count():
        countdown = Countdown(step, Killed())
        world.adapter = Interrupted(world.placement.adapter, countdown)
        world.host.on_call = countdown.step
        world.start_agent()
        with contextlib.suppress(Killed):
            mover(world).move(world.servers["silver-1"], 1)
        countdown.stop()
        world.adapter = world.placement.adapter
        world.start_agent()
        check_whole(world, here, there)
        if not countdown.has_happened:
            break
    assert step > 30
