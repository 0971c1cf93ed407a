# SPDX-License-Identifier: Apache-2.0
"""Where something goes wrong in a story: the calls, the guests, and how a call fails."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from kongming_sched import exceptions
from kongming_sched.compat import StrEnum
from kongming_sched.cpuset import CpuSet
from tests.functional.agent.test_faults import Killed
from tests.functional.agent.world import World

CHANGES = ("pin_vcpu", "pin_emulator", "pin_iothread", "bind_memory", "set_scheduler", "set_vcpu_quota")
"""The calls that change a guest."""

ANY_CHANGE = "any change"
"""Stands for each of these."""

KERNEL_CALLS = ("threads", "memory_mb", "memory_nodes", "vcpu_quotas", "set_vcpu_quota")
"""The calls of the kernel, whose files can give errors of the operating system."""

READS = ("domains", "read", "is_busy", "repair_definition", *KERNEL_CALLS)

Step = Callable[[str], None]
"""Called with the name of each call of libvirt or of the kernel, before it and after it."""


class Whom(StrEnum):
    """Of which guest a call fails."""

    ANYBODY = "anybody"
    PINNED = "one that was pinned to CPUs of the pool when the agent planned"
    MOVED = "one that has been moved since"
    PINNED_AND_MOVED = "one that was pinned there and has been moved since"
    REPLACED = "one that has been moved since, and on whose CPUs another one is by now"


class Kind(StrEnum):
    """How a call fails."""

    REFUSED = "refused"
    LOST = "the connection is lost"
    KILLED = "the agent is killed"

    def error(self, name: str) -> BaseException:
        """What is raised by the call of this name."""
        if self is Kind.KILLED:
            return Killed()
        if name.removeprefix("after ") in KERNEL_CALLS:
            return exceptions.KernelError("do it", "[Errno 5] Input/output error")
        if self is Kind.LOST:
            return exceptions.HypervisorUnavailable("do it", "connection reset", 38)
        return exceptions.HypervisorError("do it", "injected", 38)


@dataclass(frozen=True)
class Scene:
    """Where something goes wrong.

    :ivar servers: the ids of all servers
    :ivar before: server id to the affinity of each of its threads when the agent planned
    :ivar touched: server id to the threads that were moved since
    """

    world: World
    servers: list[str]
    before: Mapping[str, Sequence[CpuSet]]
    touched: Mapping[str, Collection[int]]

    def pick(self, number: int) -> str:
        """One of the servers; empty if there is none."""
        return self.servers[number % len(self.servers)] if self.servers else ""

    def is_of(self, whom: Whom) -> bool:
        """Whether the guest that is being changed is one of these."""
        guest, pool = self.world.host.changing, self.world.pools.dedicated
        moved = [self.before[guest][thread] for thread in self.touched.get(guest, ()) if guest in self.before]
        match whom:
            case Whom.ANYBODY:
                return True
            case Whom.PINNED:
                return any(cpus <= pool for cpus in self.before.get(guest, ()))
            case Whom.MOVED:
                return bool(moved)
            case Whom.PINNED_AND_MOVED:
                return bool(moved) and any(cpus <= pool for cpus in self.before[guest])
            case Whom.REPLACED:
                left = CpuSet.union(cpus for cpus in moved if cpus <= pool)
                return bool(left) and any(
                    cpus <= pool and not cpus.isdisjoint(left)
                    for other, threads in self.world.host.affinities().items()
                    if other != guest
                    for cpus in threads
                )
