# SPDX-License-Identifier: Apache-2.0
"""Which last-level cache each cell gets that must lie in one. Pure.

A cell that finds no room has smaller ones leave a cache, which find another in the same way. Each is smaller than the
one for which it leaves, so this ends; and where the counts admit all of them (see rooms.py) each finds one, whichever
choices were made before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kongming_sched.caches.rooms import cores_by_cache
from kongming_sched.topology import Core


@dataclass(frozen=True, slots=True)
class CacheCell:
    """A cell of which all cores must lie in one cache.

    :ivar cores: how many
    :ivar present: cache to how many of its vCPUs could stay there
    """

    key: str
    cores: int
    present: Mapping[int, int] = field(default_factory=dict)

    def moved_to(self, cache: int) -> int:
        """How many of its vCPUs move if it is in a cache."""
        return sum(self.present.values()) - self.present.get(cache, 0)


class CacheChoice:
    """Gives cells their caches, one after the other.

    :ivar chosen: key to cache, of the cells that have one
    """

    def __init__(self, cores: Iterable[Core], others: Callable[[int, int], int]) -> None:
        """Begin without any cell.

        :param cores: the cores that cells can have
        :param others: gives how many vCPUs of other guests must leave a cache in which cells need so many cores
        """
        self.room = cores_by_cache(cores)
        self.others = others
        self.cells: dict[str, CacheCell] = {}
        self.chosen: dict[str, int] = {}

    def keep(self, cell: CacheCell, cache: int) -> None:
        """Leave a cell in the cache in which all of it is."""
        self.cells[cell.key] = cell
        self.chosen[cell.key] = cache

    def add(self, cell: CacheCell) -> bool:
        """Give one more cell a cache, smaller ones leaving theirs for it if need be; False if there is no room.

        Then all others have what they had before.
        """
        self.cells[cell.key] = cell
        for cache, leaving in self.options(cell):
            before = dict(self.chosen)
            if self.put(cell, cache, leaving):
                return True
            self.chosen = before
        del self.cells[cell.key]
        return False

    def put(self, cell: CacheCell, cache: int, leaving: Sequence[CacheCell]) -> bool:
        """Put a cell into a cache, and those that leave it, which are smaller, where the fewest vCPUs move."""
        for other in leaving:
            del self.chosen[other.key]
        self.chosen[cell.key] = cache
        for other in sorted(leaving, key=lambda other: (-other.cores, other.key)):
            best = next(self.options(other), None)
            if best is None or not self.put(other, *best):
                return False
        return True

    def options(self, cell: CacheCell) -> Iterator[tuple[int, list[CacheCell]]]:
        """The caches that a cell can have, with those cells that have to leave it; first where the fewest vCPUs move.

        Of equal ones the cache comes first that has the least room left, so that larger rooms stay for larger cells.
        """
        found = []
        for cache in sorted(self.room):
            inside = [self.cells[key] for key, its in self.chosen.items() if its == cache]
            left = self.room[cache] - sum(other.cores for other in inside)
            leaving = _smallest_loss([other for other in inside if other.cores < cell.cores], cell.cores - left, cache)
            if leaving is not None:
                left += sum(other.cores for other in leaving) - cell.cores
                moved = cell.moved_to(cache) + sum(other.present.get(cache, 0) for other in leaving)
                moved += self.others(cache, self.room[cache] - left)
                found.append((moved, left, cache, leaving))
        found.sort(key=lambda option: option[:3])
        return ((cache, leaving) for *_, cache, leaving in found)


def _smallest_loss(cells: Sequence[CacheCell], cores: int, cache: int) -> list[CacheCell] | None:
    """Which cells leave a cache so that so many cores are free: newcomers first, and as few others as possible.

    :returns: None if all of them have too few
    """
    left: list[CacheCell] = []
    rest = sorted(cells, key=lambda cell: (cell.present.get(cache, 0) > 0, -cell.cores, cell.key))
    while cores > 0:
        if not rest:
            return None
        # The largest that is not more than is needed, else the smallest: of sizes that divide each other that is exact.
        fitting = [cell for cell in rest if cell.cores <= cores]
        cell = fitting[0] if fitting else min(rest, key=lambda cell: (cell.cores, cell.key))
        left.append(cell)
        rest.remove(cell)
        cores -= cell.cores
    return left
