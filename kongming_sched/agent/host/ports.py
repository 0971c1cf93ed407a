# SPDX-License-Identifier: Apache-2.0
"""What the agent needs of libvirt and of the kernel, as protocols that libvirt_host.py and kernel.py fulfil."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Protocol

from kongming_sched import exceptions
from kongming_sched.agent.model.actions import Kind, ThreadKey
from kongming_sched.agent.model.guest import Domain, DomainId, HelperThread, Threads
from kongming_sched.agent.model.policy import Policy
from kongming_sched.cpuset import CpuSet
from kongming_sched.pools import PagesByNode
from kongming_sched.topology import HostTopology


class Pinning(Protocol):
    """The calls of libvirt that move threads; see LibvirtHypervisor for what each does and raises."""

    def pin_vcpu(self, domain: Domain, vcpu: int, cpus: CpuSet) -> None: ...  # noqa: D102
    def pin_emulator(self, domain: Domain, cpus: CpuSet) -> None: ...  # noqa: D102
    def pin_iothread(self, domain: Domain, iothread: int, cpus: CpuSet) -> None: ...  # noqa: D102
    def is_busy(self, domain: Domain) -> bool: ...  # noqa: D102


class _HypervisorCalls(Pinning, Protocol):
    def host_name(self) -> str: ...
    def machine_mark(self) -> str: ...
    def topology(self) -> HostTopology: ...
    def take_started(self) -> frozenset[str]: ...
    def bind_memory(self, domain: Domain, nodes: CpuSet) -> None: ...
    def set_scheduler(self, domain: Domain, parameters: Mapping[str, int]) -> None: ...
    def repair_definition(self, domain: Domain) -> bool | None: ...
    def close(self) -> None: ...


class Hypervisor(_HypervisorCalls, Protocol):
    """All that the agent needs of libvirt; see LibvirtHypervisor for what each method does and raises."""

    def domains(self) -> list[Domain]: ...  # noqa: D102
    def find(self, names: Iterable[str]) -> list[Domain]: ...  # noqa: D102


class DomainReader(Protocol):
    """Reads one domain; see LibvirtHypervisor."""

    def read(self, found: DomainId) -> Domain: ...  # noqa: D102


class PlainHypervisor(_HypervisorCalls, DomainReader, Protocol):
    """libvirt with its domains one by one, as PatientHypervisor needs it."""

    def running(self) -> list[DomainId]: ...  # noqa: D102
    def running_of(self, names: Iterable[str]) -> list[DomainId]: ...  # noqa: D102


class ThreadReader(Protocol):
    """Where the threads of a guest run; see Host."""

    def threads(self, domain: Domain) -> Threads: ...  # noqa: D102


class MemoryReader(Protocol):
    """Where the memory of a guest lies; see Host."""

    def memory_mb(self, domain: Domain) -> dict[int, int]: ...  # noqa: D102


class HelperPinner(Protocol):
    """The threads that work for guests beside those that libvirt pins; see Host."""

    def kernel_threads(self) -> dict[int, dict[int, str]]: ...  # noqa: D102
    def helper(self, number: int, name: str) -> HelperThread | None: ...  # noqa: D102
    def pin_helper(self, thread: HelperThread, cpus: CpuSet, pid: int) -> None: ...  # noqa: D102


class ThreadKernel(ThreadReader, HelperPinner, Protocol):
    """All that concerns the threads of guests."""


class PolicyKernel(Protocol):
    """By which policies the kernel runs the vCPUs of guests; see Host."""

    def vcpu_policies(self, domain: Domain) -> dict[int, Policy]: ...  # noqa: D102
    def set_vcpu_policy(self, domain: Domain, vcpu: int, policy: Policy) -> None: ...  # noqa: D102


class KernelBeside(HelperPinner, PolicyKernel, Protocol):
    """What the agent sets beside the pins of guests."""


class Kernel(ThreadKernel, MemoryReader, PolicyKernel, Protocol):
    """All that the agent needs of /proc and /sys; see Host."""

    def default_shares(self) -> int: ...  # noqa: D102
    def huge_pages(self) -> PagesByNode: ...  # noqa: D102
    def guest_names(self) -> list[str]: ...  # noqa: D102
    def vcpu_quotas(self, domain: Domain) -> dict[int, int]: ...  # noqa: D102
    def set_vcpu_quota(self, domain: Domain, vcpu: int, quota_us: int) -> None: ...  # noqa: D102


def read_domains(reader: DomainReader, found: Iterable[DomainId]) -> list[Domain]:
    """Each of these domains by id, or why it cannot be read; those that have ended are left out.

    :raises HypervisorUnavailable: if libvirt cannot be reached
    """
    domains = []
    for domain in found:
        with contextlib.suppress(exceptions.GuestGone):
            try:
                domains.append(reader.read(domain))
            except exceptions.HypervisorUnavailable:
                raise
            except exceptions.HypervisorError as error:
                domains.append(domain.unread(str(error)))
    return sorted(domains, key=lambda domain: domain.uuid)


def pin_thread(hypervisor: Pinning, domain: Domain, thread: ThreadKey, cpus: CpuSet) -> None:
    """Let a thread run on these host CPUs only, by the call that libvirt has for its kind.

    :raises GuestGone: if the domain ended
    :raises HypervisorError: if libvirt refuses or cannot be reached
    """
    if thread.kind is Kind.VCPU:
        hypervisor.pin_vcpu(domain, thread.number, cpus)
    elif thread.kind is Kind.EMULATOR:
        hypervisor.pin_emulator(domain, cpus)
    else:
        hypervisor.pin_iothread(domain, thread.number, cpus)
