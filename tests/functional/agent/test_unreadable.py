# SPDX-License-Identifier: Apache-2.0
"""Guests that libvirt, the kernel or their flavor does not let the agent read: the others do not suffer from them.

Such a guest keeps the CPUs on which it is, and all that is remembered of it, until it can be read again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.model.problem import Reason
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.flavor import extra_specs
from tests.functional.agent.world import MEMORY_MB, TEMPLATES, World, store_templates
from tests.functional.conftest import PlacementService


@pytest.fixture
def world(placement: PlacementService, tmp_path: Path) -> World:
    """A registered host with one server of two vCPUs, which has the first two CPUs of node 0."""
    store_templates(placement.client)
    world = World(placement, "host", confine=True, directory=tmp_path)
    world.settle()
    world.boot("first", "silver", 0)
    world.settle()
    assert ("1", "9") == world.pins()["first"][:2]
    return world


def lose_xml(world: World, uuid: str) -> None:
    """libvirt answers every reading of the guest with an error."""
    world.host.unreadable.add(uuid)


def lose_threads(world: World, uuid: str) -> None:
    """The kernel answers every reading of the guest with an error."""
    world.host.opaque.add(uuid)


def lose_everything(world: World, uuid: str) -> None:
    """Both do."""
    world.host.unreadable.add(uuid)
    world.host.opaque.add(uuid)


def break_flavor(world: World, uuid: str) -> None:
    """Its flavor asks for what cannot be."""
    world.host.set_flavor(uuid, {"kongming:template": "silver", "resources_KONGMING0:PCPU": "many"})


FAULTS = pytest.mark.parametrize("fault", [lose_xml, lose_threads, lose_everything, break_flavor])


@FAULTS
def test_others_are_pinned(world: World, fault: Callable[[World, str], None]) -> None:
    """A new server gets its pins in the same pass, and the one that cannot be read is the only one with a problem."""
    uuid = world.servers["first"]
    fault(world, uuid)
    world.boot("second", "silver", 0)

    outcome = world.run_pass()

    assert ("2", "10") == world.pins()["second"][:2]
    assert [(Reason.DOMAIN, uuid)] == [(problem.reason, problem.subject.id) for problem in outcome.problems]


@FAULTS
def test_it_keeps_its_cpus(world: World, fault: Callable[[World, str], None]) -> None:
    """However full the node gets, no other server is pinned to the CPUs of one that cannot be read."""
    before = world.pins()["first"]
    fault(world, world.servers["first"])

    for name in ("second", "third"):
        world.boot(name, "silver", 0)
        world.run_pass()

    assert CpuSet() == world.host.shared_at_any_time
    assert before == world.pins()["first"]
    assert [("2", "10"), ("3", "11")] == [world.pins()[name][:2] for name in ("second", "third")]


@FAULTS
def test_it_keeps_the_cpus_that_it_has_just_got(world: World, fault: Callable[[World, str], None]) -> None:
    """It was seen last before the pass that pinned it, and is not where it was then."""
    world.boot("second", "silver", 0)
    world.run_pass()
    fault(world, world.servers["second"])

    world.boot("third", "silver", 0)
    world.run_pass()

    assert CpuSet() == world.host.shared_at_any_time
    assert [("2", "10"), ("3", "11")] == [world.pins()[name][:2] for name in ("second", "third")]


@pytest.mark.parametrize("fault", [lose_xml, lose_threads, break_flavor])
def test_an_agent_that_has_never_read_it(world: World, fault: Callable[[World, str], None]) -> None:
    """After a start of the agent what the kernel or libvirt says of it is enough."""
    fault(world, world.servers["first"])
    world.start_agent()

    world.boot("second", "silver", 0)
    world.run_pass()

    assert ("2", "10") == world.pins()["second"][:2]


def test_whole_core_of_one_that_was_never_read(world: World) -> None:
    """The sibling that it has claimed stays idle, though an agent that has just started does not know its template."""
    world.boot("alone", "gold", 0)
    world.settle()
    lose_xml(world, world.servers["alone"])
    world.start_agent()

    world.boot("second", "silver", 0)
    world.run_pass()

    assert [("2",), ("3", "11")] == [world.pins()[name][:-2] for name in ("alone", "second")]


def test_one_without_a_claim(world: World) -> None:
    """Its CPUs are not offered: Placement does not count them for it."""
    uuid = world.servers["first"]
    lose_xml(world, uuid)
    world.placement.adapter.delete(f"/allocations/{uuid}")

    world.run_pass()

    assert 4 == world.placement.client.inventories(world.node(0))[names.PCPU].capacity


@FAULTS
def test_it_is_well_again(world: World, fault: Callable[[World, str], None]) -> None:
    """Once it can be read nothing is changed, and there is no problem."""
    silver = TEMPLATES["silver"]
    flavor = extra_specs(silver, {}, vcpus=silver.vcpus, memory_mb=MEMORY_MB, threads_per_core=2)
    fault(world, world.servers["first"])
    world.run_pass()
    world.host.unreadable.clear()
    world.host.opaque.clear()
    world.host.set_flavor(world.servers["first"], flavor)

    outcome = world.run_pass()

    assert ((), ()) == (outcome.problems, outcome.pinning.done)


def test_its_past_is_kept(world: World) -> None:
    """A vCPU that was moved by other means meanwhile goes back to where the agent had it, which is drift."""
    uuid = world.servers["first"]
    lose_xml(world, uuid)
    world.run_pass()
    world.host.set_affinity(uuid, 0, CpuSet.parse("3"))
    world.run_pass()
    world.host.unreadable.clear()

    outcome = world.run_pass()

    assert ("1", "9") == world.pins()["first"][:2]
    assert ["vCPU 0"] == [drift.what for drift in outcome.pinning.drift.found]


def test_what_a_confined_guest_had_is_kept(world: World) -> None:
    """A guest without a template gets back what it had, although it could not be read for a while."""
    world.servers["plain"] = uuid = "00000000-0000-0000-0000-0000000000aa"
    world.host.spawn(uuid, 1, {})
    before = world.pins()["plain"]
    world.run_pass()
    confined = world.pins()["plain"]
    lose_xml(world, uuid)
    world.run_pass()
    world.host.unreadable.clear()
    world.confine = False
    world.start_agent()

    world.run_pass()

    assert before != confined
    assert before == world.pins()["plain"]


def test_one_that_is_lost_while_others_are_planned_anew(world: World) -> None:
    """Its CPUs are not free for those that are planned again after the change of another guest has failed."""
    first = world.servers["first"]
    world.boot("second", "silver", 0)

    def fail(name: str) -> None:
        if name == "pin_emulator" and first not in world.host.unreadable:
            world.host.unreadable.add(first)
            raise exceptions.HypervisorError("pin the emulator", "injected", 38)

    world.host.on_call = fail
    world.boot("third", "silver", 0)

    outcome = world.run_pass()

    assert CpuSet() == world.host.shared_at_any_time
    assert ("1", "9") == world.pins()["first"][:2]
    assert Reason.DOMAIN in {problem.reason for problem in outcome.problems if problem.subject.id == first}


def test_its_claim_is_not_taken_for_that_of_another(world: World) -> None:
    """A server that has no claim here does not get the one of a server that cannot be read."""
    world.boot("second", "silver", 0)
    world.placement.adapter.delete(f"/allocations/{world.servers['second']}")
    lose_xml(world, world.servers["first"])
    world.start_agent()

    outcome = world.run_pass()

    wrong = {problem.subject.id: problem.reason for problem in outcome.problems}
    assert Reason.NO_PLACE == wrong[world.servers["second"]]
