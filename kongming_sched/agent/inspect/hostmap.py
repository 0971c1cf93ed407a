# SPDX-License-Identifier: Apache-2.0
"""A host as a picture shows it: nodes, cores, CPUs, and the guests that the kernel lets run there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from kongming_sched.agent.model.guest import ObservedGuest
from kongming_sched.agent.state.released import NONE_RELEASED, Released
from kongming_sched.cpuset import CpuSet
from kongming_sched.page_sizes import size_name
from kongming_sched.pools import HostCpus, HostPools, HugePages

UNNAMED_POOL = "-"
"""The pool of CPUs that are in no pool of KongMing's."""


@dataclass(frozen=True, slots=True)
class MapGuest:
    """A guest of the picture.

    :ivar number: its place in the list of guests, from 1
    :ivar template: empty for a guest without one
    :ivar floats: whether all its vCPUs may run on every CPU of the host
    :ivar is_released: whether the agent leaves it alone
    :ivar is_readable: whether it is known what it is: of the others only the kernel's threads are
    :ivar has_own_emulator: whether QEMU's own threads have CPUs of the dedicated pool that no vCPU of it has
    """

    number: int
    uuid: str
    name: str
    template: str
    vcpus: Mapping[int, CpuSet]
    emulator: CpuSet
    floats: bool
    is_released: bool = False
    is_readable: bool = True
    has_own_emulator: bool = False

    @property
    def cpus(self) -> CpuSet:
        """Every host CPU on which one of its vCPUs may run."""
        return CpuSet.union(self.vcpus.values())


@dataclass(frozen=True, slots=True)
class Tenant:
    """A guest on a CPU.

    :ivar vcpus: those of its vCPUs that may run there
    :ivar has_emulator: whether QEMU's own threads may
    """

    guest: MapGuest
    vcpus: CpuSet
    has_emulator: bool

    @property
    def is_pinned(self) -> bool:
        """Whether it has the CPU for a vCPU, or for QEMU's own threads alone; not if it may run anywhere."""
        return bool(self.vcpus and not self.guest.floats) or (self.has_emulator and self.guest.has_own_emulator)


@dataclass(frozen=True, slots=True)
class MapCpu:
    """A host CPU.

    :ivar pool: as in "dedicated"; with + between them if there are several
    """

    cpu: int
    pool: str
    tenants: tuple[Tenant, ...]

    @property
    def pinned(self) -> tuple[Tenant, ...]:
        """The guests that are pinned there: those that may run anywhere are left out."""
        return tuple(tenant for tenant in self.tenants if tenant.is_pinned)

    @property
    def is_contended(self) -> bool:
        """Whether two guests are pinned to a CPU that is for one."""
        return "dedicated" in self.pool and len(self.pinned) > 1


@dataclass(frozen=True, slots=True)
class MapCore:
    """A core with its online CPUs.

    :ivar number: counted within its node
    :ivar cache: the same for all cores that share a last-level cache
    """

    number: int
    cache: int
    cpus: tuple[MapCpu, ...]


@dataclass(frozen=True, slots=True)
class MapNode:
    """A NUMA node.

    :ivar memory_mb: its memory, huge pages included
    """

    id: int
    memory_mb: int
    cores: tuple[MapCore, ...]
    huge_pages: tuple[HugePages, ...] = ()

    @property
    def pages_by_size(self) -> dict[str, int]:
        """How many huge pages there are of each size in words, the smallest first."""
        return {size_name(pages.size_kib): pages.count for pages in self.huge_pages}

    @property
    def cpus(self) -> tuple[MapCpu, ...]:
        """All its CPUs."""
        return tuple(cpu for core in self.cores for cpu in core.cpus)

    def count(self, pool: str) -> tuple[int, int]:
        """How many CPUs of a pool a guest is pinned to, and how many there are."""
        mine = [cpu for cpu in self.cpus if pool in cpu.pool.split("+")]
        return sum(1 for cpu in mine if cpu.pinned), len(mine)


@dataclass(frozen=True, slots=True)
class HostMap:
    """The whole picture.

    :ivar offline: CPUs that the host has and that are not online
    :ivar unmanaged: what keeps guests without a template off the dedicated CPUs, in words
    """

    host: str
    nodes: tuple[MapNode, ...]
    guests: tuple[MapGuest, ...]
    offline: CpuSet
    unmanaged: str = ""

    @property
    def cpus(self) -> tuple[MapCpu, ...]:
        """All CPUs of all nodes."""
        return tuple(cpu for node in self.nodes for cpu in node.cpus)

    def count(self, pool: str) -> tuple[int, int]:
        """How many CPUs of a pool a guest is pinned to, and how many there are."""
        counts = [node.count(pool) for node in self.nodes]
        return sum(taken for taken, _ in counts), sum(total for _, total in counts)


def draw(
    host: str,
    cpus: HostCpus,
    running: Iterable[ObservedGuest],
    released: Released = NONE_RELEASED,
    unmanaged: str = "",
) -> HostMap:
    """Draw a host.

    :param running: every running guest, of a template or not
    :param released: the guests that the agent leaves alone
    :param unmanaged: what keeps guests without a template off the dedicated CPUs, in words
    """
    topology, pools = cpus.topology, cpus.pools
    ordered = sorted(running, key=lambda guest: (guest.identity.request is None, guest.identity.server, guest.uuid))
    guests = tuple(_guest(number, guest, cpus, released) for number, guest in enumerate(ordered, 1))
    nodes = tuple(
        MapNode(
            node.id,
            node.memory_mb,
            tuple(
                MapCore(
                    number,
                    core.cache,
                    tuple(MapCpu(cpu, _pool(cpu, pools), tuple(_tenants(cpu, guests))) for cpu in core.cpus),
                )
                for number, core in enumerate(node.cores)
            ),
            cpus.huge_pages.get(node.id, ()),
        )
        for node in topology.nodes
    )
    return HostMap(host, nodes, guests, topology.present - topology.cpus, unmanaged)


def describe(tenant: Tenant) -> str:
    """A guest on a CPU in words."""
    parts = [f"vCPU {tenant.vcpus}"] if tenant.vcpus else []
    if tenant.has_emulator:
        parts.append("emulator")
    guest = tenant.guest
    words = ", not pinned" * bool(tenant.vcpus and guest.floats) + ", released" * guest.is_released
    words += ", cannot be read" * (not guest.is_readable)
    return f"{guest.name} ({' and '.join(parts)}{words})"


def _guest(number: int, guest: ObservedGuest, cpus: HostCpus, released: Released) -> MapGuest:
    identity, threads = guest.identity, guest.threads
    return MapGuest(
        number,
        guest.uuid,
        identity.server,
        identity.request.template if identity.request else "",
        threads.vcpus,
        threads.emulator,
        all(cpus.topology.cpus <= affinity for affinity in threads.vcpus.values()),
        released.covers(*guest.run),
        not identity.fault,
        threads.emulator <= cpus.pools.dedicated and threads.emulator.isdisjoint(CpuSet.union(threads.vcpus.values())),
    )


def _pool(cpu: int, pools: HostPools) -> str:
    kinds = {"dedicated": pools.dedicated, "shared": pools.shared, "housekeeping": pools.housekeeping}
    return "+".join(name for name, cpus in kinds.items() if cpu in cpus) or UNNAMED_POOL


def _tenants(cpu: int, guests: Iterable[MapGuest]) -> Iterator[Tenant]:
    for guest in guests:
        vcpus = CpuSet.of(vcpu for vcpu, cpus in guest.vcpus.items() if cpu in cpus)
        if vcpus or cpu in guest.emulator:
            yield Tenant(guest, vcpus, cpu in guest.emulator)
