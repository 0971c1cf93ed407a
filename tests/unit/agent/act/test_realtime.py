# SPDX-License-Identifier: Apache-2.0
"""vCPUs get the policy of their template, and what the kernel refuses is a problem of the guest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.act.realtime import PoliciesSet, set_policies
from kongming_sched.agent.model.guest import Domain, Guest
from kongming_sched.agent.model.policy import ORDINARY, Policy, fifo
from kongming_sched.agent.model.problem import Problem, Reason, server
from kongming_sched.agent.model.view import GuestLayout
from kongming_sched.cpuset import CpuSet
from tests.unit.agent.act.test_helpers import Kernel
from tests.unit.agent.hosts import POOLS, tenant

PLAIN = tenant("web", "gold", [0], "1", "9").guest
REALTIME = replace(PLAIN, identity=replace(PLAIN.identity, realtime=CpuSet.of([1])))
"""Of whose vCPUs one runs in real time by its XML."""


def run(kernel: Kernel, guest: Guest, realtime: dict[int, int]) -> PoliciesSet:
    """Set the policies of a guest, of whose vCPUs these should run in real time with these priorities."""
    layout = GuestLayout((CpuSet.of([1]), CpuSet.of([9])), POOLS.housekeeping, realtime=realtime)
    return set_policies(kernel, [guest], {guest.uuid: layout}, POOLS.dedicated)


def test_the_priority_of_the_template() -> None:
    """Is set where Nova has started the vCPU with another one, and once only."""
    kernel = Kernel(policies={0: ORDINARY, 1: fifo(1)})
    first, second = run(kernel, REALTIME, {1: 5}), run(kernel, REALTIME, {1: 5})
    assert [(REALTIME, "vCPU 1: SCHED_FIFO 1 -> SCHED_FIFO 5")] == first.done
    assert ([], {0: ORDINARY, 1: fifo(5)}) == (second.done, kernel.policies)


def test_real_time_that_the_template_does_not_say() -> None:
    """Ends, as that of a guest without a place."""
    kernel = Kernel(policies={0: ORDINARY, 1: fifo(1)})
    assert [(REALTIME, "vCPU 1: SCHED_FIFO 1 -> SCHED_OTHER")] == run(kernel, REALTIME, {}).done


def test_the_kernel_refuses() -> None:
    """It is a problem of the guest, whose pins stay."""
    kernel = Kernel(policies={0: ORDINARY, 1: ORDINARY}, refuses_realtime=True)
    text = "the kernel could not run vCPU 1 of instance-web by SCHED_FIFO 5: Operation not permitted"
    result = run(kernel, REALTIME, {1: 5})
    assert ([], {"a-web": Problem(Reason.REFUSED, server(REALTIME), text)}) == (result.done, result.problems)


@pytest.mark.parametrize("guest", [PLAIN, REALTIME])
def test_who_is_not_asked_about(guest: Guest) -> None:
    """Guests that neither their template nor their XML runs in real time, and those that have ended."""

    class Gone(Kernel):
        """Stands for a kernel without the guest's process."""

        def vcpu_policies(self, domain: Domain) -> dict[int, Policy]:
            """None."""
            if guest is PLAIN:
                raise AssertionError(f"{domain.name} is read")
            raise exceptions.GuestGone(domain.name)

    assert PoliciesSet() == run(Gone(), guest, {})
    assert PoliciesSet() == set_policies(Gone(), [guest], {}, POOLS.dedicated)
