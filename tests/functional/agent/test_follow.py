# SPDX-License-Identifier: Apache-2.0
"""Guests whose memory Nova has bound for good get their vCPUs to it, as far as there is room."""

from __future__ import annotations

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.act.follow_memory import Follower
from kongming_sched.agent.act.mover import Mover
from kongming_sched.agent.loop.orders import ReconcilerAccess
from kongming_sched.agent.state.backoff import Backoff
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from tests.functional.agent.world import World, store_templates
from tests.functional.conftest import PlacementService


@pytest.fixture
def world(placement: PlacementService) -> World:
    """A host with a server of two vCPUs on node 0, whose memory Nova has bound to node 1."""
    store_templates(placement.client)
    world = World(placement, "host")
    world.settle()
    world.boot("silver-1", "silver", 0)
    world.host.bind_strictly(world.servers["silver-1"], "1")
    return world


def follow(world: World, follower: Follower) -> list[str]:
    """The agent makes a pass, and then makes them follow."""
    memory_elsewhere = world.run_pass().pinning.memory_elsewhere
    access = ReconcilerAccess(world.agent, world.cpus)
    return follower.run(memory_elsewhere, Mover(access, world.host, PlacementClient(world.adapter)))


def claimed_nodes(world: World) -> list[int]:
    """The nodes that the server has claimed."""
    claim = world.placement.client.claim(world.servers["silver-1"])
    assert claim is not None
    return [node for node in (0, 1) if names.node_uuid(world.root, node) in claim.resources]


def nodes_of_vcpus(world: World) -> list[int]:
    """The nodes that its vCPUs are on."""
    vcpus = world.host.affinities()[world.servers["silver-1"]][:2]
    return [node.id for node in world.topology.nodes if all(cpus <= node.cpus for cpus in vcpus)]


def test_the_claim_goes_where_the_memory_is_and_the_vcpus_follow(world: World) -> None:
    """With that all is well."""
    done = follow(world, Follower(Backoff(10, lambda: world.clock)))

    assert (1, [1], [1]) == (len(done), claimed_nodes(world), nodes_of_vcpus(world))
    assert ((), {}) == (world.run_pass().problems, world.run_pass().pinning.memory_elsewhere)


def test_they_wait_for_room(world: World) -> None:
    """As long as the node is full nothing is tried; what stands against it is reported."""
    world.boot("silver-2", "silver", 1)
    world.boot("silver-3", "silver", 1)
    follower = Follower(Backoff(10, lambda: world.clock))

    full, problems = follow(world, follower), world.run_pass().problems
    world.host.destroy(world.servers["silver-2"])
    world.placement.adapter.delete(f"/allocations/{world.servers['silver-2']}")

    assert ([], 1) == (full, len(problems))
    assert "node 1 has no place for it: needs CUSTOM_KONGMING_PCPU=2" in problems[0].text
    assert (1, [1]) == (len(follow(world, follower)), nodes_of_vcpus(world))


def test_a_move_that_fails_is_undone_and_tried_again_later(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, however often it fails for that reason."""
    follower = Follower(Backoff(1500, lambda: world.clock))
    world.settle()

    def fail(called: str) -> None:
        if called == "pin_vcpu":
            raise exceptions.HypervisorError("pin it", "injected", 38)

    world.host.on_call = fail
    tries = [follow(world, follower) for _ in range(6)]
    nodes = claimed_nodes(world)
    world.host.on_call = lambda _: None

    said = [record for record in caplog.records if "do not follow its memory" in record.getMessage()]
    assert ([[]] * 6, [0], 1) == (tries, nodes, len(said))
    world.clock += 100_000
    assert (1, [1]) == (len(follow(world, follower)), nodes_of_vcpus(world))
