# SPDX-License-Identifier: Apache-2.0
"""Keeps interrupts off CPUs that are to be free of them, and gives them back what they had.

What an interrupt had is written down before it is moved, so that it can be restored later: by this agent when the CPUs
need not be free any more, by the next one after a crash, or by ``kongming-host release --all``.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kongming_sched.agent.host.noise import move_interrupt, read_interrupts
from kongming_sched.agent.model.noise import Interrupt
from kongming_sched.agent.state.json_file import load_state, write_state
from kongming_sched.cpuset import CpuSet
from kongming_sched.texts.whole_number import read_whole_number

FILE_NAME = "interrupts.json"

_NUMBERS = range(2**31)
_NOT_ALLOWED = (errno.EROFS, errno.EPERM, errno.EACCES)
"""What is said of /proc/irq to a process that may not write there; of an interrupt that stays it is another error."""


@dataclass(frozen=True, slots=True)
class Record:
    """What was done to an interrupt.

    :ivar names: of its handlers, for another device may get the number later
    :ivar before: the CPUs that might serve it before it was moved first
    :ivar given: those that it was given last
    """

    names: tuple[str, ...]
    before: CpuSet
    given: CpuSet


class Interrupts:
    """Moves the interrupts of a host.

    :param path: the file of records; None to keep them in memory
    :param root: of the file system
    """

    def __init__(self, path: Path | None = None, root: Path = Path("/")) -> None:
        self._path = path
        self._root = root
        self._records: dict[int, Record] = load_state(path, _records, {})
        self._refused: dict[int, CpuSet] = {}

    def run(self, free: CpuSet) -> list[str]:
        """Keep these CPUs free of interrupts; gives what was done, in words.

        An interrupt that something else has moved since it was moved here is taken as it is now. One that the kernel
        does not let be moved, or that would have no CPU left, stays.

        :raises OSError: if what interrupts had cannot be written down, and then none is moved; or if this process may
            not move any
        """
        if not free and not self._records:
            return []
        found = list(read_interrupts(self._root))
        wanted = plan_interrupts(found, self._records, free)
        for interrupt in found:
            if self._refused.get(interrupt.number) == interrupt.allowed:
                wanted.pop(interrupt.number, None)
        self._save(wanted)
        done = []
        for interrupt in found:
            record = wanted.get(interrupt.number)
            if record is None or record.given == interrupt.allowed:
                continue
            try:
                move_interrupt(interrupt.number, record.given, self._root)
            except OSError as error:
                if error.errno in _NOT_ALLOWED:
                    raise
                self._refused[interrupt.number] = interrupt.allowed
                del wanted[interrupt.number]
                continue
            done.append(f"interrupt {interrupt}: CPU {interrupt.allowed} -> {record.given}")
        with contextlib.suppress(OSError):  # a record too many is dropped again later
            self._save({number: record for number, record in wanted.items() if record.given != record.before})
        return done

    def _save(self, records: Mapping[int, Record]) -> None:
        if self._path is not None and records != self._records:
            write_state(self._path, {str(number): _to_json(record) for number, record in records.items()})
        self._records = dict(records)


def plan_interrupts(found: Iterable[Interrupt], records: Mapping[int, Record], free: CpuSet) -> dict[int, Record]:
    """Number to what each interrupt is to be given, of those that are not, or shall not be, as they were. Pure.

    :param records: what was done so far
    """
    plan = {}
    for interrupt in found:
        record = records.get(interrupt.number)
        is_ours = record is not None and (record.names, record.given) == (interrupt.names, interrupt.allowed)
        before = record.before if record is not None and is_ours else interrupt.allowed
        given = before - free or before
        if given != before or is_ours:
            plan[interrupt.number] = Record(interrupt.names, before, given)
    return plan


def _to_json(record: Record) -> dict[str, object]:
    return {"names": list(record.names), "before": str(record.before), "given": str(record.given)}


def _records(state: Mapping[str, Any]) -> dict[int, Record]:
    """The records of the agent that ran before."""
    return {
        read_whole_number(number, _NUMBERS): Record(
            tuple(map(str, entry["names"])), CpuSet.parse(entry["before"]), CpuSet.parse(entry["given"])
        )
        for number, entry in state.items()
    }
