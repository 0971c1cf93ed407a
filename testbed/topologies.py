# SPDX-License-Identifier: Apache-2.0
"""Named host topologies for tests, and how libvirt would describe them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from kongming_sched.cpuset import CpuSet
from kongming_sched.pools import HostPools
from kongming_sched.topology import Core, HostTopology, NumaNode


def make_topology(
    nodes: int,
    cores_per_node: int,
    threads: int = 1,
    cores_per_cache: int | None = None,
    memory_mb: int = 16384,
) -> HostTopology:
    """A host as Linux numbers it: first one thread of every core, then the next thread of every core.

    The siblings of CPU i are i + n, i + 2n and so on, where n is the number of cores of the host.

    :param cores_per_cache: how many cores of a node share a last-level cache; by default all of them
    """
    total = nodes * cores_per_node
    per_cache = cores_per_cache or cores_per_node

    def make_core(node: int, index: int) -> Core:
        first = node * cores_per_node + index
        return Core(CpuSet.of(range(first, total * threads, total)), first - index % per_cache)

    return HostTopology(
        tuple(
            NumaNode(node, memory_mb, tuple(make_core(node, index) for index in range(cores_per_node)))
            for node in range(nodes)
        ),
        CpuSet.of(range(total * threads)),
    )


def one_node_no_smt() -> HostTopology:
    """Four cores of one thread: 0 to 3."""
    return make_topology(1, 4)


def one_node_smt2() -> HostTopology:
    """Four cores of two threads: 0,4 1,5 2,6 3,7."""
    return make_topology(1, 4, 2)


def one_node_smt4() -> HostTopology:
    """Four cores of four threads: 0,4,8,12 and so on."""
    return make_topology(1, 4, 4)


def one_node_two_caches_smt2() -> HostTopology:
    """Eight cores of two threads; cores 0 to 3 share one last-level cache, 4 to 7 another."""
    return make_topology(1, 8, 2, cores_per_cache=4)


def two_nodes_smt2() -> HostTopology:
    """Two nodes of four cores of two threads: node 0 has 0-3,8-11 and node 1 has 4-7,12-15."""
    return make_topology(2, 4, 2)


def two_nodes_no_smt() -> HostTopology:
    """Two nodes of four cores of one thread: 0-3 and 4-7."""
    return make_topology(2, 4)


def describe_host(
    nodes: Mapping[int, str], without_memory: Collection[int] = (), absent: CpuSet = CpuSet()
) -> HostTopology:
    """A host by the cores of its nodes.

    :param nodes: node id to cores, apart by blanks; a bar stands between those of different caches, as in "0,4 1,5 | 2"
    :param without_memory: ids of nodes that have CPUs only
    :param absent: CPUs that the host has beside these, which are offline
    """
    topology = []
    for node_id, text in nodes.items():
        caches = [[CpuSet.parse(core) for core in cache.split()] for cache in text.split("|")]
        cores = tuple(Core(core, cache[0].first) for cache in caches for core in cache)
        ordered = tuple(sorted(cores, key=lambda core: core.cpus.first))
        topology.append(NumaNode(node_id, 0 if node_id in without_memory else 16384, ordered))
    return HostTopology(tuple(topology), CpuSet.union(node.cpus for node in topology) | absent)


SHAPES: Mapping[str, HostTopology] = {
    "no SMT": make_topology(2, 4),
    "two threads": make_topology(2, 4, 2),
    "a single core": make_topology(1, 1, 2),
    "striped over the nodes": describe_host({0: "0,8 2,10 4,12 6,14", 1: "1,9 3,11 5,13 7,15"}),
    "siblings beside each other": describe_host({0: "0-1 2-3 4-5 6-7", 1: "8-9 10-11 12-13 14-15"}),
    "CPU ids eight apart": describe_host({0: "0 8 16 24", 1: "32 40 48 56"}),
    "four threads with odd numbers": describe_host({0: "1,3,5,7 9,11,13,15 17,19,21,23", 1: "25,27,29,31 33,35,37,39"}),
    "sparse node ids": describe_host({0: "0-3 4-7 8-11", 8: "12-15 16-19"} | dict.fromkeys(range(250, 256), "")),
    "a node without CPUs": describe_host({0: "0,4 1,5 2,6 3,7", 1: ""}),
    "a node without memory": describe_host({0: "0,6 1,7 2,8", 1: "3,9 4,10 5,11"}, without_memory=[1]),
    "no memory at all": describe_host({0: "0,3 1,4 2,5"}, without_memory=[0]),
    "a node that vanished": describe_host(
        {0: "0,12 1,13 2,14", 3: "9,21 10,22 11,23"}, absent=CpuSet.parse("3-8,15-20")
    ),
    "some siblings offline": describe_host({0: "0,4 1 2,6 3,7", 1: "8,12 9,13 10 11"}, absent=CpuSet.parse("5,14-15")),
    "cores of two kinds": describe_host({0: "0-1 2-3 4-5 | 6 7 8 9 | 10 11"}),
    "i7-14700": describe_host({0: "0-1 2-3 4-5 6-7 8-9 10-11 12-13 14-15 16 17 18 19 20 21 22 23 24 25 26 27"}),
    "SMT off on all but two cores": describe_host({0: "0,8 1,9 2 3 4 5 6 7"}, absent=CpuSet.parse("10-15")),
    "caches smaller than a node": make_topology(2, 6, 2, cores_per_cache=2),
    "no level 3 cache": describe_host({0: "0 1 2 3", 1: "4 5 6 7"}),
    "512 CPUs": make_topology(8, 32, 2, cores_per_cache=8),
}
"""Hosts as they are built, by what is special about them. Whatever holds for hosts holds for all of these."""

WITHOUT_LEVEL_3 = {"cores of two kinds": CpuSet.parse("10-11"), "no level 3 cache": CpuSet.parse("0-7")}
"""The CPUs of shapes for which libvirt names no cache."""


def capabilities_xml(topology: HostTopology, offline: Iterable[int] = (), without_cache: CpuSet = CpuSet()) -> str:
    """What ``virsh capabilities`` prints on such a host.

    :param offline: further CPUs of the first node, listed as libvirt lists offline ones: as their own only sibling
    :param without_cache: CPUs that have no cache of level 3
    """
    capabilities = ET.Element("capabilities")
    host = ET.SubElement(capabilities, "host")
    ET.SubElement(host, "uuid").text = "5a1e0000-0000-4000-8000-000000000001"
    ET.SubElement(ET.SubElement(host, "cpu"), "arch").text = "x86_64"
    cells = ET.SubElement(ET.SubElement(host, "topology"), "cells", num=str(len(topology.nodes)))
    for node in topology.nodes:
        _add_cell(cells, node, offline if node is topology.nodes[0] else ())
    cores = [core for node in topology.nodes for core in node.cores if not core.cpus <= without_cache]
    cache = ET.SubElement(host, "cache")
    for core in cores[:1]:
        ET.SubElement(cache, "bank", id="0", level="2", type="both", size="512", unit="KiB", cpus=str(core.cpus))
    for bank, first in enumerate(sorted({core.cache for core in cores})):
        cpus = CpuSet.union(core.cpus for core in cores if core.cache == first)
        ET.SubElement(cache, "bank", id=str(bank), level="3", type="both", size="16", unit="MiB", cpus=str(cpus))
    ET.indent(capabilities)
    return ET.tostring(capabilities, encoding="unicode")


def _add_cell(cells: ET.Element, node: NumaNode, offline: Iterable[int]) -> None:
    cell = ET.SubElement(cells, "cell", id=str(node.id))
    ET.SubElement(cell, "memory", unit="KiB").text = str(node.memory_mb * 1024)
    ET.SubElement(cell, "pages", unit="KiB", size="4").text = str(node.memory_mb * 256)
    siblings = {cpu: core.cpus for core in node.cores for cpu in core.cpus}
    siblings |= {cpu: CpuSet.of([cpu]) for cpu in offline}
    cpus = ET.SubElement(cell, "cpus", num=str(len(siblings)))
    for cpu in sorted(siblings):
        ids = {"id": str(cpu), "socket_id": str(node.id), "die_id": "0", "core_id": str(siblings[cpu].first)}
        ET.SubElement(cpus, "cpu", ids, siblings=str(siblings[cpu]))


def with_offline(topology: HostTopology, *cpus: int) -> HostTopology:
    """The host with some CPUs offline."""
    gone = CpuSet.of(cpus)

    def rest(node: NumaNode) -> NumaNode:
        cores = [Core(core.cpus - gone, core.cache) for core in node.cores]
        return replace(node, cores=tuple(core for core in cores if core.cpus))

    return replace(topology, nodes=tuple(map(rest, topology.nodes)))


def pools(dedicated: str, shared: str = "", housekeeping: str = "0", reserved_memory_mb: int = 0) -> HostPools:
    """The pools that options with these texts give a host."""
    return HostPools(
        CpuSet.parse(dedicated),
        CpuSet.parse(shared),
        CpuSet.parse(housekeeping),
        reserved_memory_mb=reserved_memory_mb,
    )
