# SPDX-License-Identifier: Apache-2.0
"""Which worker of nova-scheduler this process is, and which hosts it prefers, so that workers part.

Workers do not know of each other's requests. Those of one controller are numbered by their forks and divide the hosts:
each takes those of its own share first, then those of the next worker. Controllers draw different shares.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from kongming_sched.scheduler.ordering import hash_fraction


@dataclass(frozen=True, slots=True)
class SchedulerWorker:
    """One worker of nova-scheduler.

    :ivar number: of the workers of its controller; any number, of which the remainder counts
    :ivar workers: how many the controller has
    """

    controller: str
    number: int = 0
    workers: int = 1

    def distance(self, root_uuid: str) -> float:
        """How far a host is from the worker's share of all hosts, in [0, 1), and within the share by lot."""
        drawn = hash_fraction(self.controller, root_uuid) * self.workers
        share = int(drawn)
        return ((share - self.number) % self.workers + drawn - share) / self.workers


class _Forks:
    """Counts the forks of this process. A child keeps the number of forks before its own, which is its number."""

    def __init__(self) -> None:
        self.count = 0
        self.counted_by = os.getpid()
        os.register_at_fork(after_in_parent=self._add)

    def _add(self) -> None:
        self.count += 1


_FORKS = _Forks()


def worker_number() -> int:
    """The number of this worker among those that its parent has forked.

    A process that was not forked after this module was imported has its process id for a number.
    """
    return os.getpid() if os.getpid() == _FORKS.counted_by else _FORKS.count
