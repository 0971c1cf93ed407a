# SPDX-License-Identifier: Apache-2.0
"""Which vCPUs run in real time, and which of those that do should not."""

from __future__ import annotations

from kongming_sched.agent.model.policy import ORDINARY, Policy, fifo, wanted_policies, wrong_policies
from kongming_sched.agent.model.view import GuestLayout
from kongming_sched.cpuset import CpuSet
from tests.unit.agent.hosts import POOLS, tenant

BATCH, ROUND_ROBIN = Policy(3), Policy(2, 5)


def wanted(*vcpus: str, realtime: dict[int, int]) -> dict[int, Policy]:
    """The policies of a guest whose vCPUs are on these CPUs."""
    guest = tenant("web", "gold", [0], *vcpus).guest
    layout = GuestLayout(tuple(map(CpuSet.parse, vcpus)), POOLS.housekeeping, realtime=realtime)
    return wanted_policies(guest, layout, POOLS.dedicated)


def test_those_of_the_layout_run_in_real_time() -> None:
    """With their priority, and the others do not."""
    assert {0: ORDINARY, 1: fifo(5)} == wanted("1", "9", realtime={1: 5})


def test_not_on_cpus_that_others_need() -> None:
    """A vCPU that floats, or is kept on the housekeeping CPUs, would keep the host's services from running."""
    assert {0: ORDINARY, 1: ORDINARY} == wanted("0,4,8", "0-15", realtime={0: 5, 1: 5})


def test_only_what_concerns_real_time_is_wrong() -> None:
    """Another priority or policy of a real-time vCPU, and real time of another; not which ordinary policy it is."""
    right = {0: ORDINARY, 1: fifo(5), 2: fifo(5), 3: fifo(5), 4: ORDINARY}
    found = {0: BATCH, 1: fifo(1), 2: ROUND_ROBIN, 3: fifo(5), 4: fifo(1), 5: fifo(1)}
    assert {1: fifo(5), 2: fifo(5), 4: ORDINARY} == wrong_policies(right, found)


def test_policies_in_words() -> None:
    """As the manual pages have them."""
    words = ["SCHED_FIFO 5", "SCHED_RR 5", "SCHED_OTHER", "SCHED_BATCH", "policy 9"]
    assert words == [str(policy) for policy in (fifo(5), ROUND_ROBIN, ORDINARY, BATCH, Policy(9))]
