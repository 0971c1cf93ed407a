# SPDX-License-Identifier: Apache-2.0
"""Nodes that an operator disables: on the real Placement, with the agent's own passes, and with failures."""

from __future__ import annotations

import pytest

from kongming_sched.exceptions import PlacementError
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.disabling import disable, enable
from kongming_sched.placement.nodes import NodeRegistry
from testbed.adapters import Failing, Failure, Meddling
from tests.functional.agent.world import World, store_templates
from tests.functional.conftest import PlacementService


@pytest.fixture
def world(placement: PlacementService) -> World:
    """A host with a server of every template."""
    store_templates(placement.client)
    world = World(placement, "host")
    world.settle()
    world.boot_all()
    world.settle()
    return world


def nodes(world: World) -> list[str]:
    """The ids of its node providers."""
    _, _, states = NodeRegistry(world.placement.client, "host").observe()
    return sorted(states)


def offered(world: World) -> set[str]:
    """The templates that any of its nodes offers."""
    _, _, states = NodeRegistry(world.placement.client, "host").observe()
    return {trait for state in states.values() for trait in state.traits if names.offered_template(trait)}


def test_a_disabled_host_stays_so(world: World) -> None:
    """It offers nothing at once, through passes and a new start of the agent, and its servers keep their pins."""
    before, pins, inventories = offered(world), world.pins(), [node[1] for node in world.tree().values()]
    for node in nodes(world):
        disable(world.placement.client, node)
    assert set() == offered(world)

    outcome = world.settle()
    world.start_agent()
    again = world.settle()

    assert () == outcome.problems == again.problems
    assert () == outcome.placement.changes == again.placement.changes
    assert set() == offered(world)
    assert pins == world.pins()
    assert inventories == [node[1] for node in world.tree().values()]

    for node in nodes(world):
        enable(world.placement.client, node)
    world.settle()
    assert before == offered(world)
    assert pins == world.pins()


def test_a_single_node_can_be_disabled(world: World) -> None:
    """The others go on to offer what they can honour; a template that needs the node is offered nowhere."""
    disable(world.placement.client, nodes(world)[0])
    world.settle()

    _, _, states = NodeRegistry(world.placement.client, "host").observe()
    closed = [uuid for uuid, state in states.items() if names.DISABLED in state.traits]
    assert closed == nodes(world)[:1]
    assert offered(world)


def test_disabling_goes_on_when_the_agent_writes_in_between(placement: PlacementService) -> None:
    """What the agent wrote stays, less the templates."""
    placement.add_host("host", "5a1e0000-0000-4000-8000-000000000001")
    uuid = "5a1e0000-0000-4000-8000-000000000002"
    provider = placement.client.create_provider(uuid, "node")
    trait = names.template_trait("gold")
    placement.client.ensure_traits([trait, names.node_trait(0), names.DISABLED])
    written: list[object] = []

    def meddle(method: str, url: str) -> None:
        if method == "PUT" and url.endswith(f"{uuid}/traits") and not written:
            written.append(placement.client.set_traits(uuid, provider.generation, [trait, names.node_trait(0)]))

    disable(PlacementClient(Meddling(placement.adapter, meddle)), uuid)

    assert {names.DISABLED, names.node_trait(0)} == placement.client.traits(uuid)


@pytest.mark.parametrize("failure", [Failure.LOST_REQUEST, Failure.LOST_ANSWER, Failure.SERVER_ERROR])
def test_doing_it_again_is_enough_after_any_failure(placement: PlacementService, failure: Failure) -> None:
    """Whichever request was lost, before or after it was done."""
    uuid = "5a1e0000-0000-4000-8000-000000000002"
    placement.client.create_provider(uuid, "node")
    failing = 0
    while True:
        adapter = Failing(placement.adapter, failing, failure)
        try:
            disable(PlacementClient(adapter), uuid)
        except PlacementError:
            disable(placement.client, uuid)
        assert {names.DISABLED} == placement.client.traits(uuid)
        enable(placement.client, uuid)
        assert set() == placement.client.traits(uuid)
        if adapter.count <= failing:
            break
        failing += 1
    assert failing >= 4
