# SPDX-License-Identifier: Apache-2.0
"""How many more servers fit on a host. Pure.

Whether *n* servers of *k* cells fit on a host's NUMA nodes depends only on how many cells of each kind each node holds,
not on which server they belong to. The conditions: there are *n* of each of the *k* cells, each node holds no more than
it has room for, and no more than *n* cells, because the cells of one server are on different nodes. They suffice: where
the counts fulfil them, the cells can be assigned to *n* servers, because the edges of a bipartite multigraph of degree
*n* can be coloured with *n* colours (König). For dedicated CPUs counting is enough, too: see
doc/source/contributor/architecture.rst.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kongming_sched.cloud.nodes import threads_per_core
from kongming_sched.placement.flavor import cell_requests
from kongming_sched.request import CellRequest
from kongming_sched.template import PinningTemplate

DISABLED = "COMPUTE_STATUS_DISABLED"
"""Nova's trait of a compute node whose service is disabled; Nova's scheduler forbids it."""

_SHARABLE = "DISK_GB"
"""A resource that a host may get from a sharing provider if it has no inventory of it."""


@dataclass(frozen=True, slots=True)
class NodeRoom:
    """What is free on a NUMA node.

    :ivar free: resource class to amount
    :ivar capacity: what would be free if nothing was placed there
    """

    free: Mapping[str, int]
    traits: frozenset[str] = frozenset()
    capacity: Mapping[str, int] = field(default_factory=dict)

    def count(self, cell: CellRequest) -> int:
        """How many cells of this kind fit if nothing else is placed here."""
        if not cell.required <= self.traits:
            return 0
        return min(max(0, self.free.get(name, 0)) // amount for name, amount in cell.resources.items())


@dataclass(frozen=True, slots=True)
class HostRoom:
    """What is free on a host.

    :ivar free: on the compute node itself, by resource class; only classes of its own inventories
    :ivar nodes: by NUMA node; only nodes that take servers
    :ivar capacity: what would be free on the compute node itself if nothing was placed there
    """

    name: str
    uuid: str
    free: Mapping[str, int]
    traits: frozenset[str]
    nodes: Mapping[int, NodeRoom]
    capacity: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_disabled(self) -> bool:
        """Whether its compute service is disabled."""
        return DISABLED in self.traits

    def count(self, cells: Sequence[CellRequest], of_host: Mapping[str, int]) -> int:
        """How many servers fit.

        :param cells: what one takes of the NUMA nodes
        :param of_host: what one takes of the compute node itself, by resource class
        """
        if self.is_disabled:
            return 0
        limits = [max(0, self.free.get(name, 0)) // need for name, need in of_host.items() if not self._shares(name)]
        return min([count_servers(cells, list(self.nodes.values())), *limits])

    def _shares(self, name: str) -> bool:
        return name == _SHARABLE and name not in self.free

    def lacking(self, of_host: Mapping[str, int]) -> str | None:
        """The first resource of which the compute node itself has too little, in words; None if there is none."""
        for name, need in of_host.items():
            if not self._shares(name) and self.free.get(name, 0) < need:
                return f"needs {need} of {name} from the host, where {max(0, self.free.get(name, 0))} is free"
        return None


@dataclass(frozen=True, slots=True)
class Demand:
    """Servers of a flavor or a template, to be counted.

    :ivar of: name of the flavor or the template
    :ivar vcpus: of one server
    :ivar count: gives how many more fit on a host
    """

    of: str
    vcpus: int
    count: Callable[[HostRoom], int]


@dataclass(frozen=True, slots=True)
class _Kind:
    """Cells of a request that are alike.

    :ivar cells: how many of them one server has
    :ivar counts: how many of them fit on each node if it holds nothing else
    """

    cells: int
    resources: tuple[tuple[str, int], ...]
    counts: tuple[int, ...]


def demand_of(template: PinningTemplate) -> Demand:
    """Servers of a template without the memory and disk of their flavors, which a template does not determine."""

    def count(host: HostRoom) -> int:
        """The count for the flavor that fits best: a flavor is made for one number of threads per core."""
        threads = {threads_per_core(node.traits) or 1 for node in host.nodes.values()}
        return max(host.count(cell_requests(template, 0, number), {}) for number in threads)

    return Demand(template.name, template.vcpus, count)


def count_servers(cells: Sequence[CellRequest], nodes: Sequence[NodeRoom]) -> int:
    """How many servers with these cells fit at the same time on a host with these nodes. A binary search."""
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
    """Whether so many servers fit: a search node by node over the maximal ways to fill each."""
    classes = sorted({name for kind in kinds for name, _ in kind.resources})
    free = [tuple(max(0, room.free.get(name, 0)) for name in classes) for room in nodes]
    need = [tuple(dict(kind.resources).get(name, 0) for name in classes) for kind in kinds]

    def is_hopeless(node: int, left: Sequence[int]) -> bool:
        """Whether the nodes from this one on have too little of a kind or of a class, each considered by itself."""
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
    """The maximal ways to fill a node with cells of each kind: ways that are contained in another are left out.

    :param limit: how many cells the node takes at most
    :param left: how many cells of each kind are still to be placed
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
