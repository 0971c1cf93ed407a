# SPDX-License-Identifier: Apache-2.0
"""The templates that are tried, and whether a cloud can have them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kongming_sched.placement import names
from kongming_sched.placement.flavor import cell_requests
from kongming_sched.placement.summaries import ProviderSummary
from kongming_sched.template import CpuPolicy, PinningTemplate, ThreadPolicy

Cell = dict[str, str]

CELLS: dict[str, list[Cell]] = {
    "any": [{"vcpus": "0", "cpus": "dedicated"}],
    "prefer": [{"vcpus": "0", "cpus": "dedicated", "threads": "prefer"}],
    "require": [{"vcpus": "0-1", "cpus": "dedicated", "threads": "require"}],
    "isolate": [{"vcpus": "0", "cpus": "dedicated", "threads": "isolate"}],
    "shared": [{"vcpus": "0", "cpus": "shared"}],
    "explicit": [{"vcpus": "0", "cpus": "explicit"}],
    "two_cells": [{"vcpus": "0", "cpus": "dedicated"}, {"vcpus": "1", "cpus": "dedicated"}],
}
"""Cells by kind of template, as small as they can be so that the smallest host has room."""


def make_template(kind: str, name: str, explicit_cpus: str) -> PinningTemplate | None:
    """A template of a kind; None if it names host CPUs and there are none to name.

    :param explicit_cpus: host CPUs for explicit cells, as a CPU set
    :raises InvalidTemplate: if that is no CPU set
    """
    cells: list[Cell] = []
    for cell in CELLS[kind]:
        if cell["cpus"] == CpuPolicy.EXPLICIT:
            if not explicit_cpus:
                return None
            cells.append({**cell, "pins": explicit_cpus})
        else:
            cells.append(cell)
    return PinningTemplate.from_mapping({"name": name, "cells": cells})


def threads_per_core(nodes: Sequence[ProviderSummary]) -> int:
    """The most threads that the cores of a node's dedicated pool have; 1 if no node says."""
    known = [threads for node in nodes for trait in node.traits if (threads := names.smt_of(trait)) is not None]
    return max(known, default=1)


def obstacle(template: PinningTemplate, nodes: Sequence[ProviderSummary]) -> str:
    """Why no host of a cloud can have a template, by what the hosts are made of; empty if one can.

    Whether they have room now, or offer it, the tests find out.
    """
    if not nodes:
        return "no host has node providers of KongMing: does kongming-agent run?"
    threads = threads_per_core(nodes)
    if threads < 2 and any(cell.threads is ThreadPolicy.REQUIRE for cell in template.cells):
        return "every host has one hardware thread per core, and require asks for siblings"
    for cell in cell_requests(template, 0, threads):
        for resource, amount in cell.resources.items():
            if resource in (names.PCPU, names.VCPU) and not any(_has(node, resource, amount) for node in nodes):
                return f"no NUMA node has {amount} of {resource}"
    on_one_host = max(Counter(node.root_uuid for node in nodes).values())
    if on_one_host < len(template.cells):
        return f"no host has more than {on_one_host} NUMA node, and {len(template.cells)} cells ask for as many"
    return ""


def _has(node: ProviderSummary, resource: str, amount: int) -> bool:
    return node.capacity.get(resource, 0) >= amount
