# SPDX-License-Identifier: Apache-2.0
"""The rooms for cells of one last-level cache on a node, as Placement gets them, and which cells find none. Pure.

Counting is enough only if of any two sizes on a node one divides the other (see caches/rooms.py). So of templates whose
sizes do not do that with each other a node offers those that came first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from kongming_sched.caches.rooms import cores_by_cache, count_rooms, first_misfit, rooms_taken
from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory
from kongming_sched.template import PinningTemplate
from kongming_sched.topology import Core


def sizes_in_use(allocations: Iterable[Mapping[str, int]]) -> frozenset[int]:
    """The sizes of the cells of one cache by what they have claimed: the largest class of each claim is its own size.

    :param allocations: of each consumer, resource class to amount
    """
    found = (max(filter(None, map(names.cores_of_cache_class, claim)), default=0) for claim in allocations)
    return frozenset(filter(None, found))


def sizes_on(template: PinningTemplate, node_id: int, threads_per_core: int) -> frozenset[int]:
    """The sizes of those cells of one cache that a template could have on a node."""
    cells = (cell for cell in template.cells if cell.node in (None, node_id))
    return frozenset(filter(None, (cell.cores_in_one_cache(threads_per_core) for cell in cells)))


def lack_of_caches(size: int, sizes: Iterable[int], cores: Sequence[Core]) -> str | None:
    """Why cells of a size find no room in one cache; None if they do.

    :param sizes: those of all cells of one cache that could be on the node
    :param cores: the whole cores that are left
    """
    if misfit := first_misfit(sizes):
        small, large = misfit
        return (
            f"cells in one cache of {small} and of {large} cores cannot both be counted, for one must divide the other"
        )
    if not count_rooms(cores, size):
        most = max(cores_by_cache(cores).values(), default=0)
        return f"needs {size} whole cores of one cache, and the most that the node has is {most}"
    return None


def cache_inventories(sizes: Iterable[int], cores: Sequence[Core]) -> dict[str, Inventory]:
    """The rooms of every size of which cells of these sizes take some, by their class."""
    counted = {part: count_rooms(cores, part) for size in sizes for part in rooms_taken(size)}
    return {names.cache_class(size): Inventory(rooms) for size, rooms in sorted(counted.items()) if rooms}


def lost_rooms(
    inventories: Mapping[str, Inventory], used: Mapping[str, int], cores: Sequence[Core]
) -> Iterator[tuple[int, int, int]]:
    """The sizes of which fewer rooms would be left than before, and than are claimed, with both numbers; largest first.

    :param inventories: those of the node as it is
    :param used: resource class to what is claimed of it, for each of them
    :param cores: the whole cores that would be left
    """
    sizes = {size: name for name in inventories if (size := names.cores_of_cache_class(name))}
    for size, name in sorted(sizes.items(), reverse=True):
        if (left := count_rooms(cores, size)) < min(used[name], inventories[name].capacity):
            yield size, used[name], left
