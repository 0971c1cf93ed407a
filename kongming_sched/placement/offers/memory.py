# SPDX-License-Identifier: Apache-2.0
"""The memory of a node and its huge pages, as Placement gets them. Pure."""

from __future__ import annotations

from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory
from kongming_sched.pools import HostCpus
from kongming_sched.template import MemoryPolicy, TemplateCell
from kongming_sched.topology import NumaNode


def memory_inventory(cpus: HostCpus, node: NumaNode) -> Inventory:
    """A node's memory outside its huge pages, of which it may have none.

    Placement takes no total below 1, so such a node has 1, which is reserved.
    """
    memory_mb = cpus.small_pages_mb(node)
    total = max(memory_mb, 1)
    return Inventory(total, min(cpus.pools.reserved_memory_mb, total) if memory_mb else total)


def lack_of_memory(cpus: HostCpus, cell: TemplateCell, node: NumaNode) -> str | None:
    """Why a node gives a cell no memory; None if it does, or if the cell's memory may be anywhere."""
    if cell.pages:
        inventory = page_inventories(cpus, node).get(names.pages_class(cell.pages.kib))
        return None if inventory and inventory.capacity else f"the node has no huge pages of {cell.pages}"
    if cell.memory is not MemoryPolicy.STRICT or memory_inventory(cpus, node).capacity:
        return None
    if not node.memory_mb:
        return "the node has no memory"
    return "the node has no memory left after reserved_memory_mb" + " and its huge pages" * (node.id in cpus.huge_pages)


def page_inventories(cpus: HostCpus, node: NumaNode) -> dict[str, Inventory]:
    """A node's huge pages by their class, with those reserved that are for others than servers."""
    inventories = {}
    for pages in cpus.huge_pages.get(node.id, ()):
        if total := pages.lasting:
            reserved = min(cpus.pools.reserved_of(node.id, pages.size_kib), total)
            inventories[names.pages_class(pages.size_kib)] = Inventory(total, reserved)
    return inventories
