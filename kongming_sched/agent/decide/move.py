# SPDX-License-Identifier: Apache-2.0
"""Whether a running guest can move to another NUMA node of its host, and what that changes in its claim. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from kongming_sched import exceptions
from kongming_sched.agent.decide.claims import match_guest
from kongming_sched.agent.model.guest import Guest, find_guests
from kongming_sched.agent.model.view import HostLayout, HostView
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.client import Claim
from kongming_sched.placement.tree import NodeState
from kongming_sched.template import CpuPolicy, MemoryPolicy


@dataclass(frozen=True, slots=True)
class Move:
    """A cell of a guest that moves.

    :ivar source: the host NUMA node that it has claimed
    :ivar target: the one that it moves to
    :ivar resources: resource class to amount
    """

    guest: Guest
    cell: int
    source: int
    target: int
    resources: Mapping[str, int]

    def __str__(self) -> str:
        cell = f", cell {self.cell}," if len(self.guest.request.cells) > 1 else ""
        return f"server {self.guest}{cell} from node {self.source} to node {self.target}"

    def applied_to(self, claim: Claim, root_uuid: str) -> Claim:
        """The claim as it is after the move.

        :raises MoveRefused: if it is not what was seen on the node providers
        """
        source, target = (names.node_uuid(root_uuid, node) for node in (self.source, self.target))
        if claim.resources.get(source) != self.resources or target in claim.resources:
            raise exceptions.MoveRefused(str(self.guest), "its claim has just changed; try again")
        rest = {uuid: resources for uuid, resources in claim.resources.items() if uuid != source}
        return replace(claim, resources=rest | {target: self.resources})

    def seen_after(self, view: HostView) -> HostView:
        """The host as it will be seen once the claim has moved."""
        source, target = (names.node_uuid(view.root_uuid, node) for node in (self.source, self.target))
        left = {key: value for key, value in view.states[source].allocations.items() if key != self.guest.uuid}
        come = {**view.states[target].allocations, self.guest.uuid: self.resources}
        states = {
            **view.states,
            source: replace(view.states[source], allocations=left),
            target: replace(view.states[target], allocations=come),
        }
        return replace(view, states=states)


def guest_to_move(guests: Iterable[Guest], server: str) -> Guest:
    """The guest of a server, by its id, its name, or libvirt's name of the domain.

    :raises MoveRefused: if there is none, or more than one of this name
    """
    found = find_guests(guests, server)
    if not found:
        raise exceptions.MoveRefused(
            server, "no server of this id or name runs on this host with a template; see 'kongming-host map'"
        )
    if len(found) > 1:
        ids = ", ".join(guest.uuid for guest in found)
        raise exceptions.MoveRefused(server, f"several servers have this name: {ids}; name one by its id")
    return found[0]


def decide_move(view: HostView, layout: HostLayout, guest: Guest, target: int, cell: int | None = None) -> Move | None:
    """The move of a guest to a node; None if it is there already.

    :param layout: of this view
    :param cell: the number of the cell; may be left out for a guest of one cell
    :raises MoveRefused: if it cannot move, with the first reason that stands against it
    """
    move = find_move(view, layout, guest, target, cell)
    if move is not None and (reason := _lacks(view.states_by_node()[target], move)):
        raise exceptions.MoveRefused(str(guest), reason)
    return move


def find_move(view: HostView, layout: HostLayout, guest: Guest, target: int, cell: int | None = None) -> Move | None:
    """The move of a guest to a node, whether there is room or not; None if it is there already.

    :param layout: of this view
    :param cell: the number of the cell; may be left out for a guest of one cell
    :raises MoveRefused: if it cannot move for another reason than room
    """

    def refuse(reason: str) -> exceptions.MoveRefused:
        return exceptions.MoveRefused(str(guest), reason)

    number = _cell_number(guest, cell)
    states = view.states_by_node()
    if target not in states:
        raise refuse(f"this host has no node {target} in Placement; it has {', '.join(map(str, sorted(states)))}")
    claimed = {node: state.allocations[guest.uuid] for node, state in states.items() if guest.uuid in state.allocations}
    nodes = match_guest(guest, claimed)
    if nodes is None:
        raise refuse("its flavor's groups are not claimed here under its own id; it is being migrated or resized")
    move = Move(guest, number, nodes[number], target, guest.request.cells[number].resources)
    if move.source == target:
        return None
    if target in nodes:
        raise refuse(f"its cell {nodes.index(target)} is on node {target}, and two cells are never on one node")
    if reason := _obstacle(view, layout, move, states[target]):
        raise refuse(reason)
    return move


def _cell_number(guest: Guest, cell: int | None) -> int:
    count = len(guest.request.cells)
    if cell is None and count > 1:
        raise exceptions.MoveRefused(str(guest), f"it has {count} cells; say which with --cell, 0 to {count - 1}")
    number = cell or 0
    if not 0 <= number < count:
        raise exceptions.MoveRefused(str(guest), f"it has no cell {number}, only {count}, counted from 0")
    return number


def _obstacle(view: HostView, layout: HostLayout, move: Move, target: NodeState) -> str | None:
    """Why a guest cannot be on a node; None if it can."""
    guest, name = move.guest, move.guest.request.template
    if guest.uuid in view.released:
        return "it is released, so that its pins would not follow; adopt it first"
    template = view.templates.get(name)
    if template is None or len(template.cells) != len(guest.request.cells):
        problem = layout.problems.get(guest.uuid)
        return f"{problem.text if problem else 'its template has changed'}; its pins cannot follow its claim"
    cell = template.cells[move.cell]
    wanted = {names.node_id_of(trait) for trait in guest.request.cells[move.cell].required} - {None}
    if cell.node is not None or wanted:
        return f"template {name!r} or the server's flavor names node {move.source} for cell {move.cell}"
    if cell.cpus is CpuPolicy.EXPLICIT:
        return f"template {name!r} names its host CPUs; change the template instead"
    if names.template_trait(name) not in target.traits:
        refusal = layout.tree.refusal(name, move.target) or "the agent has not offered it there yet"
        return f"node {move.target} does not offer template {name!r}: {refusal}"
    bound, mode = guest.identity.memory_nodes, guest.identity.memory_mode
    if cell.memory is MemoryPolicy.STRICT and bound and mode != "restrictive" and bound != CpuSet.of([move.target]):
        return f"its memory was bound to node {bound} ({mode}) at its start, and libvirt cannot move it while it runs"
    return _lacks(target, move)


def _lacks(target: NodeState, move: Move) -> str | None:
    for name, amount in sorted(move.resources.items()):
        if amount > (free := target.free(name)):
            return f"node {move.target} has no room: asked: {amount} {name}; available: {max(free, 0)}"
    return None
