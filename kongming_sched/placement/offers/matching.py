# SPDX-License-Identifier: Apache-2.0
"""On which nodes of a host the cells of a template can be, each on another one. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from kongming_sched.template import PinningTemplate


def landing_nodes(obstacles: Sequence[Sequence[str | None]]) -> list[int]:
    """The nodes on each of which one of the cells can be while all others are on other nodes.

    :param obstacles: per cell and node, why it cannot be there
    """
    # One way to place all cells decides for every node: a cell that may be on another node leaves its own for that one,
    # and, if another cell is there, that node is used already.
    if not _can_match(obstacles):
        return []
    return [index for index, column in enumerate(zip(*obstacles, strict=True)) if None in column]


def _can_match(obstacles: Sequence[Sequence[str | None]]) -> bool:
    """Whether all cells can be on different nodes: a bipartite matching, found by augmenting paths."""
    cell_on: dict[int, int] = {}

    def place(cell: int, tried: set[int]) -> bool:
        for index, obstacle in enumerate(obstacles[cell]):
            if obstacle is None and index not in tried:
                tried.add(index)
                if index not in cell_on or place(cell_on[index], tried):
                    cell_on[index] = cell
                    return True
        return False

    return all(place(cell, set()) for cell in range(len(obstacles)))


def why_not_offered(template: PinningTemplate, node_id: int, obstacles: Sequence[str | None]) -> str:
    """Why a node does not offer a template.

    :param obstacles: per cell, why it cannot be on this node; None if it can
    """
    own = [text for cell, text in zip(template.cells, obstacles, strict=True) if cell.node in (None, node_id)]
    reason = next((text for text in own or obstacles if text), None)
    if reason is None or None in own:
        return f"no other node of this host can hold the rest of its {len(template.cells)} cells"
    return reason
