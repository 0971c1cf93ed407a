# SPDX-License-Identifier: Apache-2.0
"""Incoming migrations: the pins that a guest gets from the host, and what is reserved for it meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kongming_sched.agent.model.outcome import Answer
from kongming_sched.agent.state.reservations import PATIENCE_SECONDS, Reservations
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import PinningTemplate
from testbed.adapters import Answer as Canned500
from testbed.adapters import Canned
from testbed.simulated_host import domain_xml
from tests.functional.agent.world import TEMPLATES, World, store_templates
from tests.functional.conftest import PlacementService


def pins(answer: Answer) -> Mapping[str, Any]:
    """What a hook is to put in place of the pins; the agent has an answer."""
    assert answer.pins is not None
    return answer.pins


class Destination(World):
    """A host to which guests come.

    :ivar file: where its agent writes its reservations down
    """

    file: Path
    now = 0.0

    def reserve(self) -> Reservations:
        """A new process of the agent finds the reservations of the one before."""
        return Reservations(self.file, lambda: self.now)

    def ask(self, server: str, specs: dict[str, str], memory: str = "1", mode: str = "restrictive") -> Answer:
        """A hook asks for a guest with the pins of another host; the agent makes a pass and answers."""
        vcpus = TEMPLATES[specs["kongming:template"]].vcpus
        xml = domain_xml(f"instance-{server}", self.servers[server], vcpus, specs, memory, mode)
        return self.agent.run(self.cpus, [xml]).answers[0]

    def arrive(self, server: str, specs: dict[str, str], answer: Answer) -> None:
        """The guest runs, with the pins of the answer."""
        given = pins(answer)
        vcpus = [CpuSet.parse(given["vcpupin"][str(vcpu)]) for vcpu in range(len(given["vcpupin"]))]
        self.host.arrive(self.servers[server], specs, vcpus, CpuSet.parse(given["emulatorpin"]), given["memory"])


@pytest.fixture
def world(placement: PlacementService, tmp_path: Path) -> Destination:
    """A host with two cores of its first node and one of its second taken, all pinned."""
    store_templates(placement.client)
    Destination.file = tmp_path / "arrivals.json"
    world = Destination(placement, "host")
    world.settle()
    world.boot("gold-1", "gold", 0)
    world.boot("silver-1", "silver", 0)
    world.boot("silver-2", "silver", 1)
    world.settle()
    return world


def test_told_what_it_would_get_if_it_ran(world: Destination) -> None:
    """A guest that migrates here gets free CPUs of the node that it has claimed; once it runs nothing is left to do."""
    specs = world.claim("coming", "gold", 0)

    answer = world.ask("coming", specs)
    world.arrive("coming", specs, answer)
    world.host.log.clear()
    outcome = world.run_pass()

    assert {"vcpupin": {"0": "3"}, "emulatorpin": "0,4", "iothreadpin": {}, "memory": "0"} == answer.pins
    assert "" == answer.reason
    assert () == outcome.problems
    pins = [action for _, action in outcome.pinning.done if action.is_pin]
    assert [] == pins
    assert CpuSet() == world.host.shared_at_any_time


def test_told_of_the_core_of_its_emulator(world: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """With both threads, and that is where it stays once the guest runs."""
    cell = {"vcpus": "0", "cpus": "dedicated", "threads": "isolate"}
    own = PinningTemplate.from_mapping({"name": "own", "cells": [cell], "emulator": "own"})
    TemplateStore(world.placement.client).create(own)
    monkeypatch.setitem(TEMPLATES, "own", own)
    world.host.destroy(world.servers["silver-2"])
    world.placement.adapter.delete(f"/allocations/{world.servers['silver-2']}")
    world.settle()
    specs = world.claim("coming", "own", 1)

    answer = world.ask("coming", specs, "1")
    world.arrive("coming", specs, answer)
    outcome = world.run_pass()

    given = pins(answer)
    assert ({"0": "6"}, "7,15") == (given["vcpupin"], given["emulatorpin"])
    assert [] == [str(action) for _, action in outcome.pinning.done if action.is_pin]
    assert (CpuSet(), ()) == (world.host.shared_at_any_time, outcome.problems)


def test_others_make_room_before_it_is_told(world: Destination) -> None:
    """Guests that are in the way of a whole core are moved before the hook has its answer."""
    for server in ("silver-1", "gold-1"):
        world.host.destroy(world.servers[server])
        world.placement.adapter.delete(f"/allocations/{world.servers[server]}")
    for name in ("a", "b"):
        world.boot(name, "silver", 0)
    world.settle()
    world.host.set_affinity(world.servers["a"], 0, CpuSet.parse("1"))
    world.host.set_affinity(world.servers["a"], 1, CpuSet.parse("2"))
    world.host.set_affinity(world.servers["b"], 0, CpuSet.parse("3"))
    world.host.set_affinity(world.servers["b"], 1, CpuSet.parse("11"))
    world.start_agent()  # which takes them to be where they belong
    specs = world.claim("coming", "gold", 0)

    answer = world.ask("coming", specs)

    assert answer.pins is not None
    given = CpuSet.parse(pins(answer)["vcpupin"]["0"])
    core = next(core.cpus for core in world.topology.nodes[0].cores if given <= core.cpus)
    others = CpuSet.union(CpuSet.parse(cpu) for name in ("a", "b") for cpu in world.pins()[name][:2])
    assert core.isdisjoint(others)
    assert CpuSet() == world.host.shared_at_any_time


def test_cpus_are_booked_until_it_runs(world: Destination) -> None:
    """A guest that starts meanwhile gets other CPUs, also if the agent was killed in between."""
    specs = world.claim("coming", "silver", 0)
    answer = world.ask("coming", specs)
    given = CpuSet.union(CpuSet.parse(cpus) for cpus in pins(answer)["vcpupin"].values())

    world.start_agent()
    world.host.destroy(world.servers["gold-1"])
    world.placement.adapter.delete(f"/allocations/{world.servers['gold-1']}")
    world.boot("other", "silver", 0)
    world.settle()
    before = world.pins()["other"][:2]
    world.arrive("coming", specs, answer)
    outcome = world.settle()

    assert given.isdisjoint(CpuSet.union(map(CpuSet.parse, before)))
    assert () == outcome.problems
    assert before == world.pins()["other"][:2]
    assert CpuSet() == world.host.shared_at_any_time


def test_guest_that_never_comes(world: Destination) -> None:
    """What is booked for it is free again after a while."""
    specs = world.claim("coming", "gold", 0)
    world.ask("coming", specs)
    booked = len(world.reservations)

    world.now += PATIENCE_SECONDS + 1
    world.run_pass()

    assert (1, 0) == (booked, len(world.reservations))


def test_guest_whose_move_failed(world: Destination) -> None:
    """Nova takes the claim back, and then what is booked is free at once, and nothing that is offered changes."""
    before = world.tree()
    world.ask("coming", world.claim("coming", "gold", 0))

    world.placement.adapter.delete(f"/allocations/{world.servers['coming']}")
    outcome = world.agent.run(world.cpus)

    assert 0 == len(world.reservations)
    assert ((), ()) == (outcome.placement.changes, outcome.problems)
    assert before == world.tree()


def test_guest_that_came_and_went(world: Destination) -> None:
    """An agent that starts later does not wait for a guest that has been here."""
    specs = world.claim("coming", "gold", 0)
    world.arrive("coming", specs, world.ask("coming", specs))
    world.run_pass()
    world.host.destroy(world.servers["coming"])

    world.start_agent()

    assert 0 == len(world.reservations)


def test_guest_that_has_come_is_not_booked(world: Destination) -> None:
    """A guest that runs needs no reservation."""
    specs = world.claim("coming", "gold", 0)
    answer = world.ask("coming", specs)
    world.arrive("coming", specs, answer)

    world.run_pass()

    assert 0 == len(world.reservations)


def test_two_come_at_once(world: Destination) -> None:
    """Two guests that are asked for before one runs get different CPUs."""
    first, second = world.claim("first", "gold", 0), world.claim("second", "silver", 1)

    answers = [world.ask("first", first), world.ask("second", second)]

    given = [CpuSet.union(map(CpuSet.parse, pins(answer)["vcpupin"].values())) for answer in answers]
    assert given[0].isdisjoint(given[1])
    assert ["0", "1"] == [pins(answer)["memory"] for answer in answers]


def test_asked_for_again(world: Destination) -> None:
    """A migration that is tried again is answered anew, and holds CPUs once."""
    specs = world.claim("coming", "gold", 0)

    answers = [world.ask("coming", specs) for _ in range(3)]

    assert answers[0] == answers[1] == answers[2]
    assert 1 == len(world.reservations)


@pytest.mark.parametrize("mode", ["strict", "preferred"])
def test_memory_that_somebody_else_bound(world: Destination, mode: str) -> None:
    """A binding that is not the agent's is no part of the answer, and is said to be in the way."""
    specs = world.claim("coming", "gold", 0)

    answer = world.ask("coming", specs, "1", mode)

    assert answer.pins is not None
    assert "" == pins(answer)["memory"]
    assert f"its memory was bound to node 1 ({mode}) at its start" in answer.reason


def test_without_a_claim(world: Destination) -> None:
    """A guest that has claimed nothing here is kept off the pool."""
    specs = world.claim("coming", "gold", 0)
    world.placement.adapter.delete(f"/allocations/{world.servers['coming']}")

    answer = world.ask("coming", specs)

    assert {"vcpupin": {"0": "0,4"}, "emulatorpin": "0,4", "iothreadpin": {}, "memory": ""} == answer.pins
    assert "not claimed" in answer.reason


def test_of_a_template_that_is_gone(world: Destination) -> None:
    """A guest whose template does not exist is kept off the pool."""
    specs = world.claim("coming", "gold", 0)
    TemplateStore(world.placement.client).delete("gold")

    answer = world.ask("coming", specs)

    assert {"0": "0,4"} == pins(answer)["vcpupin"]


def test_while_placement_is_away(world: Destination) -> None:
    """A claim that cannot be read keeps the guest off the pool; it is pinned when Placement is back."""
    specs = world.claim("coming", "gold", 0)
    world.client.transport.adapter = Canned(Canned500(500, "away"))

    answer = world.ask("coming", specs)

    assert {"0": "0,4"} == pins(answer)["vcpupin"]


def test_before_placement_was_ever_seen(world: Destination) -> None:
    """An agent that knows nothing yet gives no answer."""
    specs = world.claim("coming", "gold", 0)
    world.adapter = Canned(Canned500(500, "away"))
    world.start_agent()
    xml = domain_xml("instance-coming", world.servers["coming"], 1, specs)

    outcome = world.agent.run(world.cpus, [xml])

    assert {} == outcome.answers
    assert 0 == len(world.reservations)


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "<domain",
        "<domain><name>x</name></domain>",
        "<!DOCTYPE x><domain/>",
        domain_xml("x", "u", 1, {}),
        domain_xml("x", "u", 1, {"kongming:template": "gold"}),
    ],
)
def test_what_is_no_guest_of_a_template(world: Destination, xml: str) -> None:
    """The hook would not ask for it; if it does it has no answer, and all others are pinned."""
    world.host.set_affinity(world.servers["gold-1"], 0, CpuSet.parse("0-15"))
    before = world.pins()

    answer = world.agent.run(world.cpus, [xml]).answers[0]

    assert answer.pins is None
    assert answer.reason
    assert before != world.pins()


def test_what_runs_here_already(world: Destination) -> None:
    """A guest that runs does not migrate here."""
    running = next(domain for domain in world.host.domains() if domain.uuid == world.servers["gold-1"])

    answer = world.agent.run(world.cpus, [running.xml]).answers[0]

    assert (None, "it runs here already") == (answer.pins, answer.reason)


def test_disk_full(world: Destination, tmp_path: Path) -> None:
    """What cannot be written down is not promised."""
    (tmp_path / "arrivals.new").mkdir()
    specs = world.claim("coming", "gold", 0)

    answer = world.ask("coming", specs)

    assert answer.pins is None
    assert "could not be reserved" in answer.reason


def test_broken_file_of_bookings(world: Destination, tmp_path: Path) -> None:
    """An agent whose file of reservations is broken starts without them."""
    for text in ("", "{", "[1]", '[{"xml": "<a/>", "vcpus": [], "emulator": "", "until": 1}]'):
        (tmp_path / "arrivals.json").write_text(text)
        world.start_agent()
        assert 0 == len(world.reservations)


def test_guest_that_migrates_is_left_alone(world: Destination) -> None:
    """libvirt would let every change wait, and everybody else with it: the guest is pinned when it has arrived."""
    server = world.servers["gold-1"]
    world.host.set_affinity(server, 0, CpuSet.parse("0-15"))
    world.host.migrating = {server}

    during = world.run_pass()
    pins_during = world.pins()
    world.host.migrating = set()
    after = world.run_pass()

    assert [f"server server-instance-{server[-8:]} ({server})"] == [str(problem.subject) for problem in during.problems]
    assert "0-15" == pins_during["gold-1"][0]
    assert "1" == world.pins()["gold-1"][0]
    assert () == after.problems


def test_other_hosts_pins_leave_the_definition(world: Destination) -> None:
    """A persistent definition is repaired once it is there, and read once."""
    server = world.servers["gold-1"]
    world.start_agent()
    world.host.without_definition = {server}
    world.run_pass()
    world.host.without_definition, world.host.stale_definitions = set(), {server}

    outcome = world.run_pass()
    world.host.log.clear()
    again = world.run_pass()

    assert (f"instance-{server[-8:]}",) == outcome.repaired
    assert ((), set()) == (again.repaired, world.host.stale_definitions)
    assert "repair_definition" not in world.host.log


def test_reservation_of_a_guest_that_cannot_be_read(world: Destination) -> None:
    """It holds as long as neither libvirt nor the kernel shows on which CPUs the guest is that has come."""
    specs = world.claim("coming", "gold", 0)
    answer = world.ask("coming", specs)
    uuid = world.servers["coming"]
    world.arrive("coming", specs, answer)
    world.host.unreadable.add(uuid)
    world.host.opaque.add(uuid)
    world.run_pass()
    unseen = len(world.reservations)
    world.host.opaque.clear()

    world.run_pass()

    assert (1, 0) == (unseen, len(world.reservations))
