# SPDX-License-Identifier: Apache-2.0
"""The sets of CPUs and huge pages of emulated hosts, and the lines of nova.conf that lead Nova to their NUMA nodes."""

from __future__ import annotations

from configparser import ConfigParser

from kongming_sched.agent.inspect.nova_numa import NovaNumaOptions, further_file
from kongming_sched.cpuset import CpuSet
from kongming_sched.pools import HostCpus, HostPools
from kongming_sched.topology import HostTopology
from testbed.cloud.ini import Value
from testbed.cloud.plan import Plan
from testbed.lab.demo_setup import Pools, choose_pools
from testbed.numa_host import machine

_WITHOUT_LINES = NovaNumaOptions((), {}, CpuSet(), CpuSet(), cpu_power_management=False)
_SHARED_RATIO = 16.0


def choose_emulated_pools(topology: HostTopology) -> Pools:
    """The pools of the agent: of cores that are for sharing one thread is Nova's, for servers without a template."""
    pools = choose_pools(topology)
    cores = (core.cpus & pools.shared for node in topology.nodes for core in node.cores)
    return Pools(pools.dedicated, CpuSet.of(cpus.first for cpus in cores if len(cpus) > 1))


def options(plan: Plan, host: str, topology: HostTopology) -> dict[str, dict[str, Value]]:
    """What nova.conf of an emulated host has beyond that of others: the lines of ``kongming-agent --nova-conf``."""
    pools = choose_emulated_pools(topology)
    housekeeping = topology.cpus - pools.dedicated
    cpus = HostCpus(topology, HostPools(pools.dedicated, pools.shared, housekeeping, _SHARED_RATIO, 0))
    parser = ConfigParser(interpolation=None, default_section="", delimiters=("=",))
    parser.read_string(further_file(_WITHOUT_LINES, cpus))
    lines: dict[str, dict[str, Value]] = {name: dict(parser[name]) for name in parser.sections()}
    return {**lines, "DEFAULT": {"reserved_huge_pages": reserved_pages(plan, host)}}


def reserved_pages(plan: Plan, host: str) -> list[str]:
    """The huge pages that are for the other hosts in the machine, as each host counts all of them."""
    position, hosts = plan.emulated_hosts.index(host), len(plan.emulated_hosts)
    found = []
    for size_kib, count in machine.HUGE_PAGES.items():
        mine = count // hosts + (position < count % hosts)
        if mine < count:
            found += [f"node:{node},size:{size_kib},count:{count - mine}" for node in machine.NODES]
    return found
