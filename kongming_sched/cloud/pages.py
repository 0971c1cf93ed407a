# SPDX-License-Identifier: Apache-2.0
"""Whether the hosts have the huge pages that a flavor takes, however many of them are free. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kongming_sched.cloud.nodes import Node
from kongming_sched.page_sizes import size_name
from kongming_sched.placement import names
from kongming_sched.request import CellRequest


def find_shortage(cells: Iterable[CellRequest], nodes: Sequence[Node]) -> str | None:
    """Why no NUMA node has the huge pages that a cell takes, and what to do; None if each cell finds one.

    :param cells: of a server
    :param nodes: all of the cloud; without any nothing is known
    """
    for index, cell in enumerate(cells):
        if not cell.page_kib or not nodes:
            continue
        name, size = names.pages_class(cell.page_kib), size_name(cell.page_kib)
        amount = cell.resources[name]
        largest = max(nodes, key=lambda node: node.summary.capacity.get(name, 0))
        most = largest.summary.capacity.get(name, 0)
        if not most:
            return (
                f"cell {index} takes huge pages of {size}, and no NUMA node in Placement has any: reserve them on the"
                " kernel's command line of the hosts, or name another size in the template"
            )
        if most < amount:
            return (
                f"cell {index} takes {amount} huge pages of {size}, and the most that a NUMA node has is {most} (host"
                f" {largest.host}, node {largest.id}): reserve more there, or give the flavor less memory"
            )
    return None


def of_devices(extra_specs: Mapping[str, str]) -> str | None:
    """That a flavor asks for devices, of which Placement may know nothing; None if it asks for none."""
    asked = extra_specs.get("pci_passthrough:alias")
    if asked is None:
        return None
    return (
        f"asks for devices (pci_passthrough:alias {asked}), which are not counted here; where no host has them on a"
        " node with room, nova-scheduler's log names the node"
    )
