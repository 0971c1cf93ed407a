# SPDX-License-Identifier: Apache-2.0
"""What the agent can change of a guest: the single threads, and the actions that pin them or set something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kongming_sched.compat import StrEnum
from kongming_sched.cpuset import CpuSet


class Kind(StrEnum):
    """What of a guest an action changes."""

    VCPU = "vCPU"
    EMULATOR = "emulator"
    IOTHREAD = "I/O thread"
    MEMORY = "memory"
    SCHEDULER = "scheduler"
    QUOTA = "quota"
    """Of a single vCPU, which libvirt cannot set."""


@dataclass(frozen=True, slots=True)
class Action:
    """One call of libvirt.

    :ivar guest: the server's id
    :ivar index: the number of the vCPU (that of a quota, too) or I/O thread; 0 for the other kinds
    :ivar cpus: host CPUs to pin to; for the memory host NUMA nodes
    :ivar before: where it is now; empty if libvirt cannot be set back to that
    :ivar parameters: for the scheduler and a quota, what to set
    :ivar parameters_before: for these, what it is now
    """

    guest: str
    kind: Kind
    index: int = 0
    cpus: CpuSet = field(default_factory=CpuSet)
    before: CpuSet = field(default_factory=CpuSet)
    parameters: Mapping[str, int] = field(default_factory=dict)
    parameters_before: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_pin(self) -> bool:
        """True if it moves a thread."""
        return self.kind in (Kind.VCPU, Kind.EMULATOR, Kind.IOTHREAD)

    def __str__(self) -> str:
        if self.kind in (Kind.SCHEDULER, Kind.QUOTA):
            of = f"vCPU {self.index}: " if self.kind is Kind.QUOTA else ""
            changes = (
                f"{name} {self.parameters_before.get(name)} -> {value}" for name, value in self.parameters.items()
            )
            return of + ", ".join(changes)
        what = f"{self.kind} {self.index}" if self.kind in (Kind.VCPU, Kind.IOTHREAD) else str(self.kind)
        place = "node" if self.kind is Kind.MEMORY else "CPU"
        return f"{what}: {place} {self.before or 'any'} -> {self.cpus}"


@dataclass(frozen=True, slots=True)
class Unit:
    """A thread that can be pinned.

    :ivar is_fixed: whether its guest cannot be moved now; then it is where it should be
    """

    guest: str
    kind: Kind
    index: int
    current: CpuSet
    target: CpuSet
    is_fixed: bool = False
