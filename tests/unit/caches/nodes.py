# SPDX-License-Identifier: Apache-2.0
"""Nodes with several last-level caches, and sizes of cells of which each divides the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from kongming_sched.caches.rooms import rooms_taken
from kongming_sched.cpuset import CpuSet
from kongming_sched.topology import Core

CHAINS = ((1, 2, 4, 8, 16), (1, 3, 6, 12), (1, 5, 10), (2, 6), (7,), (4, 12))
"""Sizes of which each divides the next."""


def make_caches(rooms: Sequence[int], width: int = 1) -> tuple[Core, ...]:
    """Cores of so many threads, so many in each cache."""
    numbers = iter(range(sum(rooms)))
    total = sum(rooms)
    of_cache = [[next(numbers) for _ in range(room)] for room in rooms]
    return tuple(
        Core(CpuSet.of(number + total * thread for thread in range(width)), cores[0])
        for cores in of_cache
        for number in cores
    )


def admits(rooms: Mapping[int, int], cells: Sequence[int]) -> bool:
    """Whether the counts of rooms admit cells of these sizes.

    :param rooms: size to how many rooms there are
    """
    used: Counter[int] = Counter()
    for cores in cells:
        used.update(rooms_taken(cores))
    return all(used[size] <= rooms[size] for size in used)
