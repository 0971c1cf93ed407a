# SPDX-License-Identifier: Apache-2.0
"""What an allocation candidate of Placement means for one host: which NUMA node each cell of a server would get."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from kongming_sched.placement import names
from kongming_sched.request import CellRequest, PinningRequest
from kongming_sched.template import MAX_NODE_ID


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why a candidate does not honour a request."""

    reason: str


@functools.lru_cache(maxsize=16384)
def node_id(root_uuid: str, provider_uuid: str) -> int | None:
    """The NUMA node of a host that a provider stands for; None if it is not one of this host's nodes."""
    try:
        return next((i for i in range(MAX_NODE_ID + 1) if names.node_uuid(root_uuid, i) == provider_uuid), None)
    except ValueError:  # no uuid
        return None


def locate(candidate: object, root_uuid: str, request: PinningRequest) -> tuple[int, ...] | Mismatch:
    """The NUMA node id of each cell of the request, or why the candidate must not be taken.

    Each cell must be on exactly one node provider of this host, no two cells on the same, a cell that names its node
    on that one, and what the cell takes must be taken there.

    :param candidate: an item of ``allocation_requests`` in Placement's answer (microversion 1.34 and later)
    :param root_uuid: provider of the host itself, whose uuid is also that of Nova's compute node
    """
    mappings = _child(candidate, "mappings")
    allocations = _child(candidate, "allocations")
    found: list[int] = []
    for cell in request.cells:
        providers = mappings.get(cell.group)
        if not isinstance(providers, list) or len(providers) != 1:
            return Mismatch(f"{cell.group} is not on exactly one provider")
        node = node_id(root_uuid, providers[0]) if isinstance(providers[0], str) else None
        if node is None:
            return Mismatch(f"{cell.group} is on provider {providers[0]}, which is no NUMA node of this host")
        if node in found:
            return Mismatch(f"{cell.group} is on node {node} together with another cell")
        if reason := _obstacle(cell, node, _child(_child(allocations, providers[0]), "resources")):
            return Mismatch(f"{cell.group} {reason}")
        found.append(node)
    return tuple(found)


def _obstacle(cell: CellRequest, node: int, taken: Mapping[str, object]) -> str | None:
    """What is wrong with a cell on a node, of which the candidate takes so much."""
    for trait in cell.required:
        if names.node_id_of(trait) not in (None, node):
            return f"is on node {node} and not where {trait} is"
    for name, amount in cell.resources.items():
        have = taken.get(name)
        if not isinstance(have, int) or have < amount:
            return f"takes {have} of {name} from node {node} instead of {amount}"
    return None


def _child(value: object, key: str) -> Mapping[str, object]:
    """A mapping inside a mapping; an empty one where there is none."""
    child = value.get(key) if isinstance(value, Mapping) else None
    return child if isinstance(child, Mapping) else {}
