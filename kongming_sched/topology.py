# SPDX-License-Identifier: Apache-2.0
"""HostTopology: the NUMA nodes, cores, hardware threads and caches of one host."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kongming_sched import exceptions
from kongming_sched.cpuset import CpuSet
from kongming_sched.texts.printable import quote
from kongming_sched.texts.whole_number import CPUS, NODE_IDS, read_whole_number

_DECISIVE_LEVEL = 3
"""The level of the caches that cores are kept together by."""

_LEVELS = range(10)
_MEMORY = range(2**63)

_KIB_PER_UNIT = {"b": 1 / 1024, "KiB": 1, "MiB": 1024, "GiB": 1024**2, "TiB": 1024**3}


@dataclass(frozen=True, slots=True)
class Core:
    """A physical core.

    :ivar cpus: its online hardware threads
    :ivar cache: the lowest CPU of those that share its cache; equal numbers, one cache
    """

    cpus: CpuSet
    cache: int


@dataclass(frozen=True, slots=True)
class NumaNode:
    """A NUMA node of a host ("cell" in libvirt) with its online cores, in the order of their first CPU.

    :ivar cpus: every online CPU of the node
    :ivar threads_per_core: the widest core's hardware threads; 1 on a node without an online CPU
    """

    id: int
    memory_mb: int
    cores: tuple[Core, ...]
    cpus: CpuSet = field(init=False, compare=False, repr=False)
    threads_per_core: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Sum up once what is asked for with every guest."""
        object.__setattr__(self, "cpus", CpuSet.union(core.cpus for core in self.cores))
        widest = max((len(core.cpus) for core in self.cores), default=1)
        object.__setattr__(self, "threads_per_core", widest)


@dataclass(frozen=True, slots=True)
class HostTopology:
    """The NUMA nodes of a host, ascending by id.

    :ivar present: every CPU that the host has, online or not
    :ivar cpus: those that are online
    :ivar memory_nodes: the ids of the nodes that have memory; the kernel lets none be bound to any other
    """

    nodes: tuple[NumaNode, ...]
    present: CpuSet
    cpus: CpuSet = field(init=False, compare=False, repr=False)
    memory_nodes: CpuSet = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Sum up once what is asked for with every guest."""
        object.__setattr__(self, "cpus", CpuSet.union(node.cpus for node in self.nodes))
        object.__setattr__(self, "memory_nodes", CpuSet.of(node.id for node in self.nodes if node.memory_mb))

    def node(self, node_id: int) -> NumaNode | None:
        """The node of this id, if the host has it."""
        return next((node for node in self.nodes if node.id == node_id), None)

    @classmethod
    def from_capabilities(cls, xml: str, online: CpuSet, present: CpuSet | None = None) -> HostTopology:
        """Read libvirt's capabilities (``virConnectGetCapabilities``).

        libvirt lists offline CPUs with wrong siblings, so only ``online`` (``virNodeGetCPUMap``) counts. Cores are
        kept together by their level 3 cache, or by the highest one that they have if that is none. The cores of a node
        of which the document names no cache count as sharing one.

        :param present: all CPUs that the host has; by default those that the document names
        :raises InvalidTopology: if the document is broken, has a CPU in two cores or on two NUMA nodes, or has no NUMA
            node with an online CPU
        """
        try:
            host = ET.fromstring(xml).find("host")
        except ET.ParseError as error:
            raise exceptions.InvalidTopology(f"libvirt's capabilities are not XML: {error}") from error
        if host is None:
            raise exceptions.InvalidTopology("libvirt's capabilities have no <host>")
        try:
            caches = _shared_caches(host)
            nodes = [_read_cell(cell, online, caches) for cell in host.iterfind("topology/cells/cell")]
            named = [read_whole_number(cpu.attrib["id"], CPUS) for cpu in host.iterfind("topology/cells/cell/cpus/cpu")]
        except (KeyError, ValueError, exceptions.InvalidCpuSet) as error:
            raise exceptions.InvalidTopology(f"libvirt's capabilities have a broken <host>: {error!r}") from error
        if not any(node.cores for node in nodes):
            raise exceptions.InvalidTopology("libvirt's capabilities name no NUMA node with an online CPU")
        nodes.sort(key=lambda node: node.id)
        _refuse_shared_cpus(nodes)
        return cls(tuple(nodes), CpuSet.of(named) if present is None else present)


def _refuse_shared_cpus(nodes: Sequence[NumaNode]) -> None:
    """Refuse two nodes of one id, and a CPU that is on two nodes or in two cores.

    :raises InvalidTopology: with the CPUs and the nodes
    """
    ids = Counter(node.id for node in nodes)
    if twice := CpuSet.of(node for node, count in ids.items() if count > 1):
        raise exceptions.InvalidTopology(f"libvirt's capabilities have several NUMA nodes of the id {twice}")
    on_nodes = Counter(cpu for node in nodes for cpu in node.cpus)
    if twice := CpuSet.of(cpu for cpu, count in on_nodes.items() if count > 1):
        names = CpuSet.of(node.id for node in nodes if not node.cpus.isdisjoint(twice))
        raise exceptions.InvalidTopology(
            f"libvirt's capabilities put CPU {twice} on several NUMA nodes ({names}), as after a boot with numa=fake;"
            " take numa=fake off the kernel's command line and reboot"
        )
    in_cores = Counter(cpu for node in nodes for core in node.cores for cpu in core.cpus)
    if twice := CpuSet.of(cpu for cpu, count in in_cores.items() if count > 1):
        raise exceptions.InvalidTopology(f"libvirt's capabilities put CPU {twice} in two cores")


def _shared_caches(host: ET.Element) -> dict[int, int]:
    """Map each CPU to the lowest CPU of those that share its cache of the level that decides.

    That is the third. Above it stand memory-side caches, which cores share whose own caches are apart. A CPU without a
    level 3 cache counts by the highest one below, and by one above if it has no other.
    """
    banks = [
        (read_whole_number(bank.get("level", "0"), _LEVELS), CpuSet.parse(bank.get("cpus", "")))
        for bank in host.iterfind("cache/bank")
    ]
    banks.sort(key=lambda bank: bank[0] if bank[0] <= _DECISIVE_LEVEL else -bank[0])
    return {cpu: cpus.first for _, cpus in banks for cpu in cpus}


def _read_cell(cell: ET.Element, online: CpuSet, caches: Mapping[int, int]) -> NumaNode:
    """One <cell> with its online cores."""
    node_id = read_whole_number(cell.attrib["id"], NODE_IDS)
    memory = cell.find("memory")
    kib = 0.0
    if memory is not None:
        unit = memory.get("unit", "KiB")
        if unit not in _KIB_PER_UNIT:
            raise ValueError(f"unknown memory unit {quote(unit)} of cell {node_id}")
        kib = read_whole_number((memory.text or "0").strip(), _MEMORY) * _KIB_PER_UNIT[unit]
    cpus = {read_whole_number(cpu.attrib["id"], CPUS): cpu for cpu in cell.iterfind("cpus/cpu")}
    mine = CpuSet.of(cpus) & online
    uncached = next((cpu for cpu in mine if cpu not in caches), 0)
    cores: dict[CpuSet, Core] = {}
    for cpu in mine:
        siblings = CpuSet.parse(cpus[cpu].get("siblings", "")) & mine | CpuSet.of([cpu])
        cores.setdefault(siblings, Core(siblings, caches.get(cpu, uncached)))
    return NumaNode(node_id, int(kib / 1024), tuple(sorted(cores.values(), key=lambda core: core.cpus.first)))
