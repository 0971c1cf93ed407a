# SPDX-License-Identifier: Apache-2.0
"""The fewest moves that make room for the largest request."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.agent.decide.arrangements import HostRooms, Tenant
from kongming_sched.agent.decide.rebalance import MAX_WORK, Rebalancing, describe, rebalance, rooms_of
from kongming_sched.placement import names
from testbed.topologies import SHAPES
from tests.unit.agent import hosts as samples


def room(cpus: int, memory_mb: int = 100) -> dict[str, int]:
    """What is free on a node."""
    return {names.PCPU: cpus, names.MEMORY_MB: memory_mb}


def tenant(server: str, node: int, cpus: int, memory_mb: int = 1, targets: tuple[int, ...] = (0, 1)) -> Tenant:
    """A guest that could move."""
    resources = {names.PCPU: cpus, names.MEMORY_MB: memory_mb}
    return Tenant(server, server, node, resources, frozenset(targets) - {node})


def words(found: Rebalancing) -> list[str]:
    """The moves, as text."""
    return [str(move) for move in found.moves]


def test_one_move_is_enough() -> None:
    """Of two half full nodes one is emptied, by the fewest guests."""
    tenants = tenant("a", 0, 2), tenant("b", 0, 2), tenant("c", 1, 4)

    found = rebalance(HostRooms({0: room(4), 1: room(4)}, tenants))

    assert ["server c from node 1 to node 0"] == words(found)
    assert (4, 8, True) == (found.before, found.after, found.is_complete)


def test_nothing_helps() -> None:
    """On a host whose room is all on one node already nobody moves."""
    found = rebalance(HostRooms({0: room(0), 1: room(8)}, (tenant("a", 0, 8),)))

    assert ([], 8) == (words(found), found.after)
    assert ["the largest request that fits on one node now takes 8 dedicated CPUs; no moves help"] == describe(found)


def test_memory_counts() -> None:
    """A guest does not move to a node without memory for it, and CPUs of a node without memory are no room."""
    full = HostRooms({0: room(4), 1: room(4, 0)}, (tenant("a", 0, 4),))
    other = HostRooms({0: room(2), 1: room(6, 0)}, (tenant("b", 1, 2),))

    assert ([], 4) == (words(rebalance(full)), rebalance(full).after)
    assert (["server b from node 1 to node 0"], 2, 8) == (
        words(rebalance(other)),
        rebalance(other).before,
        rebalance(other).after,
    )


def test_who_may_not_move_stays() -> None:
    """A guest moves only to nodes that offer its template."""
    found = rebalance(HostRooms({0: room(4), 1: room(4)}, (tenant("a", 0, 4, targets=()), tenant("b", 1, 2))))

    assert ["server b from node 1 to node 0"] == words(found)


def test_too_many_arrangements() -> None:
    """If they cannot all be tried it says so, and gives the best that it has seen."""
    tenants = tuple(tenant(f"t{number}", number % 2, 3 + number // 2 % 2) for number in range(8))

    found = rebalance(HostRooms({0: room(5), 1: room(5)}, tenants), max_work=1)

    assert (9, False) == (found.after, found.is_complete)
    assert "another run may find more room" in describe(found)[-1]


def test_hundred_flavors() -> None:
    """On a host where each guest is of another flavor the search ends, several moves deep, and finds the same again."""
    free = {node: room(20 + node, 100_000) for node in range(8)}
    tenants = tuple(tenant(f"t{number}", number % 8, 1 + number % 13, number, tuple(range(8))) for number in range(100))

    found = rebalance(HostRooms(free, tenants))

    assert (27, False) == (found.before, found.is_complete)
    assert len(found.moves) > 3
    assert found == rebalance(HostRooms(free, tenants[::-1]))


@st.composite
def hosts(draw: st.DrawFn) -> HostRooms:
    """Small hosts of two or three nodes, with the ids of nodes of every shape of host."""
    topology = draw(st.sampled_from([topology for topology in SHAPES.values() if len(topology.nodes) > 1]))
    ids = draw(st.permutations([node.id for node in topology.nodes]))[: draw(st.integers(2, 3))]
    free = {node: room(draw(st.integers(0, 5)), draw(st.integers(0, 5))) for node in sorted(ids)}
    tenants = [
        tenant(
            f"t{index}",
            draw(st.sampled_from(ids)),
            draw(st.integers(0, 4)),
            draw(st.integers(1, 3)),
            tuple(draw(st.sets(st.sampled_from(ids)))),
        )
        for index in range(draw(st.integers(0, 5)))
    ]
    return HostRooms(free, tuple(tenants))


def largest(free: Mapping[int, Mapping[str, int]]) -> int:
    """The dedicated CPUs of the largest request."""
    return max(node[names.PCPU] if node[names.MEMORY_MB] > 0 else 0 for node in free.values())


def free_after(rooms: HostRooms, where: tuple[int, ...]) -> dict[int, dict[str, int]]:
    """What is free once each tenant is where this says."""
    free = {node: dict(amounts) for node, amounts in rooms.free.items()}
    for each, node in zip(rooms.tenants, where, strict=True):
        for name, amount in each.resources.items():
            free[each.node][name] += amount
            free[node][name] -= amount
    return free


def brute_force(rooms: HostRooms) -> tuple[int, int]:
    """The largest room that any moves come to, and how many these are at least: every way is walked."""
    start = tuple(each.node for each in rooms.tenants)
    distance, queue = {start: 0}, deque([start])
    while queue:
        where = queue.popleft()
        for index, each in enumerate(rooms.tenants):
            for node in (each.targets | {each.node}) - {where[index]}:
                after = (*where[:index], node, *where[index + 1 :])
                fits = all(amount >= 0 for amount in free_after(rooms, after)[node].values())
                if fits and after not in distance:
                    distance[after] = distance[where] + 1
                    queue.append(after)
    best = max(largest(free_after(rooms, where)) for where in distance)
    return best, min(steps for where, steps in distance.items() if largest(free_after(rooms, where)) == best)


def check_moves(rooms: HostRooms, found: Rebalancing) -> None:
    """Each move finds room where the tenant may be, and together they lead to what is promised."""
    where = {each.server: each.node for each in rooms.tenants}
    for move in found.moves:
        assert where[move.server] == move.source
        assert move.target in next(each.targets | {each.node} for each in rooms.tenants if each.server == move.server)
        where[move.server] = move.target
        free = free_after(rooms, tuple(where[each.server] for each in rooms.tenants))
        assert all(amount >= 0 for amount in free[move.target].values())
    final = free_after(rooms, tuple(where[each.server] for each in rooms.tenants))
    assert found.after == largest(final)


@given(hosts())
def test_as_good_as_trying_everything(rooms: HostRooms) -> None:
    """On small hosts no way leads to more room, none to as much by fewer moves, and each move finds room."""
    found = rebalance(rooms)

    check_moves(rooms, found)
    assert (found.after, len(found.moves)) == brute_force(rooms)
    assert found.is_complete


@given(hosts(), st.integers(1, 200))
def test_little_work(rooms: HostRooms, max_work: int) -> None:
    """What is found by less work can be done too, and is called complete only where nothing is better."""
    found, best = rebalance(rooms, max_work), rebalance(rooms, MAX_WORK)

    check_moves(rooms, found)
    assert found.before <= found.after <= best.after
    assert not found.is_complete or found.after == best.after


def test_rooms_of_a_host() -> None:
    """Guests of one cell that can be elsewhere are tenants; what is free is what no guest has claimed."""
    view = samples.host(
        samples.tenant("web", "gold", [0], "1", "9"),
        samples.tenant("home", "first", [0], "2"),
        samples.tenant("pair", "twin", [0, 1], "3", "5"),
        samples.tenant("busy", "gold", [1], "6", "14"),
        templates=["gold", "first", "twin"],
    )

    rooms = rooms_of(view, {"a-busy"})

    resources = {names.PCPU: 2, names.MEMORY_MB: samples.MEMORY_MB}
    assert (Tenant("a-web", "web", 0, resources, frozenset({1})),) == rooms.tenants
    assert {0: 2, 1: 3} == {node: free[names.PCPU] for node, free in rooms.free.items()}


def test_moves_of_a_host() -> None:
    """What was found of a host can be done on it."""
    view = samples.host(
        samples.tenant("a", "gold", [0], "1", "9"),
        samples.tenant("b", "gold", [1], "5", "13"),
        templates=["gold", "large"],
    )

    found = rebalance(rooms_of(view))

    assert (["server a from node 0 to node 1"], 4, 6) == (words(found), found.before, found.after)
