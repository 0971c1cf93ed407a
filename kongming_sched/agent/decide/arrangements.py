# SPDX-License-Identifier: Apache-2.0
"""The arrangements of a host's guests on its NUMA nodes, and the moves that lead from one to another. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from kongming_sched.placement import names


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
class KindMove:
    """A move of any guest of a kind, from the arrangement before it to the one after it.

    :ivar kind: its index
    :ivar source: the index of a node, as target is
    :ivar largest: the largest request that fits afterwards
    """

    before: int
    kind: int
    source: int
    target: int
    after: int
    largest: int


class Arrangements:
    """The arrangements of a host. Guests that take the same and may go to the same nodes are of one kind.

    An arrangement is how many guests of each kind are on each node. All these counts are kept in one whole number, each
    in as many bits as the largest needs, because a host of a hundred kinds has many arrangements to remember.
    """

    def __init__(self, rooms: HostRooms) -> None:
        self.rooms = rooms
        self.nodes = sorted(rooms.free)
        kinds: dict[tuple[object, ...], list[Tenant]] = {}
        for tenant in sorted(rooms.tenants, key=lambda tenant: tenant.server):
            kind = tuple(sorted(tenant.resources.items())), tuple(sorted(tenant.targets | {tenant.node}))
            kinds.setdefault(kind, []).append(tenant)
        self.kinds = [kinds[kind] for kind in sorted(kinds, key=str)]
        self.allowed = [
            [node in tenants[0].targets | {tenants[0].node} for node in self.nodes] for tenants in self.kinds
        ]
        self.pairs = len(self.kinds) * len(self.nodes)
        self.bits = max(map(len, self.kinds), default=0).bit_length()
        self.first = [[sum(tenant.node == node for tenant in tenants) for node in self.nodes] for tenants in self.kinds]
        self.start = sum(
            count * self.one(kind, node) for kind, counts in enumerate(self.first) for node, count in enumerate(counts)
        )

    def one(self, kind: int, node: int) -> int:
        """What one guest of a kind on a node adds to the number of an arrangement."""
        return 1 << self.bits * (kind * len(self.nodes) + node)

    def counts(self, state: int) -> list[list[int]]:
        """For each kind of guest how many are on each node."""
        mask, positions = (1 << self.bits) - 1, range(len(self.nodes))
        kinds = range(0, self.bits * self.pairs, self.bits * len(self.nodes)) if self.bits else ()
        return [[state >> start + self.bits * node & mask for node in positions] for start in kinds]

    def free(self, counts: Sequence[Sequence[int]]) -> list[dict[str, int]]:
        """What is free on each node."""
        free = [dict(self.rooms.free[node]) for node in self.nodes]
        for tenants, now, first in zip(self.kinds, counts, self.first, strict=True):
            for index, (count, before) in enumerate(zip(now, first, strict=True)):
                if count != before:
                    for name, amount in tenants[0].resources.items():
                        free[index][name] = free[index].get(name, 0) - (count - before) * amount
        return free

    def largest(self, state: int) -> int:
        """The most dedicated CPUs free together, on a node that has memory left."""
        return max(map(_room, self.free(self.counts(state))), default=0)

    def bound(self) -> int:
        """The most dedicated CPUs that any moves could bring together: free ones, and those of movable guests."""
        free = [self.rooms.free[node].get(names.PCPU, 0) for node in self.nodes]
        movable = [
            sum(tenant.resources.get(names.PCPU, 0) for tenant in self.rooms.tenants if tenant.node == node)
            for node in self.nodes
        ]
        return max((min(free[index] + movable[index], sum(free)) for index in range(len(free))), default=0)

    def moves(self, state: int) -> Iterator[KindMove]:
        """Every move that finds room."""
        counts = self.counts(state)
        free = self.free(counts)
        rooms = [_room(node) for node in free]
        for kind, tenants in enumerate(self.kinds):
            resources = tenants[0].resources
            targets = [
                (node, _room(free[node], resources, -1))
                for node, may in enumerate(self.allowed[kind])
                if may and _fits(resources, free[node])
            ]
            for source in (node for node, count in enumerate(counts[kind]) if count and targets):
                left = _room(free[source], resources)
                for target, taken in targets:
                    if source != target:
                        others = (room for node, room in enumerate(rooms) if node not in (source, target))
                        after = state - self.one(kind, source) + self.one(kind, target)
                        yield KindMove(state, kind, source, target, after, max(left, taken, *others))


def _room(free: Mapping[str, int], resources: Mapping[str, int] = MappingProxyType({}), guests: int = 1) -> int:
    """The dedicated CPUs free on a node that has memory left, once so many guests with these resources are gone."""
    cpus, memory_mb = (free.get(name, 0) + guests * resources.get(name, 0) for name in (names.PCPU, names.MEMORY_MB))
    return cpus if memory_mb > 0 else 0


def _fits(resources: Mapping[str, int], free: Mapping[str, int]) -> bool:
    return all(amount <= free.get(name, 0) for name, amount in resources.items())
