# SPDX-License-Identifier: Apache-2.0
"""Realtime: which vCPUs the kernel runs by a real-time policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kongming_sched.clauses.clause import clause
from kongming_sched.clauses.kinds import Cpus, Number
from kongming_sched.cpuset import CpuSet

PRIORITIES = range(1, 100)
"""Of SCHED_FIFO; see sched(7)."""


@dataclass(frozen=True, slots=True)
class Realtime:
    """The real-time vCPUs of a server, whose memory is locked."""

    vcpus: CpuSet = field(
        metadata=clause(Cpus(), "The vCPUs that run by SCHED_FIFO. They are dedicated or explicit, with one CPU each.")
    )
    priority: int = field(
        default=1,
        metadata=clause(
            Number(PRIORITIES, "real-time priority"),
            "Their priority; the kernel runs its own threads of a higher one before them.",
        ),
    )


def find_contention(realtime: CpuSet, pins: Mapping[int, CpuSet]) -> str | None:
    """Why real-time vCPUs could keep others, or each other, from running; None if they cannot.

    The kernel interrupts a thread of SCHED_FIFO for no other that has the same priority or less.

    :param pins: vCPU to its host CPUs
    """
    for vcpu in realtime & CpuSet.of(pins):
        if len(pins[vcpu]) > 1:
            return f"vCPU {vcpu} runs in real time, which needs a single host CPU, and has {pins[vcpu]}"
        others = (other for other, cpus in pins.items() if other != vcpu and cpus & pins[vcpu])
        if (other := next(others, None)) is not None:
            return f"vCPU {vcpu} runs in real time on CPU {pins[vcpu]}, where vCPU {other} would never run"
    return None
