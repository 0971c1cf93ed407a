# SPDX-License-Identifier: Apache-2.0
"""Who has a guest in his hands: the agent puts back what others move, unless the guest is released."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.act.mover import Mover
from kongming_sched.agent.loop.orders import ReconcilerAccess
from kongming_sched.agent.model.actions import Kind
from kongming_sched.agent.model.guest import identify
from kongming_sched.agent.model.outcome import Drift, DriftReport
from kongming_sched.agent.model.problem import RELEASED_GUESTS, Reason, Subject, SubjectKind
from kongming_sched.agent.model.view import MemoryElsewhere
from kongming_sched.agent.state.released import FILE_NAME, Released, save_released
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.qos import Qos
from kongming_sched.template import EmulatorPolicy
from tests.functional.agent.world import TEMPLATES, World, store_templates
from tests.functional.conftest import PlacementService

UNMANAGED = "00000000-0000-4000-8000-00000000cafe"


@pytest.fixture
def world(placement: PlacementService, tmp_path: Path) -> World:
    """A host with servers of every template, all as they should be."""
    store_templates(placement.client)
    world = World(placement, "host", directory=tmp_path)
    world.settle()
    world.boot_all()
    world.settle()
    return world


def start_of(world: World, server: str) -> str:
    """The number of a server's run."""
    domains = {domain.uuid: domain for domain in world.host.domains()}
    return identify(domains[world.servers[server]]).start


def release(world: World, *servers: str) -> None:
    """What kongming-host release writes."""
    assert world.directory
    save_released(
        world.directory / FILE_NAME, Released({world.servers[name]: start_of(world, name) for name in servers})
    )


@pytest.mark.parametrize("cpus", ["0-15", "7", "15"], ids=["floating", "another free CPU of the pool", "its sibling"])
def test_puts_back_and_tells(world: World, cpus: str) -> None:
    """A vCPU that was moved by hand goes back to its very CPU, and the outcome says who was where."""
    before = world.pins()
    uuid = world.servers["silver-2"]
    assert ("6", "14") == before["silver-2"][:2]
    world.host.set_affinity(uuid, 1, CpuSet.parse(cpus))

    outcome = world.run_pass()
    after = world.run_pass()

    server = Subject(SubjectKind.SERVER, f"server-instance-{uuid[-8:]}", uuid)
    expected = Drift(server, Kind.VCPU, "vCPU 1", "CPU 14", f"CPU {cpus}", "CPU 14")
    assert DriftReport((expected,), 1) == outcome.pinning.drift
    assert before == world.pins()
    assert DriftReport() == after.pinning.drift


def test_first_pins_are_no_drift(world: World) -> None:
    """Neither a guest that has just started nor one that follows its template has drifted."""
    world.boot("bronze-2", "bronze", 1)
    world.host.respawn(world.servers["silver-1"])

    assert DriftReport() == world.run_pass().pinning.drift


def test_quality_of_service_drifts_too(world: World) -> None:
    """A quota that was lifted by hand is set again and reported."""
    uuid = world.servers["bronze-1"]
    domain = next(domain for domain in world.host.domains() if domain.uuid == uuid)
    world.host.set_scheduler(domain, {"vcpu_quota": -1})

    outcome = world.run_pass()

    assert [("QoS", "vcpu_quota -1", "vcpu_quota 50000")] == [
        (item.what, item.found, item.wanted) for item in outcome.pinning.drift.found
    ]
    assert 50_000 == world.host.scheduler_of(uuid)["vcpu_quota"]


def test_what_a_pass_has_moved_before_it_was_cut_off_is_no_drift(world: World) -> None:
    """The agent itself has moved it, although the pass ended before that was noted."""
    store, before = TemplateStore(world.placement.client), world.pins()
    store.update(replace(TEMPLATES["gold"], emulator=EmulatorPolicy.CELL, qos=Qos(shares=512)))

    def fail(name: str) -> None:
        if name == "set_scheduler":
            raise exceptions.HypervisorUnavailable("do it", "connection reset", 38)

    world.host.on_call = fail
    with pytest.raises(exceptions.HypervisorUnavailable):
        world.run_pass()
    during = world.pins()["gold-1"]
    world.host.on_call = lambda _name: None
    store.update(TEMPLATES["gold"])
    outcome = world.run_pass()

    assert ("1", "emulator 1", "memory 0") == during
    assert before == world.pins()
    assert DriftReport() == outcome.pinning.drift


def test_released_guest_is_left_alone(world: World) -> None:
    """Pins of a released guest stay as they were set by hand, also when the agent is started anew."""
    release(world, "silver-2")
    world.host.set_affinity(world.servers["silver-2"], 1, CpuSet.parse("15"))

    first = world.settle()
    world.start_agent()
    second = world.settle()

    assert ("6", "15") == world.pins()["silver-2"][:2]
    assert (DriftReport(), ()) == (first.pinning.drift, first.problems)
    assert first.pinning.released == second.pinning.released
    assert 1 == len(first.pinning.released)


def test_nobody_gets_a_released_guests_cpus(world: World) -> None:
    """A rightful guest leaves CPUs that an administrator has given to a released one, and newcomers keep off."""
    release(world, "silver-2")
    world.host.set_affinity(world.servers["silver-2"], 0, CpuSet.parse("7"))  # where twin-1 is
    assert "7" == world.pins()["twin-1"][0]

    outcome = world.settle()

    pins = world.pins()
    mine = {cpu for cpus in pins["silver-2"][:2] for cpu in CpuSet.parse(cpus)}
    others = {cpu for name in pins if name != "silver-2" for cpus in pins[name][:-2] for cpu in CpuSet.parse(cpus)}
    assert {7, 14} == mine
    assert mine.isdisjoint(others)
    assert () == outcome.problems


def test_adopted_guest_goes_back(world: World) -> None:
    """Once it is adopted a guest has the pins of its template again."""
    before = world.pins()
    release(world, "silver-2")
    world.host.set_affinity(world.servers["silver-2"], 1, CpuSet.parse("15"))
    world.settle()

    release(world)
    world.settle()

    assert before["exact-1"] == world.pins()["exact-1"]
    pins = [CpuSet.parse(cpus) for cpus in world.pins()["silver-2"][:2]]
    assert [1, 1] == [len(cpus) for cpus in pins]
    assert CpuSet() == world.host.shared_at_any_time


def test_release_ends_with_the_run(world: World) -> None:
    """A guest that stops and starts is the agent's again: the pins that were set by hand are gone anyway."""
    release(world, "silver-2")
    world.settle()
    world.host.respawn(world.servers["silver-2"])

    outcome = world.settle()

    assert () == outcome.pinning.released
    pins = [CpuSet.parse(cpus) for cpus in world.pins()["silver-2"][:2]]
    assert [1, 1] == [len(cpus) for cpus in pins]


def test_everybody_released(world: World) -> None:
    """When KongMing leaves, all guests keep what they have, new ones are not touched, and no template is offered."""
    before = world.pins()
    assert world.directory
    save_released(world.directory / FILE_NAME, Released({}, everyone=True))
    world.boot("bronze-2", "bronze", 1)

    outcome = world.settle()

    after = world.pins()
    traits = {trait for found, _ in world.tree().values() for trait in found}
    assert CpuSet.parse("0-15") == CpuSet.parse(after.pop("bronze-2")[0])
    assert before == after
    assert set() == {trait for trait in traits if trait.startswith(names.template_trait(""))}
    assert () == outcome.problems


def test_broken_file_is_told(world: World) -> None:
    """A file of releases that cannot be read is a problem with a remedy, and what it said before holds."""
    release(world, "silver-2")
    world.settle()
    assert world.directory
    (world.directory / FILE_NAME).write_text("{")
    world.host.set_affinity(world.servers["silver-2"], 1, CpuSet.parse("15"))

    outcome = world.run_pass()

    assert "repair it or remove it" in str(outcome.problem_of(RELEASED_GUESTS))
    assert "15" == world.pins()["silver-2"][1]


def spawn_stranger(world: World, vcpus: int = 2) -> None:
    """Start a guest without a template."""
    world.host.spawn(UNMANAGED, vcpus, {}, iothreads=1)


def test_strangers_are_confined_and_given_back(world: World) -> None:
    """With the option on they are off the pool, with it off they have again what they had before."""
    spawn_stranger(world)
    before = world.host.pins()[UNMANAGED]
    world.confine = True
    world.start_agent()
    confining = world.settle()
    confined = world.host.pins()[UNMANAGED]

    world.confine = False
    world.start_agent()
    world.settle()

    assert ("0,4,8,12", "0,4,8,12", "emulator 0,4,8,12", "memory anywhere") == confined
    assert before == world.host.pins()[UNMANAGED]
    assert () == confining.problems


def test_stranger_on_the_pool_is_told(world: World) -> None:
    """A guest without a template that was pinned inside the pool by hand stays there and is reported."""
    spawn_stranger(world, vcpus=1)
    world.host.set_affinity(UNMANAGED, 0, CpuSet.parse("3"))
    world.confine = True
    world.start_agent()

    outcome = world.settle()

    assert "3" == world.host.pins()[UNMANAGED][0]
    [reason] = [problem.text for problem in outcome.problems if problem.reason is Reason.UNMANAGED]
    assert "pinned to CPU 3 of dedicated_cpu_set alone" in reason


def test_resized_to_no_template(world: World) -> None:
    """A guest that asks for no template any more while it runs may run anywhere again, as Nova left it."""
    uuid = world.servers["bronze-1"]
    world.host.set_flavor(uuid, {"quota:cpu_shares": "77"})

    world.settle()

    assert ("0-15", "emulator 0-15", "memory 0-1") == world.pins()["bronze-1"]
    assert {"cpu_shares": 77, "vcpu_quota": -1}.items() <= world.host.scheduler_of(uuid).items()


@pytest.mark.parametrize("bare", [0, 1])
def test_resized_to_no_template_beside_a_node_without_memory(world: World, bare: int) -> None:
    """Its memory is let go to the nodes that have any, for libvirt refuses the others."""
    nodes = tuple(replace(node, memory_mb=0) if node.id == bare else node for node in world.topology.nodes)
    world.topology = replace(world.topology, nodes=nodes)
    world.host.replace_topology(world.topology)
    world.host.set_flavor(world.servers["bronze-1"], {})

    world.settle()

    assert ("0-15", "emulator 0-15", f"memory {1 - bare}") == world.pins()["bronze-1"]


def test_pages_that_stayed_are_fetched(world: World) -> None:
    """Pages that were moved elsewhere are fetched to the node that the memory is bound to."""
    uuid = world.servers["gold-1"]
    world.host.migrate_pages(uuid, {0: 100, 1: 300})
    world.start_agent()

    outcome = world.settle()

    domain = next(domain for domain in world.host.domains() if domain.uuid == uuid)
    assert {0: 400} == world.host.memory_mb(domain)
    assert () == outcome.problems


def test_pages_that_cannot_move_are_told(world: World) -> None:
    """Where libvirt says yes and nothing moves, the report says how much is on which node."""
    world.boot("bronze-2", "bronze", 1)
    uuid = world.servers["bronze-2"]
    world.host.pages_stay.add(uuid)

    outcome = world.settle()
    world.settle()
    world.host.pages_stay.clear()
    later = world.settle()

    [reason] = [problem.text for problem in outcome.problems]
    assert "bound to node 1, and the kernel has left 256 MiB on node 0" in reason
    assert outcome.problems == later.problems, "the pages are not counted at each pass"


def mover(world: World) -> Mover:
    """What kongming-host move orders from."""
    return Mover(ReconcilerAccess(world.agent, world.cpus), world.host, world.placement.client)


def test_vcpus_follow_the_memory(world: World) -> None:
    """The move that the report names brings the vCPUs to memory that cannot be moved, and nothing is wrong then."""
    world.boot("bronze-2", "bronze", 1)
    world.host.bind_strictly(world.servers["bronze-2"], "0")
    world.settle()

    mover(world).move(world.servers["bronze-2"], 0)
    outcome = world.settle()

    assert ("8", "emulator 0,4", "memory 0") == world.pins()["bronze-2"]
    assert ((), {}) == (outcome.problems, outcome.pinning.memory_elsewhere)


def test_released_guest_is_not_moved(world: World) -> None:
    """An order to move a released guest is refused, because its pins would not follow its claim."""
    release(world, "bronze-1")

    with pytest.raises(exceptions.MoveRefused, match="it is released"):
        mover(world).move(world.servers["bronze-1"], 0)


def test_memory_bound_for_good(world: World) -> None:
    """Of a guest that Nova bound to the other node it is said that its vCPUs follow, if there is room, else why not."""
    world.boot("bronze-2", "bronze", 1)
    world.host.bind_strictly(world.servers["bronze-2"], "0")
    with_room = world.settle()
    for number in range(3, 7):
        world.boot(f"bronze-{number}", "bronze", 0)

    without = world.settle()

    fact = "its memory was bound to node 0 (strict) at its start and its claim is of node 1; "
    assert [fact + "its claim and its vCPUs follow it there next"] == [problem.text for problem in with_room.problems]
    assert {world.servers["bronze-2"]: MemoryElsewhere(1, 0, "")} == with_room.pinning.memory_elsewhere
    obstacle = "node 0 has no place for it: needs CUSTOM_KONGMING_VCPU=1, free 0"
    assert [fact + obstacle] == [problem.text for problem in without.problems]
