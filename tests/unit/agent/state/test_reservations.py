# SPDX-License-Identifier: Apache-2.0
"""Incoming migrations: what hooks are answered, and how long the CPUs of an answer are reserved."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from kongming_sched.agent.decide.occupancy import Occupancy
from kongming_sched.agent.model.actions import Kind, Unit
from kongming_sched.agent.model.guest import Threads
from kongming_sched.agent.model.outcome import Answer
from kongming_sched.agent.model.view import GuestLayout
from kongming_sched.agent.state.reservations import (
    PATIENCE_SECONDS,
    IncomingMigrations,
    Reservations,
    incoming_guest,
)
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.flavor import extra_specs
from testbed.simulated_host import domain_xml
from tests.unit.agent.hosts import TEMPLATES

UUID = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"
ANYWHERE, DEDICATED, HOUSEKEEPING = CpuSet.parse("0-15"), CpuSet.parse("1-7"), CpuSet.parse("0,8")
PINNED = GuestLayout((CpuSet.parse("1"), CpuSet.parse("2")), HOUSEKEEPING, CpuSet.parse("0"))


class Clock:
    """Seconds since the machine's start, as a test sets them."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def gold_xml(uuid: str = UUID) -> str:
    """The XML of an incoming guest of two dedicated vCPUs, its memory bound by the source host's agent."""
    return domain_xml("instance-1", uuid, 2, extra_specs(TEMPLATES["gold"], {}, vcpus=2, memory_mb=512), "3", start=7)


def nobody() -> Occupancy:
    """A pool on which no guest is."""
    return Occupancy((), DEDICATED)


def answer(
    reservations: Reservations, xmls: Iterable[str], layout: GuestLayout = PINNED, occupancy: Occupancy | None = None
) -> dict[int, Answer]:
    """What the hooks are answered when each guest that is asked for gets the same layout."""
    expected = reservations.expect(list(xmls), (), ANYWHERE)
    layouts = dict.fromkeys(expected.asked, layout)
    return reservations.reserve(expected, layouts, {}, occupancy or nobody(), HOUSEKEEPING)


def reserved(reservations: Reservations, running: Iterable[str] = ()) -> dict[str, Threads]:
    """The threads of each guest for which CPUs are reserved, when these guests run."""
    expected = reservations.expect((), running, ANYWHERE)
    return {uuid: guest.threads for uuid, guest in expected.reserved.items()}


def test_an_answer_is_a_reservation() -> None:
    """From then on the guest counts as pinned to the CPUs of the answer."""
    reservations = Reservations()

    answers = answer(reservations, [gold_xml()])

    pins = Threads(dict(enumerate(PINNED.vcpus)), HOUSEKEEPING)
    assert pins == answers[0].threads
    assert PINNED.memory_nodes == answers[0].memory_nodes
    assert {UUID: pins} == reserved(reservations)


def test_it_ends_when_the_guest_runs() -> None:
    """A guest that has arrived is seen itself."""
    reservations = Reservations()
    answer(reservations, [gold_xml()])

    assert {} == reserved(reservations, [UUID])
    assert 0 == len(reservations)


def test_it_ends_when_the_guest_does_not_come() -> None:
    """Its CPUs are given away again after two minutes."""
    clock = Clock()
    reservations = Reservations(clock=clock)
    answer(reservations, [gold_xml()])

    clock.now += PATIENCE_SECONDS - 1
    assert [UUID] == list(reserved(reservations))
    clock.now += 1
    assert {} == reserved(reservations)


def test_it_ends_with_the_claim() -> None:
    """A migration that failed has no claim here any more."""
    reservations = Reservations()
    answer(reservations, [gold_xml(), gold_xml(OTHER)])

    expected = reservations.expect((), (), ANYWHERE)
    reservations.forget_unclaimed(expected, {OTHER})

    assert [OTHER] == list(expected.reserved)
    assert [OTHER] == list(reserved(reservations))


def test_a_second_question_replaces_the_first_answer() -> None:
    """A migration that is tried again gets CPUs anew."""
    reservations = Reservations()
    answer(reservations, [gold_xml()])
    elsewhere = GuestLayout((CpuSet.parse("5"), CpuSet.parse("6")), HOUSEKEEPING)

    answer(reservations, [gold_xml()], elsewhere)

    assert elsewhere.vcpus == tuple(reserved(reservations)[UUID].vcpus.values())


def test_cpus_that_are_not_free_yet() -> None:
    """The guest begins on the housekeeping CPUs, and the answer names the server that is in its way."""
    unit = Unit("other", Kind.VCPU, 0, CpuSet.parse("2"), CpuSet.parse("3"))

    answers = answer(Reservations(), [gold_xml()], occupancy=Occupancy([unit], DEDICATED))

    assert "server other is still on its CPUs" == answers[0].reason
    assert Threads({0: HOUSEKEEPING, 1: HOUSEKEEPING}, HOUSEKEEPING) == answers[0].threads


def test_a_guest_that_runs_here_gets_no_pins() -> None:
    """A question about it is refused, and reserves nothing."""
    expected = Reservations().expect([gold_xml()], [UUID], ANYWHERE)

    assert {0: "it runs here already"} == {number: item.reason for number, item in expected.refused.items()}
    assert () == expected.guests


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        ("<!DOCTYPE x><domain/>", "it has a document type"),
        ("<domain>", "no element found"),
        ("<domain><name>a</name></domain>", "it has no <uuid>"),
        (domain_xml("a", UUID, 1, {}), "its flavor names no template"),
        (f"<domain><uuid>{UUID}</uuid><iothreads>many</iothreads></domain>", "many"),
    ],
)
def test_what_is_no_guest_of_a_template(xml: str, reason: str) -> None:
    """Is refused with the reason, and the questions beside it are answered."""
    answers = answer(Reservations(), [xml, gold_xml()])

    assert reason in answers[0].reason
    assert answers[0].threads is None
    assert answers[1].threads is not None


def test_the_binding_of_the_source_host_is_dropped() -> None:
    """Its nodes mean nothing here; one that Nova has set for good stays."""
    assert CpuSet() == incoming_guest(gold_xml(), ANYWHERE).identity.memory_nodes
    strict = gold_xml().replace("restrictive", "strict")
    assert CpuSet.parse("3") == incoming_guest(strict, ANYWHERE).identity.memory_nodes


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", []),
        ("<iothreads>2</iothreads>", [1, 2]),
        ("<iothreads>3</iothreads><iothreadids><iothread id='2'/><iothread id='9'/></iothreadids>", [1, 2, 9]),
    ],
)
def test_io_threads(words: str, expected: list[int]) -> None:
    """Those that are listed, and the lowest other numbers up to their count, as libvirt gives them."""
    xml = gold_xml().replace("</domain>", f"{words}</domain>")
    assert expected == sorted(incoming_guest(xml, ANYWHERE).threads.iothreads)


def test_reservations_outlive_the_agent(tmp_path: Path) -> None:
    """The next agent reserves what the one before has answered, until the same time."""
    path, clock = tmp_path / "arrivals.json", Clock()
    answer(Reservations(path, clock), [gold_xml()])

    after = Reservations(path, clock)

    assert [CpuSet.parse("1"), CpuSet.parse("2")] == list(reserved(after)[UUID].vcpus.values())
    clock.now += PATIENCE_SECONDS
    assert {} == reserved(after)


def test_read_only_reservations_change_no_file(tmp_path: Path) -> None:
    """A command that shows what would happen leaves the agent's file as it is."""
    path = tmp_path / "arrivals.json"
    answer(Reservations(path), [gold_xml()])
    before = path.read_text()

    reserved(Reservations.read_only(path), [UUID])

    assert before == path.read_text()


def test_no_answer_counts_on_what_is_not_written(tmp_path: Path) -> None:
    """Where the file cannot be written the guest gets no pins, and no CPUs are reserved."""
    path = tmp_path / "arrivals.json"
    reservations = Reservations(path)
    path.mkdir()

    answers = answer(reservations, [gold_xml()])

    assert answers[0].threads is None
    assert answers[0].reason.startswith(f"its CPUs could not be reserved in {path}: ")
    assert 0 == len(reservations)


def test_nothing_is_expected_without_a_question() -> None:
    """A host to which no guest migrates."""
    assert IncomingMigrations() == Reservations().expect((), (), ANYWHERE)
