# SPDX-License-Identifier: Apache-2.0
"""How many more servers fit on a host: pure.

What *n* servers of *k* cells take of a host's NUMA nodes can be said without naming servers: how many cells of each
kind are on each node. There are *n* of each of the *k* cells, a node holds no more than it has room for, and no more
than *n* cells, because those of one server are on different nodes. That is all: wherever these counts hold, the cells
can be dealt out to *n* servers, because the edges of a bipartite multigraph of degree *n* have a colouring with *n*
colours (König). Dedicated CPUs need no more than counting either, see doc/source/contributor/architecture.rst.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kongming_sched.cloud.nodes import threads_per_core
from kongming_sched.placement.flavor import cell_requests
from kongming_sched.request import CellRequest
from kongming_sched.template import PinningTemplate

DISABLED = "COMPUTE_STATUS_DISABLED"
"""Nova's trait of a compute node whose service is disabled; Nova's scheduler forbids it."""

_SHARABLE = "DISK_GB"
"""What a host without an inventory of its own may have from a sharing provider."""


@dataclass(frozen=True, slots=True)
class NodeRoom:
    """What is free on a NUMA node.

    :ivar free: resource class to amount
    """

    free: Mapping[str, int]
    traits: frozenset[str] = frozenset()

    def count(self, cell: CellRequest) -> int:
        """How many cells of this kind fit if nothing else comes."""
        if not cell.required <= self.traits:
            return 0
        return min(max(0, self.free.get(name, 0)) // amount for name, amount in cell.resources.items())


@dataclass(frozen=True, slots=True)
class HostRoom:
    """What is known of a host.

    :ivar free: what is free of the compute node itself, by resource class; only of what it has
    :ivar nodes: NUMA node id to what is free there; only nodes that take servers
    """

    name: str
    uuid: str
    free: Mapping[str, int]
    traits: frozenset[str]
    nodes: Mapping[int, NodeRoom]

    @property
    def is_disabled(self) -> bool:
        """Whether its compute service is disabled."""
        return DISABLED in self.traits

    def count(self, cells: Sequence[CellRequest], of_host: Mapping[str, int]) -> int:
        """How many servers fit that take this of the NUMA nodes and that of the compute node itself."""
        if self.is_disabled:
            return 0
        limits = [max(0, self.free.get(name, 0)) // need for name, need in of_host.items() if not self._shares(name)]
        return min([count_servers(cells, list(self.nodes.values())), *limits])

    def _shares(self, name: str) -> bool:
        return name == _SHARABLE and name not in self.free

    def lacking(self, of_host: Mapping[str, int]) -> str | None:
        """What the compute node itself has too little of; None if it has enough."""
        for name, need in of_host.items():
            if not self._shares(name) and self.free.get(name, 0) < need:
                return f"needs {need} of {name} from the host, where {max(0, self.free.get(name, 0))} is free"
        return None


@dataclass(frozen=True, slots=True)
class Demand:
    """What is counted.

    :ivar of: the flavor or the template, by name
    :ivar vcpus: of one server
    :ivar count: how many more fit on a host
    """

    of: str
    vcpus: int
    count: Callable[[HostRoom], int]


@dataclass(frozen=True, slots=True)
class _Kind:
    """Cells of a request that are alike: so many of each server, which fit so often on each node alone."""

    cells: int
    resources: tuple[tuple[str, int], ...]
    counts: tuple[int, ...]


def demand_of(template: PinningTemplate) -> Demand:
    """What servers of a template take, whatever their flavors say of memory and disk."""

    def count(host: HostRoom) -> int:
        """As many as fit of those flavors that fit best: a flavor asks for one number of threads per core."""
        threads = {threads_per_core(node.traits) or 1 for node in host.nodes.values()}
        return max(host.count(cell_requests(template, 0, number), {}) for number in threads)

    return Demand(template.name, template.vcpus, count)


def count_servers(cells: Sequence[CellRequest], nodes: Sequence[NodeRoom]) -> int:
    """How many servers with these cells fit on a host with these nodes, together."""
    alike = Counter(
        (tuple(sorted(cell.resources.items())), tuple(node.count(cell) for node in nodes)) for cell in cells
    )
    kinds = [_Kind(number, resources, counts) for (resources, counts), number in alike.items()]
    low, high = 0, min(sum(kind.counts) // kind.cells for kind in kinds)
    while low < high:
        middle = (low + high + 1) // 2
        if _fit(middle, kinds, nodes):
            low = middle
        else:
            high = middle - 1
    return low


def _fit(servers: int, kinds: Sequence[_Kind], nodes: Sequence[NodeRoom]) -> bool:
    """Whether so many servers fit: node by node, each taking as much as it can in one way or another."""
    classes = sorted({name for kind in kinds for name, _ in kind.resources})
    free = [tuple(max(0, room.free.get(name, 0)) for name in classes) for room in nodes]
    need = [tuple(dict(kind.resources).get(name, 0) for name in classes) for kind in kinds]

    def is_hopeless(node: int, left: Sequence[int]) -> bool:
        """Whether the nodes from this one on have too little, each kind or each class looked at by itself."""
        rest = range(node, len(nodes))
        most = [sum(min(servers, kind.counts[i]) for i in rest) for kind in kinds]
        return (
            any(count > limit for count, limit in zip(left, most, strict=True))
            or sum(left) > servers * len(rest)
            or any(
                sum(count * needs[c] for count, needs in zip(left, need, strict=True)) > sum(free[i][c] for i in rest)
                for c in range(len(classes))
            )
        )

    @functools.cache
    def place(node: int, left: tuple[int, ...]) -> bool:
        if not any(left):
            return True
        if is_hopeless(node, left):
            return False
        return len(kinds) == 1 or any(
            place(node + 1, tuple(have - take for have, take in zip(left, taken, strict=True)))
            for taken in _ways(servers, left, kinds, node, nodes[node].free)
        )

    return place(0, tuple(servers * kind.cells for kind in kinds))


def _ways(
    limit: int, left: Sequence[int], kinds: Sequence[_Kind], node: int, free: Mapping[str, int]
) -> Iterator[tuple[int, ...]]:
    """The ways to fill a node with cells of each kind, without those that are less of another.

    :param limit: how many cells it takes at most
    :param left: how many of each kind are wanted at most
    """
    kind, others = kinds[0], kinds[1:]
    most = min(limit, left[0], kind.counts[node], *(max(0, free.get(name, 0)) // need for name, need in kind.resources))
    if not others:
        yield (most,)
        return
    seen: set[tuple[int, ...]] = set()
    for count in range(most, -1, -1):
        rest = {**free, **{name: free.get(name, 0) - count * need for name, need in kind.resources}}
        for more in _ways(limit - count, left[1:], others, node, rest):
            if more not in seen:
                seen.add(more)
                yield (count, *more)
