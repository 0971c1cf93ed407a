# SPDX-License-Identifier: Apache-2.0
"""The CPUs, memory and huge pages that a host and its options give to KongMing, and what is wrong with the options."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from kongming_sched import exceptions
from kongming_sched.cpuset import CpuSet
from kongming_sched.page_sizes import read_kib
from kongming_sched.texts.printable import quote
from kongming_sched.texts.whole_number import AMOUNTS, NODE_IDS, read_whole_number
from kongming_sched.topology import HostTopology, NumaNode

_RESERVED_PAGES = "[DEFAULT] reserved_huge_pages"


@dataclass(frozen=True, slots=True)
class HugePages:
    """The huge pages of one size on a NUMA node.

    :ivar count: all that are there
    :ivar surplus: those of them that the kernel takes back when their user ends
    """

    size_kib: int
    count: int
    surplus: int = 0

    @property
    def lasting(self) -> int:
        """Those that stay in the pool."""
        return max(self.count - self.surplus, 0)

    @property
    def memory_kib(self) -> int:
        """The memory that they take away from everything that does not ask for them, in KiB."""
        return self.size_kib * self.count


PagesByNode = Mapping[int, tuple[HugePages, ...]]
"""NUMA node to its huge pages, the smallest first; nodes and sizes without any are left out."""

NO_HUGE_PAGES: PagesByNode = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ReservedPages:
    """Huge pages of a NUMA node that are for others than servers."""

    node_id: int
    size_kib: int
    count: int


@dataclass(frozen=True, slots=True)
class HostPools:
    """The CPUs that a host gives to KongMing, and how.

    :ivar dedicated: host CPUs that are given to one guest each, on all nodes
    :ivar shared: host CPUs that guests of shared cells float over
    :ivar housekeeping: host CPUs for emulator threads and for guests that have no place
    :ivar vcpu_allocation_ratio: how many shared vCPUs a shared host CPU takes
    :ivar reserved_memory_mb: memory of each node that is not for guests of templates, in MiB
    :ivar reserved_pages: huge pages that are not for guests
    """

    dedicated: CpuSet
    shared: CpuSet = field(default_factory=CpuSet)
    housekeeping: CpuSet = field(default_factory=CpuSet)
    vcpu_allocation_ratio: float = 1.0
    reserved_memory_mb: int = 0
    reserved_pages: tuple[ReservedPages, ...] = ()

    def reserved_of(self, node_id: int, size_kib: int) -> int:
        """How many huge pages of a size are not for guests on a node."""
        mine = (pages for pages in self.reserved_pages if (pages.node_id, pages.size_kib) == (node_id, size_kib))
        return sum(pages.count for pages in mine)


@dataclass(frozen=True, slots=True)
class HostCpus:
    """The CPUs and huge pages of a host, and the pools that the options make of its CPUs.

    :ivar why_not_led: what keeps Nova from being led to the nodes of servers that it lays out itself; empty if nothing
        does
    """

    topology: HostTopology
    pools: HostPools
    huge_pages: PagesByNode = field(default_factory=dict)
    why_not_led: str = ""
    _widths: Mapping[int, int] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Find once what is asked for with every guest."""
        dedicated = self.pools.dedicated
        widths = {
            node.id: max(
                (len(core.cpus) for core in node.cores if core.cpus <= dedicated), default=node.threads_per_core
            )
            for node in self.topology.nodes
        }
        object.__setattr__(self, "_widths", widths)

    @property
    def housekeeping(self) -> CpuSet:
        """The housekeeping CPUs that are online."""
        return self.pools.housekeeping & self.topology.cpus

    def shared_of(self, node_id: int) -> CpuSet:
        """The shared pool of a NUMA node; empty if the host has no such node."""
        node = self.topology.node(node_id)
        return self.pools.shared & node.cpus if node else CpuSet()

    def threads_per_core(self, node: NumaNode) -> int:
        """The hardware threads of the widest core in a node's dedicated pool; of the node if it has no such pool."""
        return self._widths[node.id]

    def small_pages_mb(self, node: NumaNode) -> int:
        """The memory of a node outside its huge pages, in MiB."""
        in_huge_pages_kib = sum(pages.memory_kib for pages in self.huge_pages.get(node.id, ()))
        return max(node.memory_mb - -(-in_huge_pages_kib // 1024), 0)


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


def parse_reserved(values: Iterable[str]) -> tuple[ReservedPages, ...]:
    """Read Nova's option ``reserved_huge_pages``, as in ``node:0,size:2048,count:64``.

    A size is a number of KiB, or one with a unit. Of several values for one node and size the last one holds, as in
    Nova (``nova.virt.hardware.numa_get_reserved_huge_pages``).

    :raises ConfigurationError: if a value cannot be read
    """
    found: dict[tuple[int, int], int] = {}
    for value in values:
        fields = dict(_field(value, field) for field in value.split(","))
        try:
            node = read_whole_number(fields["node"], NODE_IDS)
            count = read_whole_number(fields["count"], AMOUNTS)
        except (KeyError, exceptions.InvalidNumber) as error:
            raise _unreadable(value) from error
        size = fields.get("size", "")
        size_kib = read_kib(size) or read_kib(f"{size}B")
        if size_kib is None:
            raise _unreadable(value)
        found[node, size_kib] = count
    return tuple(ReservedPages(*key, count) for key, count in sorted(found.items()))


def _field(value: str, text: str) -> tuple[str, str]:
    key, colon, rest = text.partition(":")
    if not colon:
        raise _unreadable(value)
    return key.strip(), rest.strip()


def _unreadable(value: str) -> exceptions.ConfigurationError:
    return exceptions.ConfigurationError(_RESERVED_PAGES, f"{quote(value)} is not as in node:0,size:2048,count:64")
