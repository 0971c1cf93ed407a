# SPDX-License-Identifier: Apache-2.0
"""Guests whose memory Nova has bound for good to another node than the one that they have claimed. Pure.

Nova binds memory ``strict`` where an image or a flavor gives a server a NUMA topology. libvirt refuses to change that
while the guest runs, so its vCPUs have to follow its memory: to the node where the memory is, if there is room.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kongming_sched.agent.decide.claims import cells_of_nova
from kongming_sched.agent.model.guest import Guest
from kongming_sched.agent.model.view import MemoryElsewhere
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.tree import DesiredNode, NodeState


def find_memory_elsewhere(
    guest: Guest,
    nodes: tuple[int, ...],
    desired: Mapping[int, DesiredNode],
    states: Mapping[int, NodeState],
    refusals: Mapping[int, str],
) -> MemoryElsewhere | None:
    """Where a guest's claim has to go so that its vCPUs get to its memory; None if it need not go.

    :param nodes: the node that each of its cells has claimed
    :param desired: node providers as they should be, by NUMA node
    :param states: node providers as they are, by NUMA node
    :param refusals: NUMA node to why it does not offer the guest's template, for those that do not
    """
    bound = guest.identity.memory_nodes
    if len(nodes) != 1 or len(bound) != 1 or bound == CpuSet.of(nodes):
        return None
    node = bound.first
    return MemoryElsewhere(nodes[0], node, _obstacle(guest, node, desired, states, refusals))


def _obstacle(
    guest: Guest,
    node: int,
    desired: Mapping[int, DesiredNode],
    states: Mapping[int, NodeState],
    refusals: Mapping[int, str],
) -> str:
    if node not in desired or node not in states:
        return "it gives no CPUs to servers of templates"
    if node in refusals:
        return refusals[node]
    then = replace(states[node], inventories=desired[node].inventories)  # as Placement has it after this pass
    for name, amount in sorted(guest.request.cells[0].resources.items()):
        if amount > (free := then.free(name)):
            return f"needs {name}={amount}, free {max(free, 0)}"
    return ""


def other_cells(guest: Guest, nodes: tuple[int, ...]) -> str:
    """Why a guest's cells are on each other's nodes, in words; empty if each is on the node that it has claimed.

    :param nodes: the node that each of its cells has claimed
    """
    bound = cells_of_nova(guest)
    if bound is None or bound == nodes:
        return ""
    are, claimed = (", ".join(map(str, each)) for each in (bound, nodes))
    return f"the memory of its cells is on nodes {are}, and they have claimed nodes {claimed}; migrate it"


def describe(elsewhere: MemoryElsewhere | None, guest: Guest, wanted: CpuSet) -> str:
    """The problem of a guest whose memory is bound elsewhere and cannot be moved, in words.

    :param wanted: the nodes on which its memory should be
    """
    identity = guest.identity
    fact = f"its memory was bound to node {identity.memory_nodes} ({identity.memory_mode}) at its start"
    if elsewhere is None:
        return f"{fact}, and libvirt can only move it to node {wanted} after a stop and start"
    fact += f" and its claim is of node {elsewhere.claimed}"
    if elsewhere.obstacle:
        return f"{fact}; node {elsewhere.bound} has no place for it: {elsewhere.obstacle}"
    return f"{fact}; its claim and its vCPUs follow it there next"
