# SPDX-License-Identifier: Apache-2.0
"""Two machines that answer to one name, as cloned ones do, on the real Placement."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kongming_sched.agent.loop.reconcile import Reconciler
from kongming_sched.agent.model.outcome import Outcome
from kongming_sched.agent.model.problem import PLACEMENT, Reason
from kongming_sched.cpuset import CpuSet
from kongming_sched.exceptions import AnotherMachine
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.disabling import disable
from kongming_sched.placement.machines import forget_machine, marks
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.pools import HostPools
from testbed.adapters import Failing, Failure
from tests.functional.agent.world import World, parts, store_templates
from tests.functional.conftest import PlacementService

FIRST, SECOND = "AAAAAAAAAAAA", "BBBBBBBBBBBB"
SMALLER = HostPools(CpuSet.parse("1,9,5,13"), CpuSet(), CpuSet.parse("0,4"), 4.0, 1024)


@pytest.fixture
def world(placement: PlacementService) -> World:
    """A host with servers, whose agent has marked its nodes with the first machine."""
    store_templates(placement.client)
    world = World(placement, "host")
    on_machine(world, FIRST)
    world.settle()
    world.boot_all()
    world.settle()
    return world


def on_machine(world: World, mark: str) -> None:
    """Start the host's agent anew, on a machine with this mark."""
    world.start_agent()
    registry = NodeRegistry(PlacementClient(world.adapter), world.name, mark)
    world.agent = Reconciler(replace(parts(world.host, world.client, world.name), registry=registry))


def marked(world: World) -> dict[str, tuple[str, ...]]:
    """The marks of each node."""
    return {name: marks(traits) for name, (traits, _) in world.tree().items()}


def run_second(world: World) -> Outcome:
    """A pass of the agent on the second machine, whose pools are smaller."""
    on_machine(world, SECOND)
    world.pools = SMALLER
    return world.run_pass()


def test_nodes_are_marked_once(world: World) -> None:
    """Each node has its machine's mark, and nothing is written again."""
    changes = world.run_pass().placement.changes

    assert {"_kongming_numa0": (FIRST,), "_kongming_numa1": (FIRST,)} == marked(world)
    assert () == changes


def test_a_preview_sets_the_mark_as_a_pass_does(world: World) -> None:
    """It has nothing to do in Placement where the nodes are marked, and marks those that are not."""
    assert [] == world.agent.preview(world.cpus).provider_changes()
    forget_machine(world.placement.client, world.node(0))

    (change,) = world.agent.preview(world.cpus).provider_changes()

    assert f"set trait {names.machine_trait(FIRST)}" == change.change


def test_another_machine_writes_nothing(world: World) -> None:
    """It says whose nodes these are and what to do, and leaves nodes and guests as they are."""
    before, pins = world.tree(), world.pins()

    outcomes = [run_second(world), world.run_pass()]

    assert (before, pins) == (world.tree(), world.pins())
    for outcome in outcomes:
        (problem,) = [problem for problem in outcome.problems if problem.subject == PLACEMENT]
        assert Reason.PLACEMENT == problem.reason
        assert str(problem).startswith(
            "Placement could not be written for host: its nodes there are those of another machine"
            " (mark AAAAAAAAAAAA; this one is BBBBBBBBBBBB). If both run, two compute nodes answer to this name"
        )
        assert str(problem).endswith("'openstack kongming host unset host --machine'")


def test_the_first_machine_goes_on(world: World) -> None:
    """It is not troubled by the second one."""
    pools = world.pools
    run_second(world)
    world.pools = pools
    on_machine(world, FIRST)

    assert () == world.settle().problems


def test_nodes_of_an_earlier_release_are_taken(world: World) -> None:
    """Nodes without a mark get it at the first pass; from then on another machine is refused."""
    for node in (0, 1):
        forget_machine(world.placement.client, world.node(node))
    assert {(), ()} == set(marked(world).values())

    on_machine(world, SECOND)
    world.settle()
    on_machine(world, FIRST)
    refused = world.run_pass()

    assert {(SECOND,)} == set(marked(world).values())
    assert not refused.is_placement_well


def test_two_that_begin_at_once(placement: PlacementService) -> None:
    """Of two machines that both have seen a host without nodes one gets them, and the other is refused."""
    store_templates(placement.client)
    world = World(placement, "host")
    on_machine(world, FIRST)
    first = world.agent
    on_machine(world, SECOND)
    second = world.agent

    outcomes = [first.run(world.cpus), second.run(world.cpus)]

    assert [True, False] == [outcome.is_placement_well for outcome in outcomes]
    assert {(FIRST,)} == set(marked(world).values())


def test_a_disabled_host_keeps_its_mark(world: World) -> None:
    """What an operator does with a node is no matter of whose it is."""
    disable(world.placement.client, world.node(0))
    world.settle()

    assert {(FIRST,)} == set(marked(world).values())


@pytest.mark.parametrize("failure", [Failure.LOST_ANSWER, Failure.SERVER_ERROR, Failure.CONFLICT])
@pytest.mark.parametrize("failing", range(12))
def test_a_mark_that_is_half_written(world: World, failing: int, failure: Failure) -> None:
    """Whichever request fails while a machine takes the nodes, its next pass has all of them."""
    for node in (0, 1):
        forget_machine(world.placement.client, world.node(node))
    real = world.adapter
    world.adapter = Failing(real, failing, failure)
    on_machine(world, SECOND)
    world.run_pass()
    world.adapter = real
    on_machine(world, SECOND)
    world.settle()

    assert {(SECOND,)} == set(marked(world).values())


def test_a_forgotten_mark_leaves_no_trait_behind(world: World) -> None:
    """A trait of a machine that no node has is deleted."""
    for node in (0, 1):
        forget_machine(world.placement.client, world.node(node))

    traits = world.placement.adapter.get("/traits", headers={"OpenStack-API-Version": "placement 1.36"}).json()
    assert [] == [trait for trait in traits["traits"] if names.machine_of(trait)]


def test_commands_do_not_ask_whose_nodes_they_are(world: World) -> None:
    """A registry without a mark reads the nodes of any machine; one with a mark raises an error with the facts."""
    _, _, states = NodeRegistry(world.placement.client, "host").observe()

    with pytest.raises(AnotherMachine) as caught:
        NodeRegistry(world.placement.client, "host", SECOND).observe()

    assert 2 == len(states)
    assert ("host", (FIRST,), SECOND) == (caught.value.host, caught.value.marks, caught.value.mark)
