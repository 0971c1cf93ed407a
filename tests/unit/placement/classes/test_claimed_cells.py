# SPDX-License-Identifier: Apache-2.0
"""Which node each cell of a server has claimed."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.placement import names
from kongming_sched.placement.classes.claimed_cells import match_cells
from kongming_sched.request import CellRequest
from tests.unit.cell_requests import FOUR, TWO, cells


@pytest.mark.parametrize(
    ("groups", "claim", "expected"),
    [
        pytest.param(cells(TWO), {0: TWO}, (0,), id="one cell"),
        pytest.param(cells(TWO), {1: FOUR}, None, id="another amount"),
        pytest.param(cells(TWO), {}, None, id="no claim"),
        pytest.param(cells(TWO), {0: TWO, 1: TWO}, None, id="more than asked for"),
        pytest.param(cells(TWO, FOUR), {0: FOUR, 1: TWO}, (1, 0), id="by amounts"),
        pytest.param(cells(TWO, TWO), {3: TWO, 1: TWO}, (1, 3), id="equal cells in ascending order"),
        pytest.param(cells(TWO, TWO, nodes={0: 3}), {3: TWO, 1: TWO}, (3, 1), id="a named node"),
        pytest.param(cells(TWO, nodes={0: 1}), {0: TWO}, None, id="not the named node"),
    ],
)
def test_match_cells(
    groups: tuple[CellRequest, ...], claim: dict[int, dict[str, int]], expected: tuple[int, ...] | None
) -> None:
    """Cells take nodes on which exactly that was claimed which they ask for."""
    assert expected == match_cells(groups, claim)


@st.composite
def small_claims(draw: st.DrawFn) -> tuple[tuple[CellRequest, ...], dict[int, dict[str, int]]]:
    """Up to five cells, some of which name a node, and claims of as many nodes, most of which match."""
    resources = st.sampled_from([TWO, FOUR])
    asked = draw(st.lists(resources, min_size=1, max_size=5))
    ids = draw(st.lists(st.integers(0, 6), min_size=len(asked), max_size=len(asked), unique=True))
    claimed = draw(st.permutations(asked) | st.lists(resources, min_size=len(asked), max_size=len(asked)))
    named = draw(st.dictionaries(st.integers(0, len(asked) - 1), st.integers(0, 6), max_size=2))
    return cells(*asked, nodes=named), dict(zip(ids, claimed, strict=True))


@given(small_claims())
def test_match_is_the_first_of_all_orders(drawn: tuple[tuple[CellRequest, ...], dict[int, dict[str, int]]]) -> None:
    """It is the first one that trying every order of the nodes finds, and none where that finds none."""
    groups, claim = drawn
    ways = (
        nodes
        for nodes in itertools.permutations(sorted(claim))
        if all(
            claim[node] == cell.resources and {names.node_id_of(trait) for trait in cell.required} in (set(), {node})
            for cell, node in zip(groups, nodes, strict=True)
        )
    )
    assert next(ways, None) == match_cells(groups, claim)


def test_many_equal_cells_take_no_time() -> None:
    """There is no search that grows factorially if of 64 cells only the last one finds no node."""
    claim = dict.fromkeys(range(64), TWO)
    assert match_cells(cells(*[TWO] * 63, FOUR), claim) is None
