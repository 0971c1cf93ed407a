# SPDX-License-Identifier: Apache-2.0
"""Which overrides servers get on this host, of those that their own metadata asks for: pure.

An override never changes what is claimed, offered or counted, and so nothing in Placement:

- another template must take exactly what was claimed, and be offered where it was claimed;
- explicit vCPUs stay within the CPUs that their template sets aside for one guest alone;
- shared vCPUs stay within their node's shared pool, which belongs to no guest alone;
- a dedicated vCPU may choose its CPU among those that no other guest has, without a guarantee: the guest is laid out as
  if it were there already, and moves like any other when a whole core is needed. So every server that the counts admit
  still has a place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from kongming_sched import exceptions
from kongming_sched.agent.decide.claims import Claims, claim_obstacle
from kongming_sched.agent.decide.demands import NodeDemands, with_requested_cpus
from kongming_sched.agent.model.guest import Guest
from kongming_sched.agent.model.view import HostView
from kongming_sched.allocator import Demand, allocate, usable_cores
from kongming_sched.cpuset import CpuSet
from kongming_sched.override import ServerOverride, VcpuPins, assign_cpus, overriding_template
from kongming_sched.placement.flavor import memory_class, memory_classes
from kongming_sched.placement.tree import DesiredTree
from kongming_sched.request import TEMPLATE_KEY
from kongming_sched.template import CachePolicy, CpuPolicy, PinningTemplate, TemplateCell


@dataclass(frozen=True, slots=True)
class AcceptedOverride:
    """An override that a guest may have.

    :ivar metadata: in the server's words
    :ivar pins: the CPUs of each vCPU; empty for those of its template
    """

    metadata: Mapping[str, str]
    template: PinningTemplate
    pins: tuple[CpuSet, ...] = ()


@dataclass(frozen=True, slots=True)
class AcceptedOverrides:
    """The overrides of a host's guests, as far as they do not depend on which CPUs are free.

    :ivar guests: all guests; the request of one that may have another template names that template
    :ivar accepted: server id to the override that it may have
    :ivar before: server id to the override that it had last, if it may have that still and with the same template: what
        it keeps while it waits for the CPUs that it asks for now
    :ivar refused: server id to the reason why it does not get what it asks for
    """

    guests: tuple[Guest, ...]
    accepted: Mapping[str, AcceptedOverride]
    before: Mapping[str, AcceptedOverride]
    refused: Mapping[str, str]


def judge_overrides(view: HostView, tree: DesiredTree, claims: Claims) -> AcceptedOverrides:
    """Judge the metadata of every guest by all that does not depend on which CPUs are free."""
    guests: list[Guest] = []
    accepted: dict[str, AcceptedOverride] = {}
    before: dict[str, AcceptedOverride] = {}
    refused: dict[str, str] = {}
    for guest in view.guests:
        request = view.overrides.get(guest.uuid)
        found: list[AcceptedOverride] = []
        # What was granted last is judged too: a server keeps it where its request of today cannot be. So the first that
        # is found is what it may have, and the last is what it had, which is the same where nothing has changed.
        for metadata in (request.metadata, request.granted) if request else ():
            try:
                override = _judge(view, tree, claims, guest, metadata)
            except exceptions.InvalidOverride as error:
                if request and metadata is request.metadata:
                    refused[guest.uuid] = str(error)
                continue
            if override is not None:
                found.append(override)
        if found:
            accepted[guest.uuid] = found[0]
            # Pins of another template may have another shape, so they are nothing to wait with.
            if found[-1].template == found[0].template:
                before[guest.uuid] = found[-1]
            guest = _of_template(guest, found[0].template)
        guests.append(guest)
    return AcceptedOverrides(tuple(guests), accepted, before, refused)


def _judge(
    view: HostView, tree: DesiredTree, claims: Claims, guest: Guest, metadata: Mapping[str, str]
) -> AcceptedOverride | None:
    """What a guest may have by its metadata; None if that asks for nothing.

    :raises InvalidOverride: if it may not have it
    """
    override = ServerOverride.from_metadata(metadata)
    if override is None:
        return None
    own = view.templates.get(guest.request.template)
    if own is None:
        reason = f"its own template {guest.request.template!r} does not exist or is not offered to this host"
        raise exceptions.InvalidOverride(override.first_key, reason)
    template = overriding_template(own, override, view.templates)
    if obstacle := claim_obstacle(view, tree, claims, _of_template(guest, template)):
        raise exceptions.InvalidOverride(override.first_key, obstacle)
    nodes = claims[guest.uuid]
    for cell, node_id, asked in zip(template.cells, nodes, guest.request.cells, strict=True):
        if template is not own and (refusal := tree.refusal(template.name, node_id)):
            raise exceptions.InvalidOverride(
                TEMPLATE_KEY, f"node {node_id} does not offer template {template.name!r}: {refusal}"
            )
        if template is not own and memory_classes(asked.resources) != {memory_class(cell)} - {None}:
            raise exceptions.InvalidOverride(
                TEMPLATE_KEY, f"the server has not claimed memory as template {template.name!r} takes it"
            )
    if override.cpus is None:
        return AcceptedOverride(metadata, template)
    pins = assign_cpus(template, override.cpus)
    for cell, node_id in zip(template.cells, nodes, strict=True):
        _check_pool(view, tree, cell, node_id, pins, override.cpus)
    return AcceptedOverride(metadata, template, pins)


def _check_pool(
    view: HostView, tree: DesiredTree, cell: TemplateCell, node_id: int, pins: Sequence[CpuSet], asked: VcpuPins
) -> None:
    """See that a cell's CPUs are in the pool that it has claimed from.

    :raises InvalidOverride: naming those that are not
    """
    if cell.cpus is CpuPolicy.EXPLICIT:
        return
    node = view.topology.node(node_id)
    cores = node.cores if node else ()
    pool = tree.pools.get(node_id, CpuSet())
    shared = view.cpus.shared_of(node_id)
    for word, vcpus, mine in (("dedicated", cell.dedicated_vcpus, pool), ("shared", cell.floating_vcpus, shared)):
        if outside := CpuSet.union(pins[vcpu] for vcpu in vcpus) - mine:
            raise exceptions.InvalidOverride(
                asked.key,
                f"host CPU {outside} is not in the {word} pool of node {node_id}, where the server has claimed, which"
                f" is {mine or 'empty'}",
            )
    if cell.cpus is CpuPolicy.DEDICATED:
        cpus = tuple(pins[vcpu].first for vcpu in cell.dedicated_vcpus)
        # Alone on an empty node the allocator leaves a guest where it is, unless its CPUs do not have the shape that
        # the thread policy asks for. So this is the one place that knows the shapes.
        in_one_cache = cell.caches is CachePolicy.ONE
        demand = Demand("", len(cpus), cell.threads, cpus, in_one_cache)
        if allocate(usable_cores(cores, pool), [demand]).pins.get("") != cpus:
            wanted = f"threads {cell.threads}" + " and caches one" * in_one_cache
            raise exceptions.InvalidOverride(
                asked.key,
                f"host CPU {CpuSet.of(cpus)} does not lie on cores as {wanted} of the template wants it",
            )


def _of_template(guest: Guest, template: PinningTemplate) -> Guest:
    """A guest as if its flavor named this template."""
    if guest.request.template == template.name:
        return guest
    return replace(guest, request=replace(guest.request, template=template.name))


def waiting_for_cpus(nodes: Iterable[NodeDemands], pins: Mapping[str, tuple[CpuSet, ...]]) -> dict[str, str]:
    """Why guests cannot go to the dedicated CPUs that they ask for yet, because others have them, by server id.

    Of those that ask for the same CPU the guest gets it that is there; else the first by id.

    :param pins: server id to the CPUs that are asked for
    """
    reasons: dict[str, str] = {}
    for node in nodes:
        # Which CPUs each guest has, idle siblings of its whole cores included, if none moves for a request. Guests that
        # are not pinned yet are left out: they have no CPU that a request would have to wait for.
        settled = [item.demand for item in node.demands if any(cpu is not None for cpu in item.demand.present)]
        has = dict(allocate(node.cores, settled, node.blocked).reserved) if pins and node.cores else {}
        owners = {item.demand.key: item.guest for item in node.demands}
        for item in sorted(node.demands, key=lambda item: item.demand.key):
            if item.guest not in pins or item.is_emulator:
                continue
            demand = with_requested_cpus(item, pins[item.guest])
            wanted = allocate(node.cores, [demand]).reserved.get(demand.key, CpuSet())
            if twice := node.blocked & wanted:
                reasons[item.guest] = (
                    f"its metadata asks for host CPU {twice}, on which a guest is that cannot be moved now"
                )
            for key, cpus in sorted(has.items()):
                if owners[key] != item.guest and (twice := cpus & wanted):
                    reasons[item.guest] = (
                        f"its metadata asks for host CPU {twice}, which server {owners[key]} has; it stays where it is"
                        " until that is free"
                    )
            if item.guest not in reasons:
                # From here on it has both: the CPUs that it gets, and those that it leaves, until it has moved.
                has[demand.key] = has.get(demand.key, CpuSet()) | wanted
    return reasons


def moved_by_others(
    accepted: Mapping[str, AcceptedOverride], layouts: Mapping[str, Sequence[CpuSet]]
) -> Iterator[tuple[str, str]]:
    """The guests that are elsewhere than they ask for because another guest needed a whole core, with words for that.

    :param layouts: server id to the CPUs of each vCPU
    """
    for uuid, cpus in layouts.items():
        if uuid in accepted and accepted[uuid].pins and tuple(cpus) != accepted[uuid].pins:
            yield uuid, "the host CPUs that its metadata asks for are needed for the whole cores of others"
