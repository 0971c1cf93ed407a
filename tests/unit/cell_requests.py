# SPDX-License-Identifier: Apache-2.0
"""What the cells of servers ask for in the tests of claims."""

from __future__ import annotations

from kongming_sched.placement import names
from kongming_sched.request import CellRequest

TWO = {names.PCPU: 2, names.MEMORY_MB: 512}
FOUR = {names.PCPU: 4, names.MEMORY_MB: 1024}


def cells(*resources: dict[str, int], nodes: dict[int, int] | None = None) -> tuple[CellRequest, ...]:
    """Groups that ask for these resources; ``nodes`` maps a cell to the node that it names."""
    return tuple(
        CellRequest(
            f"_KONGMING{index}",
            amount,
            frozenset({names.node_trait(nodes[index])} if nodes and index in nodes else ()),
        )
        for index, amount in enumerate(resources)
    )
