# SPDX-License-Identifier: Apache-2.0
"""By which policy the kernel runs a thread; see sched(7)."""

from __future__ import annotations

from typing import NamedTuple

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
