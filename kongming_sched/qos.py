# SPDX-License-Identifier: Apache-2.0
"""Qos: what CPU time a server gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kongming_sched.clauses.clause import Kind, Schema, Where, clause, read, write
from kongming_sched.clauses.kinds import CPU_SET_PATTERN, Number, object_schema, read_cpus
from kongming_sched.cpuset import CpuSet

SHARES = range(2, 262144 + 1)
"""CPU shares that libvirt takes (cgroup v2 takes 10000 at most)."""
PERIOD_US = range(1000, 1_000_000 + 1)
"""CFS periods that libvirt takes, in microseconds."""
QUOTA_US = range(1000, 17_592_186_044_415 + 1)
"""CFS quotas that libvirt takes, in microseconds per period."""


@dataclass(frozen=True, slots=True)
class VcpuQos:
    """CPU time of some vCPUs, if it is another than that of the others."""

    quota_us: int = field(
        metadata=clause(Number(QUOTA_US), "CPU time of each of these vCPUs per period, in microseconds.")
    )


@dataclass(frozen=True, slots=True)
class VcpuQuotas(Kind[tuple[tuple[CpuSet, int], ...]]):
    """Quotas of single vCPUs: each quota once, in ascending order, with all of its vCPUs."""

    def read(self, value: object, where: Where, _before: Mapping[str, Any]) -> tuple[tuple[CpuSet, int], ...]:
        """Take a mapping from vCPUs to the clauses of VcpuQos."""
        if not isinstance(value, Mapping):
            raise where.error("must be a mapping of vCPUs to {quota_us: ...}")
        quotas: list[tuple[CpuSet, int]] = []
        for key, fields in value.items():
            at = where.item(key)
            vcpus = read_cpus(key, at)
            if twice := vcpus & CpuSet.union(seen for seen, _ in quotas):
                raise at.error(f"vCPU {twice} is given twice")
            quotas.append((vcpus, read(VcpuQos, fields, at).quota_us))
        return group_quotas(quotas)

    def write(self, value: tuple[tuple[CpuSet, int], ...], _owner: Any) -> object:
        """A mapping."""
        return {str(vcpus): write(VcpuQos(quota_us)) for vcpus, quota_us in value}

    def schema(self) -> Schema:
        """An object whose keys are CPU sets."""
        return {
            "type": "object",
            "propertyNames": {"pattern": CPU_SET_PATTERN},
            "additionalProperties": object_schema(VcpuQos),
        }

    @property
    def notation(self) -> str:
        """An example."""
        return '``{"0-3,8": {...}}``'


@dataclass(frozen=True, slots=True)
class Qos:
    """CPU time of a server; None leaves a value as Nova set it.

    :ivar vcpu_quotas_us: vCPUs with a quota other than ``quota_us``, as :func:`group_quotas` gives them
    """

    shares: int | None = field(
        default=None,
        metadata=clause(
            Number(SHARES),
            "Weight against others on the same CPUs; with cgroup v2 the kernel takes 10000 at most.",
        ),
    )
    period_us: int | None = field(
        default=None,
        metadata=clause(Number(PERIOD_US), "CFS period of the vCPUs, in microseconds.", word="VCPU_PERIOD"),
    )
    quota_us: int | None = field(
        default=None,
        metadata=clause(Number(QUOTA_US), "CPU time of each vCPU per period, in microseconds.", word="VCPU_QUOTA"),
    )
    emulator_period_us: int | None = field(
        default=None,
        metadata=clause(
            Number(PERIOD_US), "CFS period of QEMU's own threads, in microseconds.", word="EMULATOR_PERIOD"
        ),
    )
    emulator_quota_us: int | None = field(
        default=None,
        metadata=clause(
            Number(QUOTA_US),
            "CPU time of QEMU's own threads together per period, in microseconds.",
            word="EMULATOR_QUOTA",
        ),
    )
    vcpu_quotas_us: tuple[tuple[CpuSet, int], ...] = field(
        default=(),
        metadata=clause(VcpuQuotas(), "vCPUs with a quota of their own, by CPU sets.", name="vcpus", word="VCPU"),
    )

    @property
    def own_quotas_us(self) -> dict[int, int]:
        """The quota of each vCPU that has one of its own."""
        return {vcpu: quota for vcpus, quota in self.vcpu_quotas_us for vcpu in vcpus}

    def to_mapping(self) -> dict[str, object]:
        """The values that are set, as a template's file has them."""
        return write(self)


NO_QOS = Qos()
"""Everything as Nova set it."""


def group_quotas(quotas: Iterable[tuple[CpuSet, int]]) -> tuple[tuple[CpuSet, int], ...]:
    """The one way of writing: each quota once, in ascending order, with all of its vCPUs."""
    by_quota: dict[int, CpuSet] = {}
    for vcpus, quota in quotas:
        by_quota[quota] = by_quota.get(quota, CpuSet()) | vcpus
    return tuple((by_quota[quota], quota) for quota in sorted(by_quota))
