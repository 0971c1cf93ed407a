# SPDX-License-Identifier: Apache-2.0
"""A cell of a template, which :mod:`kongming_sched.template` has too."""

from __future__ import annotations

from dataclasses import dataclass, field

from kongming_sched.clauses.clause import Only, clause
from kongming_sched.clauses.kinds import Choice, Cpus, Number
from kongming_sched.clauses.pins import Pins
from kongming_sched.clauses.words import CachePolicy, CpuPolicy, DevicePolicy, MemoryPolicy, ThreadPolicy
from kongming_sched.cpuset import CpuSet
from kongming_sched.page_sizes import PageSize
from kongming_sched.texts.whole_number import NODE_IDS


@dataclass(frozen=True, slots=True)
class TemplateCell:
    """The part of a server that lands on one host NUMA node."""

    vcpus: CpuSet = field(
        metadata=clause(
            Cpus(),
            "The server's vCPUs in this cell; together the cells hold all vCPUs from 0 on, each once.",
        )
    )
    cpus: CpuPolicy = field(
        metadata=clause(
            Choice(CpuPolicy),
            "What they run on: a host CPU each that nobody else uses, the shared pool, or the host CPUs of pins.",
        )
    )
    threads: ThreadPolicy = field(
        default=ThreadPolicy.ANY,
        metadata=clause(
            Choice(ThreadPolicy),
            "Dedicated cells only: how the vCPUs lie on hardware threads, as Nova means the words.",
            only=Only("cpus", CpuPolicy.DEDICATED, "a thread policy"),
            spelled_out=True,
        ),
    )
    memory: MemoryPolicy = field(
        default=MemoryPolicy.STRICT,
        metadata=clause(
            Choice(MemoryPolicy),
            "Where the memory is: on the cell's NUMA node, or anywhere.",
            spelled_out=True,
        ),
    )
    pins: tuple[CpuSet, ...] = field(
        default=(),
        metadata=clause(
            Pins(),
            "Explicit cells only: the host CPUs of each vCPU, or one set for all.",
            word="PIN",
            only=Only("cpus", CpuPolicy.EXPLICIT, "pins", required=True),
        ),
    )
    node: int | None = field(
        default=None,
        metadata=clause(
            Number(NODE_IDS, "NUMA node id"),
            "The number of the host's NUMA node that the cell must be on; without it any will do.",
            blank=True,
        ),
    )
    pages: PageSize | None = field(
        default=None,
        metadata=clause(
            Choice(PageSize),
            "Huge pages of this size for the cell's memory; without it pages of the usual size.",
            blank=True,
        ),
    )
    caches: CachePolicy = field(
        default=CachePolicy.ANY,
        metadata=clause(
            Choice(CachePolicy),
            "Dedicated cells only: in how many last-level caches the vCPUs lie.",
            only=Only("cpus", CpuPolicy.DEDICATED, "a choice of caches"),
        ),
    )
    shared_vcpus: CpuSet = field(
        default=CpuSet(),
        metadata=clause(
            Cpus(),
            "Dedicated cells only: those of its vCPUs that float over the shared pool of the cell's node instead.",
            only=Only("cpus", CpuPolicy.DEDICATED, "shared vCPUs"),
            blank=True,
        ),
    )
    devices: DevicePolicy = field(
        default=DevicePolicy.ANY,
        metadata=clause(
            Choice(DevicePolicy),
            "Where devices that are passed through are: on the NUMA nodes of the server's cells, or anywhere.",
        ),
    )

    @property
    def host_cpus(self) -> CpuSet:
        """All host CPUs that an explicit cell names."""
        return CpuSet.union(self.pins)

    @property
    def floating_vcpus(self) -> CpuSet:
        """The vCPUs that run on the shared pool."""
        return self.vcpus if self.cpus is CpuPolicy.SHARED else self.shared_vcpus

    @property
    def pinned_vcpus(self) -> CpuSet:
        """The vCPUs that do not run on the shared pool."""
        return self.vcpus - self.floating_vcpus

    @property
    def dedicated_vcpus(self) -> CpuSet:
        """The vCPUs that have a host CPU of the dedicated pool each, which the agent chooses."""
        return self.pinned_vcpus if self.cpus is CpuPolicy.DEDICATED else CpuSet()

    @property
    def needs_smt_trait(self) -> bool:
        """True if it takes whole cores, so that the number of host CPUs depends on the threads per core."""
        return self.threads in (ThreadPolicy.REQUIRE, ThreadPolicy.ISOLATE)

    def dedicated_cpus(self, threads_per_core: int) -> int:
        """How many host CPUs this cell takes from a dedicated pool whose cores have so many threads.

        ``isolate`` counts every thread of its cores and ``require`` rounds up to whole cores, which is what makes
        counting enough: see doc/source/contributor/architecture.rst.
        """
        return count_cpus(len(self.dedicated_vcpus), self.threads, threads_per_core)

    def cores_in_one_cache(self, threads_per_core: int) -> int:
        """How many cores, of so many threads, must lie in one last-level cache; 0 if they may lie in several."""
        if self.caches is not CachePolicy.ONE:
            return 0
        return self.dedicated_cpus(threads_per_core) // threads_per_core


def count_cpus(vcpus: int, threads: ThreadPolicy, threads_per_core: int) -> int:
    """How many hardware threads so many dedicated vCPUs take under a thread policy."""
    if threads is ThreadPolicy.ISOLATE:
        return vcpus * threads_per_core
    if threads is ThreadPolicy.REQUIRE:
        return -(-vcpus // threads_per_core) * threads_per_core
    return vcpus
