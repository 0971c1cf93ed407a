# SPDX-License-Identifier: Apache-2.0
"""Guests without a template: kept off the dedicated pool, if the operator wants that, and given back what they had.

What their threads had is written down before the first of them is pinned, so that it can be restored later: by this
agent when the option goes off, by the next one after a crash, or by ``kongming-host release --all``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kongming_sched import exceptions
from kongming_sched.agent.act.helpers import HelperThreads
from kongming_sched.agent.host.ports import Pinning, ThreadKernel, pin_thread
from kongming_sched.agent.model.actions import Kind, ThreadKey
from kongming_sched.agent.model.guest import ObservedGuest, RunningGuest
from kongming_sched.agent.state.json_file import load_state, write_state
from kongming_sched.cpuset import CpuSet
from kongming_sched.texts.whole_number import IOTHREAD_IDS, read_whole_number

FILE_NAME = "confined.json"

_EMULATOR = ThreadKey(Kind.EMULATOR)


@dataclass(frozen=True, slots=True)
class Record:
    """What was done to one run of a guest.

    :ivar start: libvirt's number of that run
    :ivar before: the CPUs that its threads had before the first of them was pinned
    :ivar given: the CPUs that they were pinned to last
    """

    start: str
    before: Mapping[ThreadKey, CpuSet]
    given: Mapping[ThreadKey, CpuSet]


@dataclass(slots=True)
class Confined:
    """What was done to guests without a template.

    :ivar done: a guest, and a thread of it that was pinned, in words
    :ivar problems: a guest, and why it is on the pool still, or was not given back what it had
    """

    done: list[tuple[RunningGuest, str]] = field(default_factory=list)
    problems: list[tuple[RunningGuest, str]] = field(default_factory=list)


class Confinement:
    """Confines and restores the guests of a host that have no template.

    :param path: the file of records; None to keep them in memory
    """

    def __init__(self, hypervisor: Pinning, kernel: ThreadKernel, path: Path | None = None) -> None:
        self._hypervisor = hypervisor
        self._kernel = kernel
        self._helpers = HelperThreads(kernel)
        self._path = path
        self._records: dict[str, Record] = load_state(path, _records, {})

    def run(
        self,
        unmanaged: Iterable[RunningGuest],
        dedicated: CpuSet,
        online: CpuSet,
        is_wanted: Callable[[RunningGuest], bool],
        unread: Collection[str] = (),
    ) -> Confined:
        """Bring the threads of each guest to where they should be.

        :param dedicated: the pool that they are to be kept off
        :param is_wanted: whether a guest is to be confined; any other gets back what it had
        :param unread: server ids of running guests that cannot be read now; what they had is remembered
        """
        confined = Confined()
        kept_off: list[ObservedGuest] = []
        here = {guest.uuid: guest for guest in unmanaged}
        self._keep(
            {uuid: record for uuid, record in self._records.items() if uuid in unread or _is_of(record, here.get(uuid))}
        )
        for uuid, guest in sorted(here.items()):
            wanted = is_wanted(guest)
            if not wanted and uuid not in self._records:
                continue
            try:
                if wanted:
                    kept_off.append(self._confine(guest, dedicated, online, confined))
                else:
                    self._restore(guest, online, confined)
            except exceptions.GuestGone:
                continue
            except exceptions.HypervisorUnavailable:
                raise
            except (exceptions.HypervisorError, OSError) as error:
                confined.problems.append((guest, str(error)))
        followed = self._helpers.run(kept_off)
        confined.done += followed.done
        confined.problems += [
            (guest, f"{thread} may run on CPU {inside} of dedicated_cpu_set: {error}")
            for guest, thread, error in followed.refused
            if (inside := thread.cpus & dedicated)
        ]
        return confined

    def _confine(self, guest: RunningGuest, dedicated: CpuSet, online: CpuSet, confined: Confined) -> ObservedGuest:
        """Pin what libvirt pins; gives the guest as it is then."""
        uuid = guest.uuid
        seen = self._kernel.threads(guest.domain)
        threads = seen.by_key()
        record = self._records.get(uuid, Record(guest.identity.start, {}, {}))
        moves = plan_confinement(threads, record, dedicated, online)
        inside = CpuSet.union(cpus & dedicated for key, cpus in threads.items() if key not in moves)
        if inside:
            reason = (
                f"it has no template and is pinned to CPU {inside} of dedicated_cpu_set alone; pin it elsewhere, or"
                " take these CPUs out of dedicated_cpu_set"
            )
            confined.problems.append((guest, reason))
        if moves and not self._hypervisor.is_busy(guest.domain):
            before = {key: threads[key] for key in moves} | dict(record.before)
            self._save(self._records | {uuid: Record(record.start, before, {**record.given, **moves})})
            self._pin(guest, threads, moves, confined)
            seen = replace(seen, emulator=moves.get(_EMULATOR, seen.emulator))
        return ObservedGuest(guest.domain, guest.identity, seen)

    def _restore(self, guest: RunningGuest, online: CpuSet, confined: Confined) -> None:
        """Give threads back what they had, except those that were pinned by other means since."""
        record = self._records[guest.uuid]
        seen = self._kernel.threads(guest.domain)
        threads = seen.by_key()
        moves = {
            key: record.before[key] & online
            for key, cpus in threads.items()
            if key in record.given and cpus == record.given[key] and record.before[key] & online
        }
        if moves and self._hypervisor.is_busy(guest.domain):
            return
        self._pin(guest, threads, moves, confined)
        if _EMULATOR in moves:
            confined.done += self._helpers.give_back(guest, seen, moves[_EMULATOR]).done
        self._save({uuid: kept for uuid, kept in self._records.items() if uuid != guest.uuid})

    def _pin(
        self,
        guest: RunningGuest,
        threads: Mapping[ThreadKey, CpuSet],
        moves: Mapping[ThreadKey, CpuSet],
        confined: Confined,
    ) -> None:
        for key in sorted(moves):
            pin_thread(self._hypervisor, guest.domain, key, moves[key])
            confined.done.append((guest, f"{key}: CPU {threads[key]} -> {moves[key]}"))

    def _keep(self, records: dict[str, Record]) -> None:
        """Drop records of guests that are gone. Where that cannot be written down they are dropped again later."""
        with contextlib.suppress(OSError):
            self._save(records)
        self._records = records

    def _save(self, records: dict[str, Record]) -> None:
        if self._path is not None and records != self._records:
            write_state(self._path, {uuid: _to_json(record) for uuid, record in records.items()})
        self._records = records


def plan_confinement(
    threads: Mapping[ThreadKey, CpuSet], record: Record, dedicated: CpuSet, online: CpuSet
) -> dict[ThreadKey, CpuSet]:
    """Where threads are to be pinned. Pure.

    A thread keeps all of what it had before but the pool; one that is pinned clear of the pool is left alone, and so is
    one that would have nothing left.
    """
    moves = {}
    for key, cpus in threads.items():
        if cpus.isdisjoint(dedicated) and cpus != record.given.get(key):
            continue
        wanted = (record.before.get(key, cpus) & online) - dedicated
        if wanted and wanted != cpus:
            moves[key] = wanted
    return moves


def _is_of(record: Record, guest: RunningGuest | None) -> bool:
    return guest is not None and record.start == guest.identity.start


def _to_json(record: Record) -> dict[str, object]:
    def rows(pins: Mapping[ThreadKey, CpuSet]) -> list[list[object]]:
        return [[str(thread.kind), thread.number, str(pins[thread])] for thread in sorted(pins)]

    return {"start": record.start, "before": rows(record.before), "given": rows(record.given)}


def _records(state: Mapping[str, Any]) -> dict[str, Record]:
    """The records of the agent that ran before."""

    def pins(rows: Iterable[tuple[str, int, str]]) -> dict[ThreadKey, CpuSet]:
        return {
            ThreadKey(Kind(kind), read_whole_number(str(number), IOTHREAD_IDS)): CpuSet.parse(cpus)
            for kind, number, cpus in rows
        }

    return {
        str(uuid): Record(str(entry["start"]), pins(entry["before"]), pins(entry["given"]))
        for uuid, entry in state.items()
    }
