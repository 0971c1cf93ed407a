# SPDX-License-Identifier: Apache-2.0
"""Guests on their way here: what they are told, and the CPUs that are booked for them until they run.

A guest that is asked for is laid out like one that runs and is not pinned yet. What it was told is where it is from
then on: nobody else gets these CPUs, until the guest is seen running or has not come in time.
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
from kongming_sched.agent.model.guest import Domain, Guest, Threads, identify
from kongming_sched.agent.model.view import GuestLayout
from kongming_sched.agent.state.json_file import load_state, write_state
from kongming_sched.cpuset import CpuSet
from kongming_sched.texts.whole_number import read_whole_number

RESERVATIONS_NAME = "arrivals.json"
"""The file in the run directory that holds the CPUs booked for guests on their way."""

PATIENCE_SECONDS = 120.0
"""How long a guest may take from the hook to running; libvirt starts its QEMU right after the hook."""

_IOTHREADS = range(1025)
"""Numbers of I/O threads, more of which no guest has."""

_DEFAULT_SCHEDULER = dict.fromkeys(("cpu_shares", "vcpu_period", "vcpu_quota", "emulator_period", "emulator_quota"), 0)
"""An arriving guest has a cpu controller for all that is known; its real values are seen when it runs."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a hook is told.

    :ivar server: the guest, as people know it
    :ivar pins: as the hook reads them; None if the agent cannot say
    :ivar reason: why not, or why it is not what the guest's template says
    """

    server: str
    pins: Mapping[str, object] | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a guest on its way was told.

    :ivar until: when it is given up, by the clock that counts from the machine's start
    """

    xml: str
    told: GuestLayout
    until: float


@dataclass(slots=True)
class IncomingMigrations:
    """The guests on their way, during one look.

    :ivar asked: those for which a hook waits, by server id
    :ivar booked: those that were told where to be, by server id; threads are where they were told
    :ivar refused: answers to those that cannot be asked for, by the number of the question
    :ivar order: the server id of each question
    """

    asked: dict[str, Guest] = field(default_factory=dict)
    booked: dict[str, Guest] = field(default_factory=dict)
    refused: dict[int, Answer] = field(default_factory=dict)
    order: dict[int, str] = field(default_factory=dict)

    @property
    def guests(self) -> tuple[Guest, ...]:
        """All of them."""
        return (*self.booked.values(), *self.asked.values())


class Reservations:
    """Who was told which CPUs and has not come yet. It survives the agent, but not a restart of the machine.

    :param path: the file that holds them; None to keep them in memory
    :param clock: seconds since the machine's start
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._reserved: dict[str, Reservation] = load_state(path, _parse, {})

    @classmethod
    def read_only(cls, path: Path) -> Reservations:
        """Those of a running agent as they are now; what becomes of them here is not written down."""
        reservations = cls()
        reservations._reserved = load_state(path, _parse, {})
        return reservations

    def __len__(self) -> int:
        return len(self._reserved)

    def expect(self, questions: Sequence[str], running: Iterable[str], anywhere: CpuSet) -> IncomingMigrations:
        """The guests on their way, with those that are asked for now.

        :param questions: the XML of each guest that is asked for
        :param running: the ids of the domains that run, which are not on their way any more
        :param anywhere: the CPUs on which a guest runs that is not pinned
        """
        now, here = self._clock(), set(running)
        kept = {uuid: booking for uuid, booking in self._reserved.items() if uuid not in here and booking.until > now}
        expected = IncomingMigrations()
        for number, xml in enumerate(questions):
            try:
                guest = incoming_guest(xml, anywhere)
            except (exceptions.InvalidDomain, exceptions.InvalidRequest) as error:
                expected.refused[number] = Answer("a guest on its way", None, str(error))
                continue
            if guest.uuid in here:
                expected.refused[number] = Answer(str(guest), None, "it runs here already")
                continue
            expected.order[number] = guest.uuid
            expected.asked[guest.uuid] = guest
            kept.pop(guest.uuid, None)
        for uuid, booking in kept.items():
            guest = incoming_guest(booking.xml, anywhere)
            expected.booked[uuid] = replace(guest, threads=_threads(booking.told, guest.threads.iothreads))
        self._keep(kept)
        return expected

    def forget_unclaimed(self, expected: IncomingMigrations, consumers: Container[str]) -> None:
        """Give those up that have no claim here any more: their move has failed.

        :param consumers: whoever has claimed something on this host
        """
        for uuid in [uuid for uuid in expected.booked if uuid not in consumers]:
            del expected.booked[uuid]
        self._keep({uuid: booking for uuid, booking in self._reserved.items() if uuid in expected.booked})

    def book(
        self,
        expected: IncomingMigrations,
        layouts: Mapping[str, GuestLayout],
        problems: Mapping[str, str],
        occupancy: Occupancy,
        housekeeping: CpuSet,
    ) -> dict[int, Answer]:
        """Answer everything that was asked, and book what is told.

        A guest whose CPUs are not free yet is told to wait on the housekeeping CPUs, and is pinned when it runs.

        :param occupancy: who is where now
        """
        booked, answers = dict(self._reserved), dict(expected.refused)
        for number, uuid in expected.order.items():
            guest, layout, reason = expected.asked[uuid], layouts[uuid], problems.get(uuid, "")
            blocker = occupancy.blocker(uuid, CpuSet.union([*layout.vcpus, layout.emulator]))
            if blocker is not None:
                layout = replace(layout, vcpus=(housekeeping,) * len(layout.vcpus), emulator=housekeeping)
                reason = f"server {blocker} is still on its CPUs"
            booked[uuid] = Reservation(guest.domain.xml, layout, self._clock() + PATIENCE_SECONDS)
            answers[number] = Answer(str(guest), _pins(layout, guest.threads.iothreads), reason)
        try:
            self._save(booked)
        except OSError as error:
            reason = f"its CPUs could not be booked in {self._path}: {error}"
            return expected.refused | {
                number: Answer(str(expected.asked[uuid]), None, reason) for number, uuid in expected.order.items()
            }
        self._reserved = booked
        return answers

    def _keep(self, booked: dict[str, Reservation]) -> None:
        """Drop bookings. Where that cannot be written down they are dropped again when they are read."""
        with contextlib.suppress(OSError):
            self._save(booked)
        self._reserved = booked

    def _save(self, booked: Mapping[str, Reservation]) -> None:
        """Write the bookings down before anybody counts on them."""
        if self._path is not None and booked != self._reserved:
            write_state(self._path, [_to_json(booking) for booking in booked.values()])


def incoming_guest(xml: str, anywhere: CpuSet) -> Guest:
    """A guest on its way, not pinned, as it shall be seen by whoever decides about it.

    The binding of its memory is the source's, which means nothing here, if it was the agent there that set it.

    :raises InvalidDomain: if the XML is not that of a guest of a template
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
    request = identity.request
    if request is None:
        raise exceptions.InvalidDomain(name, "its flavor names no template")
    if identity.memory_mode == "restrictive":
        identity = replace(identity, memory_nodes=CpuSet(), memory_mode="")
    threads = Threads(dict.fromkeys(range(identity.vcpus), anywhere), anywhere, dict.fromkeys(iothreads, anywhere))
    return Guest(domain, identity, threads, request)


def _iothreads(root: ET.Element) -> list[int]:
    """The ids of a guest's I/O threads: those that are listed, and the lowest others up to their count."""
    ids = {read_whole_number(thread.get("id"), _IOTHREADS) for thread in root.iterfind("iothreadids/iothread")}
    count = read_whole_number(root.findtext("iothreads", "0").strip(), _IOTHREADS)
    number = 1
    while len(ids) < count:
        ids.add(number)
        number += 1
    return sorted(ids)


def _threads(told: GuestLayout, iothreads: Iterable[int]) -> Threads:
    return Threads(dict(enumerate(told.vcpus)), told.emulator, dict.fromkeys(iothreads, told.emulator))


def _pins(layout: GuestLayout, iothreads: Iterable[int]) -> dict[str, object]:
    """A layout in the words that the hook reads."""
    return {
        "vcpupin": {str(vcpu): str(cpus) for vcpu, cpus in enumerate(layout.vcpus)},
        "emulatorpin": str(layout.emulator),
        "iothreadpin": {str(number): str(layout.emulator) for number in iothreads},
        "memory": str(layout.memory_nodes),
    }


def _to_json(booking: Reservation) -> dict[str, object]:
    return {
        "xml": booking.xml,
        "vcpus": [str(cpus) for cpus in booking.told.vcpus],
        "emulator": str(booking.told.emulator),
        "until": booking.until,
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
