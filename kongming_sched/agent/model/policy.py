# SPDX-License-Identifier: Apache-2.0
"""By which policy the kernel runs a thread, and should run the vCPUs of a guest; see sched(7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kongming_sched.agent.model.guest import ObservedGuest
from kongming_sched.agent.model.view import GuestLayout
from kongming_sched.cpuset import CpuSet

_NAMES = {
    0: "SCHED_OTHER",
    1: "SCHED_FIFO",
    2: "SCHED_RR",
    3: "SCHED_BATCH",
    5: "SCHED_IDLE",
    6: "SCHED_DEADLINE",
}
_FIFO = 1
_REALTIME = (1, 2)


class Policy(NamedTuple):
    """A scheduling policy.

    :ivar number: as in include/uapi/linux/sched.h
    :ivar priority: among real-time threads; 0 for all others
    """

    number: int
    priority: int = 0

    @property
    def is_realtime(self) -> bool:
        """Whether the kernel runs such a thread before all ordinary ones."""
        return self.number in _REALTIME

    def __str__(self) -> str:
        name = _NAMES.get(self.number, f"policy {self.number}")
        return f"{name} {self.priority}" if self.is_realtime else name


ORDINARY = Policy(0)
"""That of threads for which nothing is set."""


def fifo(priority: int) -> Policy:
    """Real time, until the thread waits for something or one of a higher priority can run."""
    return Policy(_FIFO, priority)


def wanted_policies(guest: ObservedGuest, layout: GuestLayout, dedicated: CpuSet) -> dict[int, Policy]:
    """The policy of each vCPU.

    One that is not on dedicated CPUs, as that of a guest without a place, does not run in real time: it would keep
    everything else from running there, the host's own services among them.

    :param guest: with its threads as they are now
    :param dedicated: the host's dedicated pool
    """
    return {
        vcpu: fifo(layout.realtime[vcpu]) if vcpu in layout.realtime and cpus <= dedicated else ORDINARY
        for vcpu, cpus in guest.threads.vcpus.items()
    }


def wrong_policies(wanted: Mapping[int, Policy], found: Mapping[int, Policy]) -> dict[int, Policy]:
    """The vCPUs that run by another policy, with the one that they should have; it does not matter which ordinary one.

    :param wanted: as wanted_policies() gives them
    :param found: as the kernel has them
    """
    return {
        vcpu: wanted[vcpu]
        for vcpu, policy in found.items()
        if vcpu in wanted and policy != wanted[vcpu] and (policy.is_realtime or wanted[vcpu].is_realtime)
    }
