# SPDX-License-Identifier: Apache-2.0
"""The CPUs that a host's options give to KongMing, and what is wrong with them on a host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from kongming_sched import exceptions
from kongming_sched.cpuset import CpuSet
from kongming_sched.topology import HostTopology


@dataclass(frozen=True, slots=True)
class HostPools:
    """The CPUs that a host gives to KongMing, and how.

    :ivar dedicated: host CPUs that are given to one guest each, on all nodes
    :ivar shared: host CPUs that guests of shared cells float over
    :ivar housekeeping: host CPUs for emulator threads and for guests that have no place
    :ivar vcpu_allocation_ratio: how many shared vCPUs a shared host CPU takes
    :ivar reserved_memory_mb: memory of each node that is not for guests of templates, in MiB
    """

    dedicated: CpuSet
    shared: CpuSet = field(default_factory=CpuSet)
    housekeeping: CpuSet = field(default_factory=CpuSet)
    vcpu_allocation_ratio: float = 1.0
    reserved_memory_mb: int = 0


@dataclass(frozen=True, slots=True)
class HostCpus:
    """The CPUs of a host, and the pools that the options make of them."""

    topology: HostTopology
    pools: HostPools

    @property
    def housekeeping(self) -> CpuSet:
        """The housekeeping CPUs that are online."""
        return self.pools.housekeeping & self.topology.cpus

    def shared_of(self, node_id: int) -> CpuSet:
        """The shared pool of a NUMA node; empty if the host has no such node."""
        node = self.topology.node(node_id)
        return self.pools.shared & node.cpus if node else CpuSet()


def check_pools(cpus: HostCpus) -> None:
    """Refuse pools that a host cannot have.

    :raises ConfigurationError: for the first fault of :func:`pool_faults`
    """
    for fault in pool_faults(cpus):
        raise fault


def pool_faults(host: HostCpus) -> Iterator[exceptions.ConfigurationError]:
    """What is wrong with the pools of a host, naming the option.

    That may be CPUs that the host lacks, half a core in the dedicated pool, pools that overlap, or no housekeeping CPU.
    """
    topology, pools = host.topology, host.pools
    options = {
        "dedicated_cpu_set": pools.dedicated,
        "shared_cpu_set": pools.shared,
        "housekeeping_cpu_set": pools.housekeeping,
    }
    for option, cpus in options.items():
        if absent := cpus - topology.present:
            yield exceptions.ConfigurationError(option, f"this host has no CPU {absent}; it has {topology.present}")
        if option != "dedicated_cpu_set" and (twice := cpus & pools.dedicated):
            yield exceptions.ConfigurationError(option, f"CPU {twice} is in dedicated_cpu_set too")
    for core in (core for node in topology.nodes for core in node.cores):
        inside = core.cpus & pools.dedicated
        if inside and inside != core.cpus:
            yield exceptions.ConfigurationError(
                "dedicated_cpu_set",
                f"CPU {inside} is in the pool and its sibling {core.cpus - inside} is not; take whole cores",
            )
    if not pools.housekeeping & topology.cpus:
        yield exceptions.ConfigurationError(
            "housekeeping_cpu_set", "no online CPU is left for emulator threads; leave some out of dedicated_cpu_set"
        )
