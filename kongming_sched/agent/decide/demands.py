# SPDX-License-Identifier: Apache-2.0
"""What the guests that have claimed on a node demand of its dedicated CPUs: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from kongming_sched.agent.decide.claims import Claims
from kongming_sched.agent.model.guest import Guest
from kongming_sched.agent.model.view import HostView
from kongming_sched.allocator import Demand, usable_cores
from kongming_sched.cpuset import CpuSet
from kongming_sched.template import CpuPolicy
from kongming_sched.topology import Core


@dataclass(frozen=True, slots=True)
class DedicatedCell:
    """A guest's dedicated cell on a node."""

    guest: str
    vcpus: CpuSet
    demand: Demand


@dataclass(frozen=True, slots=True)
class NodeDemands:
    """The dedicated cells of a node, and the cores that they share.

    :ivar blocked: host CPUs of guests that cannot be moved now
    """

    cores: tuple[Core, ...]
    cells: tuple[DedicatedCell, ...]
    blocked: CpuSet = CpuSet()


def demands_on(
    view: HostView, node_id: int, pool: CpuSet, guests: Iterable[Guest], claims: Claims, blocked: CpuSet
) -> NodeDemands:
    """The dedicated cells that have claimed on a node.

    :param pool: the dedicated CPUs of the node
    :param guests: those that have a place, each of a template that there is
    :param claims: server id to the node of each cell
    :param blocked: host CPUs of guests that cannot be moved now
    """
    node = view.topology.node(node_id)
    cells: list[DedicatedCell] = []
    for guest in guests:
        for index, cell in enumerate(view.templates[guest.request.template].cells):
            if cell.cpus is CpuPolicy.DEDICATED and claims[guest.uuid][index] == node_id:
                present = tuple(_single(_present(view, guest, vcpu)) for vcpu in cell.vcpus)
                demand = Demand(f"{guest.uuid}/{index}", len(cell.vcpus), cell.threads, present)
                cells.append(DedicatedCell(guest.uuid, cell.vcpus, demand))
    cores = usable_cores(node.cores, pool) if node and cells else ()
    return NodeDemands(cores, tuple(cells), blocked)


def _present(view: HostView, guest: Guest, vcpu: int) -> CpuSet:
    """Where a vCPU belongs until now: the CPUs that it was given, or those that it is on if none are known.

    What was given counts, so that a vCPU which was moved by other means goes back instead of staying there.
    """
    assigned = view.assigned.get(guest.uuid, ())
    return assigned[vcpu] if vcpu < len(assigned) else guest.threads.vcpus.get(vcpu, CpuSet())


def _single(cpus: CpuSet) -> int | None:
    """The CPU of a vCPU that is pinned to one; None for one that floats."""
    return cpus.first if len(cpus) == 1 else None


def with_requested_cpus(cell: DedicatedCell, pins: Sequence[CpuSet]) -> Demand:
    """The demand of a cell as if it were on the CPUs that its server asks for.

    :param pins: those of each vCPU of the server, which for a dedicated one is a single CPU
    """
    return replace(cell.demand, present=tuple(pins[vcpu].first for vcpu in cell.vcpus))
