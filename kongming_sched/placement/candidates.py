# SPDX-License-Identifier: Apache-2.0
"""What an allocation candidate of Placement means for one host: which NUMA node each cell of a server would get."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from kongming_sched.placement import names
from kongming_sched.request import CellRequest, PinningRequest
from kongming_sched.texts.whole_number import NODE_IDS


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why a candidate does not honour a request."""

    reason: str


_TOGETHER = Mismatch("the cells are not each on a provider of their own below the host")
"""Made once: for a server with many cells, Placement returns hundreds of such candidates."""


@functools.lru_cache(maxsize=32768)
def node_id(root_uuid: str, provider_uuid: str) -> int | None:
    """The number of the NUMA node that a provider represents; None if it is not a node of this host."""
    try:
        return next((i for i in NODE_IDS if names.node_uuid(root_uuid, i) == provider_uuid), None)
    except ValueError:  # no uuid
        return None


def locate(candidate: object, root_uuid: str, request: PinningRequest) -> tuple[int, ...] | Mismatch:
    """The NUMA node id of each cell of the request, or why the candidate must not be taken.

    Each cell must be on exactly one node provider of this host, and no two cells on the same. A cell that names its
    node must be on that node, and the candidate must take there what the cell asks for.

    :param candidate: an item of ``allocation_requests`` in Placement's answer (microversion 1.34 and later)
    :param root_uuid: provider of the host itself, whose uuid is also that of Nova's compute node
    """
    if not isinstance(candidate, dict):
        candidate = {}
    mappings, allocations = _child(candidate, "mappings"), _child(candidate, "allocations")
    if mappings and len(allocations) - (root_uuid in allocations) < len(request.cells):
        return _TOGETHER  # found without reading the cells, because there may be many such candidates
    providers: list[str] = []
    for cell in request.cells:
        mapped = mappings.get(cell.group)
        if not isinstance(mapped, list) or len(mapped) != 1 or not isinstance(mapped[0], str):
            return Mismatch(f"{cell.group} is not on exactly one provider")
        providers.append(mapped[0])
    if len(set(providers)) < len(providers):
        return _TOGETHER
    found: list[int] = []
    for cell, provider in zip(request.cells, providers, strict=True):
        node = node_id(root_uuid, provider)
        if node is None:
            return Mismatch(f"{cell.group} is on provider {provider}, which is no NUMA node of this host")
        if reason := _obstacle(cell, node, _child(_child(allocations, provider), "resources")):
            return Mismatch(f"{cell.group} {reason}")
        found.append(node)
    return tuple(found)


def _obstacle(cell: CellRequest, node: int, taken: Mapping[str, object]) -> str | None:
    """What is wrong with a cell on a node.

    :param taken: what the candidate takes of the node, by resource class
    """
    for trait in cell.required:
        if names.node_id_of(trait) not in (None, node):
            return f"is on node {node} and not where {trait} is"
    for name, amount in cell.resources.items():
        have = taken.get(name)
        if not isinstance(have, int) or have < amount:
            return f"takes {have} of {name} from node {node} instead of {amount}"
    return None


def _child(value: Mapping[str, object], key: str) -> Mapping[str, object]:
    """The dict under a key of parsed JSON; an empty one if there is none."""
    child = value.get(key)
    return child if isinstance(child, dict) else {}
