# SPDX-License-Identifier: Apache-2.0
"""Guests that cannot be moved now: which CPUs they keep from the others, and which guests have to wait for them. Pure.

A guest cannot be moved while it migrates, while it is left alone after a failure, and once a change of it has failed
during a pass. Its threads that are pinned inside the dedicated pool keep their CPUs. Those that float keep none: these
CPUs were not given to it, and if it kept them all others would have to float too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from kongming_sched.agent.model.guest import Guest, ObservedGuest
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.tree import NodeState
from kongming_sched.template import CpuPolicy, PinningTemplate, ThreadPolicy, count_cpus
from kongming_sched.topology import HostTopology


@dataclass(frozen=True, slots=True)
class Obstacles:
    """What the guests that can be moved have to go around.

    :ivar occupied: CPUs of the dedicated pool on which threads of immovable guests are pinned
    :ivar blocked: the CPUs on which no guest may be placed: those, the idle siblings that belong to them, and the CPUs
        of guests that wait
    :ivar waiting: server id of guests whose template names occupied CPUs to the reason why they stay as they are
    """

    occupied: CpuSet
    blocked: CpuSet
    waiting: Mapping[str, str]


def find_obstacles(
    topology: HostTopology,
    dedicated: CpuSet,
    templates: Mapping[str, PinningTemplate],
    immovable: Iterable[ObservedGuest],
    explicit: Iterable[tuple[Guest, CpuSet]],
) -> Obstacles:
    """Find the CPUs that are taken, and the guests that wait for them.

    :param dedicated: the host's dedicated pool
    :param immovable: the guests that cannot be moved now
    :param explicit: movable guests of explicit cells, with the CPUs that their templates name
    """
    owners: dict[int, ObservedGuest] = {}
    occupied = blocked = CpuSet()
    for guest in immovable:
        cpus = pinned_cpus(guest, dedicated)
        owners |= {cpu: guest for cpu in cpus if cpu not in owners}
        occupied |= cpus
        blocked |= cpus | CpuSet.union(_idle_siblings(guest, topology, dedicated, templates))
    waiting: dict[str, str] = {}
    candidates = list(explicit)
    # An explicit cell can go nowhere else. So a guest whose CPUs are occupied stays where it is, and occupies its own,
    # which may be those that another template names; each turn takes at least one guest out of the candidates.
    while stuck := [(guest, cpus) for guest, wanted in candidates if (cpus := _taken(guest, wanted, owners))]:
        for guest, cpus in stuck:
            waiting[guest.uuid] = f"CPU {cpus} is in use by server {owners[cpus.first]}, which cannot be moved now"
        for guest, _ in stuck:
            mine = pinned_cpus(guest, dedicated)
            owners |= {cpu: guest for cpu in mine if cpu not in owners}
            blocked |= mine
        candidates = [(guest, wanted) for guest, wanted in candidates if guest.uuid not in waiting]
    return Obstacles(occupied, blocked, waiting)


def pinned_cpus(guest: ObservedGuest, dedicated: CpuSet) -> CpuSet:
    """The CPUs of the dedicated pool to which threads of a guest are pinned."""
    threads = guest.threads
    affinities = [*threads.vcpus.values(), threads.emulator, *threads.iothreads.values()]
    return CpuSet.union(cpus for cpus in affinities if cpus <= dedicated)


def claimed_cores(
    unknown: Iterable[ObservedGuest], states: Iterable[NodeState], topology: HostTopology, dedicated: CpuSet
) -> CpuSet:
    """The cores of guests of which only the CPUs are known, where these have claimed the idle siblings, too.

    :param unknown: guests that cannot be read, so that their template is not known
    :param states: the host's node providers
    """
    claimed: Counter[str] = Counter()
    for state in states:
        for consumer, resources in state.allocations.items():
            claimed[consumer] += resources.get(names.PCPU, 0)
    found = CpuSet()
    for guest in unknown:
        cpus = CpuSet.union(_pinned(guest, dedicated))
        if claimed[guest.uuid] > len(cpus):
            cores = (core.cpus for node in topology.nodes for core in node.cores)
            found |= CpuSet.union(core for core in cores if not core.isdisjoint(cpus))
    return found


def held_cpus(left: Iterable[ObservedGuest], others: Iterable[ObservedGuest], dedicated: CpuSet) -> CpuSet:
    """The CPUs of the dedicated pool to which guests that are left as they are are pinned.

    :param others: guests that have a place; a CPU to which one of them is pinned, too, is theirs
    """
    in_order = CpuSet.union(cpus for guest in others for cpus in _pinned(guest, dedicated))
    mine = (cpus for guest in left for cpus in _pinned(guest, dedicated))
    return CpuSet.union(cpus for cpus in mine if cpus.isdisjoint(in_order))


def _pinned(guest: ObservedGuest, dedicated: CpuSet) -> Iterator[CpuSet]:
    """The CPUs of each vCPU, and of the emulator, that is pinned inside the dedicated pool."""
    affinities = [*guest.threads.vcpus.values(), guest.threads.emulator]
    return (cpus for cpus in affinities if cpus and cpus <= dedicated)


def _taken(guest: Guest, wanted: CpuSet, owners: Mapping[int, ObservedGuest]) -> CpuSet:
    return CpuSet.of(cpu for cpu in wanted if cpu in owners and owners[cpu].uuid != guest.uuid)


def _idle_siblings(
    guest: ObservedGuest, topology: HostTopology, dedicated: CpuSet, templates: Mapping[str, PinningTemplate]
) -> Iterator[CpuSet]:
    """The cores that a guest of whole cores is on: no other guest gets their idle siblings.

    A cell that is on more cores than it has claimed was never placed as whole cores, so its siblings are not idle by
    right, and none are kept for it.
    """
    request = guest.identity.request
    template = templates.get(request.template) if request else None
    cores = {cpu: core for node in topology.nodes for core in node.cores for cpu in core.cpus}
    for cell in template.cells if template else ():
        if cell.cpus is not CpuPolicy.DEDICATED or cell.threads not in (ThreadPolicy.REQUIRE, ThreadPolicy.ISOLATE):
            continue
        affinities = [guest.threads.vcpus.get(vcpu, CpuSet()) for vcpu in cell.dedicated_vcpus]
        mine = {cores[cpu] for cpus in affinities if cpus <= dedicated for cpu in cpus if cpu in cores}
        width = max((len(core.cpus) for core in mine), default=1)
        if len(mine) * width <= count_cpus(len(cell.dedicated_vcpus), cell.threads, width):
            yield CpuSet.union(core.cpus for core in mine)
    if template and template.emulator_threads is ThreadPolicy.ISOLATE and guest.threads.emulator <= dedicated:
        mine = {cores[cpu] for cpu in guest.threads.emulator if cpu in cores}
        if len(mine) == 1:
            yield CpuSet.union(core.cpus for core in mine)
