# SPDX-License-Identifier: Apache-2.0
"""Which hosts each worker of nova-scheduler prefers while many requests are under way."""

from __future__ import annotations

import subprocess
import sys
import uuid

import pytest

from kongming_sched.scheduler.scheduler_worker import SchedulerWorker

ROOTS = [str(uuid.UUID(int=number)) for number in range(100)]

PRINT_NUMBERS = """
import os
from kongming_sched.scheduler.scheduler_worker import worker_number

assert worker_number() == os.getpid()
for _ in range(3):
    child = os.fork()
    if not child:
        print(worker_number(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_workers_of_one_controller_divide_the_hosts(workers: int) -> None:
    """Each host is nearest to exactly one of them, and second to another one."""
    these = [SchedulerWorker("c1", number, workers) for number in range(workers)]
    for root in ROOTS:
        shares = sorted(int(worker.distance(root) * workers) for worker in these)
        assert list(range(workers)) == shares


def test_workers_differ_by_their_share_alone() -> None:
    """Within a share all workers of a controller prefer the same hosts."""
    first, second = (SchedulerWorker("c1", number, 2) for number in range(2))
    assert {0.5} == {round(abs(first.distance(root) - second.distance(root)), 9) for root in ROOTS}


def test_controllers_prefer_other_hosts() -> None:
    """They do not know of each other."""
    orders = [sorted(ROOTS, key=SchedulerWorker(name).distance) for name in ("c1", "c2")]
    assert orders[0] != orders[1]
    assert 5 > len(set(orders[0][:10]) & set(orders[1][:10]))


def test_a_worker_that_was_started_again_has_a_share() -> None:
    """Its number is higher than there are workers, and the remainder counts."""
    assert SchedulerWorker("c1", 1, 2).distance(ROOTS[0]) == SchedulerWorker("c1", 5, 2).distance(ROOTS[0])


def test_workers_are_numbered_by_their_forks() -> None:
    """As nova-scheduler starts them, one after the other."""
    done = subprocess.run([sys.executable, "-c", PRINT_NUMBERS], capture_output=True, text=True, check=True)
    assert "0\n1\n2\n" == done.stdout
