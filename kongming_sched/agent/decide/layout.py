# SPDX-License-Identifier: Apache-2.0
"""How a host should be: its node providers, and the pins, memory and QoS of every guest of a template. Pure.

The order is: what each node offers, which template each guest has (its metadata may name another), who is in the way of
whom, and then, node by node, the host CPUs of the guests that have a place. The others stay where they disturb none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from kongming_sched.agent.decide.blocked import Obstacles, claimed_cores, find_obstacles, held_cpus
from kongming_sched.agent.decide.bound_memory import describe, find_memory_elsewhere, other_cells
from kongming_sched.agent.decide.claims import claim_obstacle, find_claims
from kongming_sched.agent.decide.demands import NodeDemands, demands_on, with_requested_cpus
from kongming_sched.agent.decide.overrides import AcceptedOverrides, judge_overrides, moved_by_others, waiting_for_cpus
from kongming_sched.agent.decide.siblings import put_together
from kongming_sched.agent.decide.starting import pushed_off
from kongming_sched.agent.model.guest import Guest, ObservedGuest
from kongming_sched.agent.model.problem import Problem, Reason, server
from kongming_sched.agent.model.view import GuestLayout, HostLayout, HostView, MemoryElsewhere
from kongming_sched.allocator import allocate
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.tree import DesiredTree, desired_tree
from kongming_sched.template import CpuPolicy, EmulatorPolicy, MemoryPolicy, PinningTemplate

SCHEDULER_DEFAULTS = {"vcpu_period": 100_000, "vcpu_quota": -1, "emulator_period": 100_000, "emulator_quota": -1}
"""What libvirt and the kernel give a guest for which nothing is set, its shares apart."""


def lay_out(view: HostView) -> HostLayout:
    """Decide where everything belongs.

    Guests whose claim or template is not as it should be hold the CPUs that they have, and no other guest gets these.
    Nor does any get those of guests that cannot be read; where these have claimed here, Placement counts them already.

    No guest loses its CPUs to one that starts: if there is no other place for it, it stays until that one runs.
    """
    layout = _lay_out(view)
    while view.starting and (pushed := pushed_off(view, layout)):
        view = replace(view, immovable=view.immovable | pushed)
        layout = _lay_out(view)
    return layout


def _lay_out(view: HostView) -> HostLayout:
    apart = [guest.uuid for guest in (*view.unread, *view.starting)]
    claims = find_claims(view.guests, view.states_by_node(), apart)
    consumers = {consumer for state in view.states.values() for consumer in state.allocations}
    uncounted = [guest for guest in view.unread if guest.uuid not in consumers]
    held = CpuSet()
    # CPUs that are held are not offered, which may make a template impossible here, whose guests then hold theirs too.
    # What is held only grows, and the host has so many CPUs, so this comes to an end.
    while True:
        tree = desired_tree(view.root_uuid, view.root_name, view.cpus, view.templates.values(), view.states, held)
        overrides = judge_overrides(view, tree, claims)
        guests = overrides.guests
        ours = [guest for guest in guests if guest.uuid not in view.released]
        problems = {guest.uuid: reason for guest in ours if (reason := claim_obstacle(view, tree, claims, guest))}
        left = [*uncounted, *(guest for guest in guests if guest.uuid in problems)]
        others = [guest for guest in guests if guest.uuid not in problems]
        now_held = held | held_cpus(left, others, view.pools.dedicated)
        if now_held == held:
            break
        held = now_held
    return _Builder(replace(view, guests=guests), tree, claims, problems, overrides).build()


class _Builder:
    """Gives every guest its CPUs.

    :param problems: server id to why a guest has no place; those that are found on the way are added
    :ivar waiting: server id to why a guest does not get the CPUs that its metadata asks for yet
    :ivar pins: server id to the host CPUs of each vCPU, as far as they are decided
    :ivar emulators: server id to the dedicated CPUs of QEMU's own threads, of guests whose template gives them some
    """

    def __init__(
        self,
        view: HostView,
        tree: DesiredTree,
        claims: Mapping[str, tuple[int, ...]],
        problems: dict[str, str],
        overrides: AcceptedOverrides,
    ) -> None:
        self.overrides = overrides
        self.waiting: dict[str, str] = {}
        self.view = view
        self.tree = tree
        self.claims = claims
        self.problems = problems
        self.housekeeping = view.cpus.housekeeping
        self.pins: dict[str, dict[int, CpuSet]] = {}
        self.emulators: dict[str, CpuSet] = {}
        self.memory_elsewhere: dict[str, MemoryElsewhere] = {}

    def build(self) -> HostLayout:
        """Decide in this order: who must wait, explicit and shared cells, dedicated ones, and last who has no place."""
        immovable = [guest for guest in self.view.guests if guest.uuid in self.view.immovable]
        fixed = [*self.view.unread, *self.view.starting, *immovable]
        movable = [guest for guest in self.view.guests if guest.uuid not in self.view.immovable]
        placed = [guest for guest in movable if guest.uuid not in self.problems]
        obstacles = self.find_obstacles(fixed, placed)
        self.problems |= obstacles.waiting  # so these get no demand below, and keep out of the way at the end
        placed = [guest for guest in placed if guest.uuid not in self.problems]
        nodes = {node.id: self.demands(node.id, placed, obstacles.blocked) for node in self.view.topology.nodes}
        requested = {uuid: override.pins for uuid, override in self.overrides.accepted.items() if override.pins}
        self.waiting = waiting_for_cpus(nodes.values(), requested)
        for guest in placed:
            self.pin_fixed_cells(guest)
        for node_id, demands in nodes.items():
            self.pin_dedicated_cells(node_id, demands)
        layouts = {guest.uuid: self.layout(guest) for guest in placed if guest.uuid not in self.problems}
        override_problems, granted = self.results_of_overrides(layouts)
        problems = {
            **self.as_problems(Reason.METADATA, override_problems),
            **self.as_problems(Reason.NO_PLACE, self.problems),
        }
        taken = obstacles.occupied | CpuSet.union(layout.cpus for layout in layouts.values())
        layouts |= {guest.uuid: _as_it_is(guest) for guest in fixed if guest.uuid not in layouts}
        # Those without a place come last, when it is known which CPUs all the others have.
        for guest in [guest for guest in movable if guest.uuid not in layouts]:
            layout = layouts[guest.uuid] = self.confine(guest, taken)
            taken |= layout.cpus
        return HostLayout(self.tree, layouts, problems, self.claims, granted, self.memory_elsewhere)

    def as_problems(self, reason: Reason, texts: Mapping[str, str]) -> dict[str, Problem]:
        """The problems of guests, by server id, from the words for each."""
        subjects = {guest.uuid: server(guest) for guest in self.view.guests if guest.uuid in texts}
        return {uuid: Problem(reason, subjects[uuid], text) for uuid, text in texts.items()}

    def results_of_overrides(
        self, layouts: Mapping[str, GuestLayout]
    ) -> tuple[dict[str, str], dict[str, Mapping[str, str]]]:
        """Why guests do not get what their metadata asks for, unless more is wrong with them; and what is in force.

        :param layouts: of the guests that have their CPUs
        """
        accepted = self.overrides.accepted
        moved = moved_by_others(accepted, {uuid: layout.vcpus for uuid, layout in layouts.items()})
        wrong = {**self.overrides.refused, **dict(moved), **self.waiting}
        override_problems = {uuid: reason for uuid, reason in wrong.items() if uuid not in self.problems}
        granted = {uuid: accepted[uuid].metadata for uuid in layouts if uuid in accepted and uuid not in self.waiting}
        return override_problems, granted

    def requested_pins(self, guest: Guest) -> tuple[CpuSet, ...]:
        """The CPUs by a guest's own metadata; empty if it has those of its template."""
        overrides = self.overrides.before if guest.uuid in self.waiting else self.overrides.accepted
        override = overrides.get(guest.uuid)
        return override.pins if override else ()

    def template(self, guest: Guest) -> PinningTemplate:
        return self.view.templates[guest.request.template]

    def pin_fixed_cells(self, guest: Guest) -> None:
        """Explicit cells, and vCPUs that float: nothing is to be chosen."""
        pins = self.pins.setdefault(guest.uuid, {})
        requested = self.requested_pins(guest)
        for cell, node_id in zip(self.template(guest).cells, self.claims[guest.uuid], strict=True):
            if requested:
                pins |= {vcpu: requested[vcpu] for vcpu in cell.vcpus - cell.dedicated_vcpus}
            elif cell.cpus is CpuPolicy.EXPLICIT:
                pins |= dict(zip(cell.vcpus, cell.pins, strict=True))
            else:
                pins |= dict.fromkeys(cell.floating_vcpus, self.view.cpus.shared_of(node_id))

    def find_obstacles(self, fixed: Sequence[ObservedGuest], placed: Sequence[Guest]) -> Obstacles:
        explicit = [(guest, host_cpus) for guest in placed if (host_cpus := self.template(guest).host_cpus)]
        view, dedicated = self.view, self.view.pools.dedicated
        found = find_obstacles(view.topology, dedicated, view.templates, fixed, explicit)
        unknown = [guest for guest in view.unread if guest.identity.request is None]
        cores = claimed_cores(unknown, view.states.values(), view.topology, dedicated)
        return replace(found, blocked=found.blocked | cores)

    def demands(self, node_id: int, guests: Iterable[Guest], blocked: CpuSet) -> NodeDemands:
        pool = self.tree.pools.get(node_id, CpuSet())
        return demands_on(self.view, node_id, pool, guests, self.claims, blocked)

    def pin_dedicated_cells(self, node_id: int, node: NodeDemands) -> None:
        """Dedicated cells of one node, and QEMU's own threads of the guests there, by the allocator."""
        items = {item.demand.key: item for item in node.demands}
        # CPUs that a server asks for are handed to the allocator as if it were there: it stays if nothing else needs
        # them, and moves like any other guest if whole cores lack. Those that wait are where they are.
        requested = {uuid: item.pins for uuid, item in self.overrides.accepted.items() if item.pins}
        demands = [
            with_requested_cpus(item, requested[item.guest])
            if item.guest in requested and item.guest not in self.waiting
            else item.demand
            for item in node.demands
        ]
        layout = allocate(node.cores, demands, node.blocked)
        for key, cpus in layout.pins.items():
            item = items[key]
            if item.is_emulator:
                self.emulators[item.guest] = layout.reserved[key]
                continue
            if item.together and item.guest not in requested:
                cpus = put_together(cpus, layout.reserved[key], node.cores, item.together)
            self.pins[item.guest] |= {vcpu: CpuSet.of([cpu]) for vcpu, cpu in zip(item.vcpus, cpus, strict=True)}
        for key, reason in layout.unplaced.items():
            self.problems[items[key].guest] = f"no room on node {node_id}: {reason}"

    def layout(self, guest: Guest) -> GuestLayout:
        """A guest that has its CPUs."""
        template, pins = self.template(guest), self.pins[guest.uuid]
        vcpus = tuple(pins[vcpu] for vcpu in range(template.vcpus))
        emulator = self.emulators.get(guest.uuid, self.housekeeping)
        if template.emulator is EmulatorPolicy.CELL:
            # Beside a real-time vCPU these threads would never run.
            emulator = CpuSet.union(pins[vcpu] for vcpu in pins if vcpu not in template.realtime_vcpus)
        scheduler, quotas = self.scheduler(guest), {}
        if scheduler and (own := template.qos.own_quotas_us):
            # libvirt has one quota for all vCPUs and would write it over those of single ones, so it is not set at all.
            quotas = dict.fromkeys(range(template.vcpus), scheduler.pop("vcpu_quota")) | own
        realtime = dict.fromkeys(template.realtime.vcpus, template.realtime.priority) if template.realtime else {}
        return GuestLayout(vcpus, emulator, self.memory_nodes(guest), scheduler, quotas, realtime)

    def memory_nodes(self, guest: Guest) -> CpuSet:
        """The nodes to bind a guest's memory to; empty if nothing is to be done."""
        everywhere = self.view.topology.memory_nodes
        strict = all(cell.memory is MemoryPolicy.STRICT for cell in self.template(guest).cells)
        wanted = CpuSet.of(self.claims[guest.uuid]) if strict else everywhere
        bound, mode = guest.identity.memory_nodes, guest.identity.memory_mode
        if without := wanted - everywhere:
            self.problems[guest.uuid] = f"its memory belongs on node {without}, which has none; move it to another node"
            return CpuSet()
        if wanted == bound and (reason := other_cells(guest, self.claims[guest.uuid])):
            self.problems[guest.uuid] = reason
        if wanted == bound or (not bound and wanted == everywhere):
            return CpuSet()
        if mode not in ("", "restrictive"):  # libvirt refuses to change any other while the guest runs
            self.problems[guest.uuid] = describe(self.find_memory_elsewhere(guest), guest, wanted)
            return CpuSet()
        return wanted

    def find_memory_elsewhere(self, guest: Guest) -> MemoryElsewhere | None:
        """Where the claim of a guest has to go so that its vCPUs get to its memory; None if it need not, or cannot."""
        view, tree = self.view, self.tree
        ids = view.node_uuids()
        desired = {node.uuid: node for node in tree.nodes}
        refusals = {id: reason for id in ids if (reason := tree.refusal(guest.request.template, id))}
        found = find_memory_elsewhere(
            guest,
            self.claims[guest.uuid],
            {id: desired[uuid] for id, uuid in ids.items() if uuid in desired},
            view.states_by_node(),
            refusals,
        )
        if found is not None:
            self.memory_elsewhere[guest.uuid] = found
        return found

    def scheduler(self, guest: Guest) -> dict[str, int]:
        """The template's values, else those of the flavor's ``quota:cpu_*``, else the kernel's."""
        qos = self.template(guest).qos
        asked = {
            "cpu_shares": qos.shares,
            "vcpu_period": qos.period_us,
            "vcpu_quota": qos.quota_us,
            "emulator_period": qos.emulator_period_us,
            "emulator_quota": qos.emulator_quota_us,
        }
        wanted = {name: value for name, value in asked.items() if value is not None}
        if (wanted or qos.vcpu_quotas_us) and not guest.domain.scheduler:
            self.problems[guest.uuid] = "its template asks for qos, and the host has no cpu controller for guests"
        defaults = {**SCHEDULER_DEFAULTS, "cpu_shares": self.view.default_shares}
        values = {**defaults, **guest.identity.quota, **wanted}
        return {name: values[name] for name in guest.domain.scheduler}

    def confine(self, guest: Guest, taken: CpuSet) -> GuestLayout:
        """A guest without a place: threads that disturb no other guest stay, the others go to the housekeeping CPUs.

        A thread disturbs if it floats over the dedicated pool, or is pinned there to CPUs that another guest has.

        :param taken: the dedicated CPUs of all guests that are placed so far
        """

        def stay(cpus: CpuSet) -> CpuSet:
            inside = cpus & self.view.pools.dedicated
            return cpus if not inside or (cpus == inside and cpus.isdisjoint(taken)) else self.housekeeping

        affinities = [guest.threads.vcpus.get(vcpu, CpuSet()) for vcpu in range(guest.identity.vcpus)]
        return GuestLayout(tuple(map(stay, affinities)), stay(guest.threads.emulator))


def _as_it_is(guest: ObservedGuest) -> GuestLayout:
    """A guest that cannot be moved, where it is."""
    affinities = [guest.threads.vcpus.get(vcpu, CpuSet()) for vcpu in range(guest.identity.vcpus)]
    return GuestLayout(tuple(affinities), guest.threads.emulator)
