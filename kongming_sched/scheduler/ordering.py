# SPDX-License-Identifier: Apache-2.0
"""Which NUMA nodes of one host a server should take. Pure and deterministic.

What is free comes from a snapshot of Placement that may be some seconds old. A candidate is newer than the snapshot, so
a node has at least what a candidate would take of it.
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
    """One way to place a server on a host. A named tuple is the fastest to make, and each host has several.

    :ivar position: its place in Placement's answer; unique among the candidates of a host
    :ivar nodes: the NUMA node of each cell
    """

    position: int
    nodes: tuple[int, ...]


class HostUse(NamedTuple):
    """What is free on the NUMA nodes of a host and what was claimed since, by node and resource class.

    :ivar free: what was free before the request; empty if the snapshot has no node of the host
    :ivar claimed: what servers of the same request have claimed
    """

    free: Mapping[int, Mapping[str, int]] = MappingProxyType({})
    claimed: Mapping[int, Mapping[str, int]] = MappingProxyType({})


class _Fit(NamedTuple):
    """How a cell fits on a node.

    :ivar shortage: the largest shortage of any class, as a multiple of what the cell takes of it; 0 if the cell fits
    :ivar left: what the cell leaves of the class by which the node counts as full; negative if it does not fit
    """

    shortage: float
    left: int


def order(
    candidates: Iterable[Candidate],
    request: PinningRequest,
    strategy: NumaStrategy,
    server_id: str,
    room: HostUse,
) -> list[Candidate]:
    """Order the candidates of one host, the best first. All are kept; those that seem not to fit come last.

    Ties go to the lowest node ids. On a host that the snapshot does not have, ``pack`` and ``spread`` keep Placement's
    order, except that nodes on which less was claimed come first.
    """
    candidates = list(candidates)
    if len(candidates) < 2:
        return candidates
    if len(request.cells) == 1 and room.free and strategy is not NumaStrategy.SCATTER:
        return _order_one_cell(candidates, request.cells[0], strategy, room)
    fits = _measure(candidates, request.cells, room)

    def rank(candidate: Candidate) -> tuple[object, ...]:
        mine = [fits[cell] for cell in enumerate(candidate.nodes)]
        shortage = sum([fit.shortage for fit in mine])  # first: a candidate that fits comes before all that do not
        if strategy is NumaStrategy.SCATTER:
            return shortage, hash_fraction(server_id, candidate.nodes), candidate.nodes, candidate.position
        if not room.free:
            return shortage, candidate.position
        left = sorted([fit.left for fit in mine])  # of equal sums, pack prefers the one with the fullest single node
        if strategy is NumaStrategy.SPREAD:
            return shortage, -sum(left), [-amount for amount in left], candidate.nodes, candidate.position
        return shortage, sum(left), left, candidate.nodes, candidate.position

    return sorted(candidates, key=rank)


def _order_one_cell(
    candidates: Iterable[Candidate], cell: CellRequest, strategy: NumaStrategy, room: HostUse
) -> list[Candidate]:
    """The order of :func:`order` for a request of one cell, computed faster: most servers have one cell."""
    scarce = _scarce_class(cell)
    sign = -1 if strategy is NumaStrategy.SPREAD else 1
    ranked = []
    for candidate in candidates:
        shortage, left = _fit(cell, scarce, candidate.nodes[0], cell.resources, room)
        ranked.append((shortage, sign * left, candidate.nodes, candidate.position, candidate))
    ranked.sort()
    return [entry[-1] for entry in ranked]


def hash_fraction(server_id: str, place: object) -> float:
    """A pseudo-random number in [0, 1) that depends on the server and the place alone."""
    digest = hashlib.blake2b(f"{server_id}/{place}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def stranded(candidate: Candidate, request: PinningRequest, room: HostUse) -> int | None:
    """How much of each cell's scarce class stays free on the candidate's nodes after the claim, summed up.

    None if the snapshot does not have one of the nodes. Negative, by what is lacking, if what was claimed since leaves
    one of them too little.
    """
    if any(node not in room.free for node in candidate.nodes):
        return None
    left, lacking = 0, 0
    for node, cell in zip(candidate.nodes, request.cells, strict=True):
        name = _scarce_class(cell)
        amount = cell.resources[name]
        rest = max(room.free[node].get(name, 0), amount) - room.claimed.get(node, _NOTHING).get(name, 0) - amount
        left += max(0, rest)
        lacking += max(0, -rest)
    return -lacking or left


def add(
    claimed: Mapping[int, Mapping[str, int]], nodes: Iterable[int], request: PinningRequest
) -> dict[int, Mapping[str, int]]:
    """The claims by node after one more server has claimed these nodes."""
    taken = {
        node: Counter(claimed.get(node, {})) + Counter(cell.resources)
        for node, cell in zip(nodes, request.cells, strict=True)
    }
    return {**claimed, **taken}


def merge(one: Mapping[int, Mapping[str, int]], other: Mapping[int, Mapping[str, int]]) -> dict[int, Mapping[str, int]]:
    """The claims by node of both."""
    return {node: Counter(one.get(node, {})) + Counter(other.get(node, {})) for node in one.keys() | other.keys()}


def scarce_amount(request: PinningRequest) -> int:
    """How much a server takes of the classes by which nodes count as full."""
    return sum(cell.resources[_scarce_class(cell)] for cell in request.cells)


def _scarce_class(cell: CellRequest) -> str:
    for name in _SCARCE:
        if name in cell.resources:
            return name
    return min(cell.resources)


def _measure(
    candidates: Iterable[Candidate], cells: Sequence[CellRequest], room: HostUse
) -> dict[tuple[int, int], _Fit]:
    """How cells fit on nodes, once for each pair of cell and node, which many candidates share.

    Placement has just offered these candidates, so each node has free at least what they take of it.
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


def _fit(cell: CellRequest, scarce: str, node: int, offered: Mapping[str, int], room: HostUse) -> _Fit:
    """How a cell fits on a node.

    :param scarce: the class by which the node counts as full
    :param offered: what was at least free on the node when Placement made the candidates
    """
    free = room.free.get(node, _NOTHING)
    claimed = room.claimed.get(node, _NOTHING)
    shortage, left = 0.0, 0
    for name, amount in cell.resources.items():
        known, least = free.get(name, 0), offered[name]
        rest = (known if known > least else least) - claimed.get(name, 0) - amount
        if rest < 0:
            shortage = max(shortage, -rest / amount)
        if name == scarce:
            left = rest
    return _Fit(shortage, left)
