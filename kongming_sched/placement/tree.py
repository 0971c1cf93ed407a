# SPDX-License-Identifier: Apache-2.0
"""The node providers that a host should have in Placement, by its pools and the templates. Pure.

Over 300 lines because one object decides template by template, and each decision counts what those before have taken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory
from kongming_sched.placement.offers.caches import (
    cache_inventories,
    lack_of_caches,
    lost_rooms,
    sizes_in_use,
    sizes_on,
)
from kongming_sched.placement.offers.cores import left_cpus, takes_whole_cores, widest_cores, widest_cpus
from kongming_sched.placement.offers.matching import landing_nodes, why_not_offered
from kongming_sched.placement.offers.memory import lack_of_memory, memory_inventory, page_inventories
from kongming_sched.pools import HostCpus
from kongming_sched.template import CpuPolicy, PinningTemplate, TemplateCell, ThreadPolicy
from kongming_sched.topology import NumaNode


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node provider as it is in Placement.

    :ivar allocations: consumer to resource class to amount
    """

    uuid: str
    name: str
    generation: int
    traits: frozenset[str] = frozenset()
    inventories: Mapping[str, Inventory] = field(default_factory=dict)
    allocations: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def used(self, resource_class: str) -> int:
        """How much of a class is allocated."""
        return sum(resources.get(resource_class, 0) for resources in self.allocations.values())

    def free(self, resource_class: str) -> int:
        """How much of a class is not allocated; less than 0 where more is allocated than the node has by now."""
        inventory = self.inventories.get(resource_class)
        return (inventory.capacity if inventory else 0) - self.used(resource_class)


@dataclass(frozen=True, slots=True)
class DesiredNode:
    """A node provider as it should be."""

    uuid: str
    name: str
    traits: frozenset[str]
    inventories: Mapping[str, Inventory]

    @property
    def is_retired(self) -> bool:
        """Whether the node has no CPUs for templates any more."""
        marker = self.inventories.get(names.NODE)
        return marker is None or not marker.capacity


@dataclass(frozen=True, slots=True)
class Refusal:
    """A template that a node does not offer, and why."""

    template: str
    node_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class DesiredTree:
    """All node providers of a host.

    :ivar refusals: templates that a node does not offer
    :ivar pools: node id to the dedicated CPUs of the node that are counted in Placement
    :ivar narrow: node id to the dedicated CPUs of the node that are not counted, because its other cores are wider and
        templates are offered that take whole cores
    """

    nodes: tuple[DesiredNode, ...]
    refusals: tuple[Refusal, ...]
    pools: Mapping[int, CpuSet]
    narrow: Mapping[int, CpuSet] = field(default_factory=dict)

    def refusal(self, template: str, node_id: int) -> str | None:
        """Why a node does not offer a template; None if it does."""
        asked = (template, node_id)
        return next((item.reason for item in self.refusals if (item.template, item.node_id) == asked), None)


def desired_tree(
    root_uuid: str,
    root_name: str,
    cpus: HostCpus,
    templates: Iterable[PinningTemplate],
    current: Mapping[str, NodeState],
    held: CpuSet = CpuSet(),
) -> DesiredTree:
    """The node providers that a host should have in Placement.

    Nodes of this host that are in Placement and have no CPU in a pool any more are retired: everything is reserved, no
    template is offered. They are never deleted, because nova-compute fails for minutes when a child provider goes.

    A node that an operator has disabled keeps everything except the templates' traits, without which no server lands
    there. If all nodes of the host are disabled, a new node is disabled too: the operator has disabled the host.

    :param templates: those that are offered to this host
    :param current: this host's node providers as they are, by id
    :param held: host CPUs in use by guests that no offered template accounts for
    """
    pools = cpus.pools
    nodes = [node for node in cpus.topology.nodes if node.cpus & (pools.dedicated | pools.shared)]
    states = {node.id: current.get(names.node_uuid(root_uuid, node.id)) for node in nodes}
    is_host_disabled = bool(current) and all(names.DISABLED in state.traits for state in current.values())
    disabled = {
        node.id
        for node in nodes
        if (names.DISABLED in state.traits if (state := states[node.id]) else is_host_disabled)
    }
    planner = _Offers(nodes, cpus, states, held, disabled)
    planner.offer_all(templates)
    desired = [
        DesiredNode(
            names.node_uuid(root_uuid, node.id),
            names.node_name(root_name, node.id),
            planner.traits(node),
            planner.inventories(node),
        )
        for node in nodes
    ]
    wanted = {node.uuid for node in desired}
    desired += [_retired(state) for uuid, state in sorted(current.items()) if uuid not in wanted]
    return DesiredTree(
        tuple(desired),
        tuple(planner.refusals),
        {node.id: planner.pool(node) for node in nodes},
        {node.id: narrow for node in nodes if (narrow := left_cpus(cpus, node, planner.taken) - planner.pool(node))},
    )


def _retired(state: NodeState) -> DesiredNode:
    inventories = {
        name: Inventory(inventory.total, inventory.total, inventory.allocation_ratio)
        for name, inventory in state.inventories.items()
    }
    lasting = (names.HW_NUMA_ROOT, names.DISABLED)
    kept = {trait for trait in state.traits if names.node_id_of(trait) is not None or trait in lasting}
    return DesiredNode(state.uuid, state.name, frozenset(kept), inventories)


class _Offers:
    """Decides template by template which nodes offer it, and which CPUs stay in the pools.

    :ivar widest_only: ids of the nodes of whose pool the widest cores alone are counted; see offers/cores.py
    :ivar cell_sizes: node id to the sizes of its cells of one cache, in use or offered; see offers/caches.py
    """

    def __init__(
        self,
        nodes: Sequence[NumaNode],
        cpus: HostCpus,
        states: Mapping[int, NodeState | None],
        held: CpuSet,
        disabled: Collection[int],
    ) -> None:
        self.nodes = nodes
        self.cpus = cpus
        self.pools = cpus.pools
        self.states = states
        self.taken = held
        self.disabled = disabled
        self.offered: dict[int, list[PinningTemplate]] = {node.id: [] for node in nodes}
        self.widest_only: set[int] = set()
        self.cell_sizes = {
            node_id: sizes_in_use(state.allocations.values() if state else ()) for node_id, state in states.items()
        }
        self.refusals: list[Refusal] = []

    def offer_all(self, templates: Iterable[PinningTemplate]) -> None:
        """Explicit templates first, and among them those already offered, so that no server loses its explicit CPUs.

        Then those that take whole cores, and the others last: what is left of the pool depends on those before.
        """

        def key(template: PinningTemplate) -> tuple[bool, str]:
            already = any(_is_offered(template.name, state) for state in self.states.values())
            return not already, template.name

        ordered = sorted(templates, key=key)
        explicit = [template for template in ordered if template.host_cpus]
        dedicated = [template for template in ordered if not template.host_cpus]
        of_cores = [template for template in dedicated if takes_whole_cores(template)]
        # Until it is decided where whole cores are offered, the pools are what they are in Placement.
        self.widest_only = {
            node.id
            for node in self.nodes
            for template in ordered
            if takes_whole_cores(template) and _is_offered(template.name, self.states[node.id])
        }
        for template in (*explicit, *of_cores):
            self.offer(template)
        self.widest_only = {node.id for node in self.nodes if any(map(takes_whole_cores, self.offered[node.id]))}
        for template in dedicated:
            if not takes_whole_cores(template):
                self.offer(template)

    def offer(self, template: PinningTemplate) -> None:
        """Offer a template on every node where one of its cells can be while all others are on other nodes."""
        fits = [[self.obstacle(template, index, node) for node in self.nodes] for index in range(len(template.cells))]
        on = landing_nodes(fits)
        for node in [self.nodes[index] for index in on]:
            self.offered[node.id].append(template)
            self.cell_sizes[node.id] |= sizes_on(template, node.id, self.cpus.threads_per_core(node))
        if on:
            self.taken |= template.host_cpus
        if takes_whole_cores(template):
            self.widest_only |= {self.nodes[index].id for index in on}
        for index, node in enumerate(self.nodes):
            if index not in on:
                reason = why_not_offered(template, node.id, [row[index] for row in fits])
                self.refusals.append(Refusal(template.name, node.id, reason))

    def obstacle(self, template: PinningTemplate, index: int, node: NumaNode) -> str | None:
        """Why the cell of this number cannot be on a node; None if it can."""
        cell = template.cells[index]
        if cell.node not in (None, node.id):
            return f"the template asks for node {cell.node}"
        if template.needs_nova_numa and self.cpus.why_not_led:
            return self.cpus.why_not_led
        if lack := lack_of_memory(self.cpus, cell, node):
            return lack
        if (have := len(self.pools.shared & node.cpus)) < (need := len(cell.floating_vcpus)):
            return f"needs {need} shared CPUs, the node has {have}"
        if cell.cpus is CpuPolicy.EXPLICIT and (reason := self.obstacle_to_explicit(template, cell, node)):
            return reason
        return self.obstacle_to_dedicated(template, index, node) or self.obstacle_to_caches(template, cell, node)

    def obstacle_to_dedicated(self, template: PinningTemplate, index: int, node: NumaNode) -> str | None:
        cell, width = template.cells[index], self.cpus.threads_per_core(node)
        if cell.threads is ThreadPolicy.REQUIRE and width < 2:
            return "needs hardware threads (require), the node has one per core"
        need, taken = template.dedicated_cpus(index, width), self.taken | cell.host_cpus
        have = len(self.pool(node, taken))
        if not need or not takes_whole_cores(template) or node.id in self.widest_only:
            return None if need <= have else f"needs {need} dedicated CPUs, the node has {have}"
        left, state = len(widest_cpus(self.cpus, node, taken)), self.states[node.id]
        if need > left:
            return f"needs {need} dedicated CPUs, the node has {left}" + f" on cores of {width} threads" * (left < have)
        used = state.used(names.PCPU) if state else 0
        if left < have and left < used:
            return f"{used} CPUs of the dedicated pool are allocated, and only {left} are on cores of {width} threads"
        return None

    def obstacle_to_caches(self, template: PinningTemplate, cell: TemplateCell, node: NumaNode) -> str | None:
        width = self.cpus.threads_per_core(node)
        if not (size := cell.cores_in_one_cache(width)):
            return None
        sizes = self.cell_sizes[node.id] | sizes_on(template, node.id, width)
        return lack_of_caches(size, sizes, widest_cores(self.cpus, node, self.taken | template.host_cpus))

    def obstacle_to_explicit(self, template: PinningTemplate, cell: TemplateCell, node: NumaNode) -> str | None:
        if outside := cell.host_cpus - node.cpus:
            return f"CPU {outside} is not online on this node"
        if outside := cell.host_cpus - self.pools.dedicated:
            return f"CPU {outside} is not in dedicated_cpu_set"
        if twice := cell.host_cpus & self.taken:
            return f"CPU {twice} belongs to another template with explicit CPUs, or to a guest of one"
        state = self.states[node.id]
        left = len(self.pool(node, self.taken | cell.host_cpus))
        if state is None or names.PCPU not in state.inventories:
            return None
        used_rooms = {name: state.used(name) for name in state.inventories}
        cores = widest_cores(self.cpus, node, self.taken | cell.host_cpus)
        for size, used, rooms in lost_rooms(state.inventories, used_rooms, cores):
            return f"{used} rooms for {size} cores of one cache are allocated, without these only {rooms} would be left"
        if _is_offered(template.name, state) and left >= state.inventories[names.PCPU].total:
            return None  # its CPUs are set aside already
        if left < (used := state.used(names.PCPU)):
            return f"{used} CPUs of the dedicated pool are allocated, and without these only {left} would be left"
        return None

    def pool(self, node: NumaNode, taken: CpuSet | None = None) -> CpuSet:
        """The dedicated CPUs of a node that are counted: those of cores of which no CPU is taken."""
        count = widest_cpus if node.id in self.widest_only else left_cpus
        return count(self.cpus, node, self.taken if taken is None else taken)

    def traits(self, node: NumaNode) -> frozenset[str]:
        fixed = {names.HW_NUMA_ROOT, names.node_trait(node.id), names.smt_trait(self.cpus.threads_per_core(node))}
        if node.id in self.disabled:
            return frozenset(fixed | {names.DISABLED})
        return frozenset(fixed | {names.template_trait(template.name) for template in self.offered[node.id]})

    def inventories(self, node: NumaNode) -> dict[str, Inventory]:
        inventories = {names.NODE: Inventory(1), names.MEMORY_MB: memory_inventory(self.cpus, node)}
        inventories |= page_inventories(self.cpus, node)
        if pool := self.pool(node):
            inventories[names.PCPU] = Inventory(len(pool))
        if shared := self.pools.shared & node.cpus:
            inventories[names.VCPU] = Inventory(len(shared), 0, self.pools.vcpu_allocation_ratio)
        for template in self.offered[node.id]:
            if template.host_cpus & node.cpus:
                inventories[names.slot_class(template.name)] = Inventory(1)
        inventories |= cache_inventories(self.cell_sizes[node.id], widest_cores(self.cpus, node, self.taken))
        state = self.states[node.id]
        for name in state.inventories if state else ():
            if name not in inventories and state and state.used(name):
                inventories[name] = Inventory(state.inventories[name].total, state.inventories[name].total)
        return inventories


def _is_offered(template: str, state: NodeState | None) -> bool:
    """Whether a node offers a template, or would if it were not disabled, which the slot of an explicit one shows."""
    if state is None:
        return False
    slot = state.inventories.get(names.slot_class(template))
    return names.template_trait(template) in state.traits or (
        names.DISABLED in state.traits and slot is not None and slot.capacity > 0
    )
