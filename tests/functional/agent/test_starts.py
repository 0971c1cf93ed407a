# SPDX-License-Identifier: Apache-2.0
"""Guests that Nova starts on CPUs of the dedicated pool: the agent clears these before they run."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import pytest

from kongming_sched.agent.loop.reconcile import Reconciler
from kongming_sched.agent.model.actions import Kind
from kongming_sched.agent.model.guest import Threads
from kongming_sched.agent.model.outcome import Outcome, StartAnswer
from kongming_sched.agent.state.backoff import Backoff
from kongming_sched.agent.state.starts import PATIENCE_SECONDS, Starts
from kongming_sched.cpuset import CpuSet
from testbed.memory_placement import MemoryPlacement
from testbed.simulated_host import domain_xml
from tests.functional.agent.world import TEMPLATES, World, parts, store_templates
from tests.functional.conftest import PlacementService

T = TypeVar("T")

NODE_0 = CpuSet.parse("1-3,9-11")
"""The dedicated CPUs of node 0: the cores 1,9 and 2,10 and 3,11."""


class Host(World):
    """A host on which Nova starts guests inside the pool.

    :ivar file: where its agent writes down which guests start
    """

    file: Path
    while_it_waits: Callable[[], None] = staticmethod(lambda: None)
    seconds = 1000.0

    def start_agent(self) -> None:
        """A new process of the agent, which finds the reservations of the one before."""
        super().start_agent()
        starts = Starts(self.file, lambda: self.seconds)
        more = {"starts": starts, "attend": self.attend}
        self.agent = Reconciler(parts(self.host, self.client, self.name, Backoff(10, lambda: self.clock), **more))

    def attend(self, call: Callable[[], T]) -> T:
        """A hook asks while the agent waits for an answer of Placement's or of libvirt's."""
        self.while_it_waits()
        return call()

    def run_pass(self) -> Outcome:
        """The agent makes a pass, a second later."""
        self.seconds += 1
        return super().run_pass()

    def ask(self, server: str, template: str, node: int, pins: str) -> StartAnswer:
        """The hook asks for a guest whose vCPUs Nova's XML pins to these CPUs, one each, in this order."""
        if server not in self.servers:
            self.specs = self.claim(server, template, node)
        self.vcpus = [CpuSet.of([int(cpu)]) for cpu in pins.split(",")]
        threads = Threads(dict(enumerate(self.vcpus)), CpuSet.union(self.vcpus))
        uuid = self.servers[server]
        self.seconds += 1
        xml = domain_xml(server, uuid, len(self.vcpus), self.specs, start=99, pins=threads)
        return self.agent.clear(self.cpus, xml)

    def begin(self, server: str) -> None:
        """QEMU runs, and libvirt has pinned none of its threads yet."""
        self.host.spawn(self.servers[server], len(self.vcpus), self.specs)

    def appear(self, server: str) -> None:
        """The guest of the last question runs, with the pins of its XML."""
        self.host.arrive(self.servers[server], self.specs, self.vcpus, CpuSet.union(self.vcpus), "")

    def cpus_of(self, server: str) -> tuple[str, ...]:
        """Where a server's vCPUs are."""
        return tuple(str(cpus) for cpus in self.host.affinities()[self.servers[server]][: self.count(server)])

    def end(self, server: str) -> None:
        """A server is deleted."""
        self.host.destroy(self.servers[server])
        self.placement.adapter.delete(f"/allocations/{self.servers[server]}")

    def count(self, server: str) -> int:
        """How many vCPUs it has."""
        return len(self.host.pins()[self.servers[server]]) - 2


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host with a server of two vCPUs on CPUs 1 and 9, and an agent that has seen it.

    What Placement holds matters here, and not how it is asked, so one in memory will do.
    """
    placement = PlacementService("", "", MemoryPlacement())
    store_templates(placement.client)
    Host.file = tmp_path / "starts.json"
    host = Host(placement, "host")
    host.settle()
    host.boot("first", "silver", 0)
    host.settle()
    assert ("1", "9") == host.cpus_of("first")
    return host


def test_others_make_way(host: Host) -> None:
    """They leave the CPUs before the hook is answered, and the guest keeps these."""
    answer = host.ask("second", "silver", 0, "1,2")
    moved = host.cpus_of("first")
    host.appear("second")
    outcome = host.settle()

    assert "" == answer.refusal
    assert ("10", "9") == moved
    assert (moved, ("1", "2")) == (host.cpus_of("first"), host.cpus_of("second"))
    assert CpuSet() == host.host.shared_at_any_time
    assert () == outcome.problems


def test_libvirt_is_not_asked_for_guests(host: Host) -> None:
    """It would wait for the very hook that waits for the agent."""
    host.host.log.clear()
    host.ask("second", "silver", 0, "1,2")

    assert {"threads", "is_busy", "pin_vcpu", "pin_emulator"} == set(host.host.log)


def test_what_was_moved_is_no_drift(host: Host) -> None:
    """The next passes report what was done once, and move nothing back."""
    host.ask("second", "silver", 0, "1,2")
    host.appear("second")
    first, second = host.run_pass(), host.run_pass()

    assert () == first.pinning.drift.found
    assert ["10"] == [str(action.cpus) for _, action in first.pinning.done if action.kind is Kind.VCPU]
    assert () == second.pinning.done


def test_nothing_in_the_way(host: Host) -> None:
    """Nobody moves, and no more than the threads of the others is read."""
    host.host.log.clear()
    answer = host.ask("second", "silver", 0, "2,10")

    assert "" == answer.refusal
    assert ["threads"] == host.host.log


@pytest.mark.parametrize("is_listed", [False, True])
def test_nobody_gets_its_cpus_meanwhile(host: Host, is_listed: bool) -> None:
    """Neither before libvirt lists the guest nor while libvirt pins one thread after the other."""
    host.ask("second", "silver", 0, "1,2")
    if is_listed:
        host.begin("second")
    host.seconds -= 2  # the list that libvirt gives was asked for before the answer
    host.boot("third", "silver", 0)
    host.run_pass()
    third = host.cpus_of("third")
    host.appear("second")
    host.settle()

    assert ("3", "11") == third
    assert ("1", "2") == host.cpus_of("second")
    assert CpuSet() == host.host.shared_at_any_time


def test_the_agent_pins_nothing_of_a_guest_that_starts(host: Host) -> None:
    """Its threads float until libvirt has pinned them, and a call for it would wait for its start."""
    host.ask("second", "silver", 0, "1,2")
    host.begin("second")
    outcome = host.run_pass()

    assert ("0-15", "0-15") == host.cpus_of("second")
    assert () == outcome.problems


def test_a_start_that_fails(host: Host) -> None:
    """Once libvirt does not list the guest any more its CPUs are free again."""
    host.ask("second", "silver", 0, "1,2")
    host.placement.adapter.delete(f"/allocations/{host.servers['second']}")
    host.run_pass()
    answer = host.ask("third", "silver", 0, "1,2")

    assert "" == answer.refusal


def test_a_start_that_takes_too_long(host: Host) -> None:
    """A guest whose threads never get the pins of its XML is pinned by the agent after a while."""
    host.ask("second", "silver", 0, "1,2")
    host.begin("second")
    host.seconds += PATIENCE_SECONDS
    host.settle()

    assert not CpuSet.parse(",".join(host.cpus_of("second"))) - NODE_0


def test_an_agent_that_is_started_anew(host: Host) -> None:
    """It knows which CPUs are kept, and makes way in the midst of its first pass, without a list of libvirt's."""
    host.ask("second", "silver", 0, "2,10")
    host.begin("second")
    host.start_agent()
    answers: list[StartAnswer] = []

    def ask() -> None:
        answers.extend(host.ask("third", "silver", 0, pins) for pins in ("2,3", "1,3"))
        assert "domains" not in host.host.log

    host.while_it_waits = ask
    host.host.log.clear()
    host.run_pass()
    kept, before_placement, kept_still, cleared = answers

    assert "Placement has not said yet where these belong" in before_placement.refusal
    assert kept.is_transient
    assert before_placement.is_transient
    assert "CPU 2 is in use by server" in kept_still.refusal
    assert "" == cleared.refusal
    assert ("11", "9") == host.cpus_of("first")


def test_no_other_room(host: Host) -> None:
    """The refusal names the server and the CPU, and nothing was moved."""
    host.end("first")
    for name in ("gold-1", "gold-2"):
        host.boot(name, "gold", 0)
    host.settle()
    before = host.pins()
    answer = host.ask("second", "silver", 0, "1,2")

    assert before == host.pins()
    assert not answer.is_transient
    assert answer.refusal.startswith("CPU 2 is in use by server server-instance-")
    assert answer.refusal.endswith("for which there is no other room")


def test_one_that_migrates_is_in_the_way(host: Host) -> None:
    """It stays, so that the start is refused until that is over."""
    host.host.migrating.add(host.servers["first"])
    during = host.ask("second", "silver", 0, "1,2")
    host.host.migrating.clear()
    after = host.ask("second", "silver", 0, "1,2")

    assert during.is_transient
    assert "which cannot be moved now: it is migrating or being saved" in during.refusal
    assert "" == after.refusal


def test_cpus_that_an_operator_has_named(host: Host) -> None:
    """A server of an explicit template does not step aside for one that starts."""
    host.boot("exact", "exact", 1)
    host.settle()
    answer = host.ask("second", "silver", 1, "5,6")
    host.run_pass()

    assert "CPU 5 is in use by server" in answer.refusal
    assert ("5", "13") == host.cpus_of("exact")


def test_idle_siblings(host: Host) -> None:
    """Servers of whole cores keep CPUs of the pool while one starts beside them, and have their cores again then."""
    host.end("first")
    for name in ("gold-1", "gold-2"):
        host.boot(name, "gold", 0)
    host.settle()
    mine = {host.cpus_of(name) for name in ("gold-1", "gold-2")}
    answer = host.ask("second", "silver", 0, "9,10")
    host.begin("second")
    during = host.run_pass()
    meanwhile = CpuSet.parse(",".join((*host.cpus_of("gold-1"), *host.cpus_of("gold-2"))))
    host.appear("second")
    outcome = host.settle()
    at_last = [host.cpus_of(name)[0] for name in ("gold-1", "gold-2")]

    assert {("1",), ("2",)} == mine
    assert "" == answer.refusal
    assert () == during.problems == outcome.problems
    assert not meanwhile - NODE_0
    both = CpuSet.parse(",".join(host.cpus_of("second")))
    assert all(both.isdisjoint(CpuSet.of([int(cpu) % 8, int(cpu) % 8 + 8])) for cpu in at_last)
    assert CpuSet() == host.host.shared_at_any_time


def test_a_reservation_that_cannot_be_written(host: Host) -> None:
    """The guest does not start: an agent that is started anew would give its CPUs away."""
    host.file.mkdir()
    answer = host.ask("second", "silver", 0, "2,10")

    assert "its CPUs cannot be reserved" in answer.refusal


def churn(host: Host, rounds: int, templates: Iterable[str], *, is_asked: bool) -> list[str]:
    """Starts on a node that stays full, each on CPUs that Nova's book has free; gives the refusals.

    Nova's book is of its own pins: it does not know which guests the agent has moved.
    """
    chance, choice, refusals = random.Random(7), list(templates), []
    book: dict[str, CpuSet] = {"first": CpuSet.parse("1,9")}
    counts = {"gold": 2, "silver": 2}
    used = {"first": 2}
    for number in range(rounds):
        while sum(used.values()) > 4:
            gone = chance.choice(sorted(book))
            host.end(gone)
            del book[gone], used[gone]
        template, name = chance.choice(choice), f"server-{number}"
        free = sorted(NODE_0 - CpuSet.union(book.values()))
        pins = chance.sample(free, TEMPLATES[template].vcpus)
        answer = host.ask(name, template, 0, ",".join(map(str, pins))) if is_asked else None
        if answer is None:
            host.specs, host.vcpus = host.claim(name, template, 0), [CpuSet.of([cpu]) for cpu in pins]
        if answer is not None and answer.refusal:
            refusals.append(answer.refusal)
            host.placement.adapter.delete(f"/allocations/{host.servers[name]}")
            continue
        host.appear(name)
        book[name], used[name] = CpuSet.of(pins), counts[template]
        host.run_pass()
    return refusals


@pytest.mark.parametrize("templates", [["silver"], ["silver", "gold"]], ids=["any", "whole cores too"])
def test_starts_on_a_full_node(host: Host, templates: list[str]) -> None:
    """No CPU of the pool is of two guests at any time."""
    refusals = churn(host, 40, templates, is_asked=True)

    assert CpuSet() == host.host.shared_at_any_time
    assert len(refusals) <= 40 * 0.4
    assert [] == refusals or "gold" in templates


def test_without_the_hook(host: Host) -> None:
    """The same starts without a question put guests on the CPUs of others."""
    churn(host, 40, ["silver", "gold"], is_asked=False)

    assert CpuSet() != host.host.shared_at_any_time
