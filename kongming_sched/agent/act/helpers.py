# SPDX-License-Identifier: Apache-2.0
"""Keeps the threads that libvirt does not pin by themselves on the CPUs of their guest's emulator.

A thread starts with the affinity of the one that makes it. Where libvirt has the controller cpuset, it moves QEMU's
threads with the emulator; elsewhere those that were there before the guest was pinned stay where they were, which is
on any CPU, and the kernel's own threads are on any CPU as well.

A pass reads only what may have changed: all threads of a guest that is new or whose emulator has moved, new threads,
and those of a thirtieth of the guests, so that a thread which something else has moved is found after thirty passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kongming_sched import exceptions
from kongming_sched.agent.host.helper_threads import helpers_of
from kongming_sched.agent.host.ports import HelperPinner
from kongming_sched.agent.model.actions import Unit
from kongming_sched.agent.model.guest import HelperThread, ObservedGuest, RunningGuest, Threads
from kongming_sched.agent.model.problem import Problem, Reason, server
from kongming_sched.cpuset import CpuSet

_PASSES = 30
"""In how many passes each thread is read at least once."""


@dataclass(frozen=True, slots=True)
class _Checked:
    """What is known of a guest since its threads were read last.

    :ivar numbers: the threads that were on the emulator's CPUs, or were put there
    """

    run: tuple[str, str]
    emulator: CpuSet
    numbers: frozenset[int]


@dataclass(slots=True)
class Followed:
    """What was done with helper threads.

    :ivar done: a guest, and a thread of it that was moved, in words
    :ivar refused: a guest, a thread of it that is not on the emulator's CPUs, and why it cannot be moved
    """

    done: list[tuple[RunningGuest, str]] = field(default_factory=list)
    refused: list[tuple[RunningGuest, HelperThread, str]] = field(default_factory=list)


def intruders(followed: Followed, units: Iterable[Unit], dedicated: CpuSet) -> dict[str, Problem]:
    """Server id to the problem of a guest with a thread on CPUs that another guest has alone. Pure.

    :param units: the threads of all guests of templates as they are now
    """
    found = {}
    pinned = [unit for unit in units if unit.current <= dedicated] if followed.refused else []
    for guest, thread, error in followed.refused:
        taken = CpuSet.union(unit.current & thread.cpus for unit in pinned if unit.guest != guest.uuid)
        if taken:
            text = f"{thread} may run on CPU {taken}, which another server has alone: {error}"
            found[guest.uuid] = Problem(Reason.REFUSED, server(guest), text)
    return found


class HelperThreads:
    """Moves helper threads to where the emulators of their guests are."""

    def __init__(self, kernel: HelperPinner) -> None:
        self._kernel = kernel
        self._checked: dict[str, _Checked] = {}
        self._turn = 0

    def run(self, guests: Iterable[ObservedGuest]) -> Followed:
        """Move those that may run elsewhere. One that may run on a part of the emulator's CPUs only is left there.

        :param guests: all that are looked after, with their threads as they are now
        """
        followed = Followed()
        here = sorted(guests, key=lambda guest: guest.uuid)
        of_kernel = self._kernel.kernel_threads() if here else {}
        checked, self._checked = self._checked, {}
        for place, guest in enumerate(here):
            threads, known = guest.threads, checked.get(guest.uuid)
            helpers = helpers_of(threads, of_kernel)
            is_turn = place % _PASSES == self._turn
            if known is None or is_turn or known.run != guest.run or known.emulator != threads.emulator:
                due = helpers
            else:
                due = {number: name for number, name in helpers.items() if number not in known.numbers}
            left = self._move(guest, due, followed)
            self._checked[guest.uuid] = _Checked(guest.run, threads.emulator, frozenset(helpers) - left)
        self._turn = (self._turn + 1) % _PASSES
        return followed

    def give_back(self, guest: RunningGuest, threads: Threads, emulator: CpuSet) -> Followed:
        """Let the threads that were kept with the emulator run wherever that may run again.

        :param threads: as they were before the emulator was given back what it had
        :param emulator: the CPUs that it has now
        """
        followed = Followed()
        helpers = helpers_of(threads, self._kernel.kernel_threads())
        for thread in self._read(guest, helpers, followed):
            if thread.cpus <= threads.emulator and thread.cpus != emulator:
                self._pin(guest, thread, emulator, threads.pid, followed)
        self._checked.pop(guest.uuid, None)
        return followed

    def _move(self, guest: ObservedGuest, helpers: Mapping[int, str], followed: Followed) -> frozenset[int]:
        """Move what is not where the emulator is; gives the threads that have to be read again in the next pass."""
        threads, emulator = guest.threads, guest.threads.emulator
        before = len(followed.refused)
        for thread in self._read(guest, helpers, followed):
            if not thread.cpus <= emulator:
                self._pin(guest, thread, emulator, threads.pid, followed)
        return frozenset(thread.number for _, thread, _ in followed.refused[before:])

    def _read(self, guest: RunningGuest, helpers: Mapping[int, str], followed: Followed) -> list[HelperThread]:
        found = []
        for number, name in sorted(helpers.items()):
            try:
                thread = self._kernel.helper(number, name)
            except exceptions.KernelError as error:
                followed.refused.append((guest, HelperThread(number, name, CpuSet()), str(error)))
                continue
            if thread is not None:
                found.append(thread)
        return found

    def _pin(self, guest: RunningGuest, thread: HelperThread, cpus: CpuSet, pid: int, followed: Followed) -> None:
        try:
            self._kernel.pin_helper(thread, cpus, pid)
        except exceptions.KernelError as error:
            followed.refused.append((guest, thread, str(error)))
            return
        followed.done.append((guest, f"{thread}: CPU {thread.cpus} -> {cpus}"))
