# SPDX-License-Identifier: Apache-2.0
"""Runs vCPUs in real time as their templates say.

Nova has one priority for all real-time servers of a host, libvirt sets it when a guest starts, and the kernel forgets
what was set once the thread ends. So what differs from the template is set anew in each pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kongming_sched import exceptions
from kongming_sched.agent.host.ports import PolicyKernel
from kongming_sched.agent.model.actions import Kind, ThreadKey
from kongming_sched.agent.model.guest import ObservedGuest, RunningGuest
from kongming_sched.agent.model.policy import wanted_policies, wrong_policies
from kongming_sched.agent.model.problem import Problem, Reason, server
from kongming_sched.agent.model.view import GuestLayout
from kongming_sched.cpuset import CpuSet


@dataclass(slots=True)
class PoliciesSet:
    """What was done.

    :ivar done: a guest, and a vCPU of it that has another policy now, in words
    :ivar problems: server id to why a vCPU of it does not have the policy of its template
    """

    done: list[tuple[RunningGuest, str]] = field(default_factory=list)
    problems: dict[str, Problem] = field(default_factory=dict)


def set_policies(
    kernel: PolicyKernel, guests: Iterable[ObservedGuest], layouts: Mapping[str, GuestLayout], dedicated: CpuSet
) -> PoliciesSet:
    """Set the policies of real-time guests, be they so by their template or by their XML; no others are read.

    :param guests: those that are looked after, with their threads as they are now
    :param dedicated: the host's dedicated pool
    """
    result = PoliciesSet()
    for guest in guests:
        layout = layouts.get(guest.uuid)
        if layout is None or not (layout.realtime or guest.identity.realtime):
            continue
        try:
            _set(kernel, guest, layout, dedicated, result)
        except exceptions.GuestGone:
            continue
        except exceptions.KernelError as error:
            result.problems[guest.uuid] = Problem(Reason.REFUSED, server(guest), str(error))
    return result


def _set(
    kernel: PolicyKernel, guest: ObservedGuest, layout: GuestLayout, dedicated: CpuSet, result: PoliciesSet
) -> None:
    """Set those of one guest.

    :raises GuestGone: if it ended
    :raises KernelError: if the kernel refuses
    """
    found = kernel.vcpu_policies(guest.domain)
    for vcpu, policy in wrong_policies(wanted_policies(guest, layout, dedicated), found).items():
        kernel.set_vcpu_policy(guest.domain, vcpu, policy)
        result.done.append((guest, f"{ThreadKey(Kind.VCPU, vcpu)}: {found[vcpu]} -> {policy}"))
