# SPDX-License-Identifier: Apache-2.0
"""How many more servers fit on a host."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kongming_sched.cloud.capacity import NodeRoom, count_servers
from kongming_sched.placement import names
from kongming_sched.request import CellRequest

GOLD = names.template_trait("gold")


def cell(pcpus: int = 0, memory_mb: int = 0, *traits: str) -> CellRequest:
    """A cell that takes so much of its node and requires the template and these traits."""
    resources = {name: amount for name, amount in ((names.PCPU, pcpus), (names.MEMORY_MB, memory_mb)) if amount}
    return CellRequest("_KONGMING0", resources, frozenset({GOLD, *traits}))


def node(pcpus: int, memory_mb: int = 0, *traits: str) -> NodeRoom:
    """A node that offers the template and has so much left."""
    return NodeRoom({names.PCPU: pcpus, names.MEMORY_MB: memory_mb}, frozenset({GOLD, *traits}))


def count_one_by_one(cells: Sequence[CellRequest], nodes: Sequence[NodeRoom]) -> int:
    """Put servers on nodes in all ways there are, and take the best."""

    def fits(item: CellRequest, room: NodeRoom, free: Mapping[str, int]) -> bool:
        return item.required <= room.traits and all(free.get(name, 0) >= need for name, need in item.resources.items())

    def search(free: tuple[tuple[tuple[str, int], ...], ...]) -> int:
        if free in known:
            return known[free]
        best = 0
        amounts = [dict(items) for items in free]
        for where in itertools.permutations(range(len(nodes)), len(cells)):
            if all(fits(item, nodes[i], amounts[i]) for item, i in zip(cells, where, strict=True)):
                left = [dict(items) for items in free]
                for item, i in zip(cells, where, strict=True):
                    for name, need in item.resources.items():
                        left[i][name] -= need
                best = max(best, 1 + search(tuple(tuple(sorted(items.items())) for items in left)))
        known[free] = best
        return best

    known: dict[tuple[tuple[tuple[str, int], ...], ...], int] = {}
    return search(tuple(tuple(sorted(room.free.items())) for room in nodes))


@pytest.mark.parametrize(
    ("cells", "nodes", "expected"),
    [
        pytest.param([cell(4)], [node(9), node(7)], 3, id="a cell fits as often as it fits on each node"),
        pytest.param([cell(4)], [], 0, id="no node"),
        pytest.param([cell(4)], [node(3), node(-2)], 0, id="nowhere is enough, and on one less than nothing"),
        pytest.param([cell(2, 100)], [node(8, 250)], 2, id="what is scarcest decides"),
        pytest.param([cell(2)], [node(8), NodeRoom({names.PCPU: 8})], 4, id="a node must offer the template"),
        pytest.param([cell(2), cell(2)], [node(8)], 0, id="two cells are never on one node"),
        pytest.param([cell(2), cell(2)], [node(8), node(4)], 2, id="and the smaller of two nodes decides"),
        pytest.param([cell(1), cell(1)], [node(2), node(2), node(2)], 3, id="three nodes take turns"),
        pytest.param([cell(6), cell(2)], [node(8), node(8)], 2, id="large and small cells share a node"),
        pytest.param([cell(6), cell(2)], [node(12), node(4)], 2, id="or have one each"),
        pytest.param([cell(6), cell(2)], [node(7), node(7)], 1, id="what is left of a node may suit no cell"),
        pytest.param([cell(1), cell(1, 0, "N1")], [node(4), node(4, 0, "N1")], 4, id="a cell asks for a node"),
        pytest.param([cell(1), cell(1, 0, "N1")], [node(4), node(4)], 0, id="which is not there"),
    ],
)
def test_servers_that_fit(cells: list[CellRequest], nodes: list[NodeRoom], expected: int) -> None:
    """All of them together, whatever their order."""
    assert expected == count_servers(cells, nodes) == count_one_by_one(cells, nodes)
    assert expected == count_servers(cells[::-1], nodes[::-1])


cells = st.builds(cell, st.integers(1, 3), st.integers(0, 2), *[st.sampled_from(["N0", GOLD])])
nodes = st.builds(node, st.integers(-1, 6), st.integers(0, 5), *[st.sampled_from(["N0", GOLD])])


@settings(deadline=None)
@given(st.lists(cells, min_size=1, max_size=3), st.lists(nodes, max_size=3))
def test_counting_finds_what_trying_all_ways_finds(cells: list[CellRequest], nodes: list[NodeRoom]) -> None:
    """Servers of up to three cells on up to three nodes, of which some are the ones that a cell asks for."""
    assert count_one_by_one(cells, nodes) == count_servers(cells, nodes)


def test_a_large_host_is_counted_too() -> None:
    """Four cells of different size on eight nodes of 128 CPUs: 23 is the most that the sum of CPUs allows."""
    sizes = [cell(2, 7), cell(3, 5), cell(5, 3), cell(34, 2)]
    assert 23 == count_servers(sizes, [node(128, 1000)] * 8)
