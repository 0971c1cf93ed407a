# SPDX-License-Identifier: Apache-2.0
"""Which guests to move so that the largest possible request fits on one NUMA node of a host. Pure.

A node full and another half empty is no loss for small requests, but a large one finds room on neither. The fewest
guests are moved that leave as many dedicated CPUs free together as any moves could. Each move on its own fits the
counts, so that they can be done one after the other; a guest that has to step aside first counts as a move too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from kongming_sched import exceptions
from kongming_sched.agent.decide.layout import lay_out
from kongming_sched.agent.decide.move import Move, find_move
from kongming_sched.agent.model.guest import Guest
from kongming_sched.agent.model.view import HostLayout, HostView
from kongming_sched.placement import names

MAX_ARRANGEMENTS = 20_000
"""How many arrangements are tried. A host of a few flavors has fewer that a few moves can lead to."""

_State = tuple[tuple[int, ...], ...]
"""For each kind of guest how many are on each node."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A guest of one cell.

    :ivar node: the host NUMA node that it has claimed
    :ivar resources: resource class to amount
    :ivar targets: the nodes that it could move to if there is room
    """

    server: str
    name: str
    node: int
    resources: Mapping[str, int]
    targets: frozenset[int]


@dataclass(frozen=True, slots=True)
class HostRooms:
    """How full a host is.

    :ivar free: node to resource class to what is not allocated
    :ivar tenants: the guests that could be moved
    """

    free: Mapping[int, Mapping[str, int]]
    tenants: tuple[Tenant, ...]


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


def rebalance(rooms: HostRooms, max_arrangements: int = MAX_ARRANGEMENTS) -> Rebalancing:
    """The fewest moves to the largest room; among equals always the same ones for the same host.

    :param max_arrangements: how many to try at most
    """
    search = _Search(rooms)
    before = best = search.largest(search.start)
    found, bound = search.start, search.bound()
    # Breadth first, so that of the arrangements with the same room one is found that the fewest moves lead to. Each
    # notes the move that led to it, from which the way is read in the end. None can be better than the bound, where the
    # search ends.
    parents: dict[_State, tuple[_State, int, int, int] | None] = {search.start: None}
    frontier = [search.start]
    while frontier and best < bound and len(parents) <= max_arrangements:
        reached: list[_State] = []
        for state in frontier:
            for kind, source, target, after in search.moves(state):
                if after in parents:
                    continue
                parents[after] = state, kind, source, target
                reached.append(after)
                if (largest := search.largest(after)) > best:
                    best, found = largest, after
        frontier = reached
    is_complete = best >= bound or not frontier
    return Rebalancing(search.steps(found, parents), before, best, is_complete)


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


class _Search:
    """The arrangements of a host. Guests that take the same and may go to the same nodes are of one kind."""

    def __init__(self, rooms: HostRooms) -> None:
        self.rooms = rooms
        self.nodes = sorted(rooms.free)
        kinds: dict[tuple[object, ...], list[Tenant]] = {}
        for tenant in sorted(rooms.tenants, key=lambda tenant: tenant.server):
            kind = tuple(sorted(tenant.resources.items())), tuple(sorted(tenant.targets | {tenant.node}))
            kinds.setdefault(kind, []).append(tenant)
        self.kinds = [kinds[kind] for kind in sorted(kinds, key=str)]
        self.start: _State = tuple(
            tuple(sum(tenant.node == node for tenant in tenants) for node in self.nodes) for tenants in self.kinds
        )

    def free(self, state: _State) -> list[dict[str, int]]:
        """What is free on each node."""
        free = [dict(self.rooms.free[node]) for node in self.nodes]
        for tenants, counts, first in zip(self.kinds, state, self.start, strict=True):
            for index, count in enumerate(counts):
                for name, amount in tenants[0].resources.items():
                    free[index][name] = free[index].get(name, 0) - (count - first[index]) * amount
        return free

    def largest(self, state: _State) -> int:
        """The most dedicated CPUs free together, on a node that has memory left."""
        return max(map(_room, self.free(state)), default=0)

    def bound(self) -> int:
        """The most dedicated CPUs that any moves could bring together: free ones, and those of movable guests."""
        free = [node.get(names.PCPU, 0) for node in self.free(self.start)]
        movable = [
            sum(tenant.resources.get(names.PCPU, 0) for tenant in self.rooms.tenants if tenant.node == node)
            for node in self.nodes
        ]
        return max((min(free[index] + movable[index], sum(free)) for index in range(len(free))), default=0)

    def moves(self, state: _State) -> Iterator[tuple[int, int, int, _State]]:
        """Every move that finds room: kind, index of the source, index of the target, and the arrangement after it."""
        free = self.free(state)
        for kind, tenants in enumerate(self.kinds):
            allowed = tenants[0].targets | {tenants[0].node}
            for source, count in enumerate(state[kind]):
                for target, node in enumerate(self.nodes):
                    if count and source != target and node in allowed and _fits(tenants[0].resources, free[target]):
                        counts = list(state[kind])
                        counts[source] -= 1
                        counts[target] += 1
                        yield kind, source, target, (*state[:kind], tuple(counts), *state[kind + 1 :])

    def steps(self, found: _State, parents: Mapping[_State, tuple[_State, int, int, int] | None]) -> tuple[Step, ...]:
        """The moves that lead to an arrangement: of each kind the guests are taken by their ids."""
        way = []
        state = found
        while (parent := parents[state]) is not None:
            state = parent[0]
            way.append(parent[1:])
        on = {tenant.server: tenant.node for tenant in self.rooms.tenants}
        steps = []
        for kind, source, target in reversed(way):
            tenant = next(tenant for tenant in self.kinds[kind] if on[tenant.server] == self.nodes[source])
            on[tenant.server] = self.nodes[target]
            steps.append(Step(tenant.server, tenant.name, self.nodes[source], self.nodes[target]))
        return tuple(steps)


def _room(free: Mapping[str, int]) -> int:
    return free.get(names.PCPU, 0) if free.get(names.MEMORY_MB, 0) > 0 else 0


def _fits(resources: Mapping[str, int], free: Mapping[str, int]) -> bool:
    return all(amount <= free.get(name, 0) for name, amount in resources.items())


def describe(found: Rebalancing) -> list[str]:
    """What was found, line by line."""
    now = f"the largest request that fits on one node now takes {found.before} dedicated CPUs"
    moves = "1 move" if len(found.moves) == 1 else f"{len(found.moves)} moves"
    lines = [f"{now}, and {found.after} after {moves}" if found.moves else f"{now}; no moves help"]
    if not found.is_complete:
        lines.append("there are more arrangements than could be looked at; another run may find more room")
    return lines
