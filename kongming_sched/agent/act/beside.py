# SPDX-License-Identifier: Apache-2.0
"""What else there is to guests that are pinned: real time, threads that libvirt does not pin, and interrupts."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kongming_sched.agent.act.helpers import HelperThreads, intruders
from kongming_sched.agent.act.interrupts import FILE_NAME, Interrupts
from kongming_sched.agent.act.realtime import set_policies
from kongming_sched.agent.host.ports import KernelBeside
from kongming_sched.agent.model.actions import Unit
from kongming_sched.agent.model.guest import ObservedGuest
from kongming_sched.agent.model.problem import Problem, Reason, Subject, SubjectKind, server
from kongming_sched.agent.model.view import GuestLayout
from kongming_sched.cpuset import CpuSet

_HOST = Subject(SubjectKind.HOST)


@dataclass(frozen=True, slots=True)
class Cleared:
    """What was done beside the pins.

    :ivar done: in words, each with the guest or the host
    :ivar problems: server id, or nothing for the host, to what is in the way
    """

    done: tuple[tuple[Subject, str], ...]
    problems: dict[str, Problem]


class BesideGuests:
    """Runs vCPUs in real time, and clears the CPUs of guests.

    :param directory: of the agent's files; None to keep everything in memory
    :param moves_irqs: whether interrupts are kept off the CPUs of real-time guests
    """

    def __init__(self, kernel: KernelBeside, directory: Path | None = None, moves_irqs: bool = False) -> None:
        self._kernel = kernel
        self._threads = HelperThreads(kernel)
        self._interrupts = Interrupts(directory and directory / FILE_NAME)
        self._moves_irqs = moves_irqs

    def run(
        self,
        guests: Sequence[ObservedGuest],
        units: Iterable[Unit],
        dedicated: CpuSet,
        layouts: Mapping[str, GuestLayout],
    ) -> Cleared:
        """Set scheduling policies, and move what is in the way.

        :param guests: those that are looked after, with their threads as they are now
        :param units: the threads of all guests of templates
        :param layouts: server id to how a guest should be
        """
        policies = set_policies(self._kernel, guests, layouts, dedicated)
        followed = self._threads.run(guests)
        done = [(server(guest), what) for guest, what in (*policies.done, *followed.done)]
        problems = intruders(followed, units, dedicated) | policies.problems
        free = realtime_cpus(guests, dedicated) if self._moves_irqs else CpuSet()
        try:
            done += [(_HOST, what) for what in self._interrupts.run(free)]
        except OSError as error:
            remedy = "; set ProtectKernelTunables=no in a drop-in of its unit" * (error.errno == errno.EROFS)
            text = f"move_irqs is on, and the agent cannot move interrupts: {error}{remedy}"
            problems[""] = Problem(Reason.HOST, _HOST, text)
        return Cleared(tuple(done), problems)


def realtime_cpus(guests: Iterable[ObservedGuest], dedicated: CpuSet) -> CpuSet:
    """The dedicated CPUs of vCPUs that run by a real-time policy. Pure."""
    found = (
        cpus
        for guest in guests
        for vcpu, cpus in guest.threads.vcpus.items()
        if vcpu in guest.identity.realtime and cpus <= dedicated
    )
    return CpuSet.union(found)
