# SPDX-License-Identifier: Apache-2.0
"""Why a server would not land on a host now: the first reason that Placement's data show. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from kongming_sched.cloud.capacity import HostRoom, NodeRoom, count_servers
from kongming_sched.compat import StrEnum
from kongming_sched.page_sizes import size_name
from kongming_sched.placement import names
from kongming_sched.request import CellRequest, PinningRequest

_WORDS = {names.PCPU: "dedicated CPUs", names.VCPU: "shared vCPUs", names.MEMORY_MB: "MiB of memory"}


class Kind(StrEnum):
    """Kinds of obstacles, in the order in which they are checked."""

    FLAVOR = "flavor"
    """The flavor itself is refused, on every host."""
    DISABLED = "disabled"
    NO_NODE = "no node"
    NO_TEMPLATE = "no template"
    WRONG_NODE = "wrong node"
    TAKEN = "taken"
    CPUS = "cpus"
    MEMORY = "memory"
    CELLS = "cells"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """The first reason why a server does not land on a host."""

    kind: Kind
    reason: str


def find_obstacle(
    host: HostRoom, request: PinningRequest, of_host: Mapping[str, int], *, is_offered: bool
) -> Obstacle | None:
    """The first reason why a server would not land on a host; None if it fits.

    :param of_host: what the server takes of the compute node itself, by resource class
    :param is_offered: whether the template is offered to this host: it has no aggregates, or one that holds the host
    """
    if host.is_disabled:
        return Obstacle(Kind.DISABLED, "its compute service is disabled")
    if not host.nodes:
        return Obstacle(Kind.NO_NODE, "no NUMA node takes servers of templates: see 'openstack kongming host show'")
    if all(names.DISABLED in room.traits for room in host.nodes.values()):
        remedy = f"'openstack kongming host enable {host.name}' lets it take servers again"
        return Obstacle(Kind.DISABLED, f"an operator has disabled it for templates; {remedy}")
    trait = names.template_trait(request.template)
    offering = {node: room for node, room in host.nodes.items() if trait in room.traits}
    if not offering:
        where = _why_not_offered(host, request) if is_offered else "the host is in none of the template's aggregates"
        return Obstacle(Kind.NO_TEMPLATE, f"template {request.template!r}: {where}")
    for index, cell in enumerate(request.cells):
        if found := _obstacle_to_cell(cell, offering):
            return replace(found, reason=f"cell {index}: {found.reason}")
    if not count_servers(request.cells, list(host.nodes.values())):
        count = len(request.cells)
        return Obstacle(Kind.CELLS, f"each of the {count} cells fits on some node, and not all on different ones")
    lacking = host.lacking(of_host)
    return Obstacle(Kind.HOST, lacking) if lacking else None


def _why_not_offered(host: HostRoom, request: PinningRequest) -> str:
    """Why no node offers a template that is offered to the host, as far as Placement shows it."""
    for index, cell in enumerate(request.cells):
        size_kib = cell.page_kib
        if size_kib and not any(room.capacity.get(names.pages_class(size_kib)) for room in host.nodes.values()):
            size = size_name(size_kib)
            return (
                f"cell {index} asks for huge pages of {size}, and no node has any; reserve them on the host, or name"
                " another size in the template"
            )
    return "its nodes do not offer it: 'kongming-agent --check' on the host and its agent's log say why"


def _obstacle_to_cell(cell: CellRequest, nodes: Mapping[int, NodeRoom]) -> Obstacle | None:
    """Why none of these nodes has what a cell asks for; None if one has."""
    right = {node: room for node, room in nodes.items() if cell.required <= room.traits}
    if not right:
        return Obstacle(Kind.WRONG_NODE, _wrong_node(cell, nodes))
    left = right
    for name, need in cell.resources.items():
        fits = {node: room for node, room in left.items() if room.free.get(name, 0) >= need}
        if not fits:
            return Obstacle(_kind_of(name), _too_little(name, need, right, left))
        left = fits
    return None


def _wrong_node(cell: CellRequest, nodes: Mapping[int, NodeRoom]) -> str:
    """The reason for a cell that asks for a node, or a kind of node, that does not offer its template."""
    facts: tuple[tuple[str, Callable[[str], int | None]], ...] = (
        ("node {}", names.node_id_of),
        ("nodes of {} threads per core", names.smt_of),
    )
    asked = [
        text.format(number)
        for trait in sorted(cell.required)
        for text, read in facts
        if (number := read(trait)) is not None
    ]
    missing = asked or sorted(cell.required)
    return f"asks for {' and '.join(missing)}, and the template is offered on node {', '.join(map(str, sorted(nodes)))}"


def _too_little(name: str, need: int, right: Mapping[int, NodeRoom], left: Mapping[int, NodeRoom]) -> str:
    """The reason for a cell of which no node has enough of a resource.

    :param right: the nodes that the cell may be on
    :param left: those of them that have enough of the resources before this one
    """
    if name.startswith(names.slot_class("")):
        return "another server has the template's CPUs"
    node, most = max(((node, room.free.get(name, 0)) for node, room in left.items()), key=lambda item: item[1])
    which = "any node" if len(left) == len(right) else "a node with enough of the rest"
    fact = (
        f"needs {need} {_words(name)} on one node, and the most that is free on {which} is {max(0, most)} (node {node})"
    )
    largest = max(room.capacity.get(name, 0) for room in left.values())
    if names.page_size_of(name) and 0 < largest < need:
        fact += f"; no node has more than {largest} in all: reserve more on the host, or give the flavor less memory"
    return fact


def _words(name: str) -> str:
    """A resource class in words."""
    if size_kib := names.page_size_of(name):
        return f"huge pages of {size_name(size_kib)}"
    if cores := names.cores_of_cache_class(name):
        return f"rooms for {cores} cores of one last-level cache"
    return _WORDS.get(name, name)


def _kind_of(name: str) -> Kind:
    if name.startswith(names.slot_class("")):
        return Kind.TAKEN
    return Kind.MEMORY if name == names.MEMORY_MB or names.page_size_of(name) else Kind.CPUS
