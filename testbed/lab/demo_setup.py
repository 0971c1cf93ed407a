# SPDX-License-Identifier: Apache-2.0
"""What the demonstration plays with on a given machine: pools and templates. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from kongming_sched.cpuset import CpuSet
from kongming_sched.topology import HostTopology, NumaNode
from testbed.lab.process import LabError

MAX_NODES = 4
MAX_CORES = 4
"""Dedicated cores per node, so that a large machine does not run a hundred guests."""

Template = dict[str, object]


@dataclass(frozen=True)
class Pools:
    """The CPUs that the lab gives to KongMing; all others do the housekeeping."""

    dedicated: CpuSet
    shared: CpuSet


def choose_pools(topology: HostTopology) -> Pools:
    """The first core of each node is for sharing, some of the others are dedicated; a node of one core gives that.

    :raises LabError: if the machine has one core only
    """
    dedicated, shared = CpuSet(), CpuSet()
    for index, node in enumerate([node for node in topology.nodes if node.cores][:MAX_NODES]):
        keeps_one = index == 0 or len(node.cores) > 1
        shared |= node.cores[0].cpus if keeps_one else CpuSet()
        given = node.cores[1 : MAX_CORES + 1] if keeps_one else node.cores
        dedicated |= CpuSet.union(core.cpus for core in given)
    if not dedicated:
        raise LabError(
            "the demonstration needs two CPU cores, one for the host and one to give away; this machine has one"
        )
    return Pools(dedicated, shared)


def pool_nodes(topology: HostTopology, pools: Pools) -> list[NumaNode]:
    """The nodes that have dedicated CPUs."""
    return [node for node in topology.nodes if node.cpus & pools.dedicated]


def gold_vcpus(topology: HostTopology, pools: Pools) -> int:
    """Two vCPUs where every pool has room for two such servers, else one."""
    return 2 if all(len(node.cpus & pools.dedicated) >= 4 for node in pool_nodes(topology, pools)) else 1


def gold(vcpus: int, memory: str) -> Template:
    """Dedicated CPUs."""
    return {"name": "gold", "cells": [_cell(CpuSet.of(range(vcpus)), "dedicated", memory)]}


def bronze(quota_us: int) -> Template:
    """A part of the shared CPUs, with half the weight of others and a limit per 100 ms."""
    cells = [_cell(CpuSet.of([0]), "shared", "none")]
    return {"name": "bronze", "cells": cells, "qos": {"shares": 512, "quota_us": quota_us}}


def exact(cpu: int, emulator: str, memory: str) -> Template:
    """One host CPU that the operator names."""
    cell = _cell(CpuSet.of([0]), "explicit", memory) | {"pins": {0: str(cpu)}}
    return {"name": "exact", "cells": [cell], "emulator": emulator}


def solo(memory: str) -> Template:
    """A whole core for one vCPU, on hosts with several threads per core."""
    return {"name": "solo", "cells": [_cell(CpuSet.of([0]), "dedicated", memory) | {"threads": "isolate"}]}


def twin(memory: str) -> Template:
    """Two NUMA nodes."""
    return {"name": "twin", "cells": [_cell(CpuSet.of([index]), "dedicated", memory) for index in range(2)]}


def _cell(vcpus: CpuSet, cpus: str, memory: str) -> dict[str, object]:
    return {"vcpus": str(vcpus), "cpus": cpus, "memory": memory}
