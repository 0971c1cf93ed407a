# SPDX-License-Identifier: Apache-2.0
"""A compute node that gets another name, or another id under its name, on the real Placement."""

from __future__ import annotations

import pytest

from kongming_sched.placement import names
from kongming_sched.placement.nodes import NodeRegistry
from testbed.adapters import Failing, Failure
from tests.functional.agent.world import World, store_templates
from tests.functional.conftest import PlacementService

NEW_ROOT = "5a1e0000-0000-4000-8000-000000000009"


@pytest.fixture
def world(placement: PlacementService) -> World:
    """A host with servers of every template."""
    store_templates(placement.client)
    world = World(placement, "host")
    world.settle()
    world.boot_all()
    world.settle()
    return world


def all_names(world: World, root: str) -> list[str]:
    """The names of the providers of a tree."""
    return sorted(provider.name for provider in world.placement.client.providers(in_tree=root))


def claims(world: World) -> dict[str, object]:
    """What each server has claimed."""
    client = world.placement.client
    return {name: claim and claim.resources for name, uuid in world.servers.items() for claim in [client.claim(uuid)]}


def test_a_root_that_was_renamed(world: World) -> None:
    """Its nodes are renamed with their claims, and nothing else changes."""
    before, pins, contents = claims(world), world.pins(), sorted(world.tree().values(), key=str)
    world.placement.client.rename_provider(world.root, "renamed")
    world.name = "renamed"
    world.start_agent()

    changes = world.run_pass().placement.changes
    again = world.settle()

    assert [
        "renamed host_kongming_numa0 to renamed_kongming_numa0",
        "renamed host_kongming_numa1 to renamed_kongming_numa1",
    ] == list(changes)
    assert ["renamed", "renamed_kongming_numa0", "renamed_kongming_numa1"] == all_names(world, world.root)
    assert (before, pins, contents) == (claims(world), world.pins(), sorted(world.tree().values(), key=str))
    assert () == again.problems


def test_a_node_that_was_renamed(world: World) -> None:
    """Whatever a node is called, its id says what it is, and it gets its name back."""
    world.placement.client.rename_provider(world.node(1), "something")

    world.settle()

    assert ["host", "host_kongming_numa0", "host_kongming_numa1"] == all_names(world, world.root)


def take_its_place(world: World) -> None:
    """An operator renames the root that Nova could not delete, and nova-compute registers the host under a new id."""
    world.placement.client.rename_provider(world.root, "host-before")
    world.placement.add_host("host", NEW_ROOT)


def test_another_root_under_the_name(world: World) -> None:
    """A running agent finds it, makes its nodes, and gives the old ones, which keep their claims, their own names."""
    before = claims(world)
    take_its_place(world)

    changes = world.run_pass().placement.changes

    new = [names.node_name("host", number) for number in (0, 1)]
    assert ["host", *new] == all_names(world, NEW_ROOT)
    assert ["host-before", "host-before_kongming_numa0", "host-before_kongming_numa1"] == all_names(world, world.root)
    assert before == claims(world)
    assert "renamed host_kongming_numa0 of another compute node to host-before_kongming_numa0" in changes
    assert [f"created {name}" for name in new] == [change for change in changes if change.startswith("created")]


@pytest.mark.parametrize("failure", [Failure.LOST_ANSWER, Failure.SERVER_ERROR])
@pytest.mark.parametrize("failing", range(0, 24, 3))
def test_whichever_request_fails(world: World, failing: int, failure: Failure) -> None:
    """The next pass ends in the same state."""
    take_its_place(world)
    real = world.adapter
    world.adapter = Failing(real, failing, failure)
    world.start_agent()
    world.run_pass()
    world.adapter = real
    world.start_agent()
    world.run_pass()

    assert ["host", "host_kongming_numa0", "host_kongming_numa1"] == all_names(world, NEW_ROOT)
    assert ["host-before", "host-before_kongming_numa0", "host-before_kongming_numa1"] == all_names(world, world.root)


def test_a_name_that_is_not_of_a_node(placement: PlacementService) -> None:
    """A provider that is not KongMing's keeps its name, and Placement's refusal is reported."""
    store_templates(placement.client)
    placement.client.create_provider(NEW_ROOT, "host_kongming_numa1")
    world = World(placement, "host")

    outcome = world.run_pass()

    assert "host_kongming_numa1" == placement.client.providers(uuid=NEW_ROOT)[0].name
    (problem,) = outcome.problems
    assert "create provider host_kongming_numa1" in str(problem)


def test_a_root_that_is_gone_by_its_name(world: World) -> None:
    """While no provider has the host's name, its old nodes are left alone."""
    registry = NodeRegistry(world.placement.client, "host")
    registry.observe()
    world.placement.client.rename_provider(world.root, "host-before")

    outcome = world.run_pass()

    assert not outcome.is_placement_well
    assert ["host-before", "host_kongming_numa0", "host_kongming_numa1"] == all_names(world, world.root)
