# SPDX-License-Identifier: Apache-2.0
"""On which NUMA node of a host each cell of a server lies, by what the server has claimed there. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kongming_sched.placement import names
from kongming_sched.request import CellRequest


def match_cells(cells: Sequence[CellRequest], claim: Mapping[int, Mapping[str, int]]) -> tuple[int, ...] | None:
    """A node of its own for each cell, on which exactly what the cell asks for was claimed.

    Equal cells take nodes in ascending order, so that the answer is always the same.

    :param claim: NUMA node id to resource class to amount
    """
    if len(claim) != len(cells):
        return None
    named = [{names.node_id_of(trait) for trait in cell.required} - {None} for cell in cells]
    found: dict[int, int] = {}
    free = sorted(claim)
    # Cells that name a node have no choice, and so come first. For each of the others all nodes with its resources are
    # alike, and which one it takes leaves the same number of them to cells like it: no choice has to be taken back.
    for index in sorted(range(len(cells)), key=lambda index: not named[index]):
        for node in free:
            if claim[node] == cells[index].resources and named[index] <= {node}:
                found[index] = node
                free.remove(node)
                break
        else:
            return None
    return tuple(found[index] for index in range(len(cells)))
