# SPDX-License-Identifier: Apache-2.0
"""Incoming migrations: the pins that libvirt's hook is answered, and the CPUs that are reserved until the guest runs.

A guest for which a hook asks is laid out like one that runs and is not pinned yet. From then on it counts as pinned to
what was answered: no other guest gets these CPUs, until it is seen running or has not come in time.
"""

from __future__ import annotations

import contextlib
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kongming_sched import exceptions
from kongming_sched.agent.decide.occupancy import Occupancy
from kongming_sched.agent.model.guest import Domain, Guest, ObservedGuest, Threads, identify
from kongming_sched.agent.model.outcome import Answer
from kongming_sched.agent.model.view import GuestLayout
from kongming_sched.agent.state.json_file import load_state, write_state
from kongming_sched.cpuset import CpuSet
from kongming_sched.texts.whole_number import IOTHREAD_IDS, read_whole_number

RESERVATIONS_NAME = "arrivals.json"
"""The file in the run directory that holds the reservations, by the name that earlier releases gave it."""

PATIENCE_SECONDS = 120.0
"""How long a guest may take from the hook to running; libvirt starts its QEMU right after the hook."""

_IOTHREAD_COUNTS = range(1025)
"""How many I/O threads a guest may have."""

_DEFAULT_SCHEDULER = dict.fromkeys(("cpu_shares", "vcpu_period", "vcpu_quota", "emulator_period", "emulator_quota"), 0)
"""An incoming guest has a cpu controller as far as is known; its real values are seen when it runs."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """The CPUs that are kept for an incoming guest.

    :ivar xml: of the guest, as the hook handed it over
    :ivar layout: the pins that the hook was answered
    :ivar until: when it is given up, by the clock that counts from the machine's start
    """

    xml: str
    layout: GuestLayout
    until: float


@dataclass(slots=True)
class IncomingMigrations:
    """The incoming guests, during one pass.

    :ivar asked: those for which a hook waits, by server id
    :ivar reserved: those for which a hook was answered, by server id; their threads are on the CPUs of the answer
    :ivar refused: answers to questions about what is no incoming guest, by the number of the question
    :ivar order: number of a question to the server id
    """

    asked: dict[str, Guest] = field(default_factory=dict)
    reserved: dict[str, Guest] = field(default_factory=dict)
    refused: dict[int, Answer] = field(default_factory=dict)
    order: dict[int, str] = field(default_factory=dict)

    @property
    def guests(self) -> tuple[Guest, ...]:
        """All of them."""
        return (*self.reserved.values(), *self.asked.values())


class Reservations:
    """The reservations of a host. They outlive the agent, but not a restart of the machine.

    :param path: the file that holds them; None to keep them in memory
    :param clock: seconds since the machine's start
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._reserved: dict[str, Reservation] = load_state(path, _parse, {})

    @classmethod
    def read_only(cls, path: Path) -> Reservations:
        """Those of a running agent as they are now; changes to them here are not written down."""
        reservations = cls()
        reservations._reserved = load_state(path, _parse, {})
        return reservations

    def __len__(self) -> int:
        return len(self._reserved)

    def expect(self, questions: Sequence[str], running: Iterable[str], anywhere: CpuSet) -> IncomingMigrations:
        """The incoming guests, those that are asked for now included; reservations that have ended are dropped.

        :param questions: the XML of each guest that is asked for
        :param running: the ids of the domains that run, and so have arrived
        :param anywhere: the CPUs on which a guest runs that is not pinned
        """
        now, here = self._clock(), set(running)
        kept = {uuid: item for uuid, item in self._reserved.items() if uuid not in here and item.until > now}
        expected = IncomingMigrations()
        for number, xml in enumerate(questions):
            try:
                guest = incoming_guest(xml, anywhere)
            except (exceptions.InvalidDomain, exceptions.InvalidRequest) as error:
                expected.refused[number] = Answer("", None, reason=str(error))
                continue
            if guest.uuid in here:
                expected.refused[number] = Answer(str(guest), None, reason="it runs here already")
                continue
            expected.order[number] = guest.uuid
            expected.asked[guest.uuid] = guest
            kept.pop(guest.uuid, None)  # it is asked for again, and gets a new answer
        for uuid, reservation in kept.items():
            guest = incoming_guest(reservation.xml, anywhere)
            expected.reserved[uuid] = replace(guest, threads=_threads(reservation.layout, guest.threads.iothreads))
        self._keep(kept)
        return expected

    def forget(self, server: str) -> None:
        """Drop the reservation of a guest that starts with its pins, for these are reserved from now on."""
        self._keep({uuid: item for uuid, item in self._reserved.items() if uuid != server})

    def forget_unclaimed(self, expected: IncomingMigrations, consumers: Container[str]) -> None:
        """Drop the reservations of guests that have no claim here any more: their migration has failed.

        :param consumers: the ids of all that has claimed something on this host
        """
        for uuid in [uuid for uuid in expected.reserved if uuid not in consumers]:
            del expected.reserved[uuid]
        self._keep({uuid: item for uuid, item in self._reserved.items() if uuid in expected.reserved})

    def reserve(
        self,
        expected: IncomingMigrations,
        layouts: Mapping[str, GuestLayout],
        problems: Mapping[str, str],
        occupancy: Occupancy,
        housekeeping: CpuSet,
    ) -> dict[int, Answer]:
        """Answer all questions of the pass, and reserve the CPUs that are in the answers.

        A guest whose CPUs are not free yet begins on the housekeeping CPUs, and is pinned once it runs.

        :param layouts: server id to where its threads should be
        :param problems: server id to why that is not what its template says
        :param occupancy: which guest is on which CPUs of the dedicated pool now
        :returns: the answers by the numbers of the questions
        """
        reserved, answers = dict(self._reserved), dict(expected.refused)
        for number, uuid in expected.order.items():
            guest, layout, reason = expected.asked[uuid], layouts[uuid], problems.get(uuid, "")
            blocker = occupancy.blocker(uuid, CpuSet.union([*layout.vcpus, layout.emulator]))
            if blocker is not None:
                layout = replace(layout, vcpus=(housekeeping,) * len(layout.vcpus), emulator=housekeeping)
                reason = f"server {blocker} is still on its CPUs"
            reserved[uuid] = Reservation(guest.domain.xml, layout, self._clock() + PATIENCE_SECONDS)
            answers[number] = Answer(str(guest), _threads(layout, guest.threads.iothreads), layout.memory_nodes, reason)
        try:
            self._save(reserved)
        except OSError as error:
            reason = f"its CPUs could not be reserved in {self._path}: {error}"
            return expected.refused | {
                number: Answer(str(expected.asked[uuid]), None, reason=reason)
                for number, uuid in expected.order.items()
            }
        self._reserved = reserved
        return answers

    def _keep(self, reserved: dict[str, Reservation]) -> None:
        """Drop all other reservations. Where that cannot be written they are dropped again when they are read."""
        with contextlib.suppress(OSError):
            self._save(reserved)
        self._reserved = reserved

    def _save(self, reserved: Mapping[str, Reservation]) -> None:
        """Write the reservations before an answer is given that counts on them."""
        if self._path is not None and reserved != self._reserved:
            write_state(self._path, [_to_json(item) for item in reserved.values()])


def incoming_guest(xml: str, anywhere: CpuSet) -> Guest:
    """An incoming guest as if it ran here and were not pinned.

    A binding of its memory that the agent of the source host has set is dropped, for it is of that host's nodes.

    :param anywhere: the CPUs on which a guest runs that is not pinned

    :raises InvalidDomain: if the XML is not that of a guest of a template
    :raises InvalidRequest: if its flavor asks for what cannot be
    """
    guest = incoming_domain(xml, anywhere)
    identity, request = guest.identity, guest.identity.request
    if request is None:
        raise exceptions.InvalidDomain(guest.domain.name, "its flavor names no template")
    if identity.memory_mode == "restrictive":
        identity = replace(identity, memory_nodes=CpuSet(), memory_mode="")
    return Guest(guest.domain, identity, guest.threads, request)


def incoming_domain(xml: str, anywhere: CpuSet) -> ObservedGuest:
    """An incoming guest, of a template or not, as if it ran here and were not pinned.

    :param anywhere: the CPUs on which a guest runs that is not pinned

    :raises InvalidDomain: if the XML is not that of a guest
    :raises InvalidRequest: if its flavor asks for what cannot be
    """
    if "<!DOCTYPE" in xml:
        raise exceptions.InvalidDomain("?", "it has a document type")
    try:
        root = ET.fromstring(xml)
        name, uuid = root.findtext("name", ""), root.findtext("uuid", "")
        iothreads = _iothreads(root)
    except (ET.ParseError, ValueError) as error:
        raise exceptions.InvalidDomain("?", str(error)) from error
    if not uuid:
        raise exceptions.InvalidDomain(name, "it has no <uuid>")
    domain = Domain(uuid, name, xml, _DEFAULT_SCHEDULER)
    identity = identify(domain)
    threads = Threads(dict.fromkeys(range(identity.vcpus), anywhere), anywhere, dict.fromkeys(iothreads, anywhere))
    return ObservedGuest(domain, identity, threads)


def _iothreads(root: ET.Element) -> list[int]:
    """The ids of a guest's I/O threads: those that are listed, and the lowest others up to their count."""
    ids = {read_whole_number(thread.get("id"), IOTHREAD_IDS) for thread in root.iterfind("iothreadids/iothread")}
    count = read_whole_number(root.findtext("iothreads", "0").strip(), _IOTHREAD_COUNTS)
    number = 1
    while len(ids) < count:
        ids.add(number)
        number += 1
    return sorted(ids)


def _threads(layout: GuestLayout, iothreads: Iterable[int]) -> Threads:
    return Threads(dict(enumerate(layout.vcpus)), layout.emulator, dict.fromkeys(iothreads, layout.emulator))


def _to_json(reservation: Reservation) -> dict[str, object]:
    return {
        "xml": reservation.xml,
        "vcpus": [str(cpus) for cpus in reservation.layout.vcpus],
        "emulator": str(reservation.layout.emulator),
        "until": reservation.until,
    }


def _parse(state: Iterable[Mapping[str, Any]]) -> dict[str, Reservation]:
    """The reservations of the agent that ran before."""
    found = {}
    for entry in state:
        vcpus = tuple(CpuSet.parse(cpus) for cpus in entry["vcpus"])
        layout = GuestLayout(vcpus, CpuSet.parse(entry["emulator"]))
        guest = incoming_guest(entry["xml"], layout.emulator)
        found[guest.uuid] = Reservation(entry["xml"], layout, float(entry["until"]))
    return found
