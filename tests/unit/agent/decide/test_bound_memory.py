# SPDX-License-Identifier: Apache-2.0
"""Guests whose memory is bound for good to another node than their claim's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kongming_sched.agent.decide.bound_memory import describe, find_memory_elsewhere
from kongming_sched.agent.model.view import MemoryElsewhere
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.client import Inventory
from kongming_sched.placement.names import PCPU
from kongming_sched.placement.tree import DesiredNode, NodeState
from tests.unit.agent.hosts import Tenant, host, tenant

NODE_0, NODE_1 = CpuSet.of([0]), CpuSet.of([1])


def bound(nodes: tuple[int, ...], memory_nodes: CpuSet, of: str = "gold") -> Tenant:
    """A guest that has claimed these nodes, and whose memory is bound to others since its start."""
    guest = tenant("bound", of, nodes, "1", "2").guest
    identity = replace(guest.identity, memory_nodes=memory_nodes, memory_mode="strict")
    return Tenant(replace(guest, identity=identity), nodes)


def found(one: Tenant, *others: Tenant, refusals: dict[int, str] | None = None) -> MemoryElsewhere | None:
    """Where its claim has to go on a host that is as the agent leaves it."""
    states = host(one, *others).states_by_node()
    desired = {
        node: DesiredNode(state.uuid, state.name, state.traits, state.inventories) for node, state in states.items()
    }
    return find_memory_elsewhere(one.guest, one.nodes, desired, states, refusals or {})


def test_its_claim_follows_its_memory() -> None:
    """To the node that its memory is bound to, where there is room."""
    elsewhere = found(bound((0,), NODE_1))

    assert MemoryElsewhere(0, 1, "") == elsewhere
    expected = (
        "its memory was bound to node 1 (strict) at its start and its claim is of node 0; its claim and its vCPUs "
        "follow it there next"
    )
    assert expected == describe(elsewhere, bound((0,), NODE_1).guest, NODE_0)


@pytest.mark.parametrize(
    ("nodes", "memory_nodes", "of"),
    [
        pytest.param((0,), NODE_0, "gold", id="where it has claimed"),
        pytest.param((0,), CpuSet.of([0, 1]), "gold", id="to several nodes"),
        pytest.param((0,), CpuSet(), "gold", id="not at all"),
        pytest.param((0, 1), NODE_1, "twin", id="of several cells"),
    ],
)
def test_nothing_follows(nodes: tuple[int, ...], memory_nodes: CpuSet, of: str) -> None:
    """A claim stays where the memory is not on exactly one other node."""
    assert found(bound(nodes, memory_nodes, of)) is None


def test_no_room_where_the_memory_is() -> None:
    """The resource that lacks there is named, with how much of it is free."""
    others = [tenant(f"other-{number}", "gold", [1], "5", "13") for number in range(3)]

    elsewhere = found(bound((0,), NODE_1), *others)

    assert elsewhere is not None
    assert f"needs {PCPU}=2, free 0" == elsewhere.obstacle
    text = describe(elsewhere, bound((0,), NODE_1).guest, NODE_0)
    assert text.endswith(f"; node 1 has no place for it: needs {PCPU}=2, free 0")


def test_the_node_of_the_memory_refuses_the_template() -> None:
    """The reason is that of the node."""
    elsewhere = found(bound((0,), NODE_1), refusals={1: "it has no whole cores"})

    assert MemoryElsewhere(0, 1, "it has no whole cores") == elsewhere


def test_the_node_of_the_memory_has_no_pool() -> None:
    """A node without a provider takes no claim."""
    one = bound((0,), NODE_1)
    inventories = {PCPU: Inventory(6)}
    desired = {0: DesiredNode("n0", "node0", frozenset(), inventories)}
    states = {0: NodeState("n0", "node0", 1, inventories=inventories)}

    elsewhere = find_memory_elsewhere(one.guest, one.nodes, desired, states, {})

    assert MemoryElsewhere(0, 1, "it gives no CPUs to servers of templates") == elsewhere


def test_the_room_is_that_after_the_pass() -> None:
    """What the node is about to offer counts, and not what it offers now."""
    one = bound((0,), NODE_1)
    desired = {1: DesiredNode("n1", "node1", frozenset(), {PCPU: Inventory(2)})}
    states = {1: NodeState("n1", "node1", 1, inventories={PCPU: Inventory(0)})}

    elsewhere = find_memory_elsewhere(one.guest, one.nodes, desired, states, {})

    assert elsewhere is not None
    assert PCPU not in elsewhere.obstacle


def test_only_a_stop_and_start_helps() -> None:
    """Where no claim can follow, the text says what moves the memory."""
    text = describe(None, bound((0,), CpuSet.of([0, 1])).guest, NODE_0)

    expected = (
        "its memory was bound to node 0-1 (strict) at its start, and libvirt can only move it to node 0 after a stop "
        "and start"
    )
    assert expected == text
