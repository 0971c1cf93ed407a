# SPDX-License-Identifier: Apache-2.0
"""Starting guests: the CPUs to which Nova's XML pins them, which are kept for them until they run.

Nova pins a guest that it lays out itself to CPUs of the dedicated pool which are free by its own account. libvirt's
hook asks the agent to clear these before the guest runs. From then on no other guest gets them, until the guest is seen
on them, has not come to that in time, or its start has failed.
"""

from __future__ import annotations

import contextlib
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kongming_sched import exceptions
from kongming_sched.agent.model.guest import Guest, ObservedGuest, Threads, libvirt_pins
from kongming_sched.agent.state.json_file import load_state, write_state
from kongming_sched.agent.state.reservations import incoming_guest
from kongming_sched.cpuset import CpuSet

STARTS_NAME = "starts.json"
"""The file in the run directory that holds the reservations."""

PATIENCE_SECONDS = 120.0
"""How long a guest may take from libvirt's hook to running with its pins: huge pages are cleared first."""


@dataclass(frozen=True, slots=True)
class _Start:
    """A guest that starts.

    :ivar xml: as libvirt handed it to its hook
    :ivar since: when its CPUs were reserved, by the clock that counts from the machine's start
    """

    xml: str
    since: float


class Starts:
    """The starting guests of a host. They outlive the agent, but not a restart of the machine.

    :param path: the file that holds them; None to keep them in memory
    :param clock: seconds since the machine's start
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._starts: dict[str, _Start] = load_state(path, _parse, {})

    @classmethod
    def read_only(cls, path: Path) -> Starts:
        """Those of a running agent as they are now; changes to them here are not written down."""
        starts = cls()
        starts._starts = load_state(path, _parse, {})
        return starts

    def now(self) -> float:
        """The time by which reservations are kept."""
        return self._clock()

    def guests(self, anywhere: CpuSet) -> tuple[Guest, ...]:
        """The starting guests, as if they ran with the pins of their XML.

        :param anywhere: the CPUs of a thread that is not pinned
        """
        return tuple(starting_guest(start.xml, anywhere) for start in self._starts.values())

    def reserve(self, guest: Guest) -> None:
        """Keep the CPUs of a starting guest for it.

        :raises OSError: if that cannot be written down
        """
        self._save(self._starts | {guest.uuid: _Start(guest.domain.xml, self._clock())})

    def forget(self, servers: Collection[str]) -> None:
        """Drop the reservations of these guests."""
        self._keep({uuid: start for uuid, start in self._starts.items() if uuid not in servers})

    def settle(self, listed: Collection[str], since: float, observed: Iterable[ObservedGuest]) -> frozenset[str]:
        """Drop the reservations that have ended; gives the ids of the guests that are starting still.

        A guest that starts is among libvirt's running ones from before the hook is called. If it is not there any more
        its start has failed.

        :param listed: the ids of the running domains
        :param since: when libvirt was asked for these
        :param observed: of these, those of which the threads are known
        """
        running = {guest.uuid: guest.threads for guest in observed}

        def is_over(uuid: str, start: _Start) -> bool:
            has_failed = uuid not in listed and start.since < since
            is_late = self._clock() - start.since > PATIENCE_SECONDS
            return has_failed or is_late or (uuid in running and _has_its_pins(start.xml, running[uuid]))

        self._keep({uuid: start for uuid, start in self._starts.items() if not is_over(uuid, start)})
        return frozenset(self._starts)

    def _keep(self, starts: dict[str, _Start]) -> None:
        """Drop all others. Where that cannot be written they are dropped again when they are read."""
        with contextlib.suppress(OSError):
            self._save(starts)
        self._starts = starts

    def _save(self, starts: dict[str, _Start]) -> None:
        if self._path is not None and starts != self._starts:
            write_state(self._path, {uuid: {"xml": item.xml, "since": item.since} for uuid, item in starts.items()})
        self._starts = starts


def starting_guest(xml: str, anywhere: CpuSet) -> Guest:
    """A guest that starts, as if it ran with the pins of its XML.

    :param xml: as libvirt hands it to its hook
    :param anywhere: the CPUs of a thread that is not pinned
    :raises InvalidDomain: if the XML is not that of a guest of a template
    :raises InvalidRequest: if its flavor asks for what cannot be
    """
    guest = incoming_guest(xml, anywhere)
    try:
        pins = libvirt_pins(guest.domain, anywhere)
    except (ET.ParseError, exceptions.InvalidCpuSet, exceptions.InvalidNumber) as error:
        raise exceptions.InvalidDomain(guest.domain.name, str(error)) from error
    # A vCPU may have a pin and no thread yet, because it can be added later.
    vcpus = {vcpu: cpus for vcpu, cpus in pins.vcpus.items() if vcpu < guest.identity.vcpus}
    iothreads = dict.fromkeys(guest.threads.iothreads, anywhere) | dict(pins.iothreads)
    return replace(guest, threads=Threads(vcpus, pins.emulator, iothreads))


def is_clear_of(pool: CpuSet, xml: str) -> bool:
    """Whether no thread of a starting guest is pinned inside a pool, or this is the XML of no guest of a template."""
    try:
        guest = starting_guest(xml, CpuSet())
    except (exceptions.InvalidDomain, exceptions.InvalidRequest):
        return True
    return all(not cpus or not cpus <= pool for cpus in guest.threads.by_key().values())


def _has_its_pins(xml: str, threads: Threads) -> bool:
    """Whether libvirt has set all pins of a guest's XML, which it does one after the other while the guest starts."""
    wanted = starting_guest(xml, CpuSet()).threads.by_key()
    now = threads.by_key()
    return all(now.get(thread) == cpus for thread, cpus in wanted.items() if cpus)


def _parse(state: Mapping[str, Any]) -> dict[str, _Start]:
    """The reservations of the agent that ran before."""
    found = {}
    for uuid, entry in state.items():
        starting_guest(entry["xml"], CpuSet())
        found[str(uuid)] = _Start(str(entry["xml"]), float(entry["since"]))
    return found
