# SPDX-License-Identifier: Apache-2.0
"""Which NUMA nodes of a host come first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.placement import names
from kongming_sched.request import CellRequest, NumaStrategy, PinningRequest
from kongming_sched.scheduler.ordering import Candidate, HostUse, add, order, stranded

PACK, SPREAD, SCATTER = NumaStrategy.PACK, NumaStrategy.SPREAD, NumaStrategy.SCATTER


def make_request(*pcpus: int, memory_mb: int | None = None) -> PinningRequest:
    """A request of one cell per number of dedicated CPUs."""
    more = {names.MEMORY_MB: memory_mb} if memory_mb else {}
    cells = tuple(
        CellRequest(f"_KONGMING{index}", {names.PCPU: count, **more}, frozenset()) for index, count in enumerate(pcpus)
    )
    return PinningRequest("gold", cells)


def pcpus(*free: int) -> dict[int, dict[str, int]]:
    """Dedicated CPUs of nodes 0, 1 and so on."""
    return {node: {names.PCPU: count} for node, count in enumerate(free)}


def candidates(*nodes: Sequence[int]) -> list[Candidate]:
    """Candidates in Placement's order."""
    return [Candidate(position, tuple(of)) for position, of in enumerate(nodes)]


def nodes_in_order(
    request: PinningRequest, strategy: NumaStrategy, room: HostUse, nodes: Sequence[Sequence[int]], server: str = "s"
) -> list[tuple[int, ...]]:
    """The nodes of the candidates, best first."""
    return [candidate.nodes for candidate in order(candidates(*nodes), request, strategy, server, room)]


@pytest.mark.parametrize(
    ("strategy", "free", "booked", "expected"),
    [
        pytest.param(PACK, pcpus(8, 4, 6), {}, [1, 2, 0], id="pack takes the fullest"),
        pytest.param(SPREAD, pcpus(8, 4, 6), {}, [0, 2, 1], id="spread takes the emptiest"),
        pytest.param(PACK, pcpus(8, 8, 8), {}, [0, 1, 2], id="of equals pack takes the lowest"),
        pytest.param(SPREAD, pcpus(8, 8, 8), {}, [0, 1, 2], id="of equals spread takes the lowest"),
        pytest.param(PACK, pcpus(8, 8, 8), pcpus(0, 2), [1, 0, 2], id="pack goes on where it began"),
        pytest.param(SPREAD, pcpus(8, 8, 8), pcpus(2), [1, 2, 0], id="spread goes on elsewhere"),
        pytest.param(PACK, pcpus(4, 4, 4), pcpus(3), [1, 2, 0], id="pack leaves a full node to the last"),
        pytest.param(SPREAD, pcpus(9, 4, 4), pcpus(8), [1, 2, 0], id="spread leaves a full node to the last"),
        pytest.param(PACK, pcpus(4, 4, 4), pcpus(4, 3, 4), [1, 0, 2], id="of full ones the one that lacks least"),
        pytest.param(PACK, {1: {names.PCPU: 3}}, {}, [0, 2, 1], id="an unknown node has what candidates take"),
        pytest.param(PACK, {1: {names.PCPU: 3}}, pcpus(2), [2, 1, 0], id="and no more than that"),
        pytest.param(PACK, pcpus(0, 1, 4), {}, [0, 1, 2], id="a candidate is newer than the picture"),
        pytest.param(PACK, {}, {}, [2, 0, 1], id="without a picture pack keeps Placement's order"),
        pytest.param(SPREAD, {}, {}, [2, 0, 1], id="without a picture spread does too"),
        pytest.param(PACK, {}, pcpus(2, 0, 4), [1, 0, 2], id="without a picture the least booked is first"),
    ],
)
def test_one_cell_of_two_cpus(
    strategy: NumaStrategy,
    free: Mapping[int, Mapping[str, int]],
    booked: Mapping[int, dict[str, int]],
    expected: list[int],
) -> None:
    """The node that a server of two dedicated CPUs should take, the next best, and the last."""
    room = HostUse(free, booked)
    assert expected == [node for (node,) in nodes_in_order(make_request(2), strategy, room, [[2], [0], [1]])]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        pytest.param(PACK, [(1, 0), (0, 1)], id="pack leaves one node empty rather than two half full"),
        pytest.param(SPREAD, [(0, 1), (1, 0)], id="spread leaves both half full"),
    ],
)
def test_cells_of_different_size(strategy: NumaStrategy, expected: list[tuple[int, ...]]) -> None:
    """Six and two CPUs on nodes with eight and six."""
    assert expected == nodes_in_order(make_request(6, 2), strategy, HostUse(pcpus(8, 6)), [[0, 1], [1, 0]])


def test_memory_counts_as_room_too() -> None:
    """A node with CPUs enough and too little memory left comes last."""
    free = {0: {names.PCPU: 2, names.MEMORY_MB: 512}, 1: {names.PCPU: 8, names.MEMORY_MB: 512}}
    room = HostUse(free, {0: {names.MEMORY_MB: 256}})
    assert [(1,), (0,)] == nodes_in_order(make_request(2, memory_mb=512), PACK, room, [[0], [1]])


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        pytest.param({names.VCPU: 2, names.MEMORY_MB: 1}, [0, 1], id="shared CPUs before memory"),
        pytest.param({names.MEMORY_MB: 1, "CUSTOM_KONGMING_SLOT_GOLD": 1}, [1, 0], id="memory before slots"),
        pytest.param({"CUSTOM_KONGMING_SLOT_GOLD": 1}, [0, 1], id="a slot alone"),
    ],
)
def test_cells_without_dedicated_cpus_are_packed_too(resources: dict[str, int], expected: list[int]) -> None:
    """By shared CPUs, else by memory."""
    request = PinningRequest("gold", (CellRequest("_KONGMING0", resources, frozenset()),))
    free = {0: {names.VCPU: 4, names.MEMORY_MB: 8}, 1: {names.VCPU: 6, names.MEMORY_MB: 4}}
    assert expected == [node for (node,) in nodes_in_order(request, PACK, HostUse(free), [[1], [0]])]


def test_scattered_servers_want_different_nodes() -> None:
    """Many servers pick each node about as often, and the same server always picks the same."""
    nodes = [[node] for node in range(4)]
    picks = [nodes_in_order(make_request(2), SCATTER, HostUse(), nodes, f"server {i}")[0] for i in range(400)]
    again = [nodes_in_order(make_request(2), SCATTER, HostUse(), nodes[::-1], f"server {i}")[0] for i in range(400)]
    assert picks == again
    assert all(70 < picks.count((node,)) < 130 for node in range(4))


@pytest.mark.parametrize("strategy", list(NumaStrategy))
def test_a_multi_create_finds_every_place(strategy: NumaStrategy) -> None:
    """Servers of one request take places until nothing is left, and never one that is not there."""
    request = make_request(2)
    room = HostUse(pcpus(7, 4, 5))
    for server in range(7):
        best = order(candidates([0], [1], [2]), request, strategy, str(server), room)[0]
        (node,) = best.nodes
        assert room.free[node][names.PCPU] >= room.claimed.get(node, {}).get(names.PCPU, 0) + 2
        room = HostUse(room.free, add(room.claimed, best.nodes, request))
    assert {0: {names.PCPU: 6}, 1: {names.PCPU: 4}, 2: {names.PCPU: 4}} == room.claimed


@pytest.mark.parametrize(
    ("free", "booked", "expected"),
    [
        pytest.param(pcpus(8, 6), {}, 6, id="what stays on both nodes"),
        pytest.param(pcpus(8, 6), pcpus(3), 3, id="less what is booked"),
        pytest.param(pcpus(2, 6), {}, 2, id="never below zero"),
        pytest.param(pcpus(8), {}, None, id="nothing is known of node 1"),
        pytest.param({}, {}, None, id="nothing is known"),
    ],
)
def test_stranded_room(
    free: Mapping[int, dict[str, int]], booked: Mapping[int, dict[str, int]], expected: int | None
) -> None:
    """Four CPUs of each of two nodes are taken."""
    assert expected == stranded(Candidate(0, (0, 1)), make_request(4, 4), HostUse(free, booked))


amounts = st.fixed_dictionaries({}, optional={names.PCPU: st.integers(0, 64), names.MEMORY_MB: st.integers(0, 4096)})
rooms = st.builds(
    HostUse,
    st.dictionaries(st.integers(0, 3), amounts, max_size=4),
    st.dictionaries(st.integers(0, 3), amounts, max_size=4),
)
requests = st.builds(make_request, st.integers(1, 32), st.integers(1, 32), memory_mb=st.integers(1, 2048))
lists_of_candidates = st.lists(st.permutations(range(4)).map(lambda nodes: nodes[:2]), max_size=12).map(
    lambda nodes: candidates(*nodes)
)


@given(lists_of_candidates, requests, st.sampled_from(NumaStrategy), st.text(max_size=3), rooms, st.randoms())
def test_the_order_depends_on_nothing_else(
    given: list[Candidate],
    request: PinningRequest,
    strategy: NumaStrategy,
    server_id: str,
    room: HostUse,
    random: Random,
) -> None:
    """It is total: however the candidates are shuffled the answer is the same, with none lost and none invented."""
    ordered = order(given, request, strategy, server_id, room)
    shuffled = random.sample(given, len(given))
    assert ordered == order(shuffled, request, strategy, server_id, room)
    assert given == sorted(ordered, key=lambda candidate: candidate.position)


@given(lists_of_candidates, requests, st.sampled_from(NumaStrategy), rooms)
def test_dropping_candidates_does_not_reorder_the_others(
    given: list[Candidate], request: PinningRequest, strategy: NumaStrategy, room: HostUse
) -> None:
    """Pairs compare alike whichever others are there, as long as the picture is newer than the candidates."""
    full = {node: {names.PCPU: 64 + node, names.MEMORY_MB: 8192} for node in range(4)}
    room = HostUse(full, room.claimed)
    ordered = order(given, request, strategy, "s", room)
    fewer = order(given[::2], request, strategy, "s", room)
    assert fewer == [candidate for candidate in ordered if candidate in fewer]


one_cell = st.lists(st.integers(0, 7), min_size=1, max_size=8).map(
    lambda nodes: candidates(*([node] for node in nodes))
)


@given(one_cell, st.integers(1, 12), st.sampled_from([PACK, SPREAD]), rooms)
def test_servers_of_one_cell(offered: list[Candidate], need: int, strategy: NumaStrategy, room: HostUse) -> None:
    """Nodes that lack least come first, then the fullest or the emptiest, then the lowest."""

    def rank(candidate: Candidate) -> tuple[float, int, int, int]:
        (node,) = candidate.nodes
        free = max(room.free.get(node, {}).get(names.PCPU, 0), need)
        left = free - room.claimed.get(node, {}).get(names.PCPU, 0) - need
        return max(-left, 0) / need, -left if strategy is SPREAD else left, node, candidate.position

    expected = (
        sorted(offered, key=rank) if room.free else sorted(offered, key=lambda item: (rank(item)[0], item.position))
    )
    assert expected == order(offered, make_request(need), strategy, "s", room)
