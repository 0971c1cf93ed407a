# SPDX-License-Identifier: Apache-2.0
"""What the agent can change of a guest: the single threads, and the actions that pin them or set something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

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

    __hash__ = str.__hash__  # Enum's own is written in Python, and every pass hashes each thread of the host


class ThreadKey(NamedTuple):
    """Which thread of a guest.

    :ivar kind: VCPU, EMULATOR or IOTHREAD
    :ivar number: of the vCPU, or libvirt's id of the I/O thread; 0 for the emulator, of which there is one
    """

    kind: Kind
    number: int = 0

    def __str__(self) -> str:
        return str(self.kind) if self.kind is Kind.EMULATOR else f"{self.kind} {self.number}"


ThreadOfHost = tuple[str, Kind, int]
"""Which thread of all that run on a host: the server's id, and what a ThreadKey has."""


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

    @property
    def key(self) -> ThreadOfHost:
        """The thread that a pin moves."""
        return self.guest, self.kind, self.index

    def __str__(self) -> str:
        if self.kind in (Kind.SCHEDULER, Kind.QUOTA):
            of = f"{ThreadKey(Kind.VCPU, self.index)}: " if self.kind is Kind.QUOTA else ""
            changes = (
                f"{name} {self.parameters_before.get(name)} -> {value}" for name, value in self.parameters.items()
            )
            return of + ", ".join(changes)
        what, place = (ThreadKey(self.kind, self.index), "CPU") if self.is_pin else (self.kind, "node")
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

    @property
    def key(self) -> ThreadOfHost:
        """Which thread of the host it is."""
        return self.guest, self.kind, self.index

    @property
    def thread(self) -> ThreadKey:
        """Which thread of its guest it is."""
        return ThreadKey(self.kind, self.index)
