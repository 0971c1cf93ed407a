# SPDX-License-Identifier: Apache-2.0
"""What a pass would do, and why: for an operator who asks first. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kongming_sched.agent.decide.occupancy import Occupancy
from kongming_sched.agent.model.actions import Action, Kind, Unit
from kongming_sched.agent.model.guest import Guest
from kongming_sched.agent.model.problem import Problem
from kongming_sched.agent.model.view import HostLayout, units_of
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.tree import DesiredNode, NodeState
from kongming_sched.pools import HostCpus
from kongming_sched.template import (
    CachePolicy,
    CpuPolicy,
    EmulatorPolicy,
    MemoryPolicy,
    PinningTemplate,
    TemplateCell,
    ThreadPolicy,
)

EMULATOR_REASONS = {
    EmulatorPolicy.SHARED: "it belongs on the housekeeping CPUs",
    EmulatorPolicy.CELL: "it runs with the vCPUs (emulator: cell)",
    EmulatorPolicy.OWN: "it has a dedicated CPU of its own (emulator: own)",
}
"""Why the emulator of a guest belongs where it does."""

_WHOLE_CORES = {
    ThreadPolicy.ISOLATE: "its template wants a core for each vCPU (threads: isolate)",
    ThreadPolicy.REQUIRE: "its template wants whole cores (threads: require)",
    ThreadPolicy.PREFER: "its vCPUs fit on the threads of whole cores there (threads: prefer)",
    ThreadPolicy.ANY: "there it leaves whole cores and caches to others",
}


@dataclass(frozen=True, slots=True)
class Step:
    """Something that would be done.

    :ivar subject: the server, or the name of the provider in Placement
    """

    subject: str
    action: str
    reason: str


@dataclass(frozen=True, slots=True)
class ProviderChange:
    """Something that would be changed in Placement.

    :ivar provider: the provider's name
    :ivar change: as in "set trait HW_NUMA_ROOT"
    """

    provider: str
    change: str
    reason: str


@dataclass(frozen=True, slots=True)
class Preview:
    """A host as it is and as it should be.

    :ivar guests: the running guests of templates
    :ivar layout: how these guests, and those on their way here, should be
    :ivar planned: how they can be now; differs from the layout if some cannot be moved
    :ivar actions: what leads there, in this order
    :ivar left: server id to why a guest cannot be changed at the moment
    :ivar problems: what could not be read, and what is claimed twice
    """

    cpus: HostCpus
    guests: tuple[Guest, ...]
    states: Mapping[str, NodeState]
    templates: Mapping[str, PinningTemplate]
    layout: HostLayout
    planned: HostLayout
    actions: tuple[Action, ...]
    left: Mapping[str, Problem]
    problems: tuple[Problem, ...]

    def units(self) -> list[Unit]:
        """Every thread of the running guests, with where it is and where it should be."""
        return units_of(self.guests, self.layout.guests)

    def steps(self) -> list[Step]:
        """What would be done in Placement, and then with the guests."""
        changes = (Step(item.provider, f"Placement: {item.change}", item.reason) for item in self.provider_changes())
        return [*changes, *_Reasons(self).steps()]

    def provider_changes(self) -> list[ProviderChange]:
        """What would be done in Placement."""
        return [change for node in self.layout.tree.nodes for change in self._node_changes(node)]

    def _node_changes(self, node: DesiredNode) -> Iterator[ProviderChange]:
        state = self.states.get(node.uuid)
        if state is None:
            yield ProviderChange(node.name, "create the provider", "the host has CPUs in the pools there")
            state = NodeState(node.uuid, node.name, 0)
        for trait in sorted(state.traits - node.traits):
            yield ProviderChange(node.name, f"take trait {trait} off", self._why_not(trait, node))
        for name in sorted(state.inventories.keys() | node.inventories.keys()):
            before, after = state.inventories.get(name), node.inventories.get(name)
            if before != after:
                amounts = f"{before.capacity if before else 0} -> {after.capacity if after else 0}"
                yield ProviderChange(node.name, f"{name} {amounts}", "that is what the node has for servers now")
        for trait in sorted(node.traits - state.traits):
            template = names.offered_template(trait)
            reason = f"the node can honour template {template!r}" if template else "it says what the node is"
            yield ProviderChange(node.name, f"set trait {trait}", reason)

    def _why_not(self, trait: str, node: DesiredNode) -> str:
        template = names.offered_template(trait)
        if template is None:
            return "the node is not like that any more"
        if template not in self.templates:
            return f"template {template!r} does not exist or is not offered to this host"
        node_id = next((id for name in node.traits if (id := names.node_id_of(name)) is not None), -1)
        return self.layout.tree.refusal(template, node_id) or f"the node cannot honour template {template!r}"


class _Reasons:
    """Finds the reason of each action by comparing where the threads of all guests are and should be."""

    def __init__(self, preview: Preview) -> None:
        self._preview = preview
        self._guests = {guest.uuid: guest for guest in preview.guests}
        units = units_of(preview.guests, preview.planned.guests, preview.left.keys())
        self._units = {unit.key: unit for unit in units}
        self._occupancy = Occupancy(units, preview.cpus.pools.dedicated)

    def steps(self) -> list[Step]:
        found = []
        for action in self._preview.actions:
            guest = self._guests[action.guest]
            reason = self._reason(guest, action)
            if action.is_pin and (blocker := self._occupancy.blocker(action.guest, action.cpus)):
                reason += f"; but server {self._guests.get(blocker, blocker)} still uses it and cannot be moved"
            elif action.is_pin:
                self._occupancy.move(action)
            found.append(Step(f"server {guest}", str(action), reason))
        return found

    def _reason(self, guest: Guest, action: Action) -> str:
        if problem := self._preview.planned.problems.get(guest.uuid):
            return f"it has no place here and is kept out of the way of others: {problem.text}"
        template = self._preview.templates[guest.request.template]
        if action.kind is Kind.MEMORY:
            strict = all(cell.memory is MemoryPolicy.STRICT for cell in template.cells)
            return "that is where its vCPUs are (memory: strict)" if strict else "its template does not bind memory"
        if action.kind in (Kind.SCHEDULER, Kind.QUOTA):
            return "so say its template's qos, its flavor's quota and the kernel's defaults, in this order"
        return self._why_moved(template, guest, action)

    def _why_moved(self, template: PinningTemplate, guest: Guest, action: Action) -> str:
        unit = self._units[action.key]
        if action.cpus != unit.target:
            return f"it steps aside for {self._heir(unit)}, for both wait for each other"
        if self._preview.cpus.topology.cpus <= unit.current:
            return "it is not pinned"
        if action.kind is not Kind.VCPU:
            dedicated = self._preview.cpus.pools.dedicated
            heir = self._heir(unit) if template.emulator is EmulatorPolicy.OWN and unit.current <= dedicated else ""
            return f"it makes room for {heir}" if heir else EMULATOR_REASONS[template.emulator]
        index, cell = next((i, cell) for i, cell in enumerate(template.cells) if action.index in cell.vcpus)
        reason = self._why_vcpu(unit, cell, self._preview.planned.claims[guest.uuid][index])
        reason = reason or self._siblings_apart(guest, unit, cell) or self._caches_apart(guest, cell)
        return reason or _WHOLE_CORES[cell.threads]

    def _caches_apart(self, guest: Guest, cell: TemplateCell) -> str:
        """That the vCPUs of a cell in one cache are in several; empty if they are not."""
        cores = (core for node in self._preview.cpus.topology.nodes for core in node.cores)
        current = CpuSet.union(guest.threads.vcpus.get(vcpu, CpuSet()) for vcpu in cell.dedicated_vcpus)
        caches = {core.cache for core in cores if not core.cpus.isdisjoint(current)}
        is_apart = cell.caches is CachePolicy.ONE and len(caches) > 1
        return "its template wants all its vCPUs in one last-level cache (caches: one)" if is_apart else ""

    def _siblings_apart(self, guest: Guest, unit: Unit, cell: TemplateCell) -> str:
        """That the vCPUs which the guest takes for threads of one core are on several; empty if they are not."""
        threads = guest.identity.threads_per_core
        group = CpuSet.of(vcpu for vcpu in cell.dedicated_vcpus if vcpu // threads == unit.index // threads)
        current = CpuSet.union(guest.threads.vcpus.get(vcpu, CpuSet()) for vcpu in group)
        cores = [core.cpus for node in self._preview.cpus.topology.nodes for core in node.cores]
        if cell.threads not in (ThreadPolicy.PREFER, ThreadPolicy.REQUIRE) or any(current <= core for core in cores):
            return ""
        return f"the guest takes vCPU {group} for threads of one core (hw:cpu_threads={threads})" if threads > 1 else ""

    def _why_vcpu(self, unit: Unit, cell: TemplateCell, node_id: int) -> str:
        """Why a vCPU moves, if not for the shape of its guest; else empty."""
        if cell.cpus is CpuPolicy.EXPLICIT:
            return f"its template names CPU {unit.target}"
        if unit.index in cell.floating_vcpus:
            what = "its cell" if cell.cpus is CpuPolicy.SHARED else "its template says that it"
            return f"{what} floats over the shared pool of node {node_id}"
        outside = unit.current - self._preview.planned.tree.pools.get(node_id, CpuSet())
        if outside:
            return f"CPU {outside} is not in the dedicated pool of node {node_id}, on which it has its claim"
        if len(unit.current) > 1:
            return f"it floats over CPU {unit.current}, and a dedicated vCPU has one of its own"
        heir = self._heir(unit)
        return f"it makes room for {heir}" if heir else ""

    def _heir(self, unit: Unit) -> str:
        """Who moves to a CPU on which this thread is, or else to a sibling of it."""
        movers = [
            other for other in self._units.values() if other.guest != unit.guest and other.current != other.target
        ]
        cores = [core.cpus for node in self._preview.cpus.topology.nodes for core in node.cores]
        siblings = CpuSet.union(cpus for cpus in cores if not cpus.isdisjoint(unit.current))
        for wanted in (unit.current, siblings):
            for other in movers:
                if other.target <= self._preview.cpus.pools.dedicated and not other.target.isdisjoint(wanted):
                    return f"server {self._guests[other.guest]}"
        return ""
