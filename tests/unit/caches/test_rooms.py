# SPDX-License-Identifier: Apache-2.0
"""How many cells of one last-level cache fit: that the counts are exact."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kongming_sched.caches.rooms import count_rooms, first_misfit, rooms_taken
from tests.unit.caches.nodes import CHAINS, admits, make_caches


def can_be_placed(rooms: Sequence[int], cells: Sequence[int]) -> bool:
    """Whether there is a cache for each cell: every way is tried."""

    @functools.cache
    def place(left: tuple[int, ...], number: int) -> bool:
        if number == len(ordered):
            return True
        return any(
            place(tuple(sorted([*left[:index], room - ordered[number], *left[index + 1 :]])), number + 1)
            for index, room in enumerate(left)
            if room >= ordered[number]
        )

    ordered = sorted(cells, reverse=True)
    return place(tuple(sorted(rooms)), 0)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.integers(1, 17), min_size=1, max_size=5),
    st.sampled_from(CHAINS).flatmap(lambda chain: st.lists(st.sampled_from(chain), max_size=12)),
)
def test_the_counts_of_rooms_admit_exactly_what_has_a_place(rooms: list[int], cells: list[int]) -> None:
    """Where each size divides the next one; every core is a room for one core, so these are counted too."""
    cores = make_caches(rooms)
    counted = {size: count_rooms(cores, size) for size in range(1, 18)}
    fits = admits(counted, cells) and sum(cells) <= len(cores)
    assert can_be_placed(rooms, cells) == fits


@pytest.mark.parametrize(
    ("cores", "taken"),
    [(1, {}), (2, {2: 1}), (6, {2: 3, 3: 2, 6: 1}), (7, {7: 1}), (8, {2: 4, 4: 2, 8: 1})],
)
def test_a_cell_takes_rooms_of_every_size_that_divides_its_own(cores: int, taken: dict[int, int]) -> None:
    """A single core is in one cache wherever it is."""
    assert taken == rooms_taken(cores)


@pytest.mark.parametrize(
    ("sizes", "misfit"),
    [([], None), ([4], None), ([8, 2, 4, 2], None), ([4, 6], (4, 6)), ([1, 2, 6, 9], (6, 9)), ([12, 3, 4], (3, 4))],
)
def test_sizes_of_which_neither_divides_the_other_are_named(sizes: list[int], misfit: tuple[int, int] | None) -> None:
    """One pair is enough to say why they cannot be counted together."""
    assert misfit == first_misfit(sizes)
