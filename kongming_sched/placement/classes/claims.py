# SPDX-License-Identifier: Apache-2.0
"""What a running server claims once it has another template than its flavor's, and where on its host. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from kongming_sched import exceptions
from kongming_sched.placement import names
from kongming_sched.placement.classes.claimed_cells import match_cells
from kongming_sched.placement.client import Claim
from kongming_sched.placement.flavor import ROOT_VCPU, cell_requests
from kongming_sched.placement.tree import NodeState
from kongming_sched.request import CellRequest, PinningRequest, find_clash
from kongming_sched.template import PinningTemplate
from kongming_sched.texts.whole_number import AMOUNTS, find_whole_number

Cells = tuple[CellRequest, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the cells of a server are to be.

    :ivar nodes: the NUMA node of each cell
    :ivar cells: what each takes there
    """

    nodes: tuple[int, ...] = ()
    cells: Cells = ()


def ways_to_count(template: PinningTemplate, memory_mb: int, states: Iterable[NodeState]) -> list[Cells]:
    """What the cells of a server of a template take, once for each number of threads that the host's cores have.

    :param memory_mb: of the server, in MiB
    :raises InvalidRequest: if its memory makes no whole huge pages
    """
    threads: set[int | None] = {1}
    if any(cell.needs_smt_trait for cell in template.cells):
        threads = {smt for state in states for smt in map(names.smt_of, state.traits) if smt is not None}
    return [cell_requests(template, memory_mb, each) for each in sorted(threads, key=lambda each: each or 0)]


def claimed_way(ways: Iterable[Cells], claim: Mapping[int, Mapping[str, int]]) -> Cells | None:
    """The first of these ways to count that is exactly what was claimed; None if none is.

    :param claim: NUMA node to resource class to amount
    """
    return next((cells for cells in ways if match_cells(cells, claim) is not None), None)


def claimed_nodes(ways: Iterable[Cells], claim: Mapping[int, Mapping[str, int]]) -> tuple[int, ...]:
    """The node of each cell by the first of these ways that is what was claimed; empty if none is."""
    return next(filter(None, (match_cells(cells, claim) for cells in ways)), ())


def claim_on(states: Mapping[int, NodeState], consumer: str) -> dict[int, Mapping[str, int]]:
    """What a consumer has claimed of each node of a host."""
    return {node: state.allocations[consumer] for node, state in states.items() if consumer in state.allocations}


def why_not_live(template: PinningTemplate) -> str | None:
    """Why no running server can change to a template; None if one can."""
    if template.needs_nova_numa:
        words = "(pages, guest_numa, realtime, devices)"
        return f"Nova lays out the servers of template {template.name!r} {words} at their start"
    return None


def why_flavor_bars(extra_specs: Mapping[str, str], request: PinningRequest | None) -> str | None:
    """Why a server of a flavor cannot change to another template while it runs; None if it can.

    :param request: what the flavor asks of KongMing
    """
    if request is not None and request.nova_numa is not None:
        return "its flavor lets Nova lay it out (pages, guest_numa, realtime, devices), which cannot be changed live"
    if clash := find_clash(extra_specs):
        return f"by {clash} of its flavor Nova places its vCPUs or its memory itself"
    return None


def root_vcpus(extra_specs: Mapping[str, str], vcpus: int) -> int:
    """The VCPU that Nova claims of the compute node itself for a server of a flavor."""
    named = find_whole_number(extra_specs.get(ROOT_VCPU, ""), AMOUNTS)
    return vcpus if named is None else named


def find_place(
    ways: Sequence[Cells],
    states: Mapping[int, NodeState],
    server: str,
    present: Sequence[int] = (),
    node: int | None = None,
) -> tuple[Place | None, str]:
    """Where on its host a server finds what its cells take, in place of what it has claimed there; or why nowhere.

    It stays on the nodes that it is on where that can be, and else takes the fullest that have room.

    :param ways: what its cells take, as :func:`ways_to_count` gives it
    :param states: the nodes of its host, by number
    :param present: the node that each of its cells is on now, where that is known
    :param node: the only one that a server of one cell may be on
    """
    if not states:
        return None, "its host has no NUMA node in Placement"
    if node is not None and node not in states:
        return None, f"its host has no node {node} in Placement; it has {', '.join(map(str, sorted(states)))}"
    if node is not None and any(len(cells) > 1 for cells in ways):
        return None, "its cells are on several nodes, so that none can be named"
    here = {node: states[node]} if node is not None else states
    reason = "no node says how many threads its cores have"
    for cells in ways:
        obstacles = [{number: _obstacle(cell, state, server) for number, state in here.items()} for cell in cells]
        fitting = [
            [number for number in _in_order(here, server, present[index : index + 1]) if not found[number]]
            for index, found in enumerate(obstacles)
        ]
        if nodes := next(_assignments(fitting), None):
            return Place(nodes, cells), ""
        lacking = next((found for found in obstacles if all(found.values())), {})
        reason = "; ".join(f"node {number} {text}" for number, text in sorted(lacking.items()))
    return None, reason or "its cells do not fit on a node each"


def _in_order(states: Mapping[int, NodeState], server: str, present: Sequence[int]) -> list[int]:
    """The nodes in the order in which a cell of a server takes them.

    :param present: the one that it is on
    """

    def rank(number: int) -> tuple[bool, bool, int, int]:
        state = states[number]
        free = state.free(names.PCPU) + state.free(names.VCPU)
        return number not in present, server not in state.allocations, free, number

    return sorted(states, key=rank)


def _obstacle(cell: CellRequest, state: NodeState, server: str) -> str:
    """Why a cell cannot be on a node; empty if it can."""
    for trait in sorted(cell.required - state.traits):
        if template := names.offered_template(trait):
            return f"does not offer template {template!r}"
        return f"lacks trait {trait}"
    own = state.allocations.get(server, {})
    for name, asked in sorted(cell.resources.items()):
        if asked > (free := max(state.free(name) + own.get(name, 0), 0)):
            return f"has no room: asked: {asked} {name}; available: {free}"
    return ""


def _assignments(fitting: Sequence[Sequence[int]], taken: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """All ways to put each cell on a node of its own."""
    if len(taken) == len(fitting):
        yield taken
        return
    for number in fitting[len(taken)]:
        if number not in taken:
            yield from _assignments(fitting, (*taken, number))


def placed_claim(
    claim: Claim, root_uuid: str, states: Mapping[int, NodeState], place: Place | None, vcpus: int
) -> Claim:
    """The claim of a server as it is once its cells are in a place.

    What it has claimed elsewhere than of its host's NUMA nodes and of VCPU stays as it is.

    :param claim: as it is
    :param root_uuid: the compute node's provider
    :param place: None for a server that is to have nothing of the nodes
    :param vcpus: what it takes of the compute node's own VCPU
    :raises ClassRefused: if it has claimed nothing of this compute node, or KongMing cannot change what it has
    """
    root = claim.resources.get(root_uuid)
    if root is None:
        raise exceptions.ClassRefused(claim.consumer, "it has no claim on its host; it is being moved, or was")
    if "PCPU" in root:
        raise exceptions.ClassRefused(claim.consumer, "Nova itself has pinned it (PCPU of the compute node)")
    of_nodes = {state.uuid for state in states.values()}
    resources = {uuid: amounts for uuid, amounts in claim.resources.items() if uuid not in of_nodes}
    resources[root_uuid] = {name: amount for name, amount in root.items() if name != "VCPU"}
    if vcpus:
        resources[root_uuid] = {**resources[root_uuid], "VCPU": vcpus}
    if not resources[root_uuid]:
        reason = "it would take nothing of the compute node itself, without which Nova does not find it"
        raise exceptions.ClassRefused(claim.consumer, reason)
    for node, cell in zip(place.nodes, place.cells, strict=True) if place else ():
        resources[states[node].uuid] = cell.resources
    return replace(claim, resources=resources)
