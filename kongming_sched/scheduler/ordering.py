# SPDX-License-Identifier: Apache-2.0
"""Which NUMA nodes of one host a server should take: pure, and the same answer for the same input.

What is free comes from a picture of Placement that may be some seconds old. A candidate is newer than the picture, so
a node has at least what some candidate would take of it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from kongming_sched.placement import names
from kongming_sched.request import CellRequest, NumaStrategy, PinningRequest

_SCARCE = (names.PCPU, names.VCPU, names.MEMORY_MB)
"""The class by which a node counts as full: the first of these that a cell takes."""


_NOTHING: Mapping[str, int] = {}


class Candidate(NamedTuple):
    """One way to put a server on a host. A tuple, because that is made fastest: each host has some.

    :ivar position: its place in Placement's answer; unique among the candidates of a host
    :ivar nodes: the NUMA node of each cell
    """

    position: int
    nodes: tuple[int, ...]


class HostRoom(NamedTuple):
    """What is known of the NUMA nodes of a host, per node and resource class.

    :ivar free: what was free before the request; empty if nothing is known of the host
    :ivar booked: what servers of the same request have taken since
    """

    free: Mapping[int, Mapping[str, int]] = MappingProxyType({})
    booked: Mapping[int, Mapping[str, int]] = MappingProxyType({})


class _Fit(NamedTuple):
    """How a cell fits on a node.

    :ivar shortage: how many times the cell's amount lacks of the class that lacks most; 0 if it fits
    :ivar left: what it leaves of the class by which the node counts as full; below zero if it does not fit
    """

    shortage: float
    left: int


def order(
    candidates: Iterable[Candidate],
    request: PinningRequest,
    strategy: NumaStrategy,
    server_id: str,
    room: HostRoom,
) -> list[Candidate]:
    """Order the candidates of one host, the best first. None is lost: what seems not to fit comes last.

    Of equals the one with the lowest node ids comes first. On a host of which nothing is known, ``pack`` and
    ``spread`` keep Placement's order, except that nodes on which less is booked come first.
    """
    candidates = list(candidates)
    if len(candidates) < 2:
        return candidates
    if len(request.cells) == 1 and room.free and strategy is not NumaStrategy.SCATTER:
        return _order_one_cell(candidates, request.cells[0], strategy, room)
    fits = _measure(candidates, request.cells, room)

    def rank(candidate: Candidate) -> tuple[object, ...]:
        mine = [fits[cell] for cell in enumerate(candidate.nodes)]
        shortage = sum([fit.shortage for fit in mine])
        if strategy is NumaStrategy.SCATTER:
            return shortage, draw(server_id, candidate.nodes), candidate.nodes, candidate.position
        if not room.free:
            return shortage, candidate.position
        left = sorted([fit.left for fit in mine])
        if strategy is NumaStrategy.SPREAD:
            return shortage, -sum(left), [-amount for amount in left], candidate.nodes, candidate.position
        return shortage, sum(left), left, candidate.nodes, candidate.position

    return sorted(candidates, key=rank)


def _order_one_cell(
    candidates: Iterable[Candidate], cell: CellRequest, strategy: NumaStrategy, room: HostRoom
) -> list[Candidate]:
    """The same order, found faster for servers of one cell, which most are."""
    scarce = _scarce_class(cell)
    sign = -1 if strategy is NumaStrategy.SPREAD else 1
    ranked = []
    for candidate in candidates:
        shortage, left = _fit(cell, scarce, candidate.nodes[0], cell.resources, room)
        ranked.append((shortage, sign * left, candidate.nodes, candidate.position, candidate))
    ranked.sort()
    return [entry[-1] for entry in ranked]


def draw(server_id: str, place: object) -> float:
    """A number from 0 to 1 that a server and a place together draw, as if by lot but always the same."""
    digest = hashlib.blake2b(f"{server_id}/{place}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def stranded(candidate: Candidate, request: PinningRequest, room: HostRoom) -> int | None:
    """How much of the scarce class stays free on the candidate's nodes after the claim; None if that is not known."""
    if any(node not in room.free for node in candidate.nodes):
        return None
    left = 0
    for node, cell in zip(candidate.nodes, request.cells, strict=True):
        name = _scarce_class(cell)
        free = room.free[node].get(name, 0) - room.booked.get(node, _NOTHING).get(name, 0)
        left += max(0, free - cell.resources[name])
    return left


def add(
    booked: Mapping[int, Mapping[str, int]], nodes: Iterable[int], request: PinningRequest
) -> dict[int, Mapping[str, int]]:
    """What is booked after one more server has taken these nodes."""
    taken = {
        node: Counter(booked.get(node, {})) + Counter(cell.resources)
        for node, cell in zip(nodes, request.cells, strict=True)
    }
    return {**booked, **taken}


def _scarce_class(cell: CellRequest) -> str:
    for name in _SCARCE:
        if name in cell.resources:
            return name
    return min(cell.resources)


def _measure(
    candidates: Iterable[Candidate], cells: Sequence[CellRequest], room: HostRoom
) -> dict[tuple[int, int], _Fit]:
    """How cells fit on nodes, for each pair of cell and node that some candidate has: many share them.

    Placement has just offered these candidates, so of each node there is free what they take of it.
    """
    pairs = {pair for candidate in candidates for pair in enumerate(candidate.nodes)}
    offered: dict[int, dict[str, int]] = {}
    for index, node in pairs:
        least = offered.setdefault(node, {})
        for name, amount in cells[index].resources.items():
            if amount > least.get(name, 0):
                least[name] = amount
    classes = [_scarce_class(cell) for cell in cells]
    return {(index, node): _fit(cells[index], classes[index], node, offered[node], room) for index, node in pairs}


def _fit(cell: CellRequest, scarce: str, node: int, offered: Mapping[str, int], room: HostRoom) -> _Fit:
    """How a cell fits on a node, of which at least so much was free when the candidates were made.

    :param scarce: the class by which the node counts as full
    """
    free = room.free.get(node, _NOTHING)
    booked = room.booked.get(node, _NOTHING)
    shortage, left = 0.0, 0
    for name, amount in cell.resources.items():
        known, least = free.get(name, 0), offered[name]
        rest = (known if known > least else least) - booked.get(name, 0) - amount
        if rest < 0:
            shortage = max(shortage, -rest / amount)
        if name == scarce:
            left = rest
    return _Fit(shortage, left)
