# SPDX-License-Identifier: Apache-2.0
"""On which host NUMA node each cell of a guest lies, from its allocations: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kongming_sched.agent.model.guest import Guest
from kongming_sched.agent.model.view import HostView
from kongming_sched.placement import names
from kongming_sched.placement.classes.claimed_cells import match_cells
from kongming_sched.placement.flavor import cell_requests, memory_classes
from kongming_sched.placement.tree import DesiredTree, NodeState
from kongming_sched.template import CpuPolicy

Claims = Mapping[str, tuple[int, ...]]
"""Server id to the NUMA node of each cell."""

_Claim = Mapping[int, Mapping[str, int]]


def find_claims(
    guests: Iterable[Guest], states: Mapping[int, NodeState], unread: Iterable[str] = ()
) -> dict[str, tuple[int, ...]]:
    """The node of each cell of those guests whose claim is here, by server id.

    A server's own allocation comes first. While a guest is being moved Nova holds what it has claimed here under the
    migration's id. So an allocation that belongs to no running guest, and is exactly what a guest asks for, is taken as
    that guest's.

    :param states: this host's node providers by NUMA node id
    :param unread: server ids of further guests that run here, whose claims are their own, too
    """
    claims = _claims_by_consumer(states)
    for uuid in unread:
        claims.pop(uuid, None)
    found: dict[str, tuple[int, ...]] = {}
    others: list[Guest] = []
    for guest in sorted(guests, key=lambda guest: guest.uuid):
        nodes = match_guest(guest, claims.get(guest.uuid, {}))
        if nodes is None:
            others.append(guest)
        else:
            found[guest.uuid] = nodes
            del claims[guest.uuid]
    # A guest's own allocation that does not match what it asks for must not be taken for that of another guest.
    for uuid in [guest.uuid for guest in others]:
        claims.pop(uuid, None)
    for guest in others:
        for consumer in sorted(claims):
            nodes = match_guest(guest, claims[consumer])
            if nodes is not None:
                found[guest.uuid] = nodes
                del claims[consumer]
                break
    return found


def cells_of_nova(guest: Guest) -> tuple[int, ...] | None:
    """The host NUMA node of each cell by Nova's own layout; None if Nova has not laid the guest out cell by cell.

    Only then are the guest's nodes the cells of its template, in the same order.
    """
    nodes = guest.identity.cell_nodes
    if guest.request.nova_numa is None or len(nodes) != len(guest.request.cells):
        return None
    return tuple(node.first for node in nodes) if all(len(node) == 1 for node in nodes) else None


def match_guest(guest: Guest, claim: _Claim) -> tuple[int, ...] | None:
    """The nodes of a guest's cells by a claim: those on which Nova has put them, where the claim admits that.

    Cells that take the same could be on each other's node by the claim alone, and their memory is not.
    """
    cells = guest.request.cells
    if nodes := cells_of_nova(guest):
        here = [{node: claim.get(node, {})} for node in nodes]
        alone = [match_cells([cell], claimed) for cell, claimed in zip(cells, here, strict=True)]
        if len(set(nodes)) == len(claim) == len(cells) and None not in alone:
            return nodes
    return match_cells(cells, claim)


def _claims_by_consumer(states: Mapping[int, NodeState]) -> dict[str, dict[int, Mapping[str, int]]]:
    claims: dict[str, dict[int, Mapping[str, int]]] = {}
    for node, state in states.items():
        for consumer, resources in state.allocations.items():
            claims.setdefault(consumer, {})[node] = resources
    return claims


def claim_obstacle(
    view: HostView, tree: DesiredTree, claims: Mapping[str, tuple[int, ...]], guest: Guest
) -> str | None:
    """Why a guest cannot be placed by the template that its request names; None if it can.

    :param tree: what the host's nodes offer
    :param claims: server id to the node of each cell
    """
    name = guest.request.template
    template = view.templates.get(name)
    if template is None:
        return f"template {name!r} does not exist or is not offered to this host"
    if template.vcpus != guest.identity.vcpus:
        return f"it has {guest.identity.vcpus} vCPUs and template {name!r} has {template.vcpus}"
    nodes = claims.get(guest.uuid)
    if nodes is None:
        return "its flavor's groups are not claimed on this host's node providers"
    if len(nodes) != len(template.cells):
        return f"its flavor has {len(nodes)} cells and template {name!r} has {len(template.cells)}"
    for index, node_id in enumerate(nodes):
        resources = guest.request.cells[index].resources
        memory = memory_classes(resources)
        claimed = {key: value for key, value in resources.items() if key not in memory}
        node = view.topology.node(node_id)
        wanted = cell_requests(template, 0, view.cpus.threads_per_core(node) if node else 1)[index].resources
        if claimed != wanted:
            has, takes = names.describe_amounts(claimed), names.describe_amounts(wanted)
            return f"cell {index} has claimed {has}, and template {name!r} now takes {takes}"
        if template.pages and names.pages_class(template.pages.kib) not in memory:
            return f"cell {index} has claimed no pages of {template.pages}, which template {name!r} now takes"
        if not template.pages and memory - {names.MEMORY_MB}:
            return f"cell {index} has claimed {min(memory)}, and template {name!r} takes no huge pages now"
        if template.cells[index].node not in (None, node_id):
            return f"cell {index} is on node {node_id}, and template {name!r} now asks for {template.cells[index].node}"
        if template.cells[index].shared_vcpus and not view.cpus.shared_of(node_id):
            return f"cell {index} has vCPUs that float, and node {node_id} has no shared CPUs now"
        if template.cells[index].cpus is not CpuPolicy.DEDICATED and (refusal := tree.refusal(name, node_id)):
            return f"node {node_id} cannot honour template {name!r} now: {refusal}"
    return None
