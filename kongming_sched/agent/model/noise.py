# SPDX-License-Identifier: Apache-2.0
"""What a host does with its CPUs beside running guests, as far as it disturbs those that a guest has alone: values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kongming_sched.cpuset import CpuSet


@dataclass(frozen=True, slots=True)
class Interrupt:
    """An interrupt that has a handler.

    :ivar names: of its handlers, as in "eth0-rx-3"
    :ivar allowed: the CPUs that may serve it
    :ivar effective: the CPUs that serve it now; where the kernel does not say so, those that may
    """

    number: int
    names: tuple[str, ...]
    allowed: CpuSet
    effective: CpuSet

    def __str__(self) -> str:
        return f"{self.number} ({', '.join(self.names)})"


@dataclass(frozen=True, slots=True)
class IdleState:
    """A state of a CPU that has nothing to do.

    :ivar latency_us: how long the CPU takes to leave it, in microseconds
    """

    name: str
    latency_us: int


@dataclass(frozen=True, slots=True)
class HostNoise:
    """What the kernel says of a host.

    :ivar isolated: the CPUs between which the kernel moves no thread (``isolcpus``)
    :ivar governors: governor of the clock to the CPUs that have it; empty where the kernel does not set the clock
    :ivar idle_states: idle state to the CPUs that may enter it
    :ivar banned: the CPUs to which irqbalance moves no interrupts, by its configuration; None if it does not run
    """

    isolated: CpuSet = field(default_factory=CpuSet)
    interrupts: tuple[Interrupt, ...] = ()
    governors: Mapping[str, CpuSet] = field(default_factory=dict)
    idle_states: Mapping[IdleState, CpuSet] = field(default_factory=dict)
    banned: CpuSet | None = None
