# SPDX-License-Identifier: Apache-2.0
"""By which scheduling policies the vCPUs of a guest should run: pure."""

from __future__ import annotations

from collections.abc import Mapping

from kongming_sched.agent.model.guest import ObservedGuest
from kongming_sched.agent.model.policy import ORDINARY, Policy, fifo
from kongming_sched.agent.model.view import GuestLayout
from kongming_sched.cpuset import CpuSet


def wanted_policies(guest: ObservedGuest, layout: GuestLayout, dedicated: CpuSet) -> dict[int, Policy]:
    """The policy of each vCPU.

    One that is not on dedicated CPUs, as that of a guest without a place, does not run in real time: it would keep
    everything else from running there, the host's own services among them.

    :param guest: with its threads as they are now
    :param dedicated: the host's dedicated pool
    """
    return {
        vcpu: fifo(layout.realtime[vcpu]) if vcpu in layout.realtime and cpus <= dedicated else ORDINARY
        for vcpu, cpus in guest.threads.vcpus.items()
    }


def wrong_policies(wanted: Mapping[int, Policy], found: Mapping[int, Policy]) -> dict[int, Policy]:
    """The vCPUs that run by another policy, with the one that they should have; it does not matter which ordinary one.

    :param wanted: as wanted_policies() gives them
    :param found: as the kernel has them
    """
    return {
        vcpu: wanted[vcpu]
        for vcpu, policy in found.items()
        if vcpu in wanted and policy != wanted[vcpu] and (policy.is_realtime or wanted[vcpu].is_realtime)
    }
