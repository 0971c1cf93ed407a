# SPDX-License-Identifier: Apache-2.0
"""Qos: what CPU time a server gets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kongming_sched.cpuset import CpuSet

SHARES = range(2, 262144 + 1)
"""CPU shares that libvirt takes (cgroup v2 takes 10000 at most)."""
PERIOD_US = range(1000, 1_000_000 + 1)
"""CFS periods that libvirt takes, in microseconds."""
QUOTA_US = range(1000, 17_592_186_044_415 + 1)
"""CFS quotas that libvirt takes, in microseconds per period."""

LIMITS = {
    "shares": SHARES,
    "period_us": PERIOD_US,
    "quota_us": QUOTA_US,
    "emulator_period_us": PERIOD_US,
    "emulator_quota_us": QUOTA_US,
}
"""What each field that is one number may be."""


@dataclass(frozen=True, slots=True)
class Qos:
    """CPU time of a server; None leaves a value as Nova set it.

    :ivar shares: relative weight, 2 to 262144
    :ivar period_us: CFS period of the vCPUs in microseconds, 1000 to 1000000
    :ivar quota_us: CPU time of each vCPU per period in microseconds, from 1000
    :ivar emulator_period_us: CFS period of QEMU's own threads
    :ivar emulator_quota_us: CPU time of QEMU's own threads together per period
    :ivar vcpu_quotas_us: vCPUs with a quota other than ``quota_us``; each quota once, in ascending order
    """

    shares: int | None = None
    period_us: int | None = None
    quota_us: int | None = None
    emulator_period_us: int | None = None
    emulator_quota_us: int | None = None
    vcpu_quotas_us: tuple[tuple[CpuSet, int], ...] = ()

    @property
    def own_quotas_us(self) -> dict[int, int]:
        """The quota of each vCPU that has one of its own."""
        return {vcpu: quota for vcpus, quota in self.vcpu_quotas_us for vcpu in vcpus}

    def to_mapping(self) -> dict[str, object]:
        """The values that are set, as a template's file has them."""
        mapping: dict[str, object] = {name: getattr(self, name) for name in LIMITS if getattr(self, name) is not None}
        if self.vcpu_quotas_us:
            mapping["vcpus"] = {str(vcpus): {"quota_us": quota} for vcpus, quota in self.vcpu_quotas_us}
        return mapping


NO_QOS = Qos()
"""Everything as Nova set it."""


def group_quotas(quotas: Iterable[tuple[CpuSet, int]]) -> tuple[tuple[CpuSet, int], ...]:
    """The one way of writing: each quota once, in ascending order, with all of its vCPUs."""
    by_quota: dict[int, CpuSet] = {}
    for vcpus, quota in quotas:
        by_quota[quota] = by_quota.get(quota, CpuSet()) | vcpus
    return tuple((by_quota[quota], quota) for quota in sorted(by_quota))
