# SPDX-License-Identifier: Apache-2.0
"""Which node a guest's cells are on, from allocations."""

from __future__ import annotations

import pytest

from kongming_sched.agent.decide.claims import find_claims
from kongming_sched.agent.model.guest import Domain, Guest, Identity, Threads
from kongming_sched.cpuset import CpuSet
from kongming_sched.nova_numa.keys import GuestCell, NovaCpuPolicy, NovaNuma
from kongming_sched.placement.tree import NodeState
from kongming_sched.request import PinningRequest
from tests.unit.cell_requests import FOUR, TWO, cells


def guest(uuid: str, amount: dict[str, int] = TWO) -> Guest:
    """A running guest of one cell."""
    request = PinningRequest("gold", cells(amount))
    return Guest(Domain(uuid, uuid, ""), Identity(uuid, 2, request), Threads({}, CpuSet()), request)


def states(**consumers: int) -> dict[int, NodeState]:
    """Two nodes; each consumer has claimed two CPUs on the node given."""
    return {
        node: NodeState(
            str(node), str(node), 1, allocations={name: TWO for name, on in consumers.items() if on == node}
        )
        for node in (0, 1)
    }


def test_own_allocation() -> None:
    """A server's own allocation is its claim."""
    assert {"a": (1,), "b": (0,)} == find_claims([guest("a"), guest("b")], states(a=1, b=0))


def test_migration_allocation() -> None:
    """A guest whose allocation Nova booked under another id, as it does while it moves, is found by its amounts."""
    assert {"a": (1,)} == find_claims([guest("a")], states(migration=1))


def test_own_allocation_comes_first() -> None:
    """A resized server has its own allocation even if the migration's is on this host too."""
    assert {"a": (1,)} == find_claims([guest("a")], states(migration=0, a=1))


def test_allocations_of_other_guests_are_theirs() -> None:
    """What belongs to a running guest is not given to another one."""
    assert {"b": (0,)} == find_claims([guest("a"), guest("b")], states(b=0))


def test_a_claim_that_does_not_match_is_still_its_consumers() -> None:
    """What a running guest has claimed for another flavor is taken for no other guest, though that asks for just it."""
    assert {} == find_claims([guest("a", FOUR), guest("b")], states(a=1))


def laid_out(uuid: str, *nodes: int, amounts: tuple[dict[str, int], ...] = (TWO, TWO)) -> Guest:
    """A running guest of several cells that Nova has put on these nodes, in this order."""
    numa = NovaNuma(None, NovaCpuPolicy.DEDICATED, (GuestCell(None, 512),) * len(amounts))
    request = PinningRequest("wide", cells(*amounts), nova_numa=numa)
    identity = Identity(uuid, 2, request, cell_nodes=tuple(CpuSet.of([node]) for node in nodes))
    return Guest(Domain(uuid, uuid, ""), identity, Threads({}, CpuSet()), request)


def claimed(**amounts: tuple[dict[str, int], ...]) -> dict[int, NodeState]:
    """Two nodes, and what each consumer has claimed on node 0 and on node 1."""
    return {
        node: NodeState(str(node), str(node), 1, allocations={name: each[node] for name, each in amounts.items()})
        for node in (0, 1)
    }


@pytest.mark.parametrize("nodes", [(0, 1), (1, 0)])
def test_equal_cells_are_where_nova_has_put_them(nodes: tuple[int, int]) -> None:
    """By the claim alone either could be on either node; the memory is on one."""
    assert {"a": nodes} == find_claims([laid_out("a", *nodes)], claimed(a=(TWO, TWO)))


def test_unequal_cells_are_where_they_have_claimed() -> None:
    """If Nova has put them on each other's nodes the claim still says what each takes of which."""
    assert {"a": (1, 0)} == find_claims([laid_out("a", 0, 1, amounts=(TWO, FOUR))], claimed(a=(FOUR, TWO)))


def test_cells_on_a_node_without_a_claim_are_where_they_have_claimed() -> None:
    """So a guest that was forced onto another node is found."""
    assert {"a": (0, 1)} == find_claims([laid_out("a", 0, 2)], claimed(a=(TWO, TWO)))
