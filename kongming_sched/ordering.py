# SPDX-License-Identifier: Apache-2.0
"""Which NUMA nodes of one host a server should take: pure, and the same answer for the same input.

What is free comes from a picture of Placement that may be some seconds old. A candidate is newer than the picture, so
a node has at least what some candidate would take of it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kongming_sched.placement import names
from kongming_sched.request import CellRequest, NumaStrategy, PinningRequest

_SCARCE = (names.PCPU, names.VCPU, names.MEMORY_MB)
"""The class by which a node counts as full: the first of these that a cell takes."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to put a server on a host.

    :ivar position: its place in Placement's answer; unique among the candidates of a host
    :ivar nodes: the NUMA node of each cell
    """

    position: int
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HostRoom:
    """What is known of the NUMA nodes of a host, per node and resource class.

    :ivar free: what was free before the request; empty if nothing is known of the host
    :ivar booked: what servers of the same request have taken since
    """

    free: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    booked: Mapping[int, Mapping[str, int]] = field(default_factory=dict)

    def left(self, node: int, cell: CellRequest, name: str) -> int:
        """What a cell would leave of a class on a node; below zero if it does not fit."""
        return self.free.get(node, {}).get(name, 0) - self.booked.get(node, {}).get(name, 0) - cell.resources[name]


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
    known = bool(room.free)
    room = _at_least_what_candidates_take(candidates, request, room)

    def rank(candidate: Candidate) -> tuple[object, ...]:
        shortage = _shortage(candidate, request, room)
        if strategy is NumaStrategy.SCATTER:
            return shortage, _scatter(server_id, candidate.nodes), candidate.nodes, candidate.position
        if not known:
            return shortage, candidate.position
        left = sorted(_left(candidate, request, room))
        if strategy is NumaStrategy.SPREAD:
            return shortage, -sum(left), [-amount for amount in left], candidate.nodes, candidate.position
        return shortage, sum(left), left, candidate.nodes, candidate.position

    return sorted(candidates, key=rank)


def stranded(candidate: Candidate, request: PinningRequest, room: HostRoom) -> int | None:
    """How much of the scarce class stays free on the candidate's nodes after the claim; None if that is not known."""
    if any(node not in room.free for node in candidate.nodes):
        return None
    return sum(max(0, amount) for amount in _left(candidate, request, room))


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
    return next((name for name in _SCARCE if name in cell.resources), min(cell.resources))


def _left(candidate: Candidate, request: PinningRequest, room: HostRoom) -> list[int]:
    cells = zip(candidate.nodes, request.cells, strict=True)
    return [room.left(node, cell, _scarce_class(cell)) for node, cell in cells]


def _shortage(candidate: Candidate, request: PinningRequest, room: HostRoom) -> float:
    """How many cells' worth lacks on the candidate's nodes: 0 if all fits, and more the more is booked."""
    return sum(
        max(0.0, *(-room.left(node, cell, name) / amount for name, amount in cell.resources.items()))
        for node, cell in zip(candidate.nodes, request.cells, strict=True)
    )


def _at_least_what_candidates_take(
    candidates: Iterable[Candidate], request: PinningRequest, room: HostRoom
) -> HostRoom:
    """The room, corrected upwards: Placement has just offered these candidates."""
    free = {node: dict(amounts) for node, amounts in room.free.items()}
    for candidate in candidates:
        for node, cell in zip(candidate.nodes, request.cells, strict=True):
            amounts = free.setdefault(node, {})
            for name, amount in cell.resources.items():
                amounts[name] = max(amounts.get(name, 0), amount)
    return HostRoom(free, room.booked)


def _scatter(server_id: str, nodes: tuple[int, ...]) -> bytes:
    """A number that servers and nodes together draw, as if by lot but always the same."""
    return hashlib.blake2b(f"{server_id}/{nodes}".encode(), digest_size=8).digest()
