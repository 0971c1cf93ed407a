# SPDX-License-Identifier: Apache-2.0
"""What the guests that have claimed on a node demand of its dedicated CPUs: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from kongming_sched.agent.decide.claims import Claims
from kongming_sched.agent.decide.siblings import groups_of
from kongming_sched.agent.model.guest import Guest
from kongming_sched.agent.model.view import HostView
from kongming_sched.allocator import Demand, usable_cores
from kongming_sched.cpuset import CpuSet
from kongming_sched.template import CachePolicy, CpuPolicy, ThreadPolicy
from kongming_sched.topology import Core


@dataclass(frozen=True, slots=True)
class GuestDemand:
    """What a guest demands on a node: for the vCPUs of a dedicated cell, or for QEMU's own threads.

    :ivar vcpus: the dedicated ones of the cell; empty if it is for QEMU's own threads
    :ivar together: positions of vCPUs that the guest takes for threads of one core, where the thread policy heeds that
    """

    guest: str
    vcpus: CpuSet
    demand: Demand
    together: tuple[tuple[int, ...], ...] = ()

    @property
    def is_emulator(self) -> bool:
        """Whether it is for QEMU's own threads, which have all CPUs that the demand owns."""
        return not self.vcpus


@dataclass(frozen=True, slots=True)
class NodeDemands:
    """What all guests demand on a node, and the cores that they share.

    :ivar blocked: host CPUs of guests that cannot be moved now
    """

    cores: tuple[Core, ...]
    demands: tuple[GuestDemand, ...]
    blocked: CpuSet = CpuSet()


def demands_on(
    view: HostView, node_id: int, pool: CpuSet, guests: Iterable[Guest], claims: Claims, blocked: CpuSet
) -> NodeDemands:
    """What guests that have claimed on a node demand there.

    :param pool: the dedicated CPUs of the node
    :param guests: those that have a place, each of a template that there is
    :param claims: server id to the node of each cell
    :param blocked: host CPUs of guests that cannot be moved now
    """
    node = view.topology.node(node_id)
    if node is None:
        return NodeDemands((), (), blocked)
    demands = tuple(
        demand for guest in guests for demand in _demands_of(view, guest, claims[guest.uuid], node_id, node.cores)
    )
    return NodeDemands(usable_cores(node.cores, pool) if demands else (), demands, blocked)


def _demands_of(
    view: HostView, guest: Guest, nodes: Sequence[int], node_id: int, cores: Sequence[Core]
) -> Iterator[GuestDemand]:
    template = view.templates[guest.request.template]
    for index, cell in enumerate(template.cells):
        if cell.cpus is CpuPolicy.DEDICATED and nodes[index] == node_id:
            vcpus = cell.dedicated_vcpus
            present = tuple(_single(_present(view, guest, vcpu)) for vcpu in vcpus)
            in_one_cache = cell.caches is CachePolicy.ONE
            demand = Demand(f"{guest.uuid}/{index}", len(vcpus), cell.threads, present, in_one_cache)
            is_apart = cell.threads in (ThreadPolicy.ANY, ThreadPolicy.ISOLATE)
            together = () if is_apart else groups_of(vcpus, guest.identity.threads_per_core)
            yield GuestDemand(guest.uuid, vcpus, demand, together)
    if template.emulator_threads is not None and nodes[0] == node_id:
        # The name sorts after the numbers of cells: of a vCPU and the emulator on one CPU the vCPU stays.
        present = (_place_of_emulator(view, guest, cores),)
        yield GuestDemand(guest.uuid, CpuSet(), Demand(f"{guest.uuid}/emulator", 1, template.emulator_threads, present))


def _present(view: HostView, guest: Guest, vcpu: int) -> CpuSet:
    """Where a vCPU belongs until now: the CPUs that it was given, or those that it is on if none are known.

    What was given counts, so that a vCPU which was moved by other means goes back instead of staying there.
    """
    assigned = view.assigned.get(guest.uuid)
    if assigned and vcpu < len(assigned.vcpus):
        return assigned.vcpus[vcpu]
    return guest.threads.vcpus.get(vcpu, CpuSet())


def _single(cpus: CpuSet) -> int | None:
    """The CPU of a vCPU that is pinned to one; None for one that floats."""
    return cpus.first if len(cpus) == 1 else None


def _place_of_emulator(view: HostView, guest: Guest, cores: Iterable[Core]) -> int | None:
    """Where QEMU's own threads belong until now: a CPU of the pool, or the first one of a core; None if they float."""
    assigned = view.assigned.get(guest.uuid)
    cpus = assigned.emulator if assigned else guest.threads.emulator
    is_one_place = len(cpus) == 1 or any(core.cpus == cpus for core in cores)
    return cpus.first if is_one_place and cpus <= view.pools.dedicated else None


def with_requested_cpus(demand: GuestDemand, pins: Sequence[CpuSet]) -> Demand:
    """A demand as if its vCPUs were on the CPUs that their server asks for.

    :param pins: those of each vCPU of the server, which for a dedicated one is a single CPU
    """
    if demand.is_emulator:
        return demand.demand
    return replace(demand.demand, present=tuple(pins[vcpu].first for vcpu in demand.vcpus))
