# SPDX-License-Identifier: Apache-2.0
"""Which dedicated CPUs of a node are counted where its cores are of several widths. Pure.

Counting is enough only if no server takes whole cores, or if the widest cores alone are counted (see allocator.py). So
all are counted until a template is offered that takes whole cores.
"""

from __future__ import annotations

from collections.abc import Iterator

from kongming_sched.allocator import usable_cores
from kongming_sched.cpuset import CpuSet
from kongming_sched.pools import HostCpus
from kongming_sched.template import PinningTemplate
from kongming_sched.topology import Core, NumaNode


def takes_whole_cores(template: PinningTemplate) -> bool:
    """Whether servers of a template take whole cores."""
    return any(cell.needs_smt_trait for cell in template.cells)


def left_cpus(cpus: HostCpus, node: NumaNode, taken: CpuSet) -> CpuSet:
    """The dedicated CPUs of a node that are on cores of which no CPU is taken."""
    return CpuSet.union(core.cpus for core in _left(cpus, node, taken))


def widest_cpus(cpus: HostCpus, node: NumaNode, taken: CpuSet) -> CpuSet:
    """Those of them that are on the widest cores of the node's pool, be these taken or not."""
    return CpuSet.union(core.cpus for core in widest_cores(cpus, node, taken))


def widest_cores(cpus: HostCpus, node: NumaNode, taken: CpuSet) -> tuple[Core, ...]:
    """The cores of a node's pool that are as wide as its widest one, and of which no CPU is taken."""
    width = cpus.threads_per_core(node)
    return tuple(core for core in _left(cpus, node, taken) if len(core.cpus) == width)


def _left(cpus: HostCpus, node: NumaNode, taken: CpuSet) -> Iterator[Core]:
    cores = usable_cores(node.cores, cpus.pools.dedicated)
    return (core for core in cores if core.cpus.isdisjoint(taken))
