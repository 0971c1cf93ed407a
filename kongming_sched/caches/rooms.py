# SPDX-License-Identifier: Apache-2.0
"""How many cells of one last-level cache a node can hold. Pure.

Counting is enough for them too, where of any two sizes one divides the other. Let a *room* for *d* cores be *d* cores
of one cache, so that a cache of *c* cores has *c // d* rooms. A cell of *s* cores takes *s / d* rooms for *d*, for each
*d* that divides *s* (:func:`rooms_taken`), and the rooms for each *d* are counted (:func:`count_rooms`). Then the cells
are placed from the largest to the smallest, each in any cache that has so many cores left. Where those of *d* cores
and more have *a* cores of a cache, which is a multiple of *d*, ``(c - a) // d == c // d - a // d`` rooms are left in
it, and in all caches together as many as are not counted as taken. So there is one for each cell that the counts admit,
wherever the larger ones are. And a set of cells that the counts do not admit has no place at all.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable

from kongming_sched.topology import Core


def divisors(cores: int) -> tuple[int, ...]:
    """What divides a number of cores, from 2 on: every core is a room for one."""
    return tuple(size for size in range(2, cores + 1) if cores % size == 0)


def rooms_taken(cores: int) -> dict[int, int]:
    """How many rooms of each size a cell of so many cores takes.

    All sizes that divide its own are among them, be there cells of these or not: there may be later, and what a server
    has claimed stays as it is.
    """
    return {size: cores // size for size in divisors(cores)}


def cores_by_cache(cores: Iterable[Core]) -> Counter[int]:
    """How many of some cores lie in each cache."""
    return Counter(core.cache for core in cores)


def count_rooms(cores: Iterable[Core], size: int) -> int:
    """How many cells of one size have all their cores in one cache."""
    return sum(count // size for count in cores_by_cache(cores).values())


def first_misfit(sizes: Iterable[int]) -> tuple[int, int] | None:
    """Two sizes of which neither divides the other, so that their cells cannot be counted together; None if none do."""
    ordered = sorted(set(sizes))
    return next(((small, large) for small, large in itertools.pairwise(ordered) if large % small), None)
