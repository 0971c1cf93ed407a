# SPDX-License-Identifier: Apache-2.0
"""What the agent needs of libvirt and of the kernel, as protocols that libvirt_host.py and kernel.py fulfil."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from kongming_sched.agent.model.guest import Domain, Threads
from kongming_sched.cpuset import CpuSet
from kongming_sched.topology import HostTopology


class Hypervisor(Protocol):
    """What the agent needs of libvirt; see LibvirtHypervisor for what each method does and raises."""

    def host_name(self) -> str: ...  # noqa: D102
    def topology(self) -> HostTopology: ...  # noqa: D102
    def domains(self) -> list[Domain]: ...  # noqa: D102
    def take_started(self) -> frozenset[str]: ...  # noqa: D102
    def pin_vcpu(self, domain: Domain, vcpu: int, cpus: CpuSet) -> None: ...  # noqa: D102
    def pin_emulator(self, domain: Domain, cpus: CpuSet) -> None: ...  # noqa: D102
    def pin_iothread(self, domain: Domain, iothread: int, cpus: CpuSet) -> None: ...  # noqa: D102
    def bind_memory(self, domain: Domain, nodes: CpuSet) -> None: ...  # noqa: D102
    def set_scheduler(self, domain: Domain, parameters: Mapping[str, int]) -> None: ...  # noqa: D102
    def is_busy(self, domain: Domain) -> bool: ...  # noqa: D102
    def repair_definition(self, domain: Domain) -> bool | None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Kernel(Protocol):
    """What the agent needs of /proc and /sys; see Host."""

    def threads(self, domain: Domain) -> Threads: ...  # noqa: D102
    def default_shares(self) -> int: ...  # noqa: D102
    def memory_mb(self, domain: Domain) -> dict[int, int]: ...  # noqa: D102
    def vcpu_quotas(self, domain: Domain) -> dict[int, int]: ...  # noqa: D102
    def set_vcpu_quota(self, domain: Domain, vcpu: int, quota_us: int) -> None: ...  # noqa: D102
