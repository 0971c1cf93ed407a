# SPDX-License-Identifier: Apache-2.0
"""Which guests to move so that the largest possible request fits on one NUMA node of a host. Pure.

A node full and another half empty is no loss for small requests, but a large one finds room on neither. The fewest
guests are moved that leave as many dedicated CPUs free together as any moves could. Each move on its own fits the
counts, so that they can be done one after the other; a guest that has to step aside first counts as a move too. On a
host of so many flavors and nodes that not everything can be tried, it is the best that was found.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from kongming_sched import exceptions
from kongming_sched.agent.decide.arrangements import Arrangements, HostRooms, KindMove, Tenant
from kongming_sched.agent.decide.layout import lay_out
from kongming_sched.agent.decide.move import Move, find_move
from kongming_sched.agent.model.guest import Guest
from kongming_sched.agent.model.view import HostLayout, HostView

MAX_WORK = 150_000
"""How much is tried: moves that find room, and, for each arrangement, whether each kind of guest fits on each node.

A host of a few flavors has less that a few moves can lead to. The limit is one of work and not of time, so that the
answer for the same host is always the same.
"""


@dataclass(frozen=True, slots=True)
class Step:
    """A guest that moves.

    :ivar name: the server's, for people
    """

    server: str
    name: str
    source: int
    target: int

    def __str__(self) -> str:
        return f"server {self.name} from node {self.source} to node {self.target}"


@dataclass(frozen=True, slots=True)
class Rebalancing:
    """The moves, in this order, and what they are good for.

    :ivar before: the dedicated CPUs of the largest request that fits now
    :ivar after: the same after the moves
    :ivar is_complete: whether no better arrangement exists; else there were too many to try all
    """

    moves: tuple[Step, ...]
    before: int
    after: int
    is_complete: bool


def rebalance(rooms: HostRooms, max_work: int = MAX_WORK) -> Rebalancing:
    """The fewest moves to the largest room; among equals always the same ones for the same host.

    :param max_work: how much to try at most; see :data:`MAX_WORK`
    """
    search = Arrangements(rooms)
    before = best = search.largest(search.start)
    found, bound = search.start, search.bound()
    # Breadth first, so that of the arrangements with the same room one is found that the fewest moves lead to. Each
    # notes the move that led to it, from which the way is read in the end. None can be better than the bound, where the
    # search ends.
    parents: dict[int, KindMove | None] = {search.start: None}
    frontier = [(best, search.start)]
    left, is_cut = max_work, False
    while frontier and best < bound:
        # If there is too much to try, those with the most room go first, and half of the work is kept for what comes
        # after them: so the search still goes deep on a host where each guest is of a kind of its own.
        frontier.sort(key=lambda entry: -entry[0])
        kept = left // 2
        reached: list[tuple[int, int]] = []
        for _, state in frontier:
            if left <= kept:
                is_cut = True
                break
            left -= search.pairs
            for move in search.moves(state):
                left -= 1
                if move.after not in parents:
                    parents[move.after] = move
                    reached.append((move.largest, move.after))
                    if move.largest > best:
                        best, found = move.largest, move.after
        frontier = reached
    is_complete = best >= bound or not is_cut
    return Rebalancing(_steps(search, found, parents), before, best, is_complete)


def _steps(search: Arrangements, found: int, parents: Mapping[int, KindMove | None]) -> tuple[Step, ...]:
    """The moves that lead to an arrangement: of each kind the guests are taken by their ids."""
    way: list[KindMove] = []
    while (move := parents[found]) is not None:
        found = move.before
        way.append(move)
    on = {tenant.server: tenant.node for tenant in search.rooms.tenants}
    steps = []
    for move in reversed(way):
        source, target = search.nodes[move.source], search.nodes[move.target]
        tenant = next(tenant for tenant in search.kinds[move.kind] if on[tenant.server] == source)
        on[tenant.server] = target
        steps.append(Step(tenant.server, tenant.name, source, target))
    return tuple(steps)


def rooms_of(view: HostView, left_out: Set[str] = frozenset()) -> HostRooms:
    """How full a host is, and which guests of one cell could move where.

    :param left_out: server ids of guests that cannot be moved now
    """
    states = view.states_by_node()
    free = {node: {name: state.free(name) for name in state.inventories} for node, state in states.items()}
    layout = lay_out(view)
    tenants = []
    for guest in view.guests:
        if guest.uuid in left_out or len(guest.request.cells) != 1:
            continue
        moves = [move for node in states if (move := _move_to(view, layout, guest, node))]
        if moves:
            targets = frozenset(move.target for move in moves)
            resources = guest.request.cells[0].resources
            tenants.append(Tenant(guest.uuid, guest.identity.server, moves[0].source, resources, targets))
    return HostRooms(free, tuple(tenants))


def _move_to(view: HostView, layout: HostLayout, guest: Guest, node: int) -> Move | None:
    try:
        return find_move(view, layout, guest, node)
    except exceptions.MoveRefused:
        return None


def describe(found: Rebalancing) -> list[str]:
    """What was found, line by line."""
    now = f"the largest request that fits on one node now takes {found.before} dedicated CPUs"
    moves = "1 move" if len(found.moves) == 1 else f"{len(found.moves)} moves"
    lines = [f"{now}, and {found.after} after {moves}" if found.moves else f"{now}; no moves help"]
    if not found.is_complete:
        lines.append("there are more arrangements than could be looked at; another run may find more room")
    return lines
