# SPDX-License-Identifier: Apache-2.0
"""Which servers of a mix get a host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.cloud.capacity import DISABLED, HostRoom, NodeRoom
from kongming_sched.cloud.what_if import Wanted, arrivals, like, place
from kongming_sched.placement import names
from kongming_sched.request import CellRequest, NumaStrategy, PinningRequest

MEMORY = 1024
"""What each server takes of its host, in MiB."""


def host(name: str, *pcpus: int, memory_mb: int = 1_000_000, traits: Sequence[str] = ()) -> HostRoom:
    """A host with so many free CPUs on its nodes."""
    nodes = {number: NodeRoom({names.PCPU: free}, capacity={names.PCPU: 99}) for number, free in enumerate(pcpus)}
    return HostRoom(name, name, {"MEMORY_MB": memory_mb}, frozenset(traits), nodes, {"MEMORY_MB": 1_000_000})


def wanted(name: str, servers: int, *pcpus: int, strategy: NumaStrategy = NumaStrategy.PACK) -> Wanted:
    """Servers with cells that take so many CPUs."""
    cells = tuple(CellRequest(f"_KONGMING{i}", {names.PCPU: n}, frozenset()) for i, n in enumerate(pcpus))
    request = PinningRequest("gold", cells)
    return Wanted(name, sum(pcpus), servers, request, {"MEMORY_MB": MEMORY}, strategy)


def test_flavors_come_in_turn() -> None:
    """In proportion to their numbers."""
    mix = [wanted("a", 4, 1), wanted("b", 2, 1)]

    assert ["a", "b", "a", "a", "b", "a"] == [item.flavor for item in arrivals(mix)]


def test_the_fullest_node_is_filled_first() -> None:
    """As the packing weigher and the strategy pack do."""
    assert {"a": {"h2": 1, "h1": 2}} == place([host("h1", 4, 4), host("h2", 2)], [wanted("a", 3, 2)])


def test_servers_are_spread() -> None:
    """Over the nodes of a host, so that a large one finds no whole node; packed ones leave it one."""
    large, small = wanted("b", 1, 4), (3, 1)

    packed = place([host("h1", 4, 4)], [wanted("a", *small), large])
    spread = place([host("h1", 4, 4)], [wanted("a", *small, strategy=NumaStrategy.SPREAD), large])

    assert [{"a": {"h1": 3}, "b": {"h1": 1}}, {"a": {"h1": 3}, "b": {}}] == [packed, spread]


def test_what_gets_no_host() -> None:
    """Too few CPUs on one node, a host without memory, and one whose service is disabled."""
    hosts = [host("cpus", 3, 3), host("memory", 8, memory_mb=MEMORY - 1), host("off", 8, traits=[DISABLED])]

    assert {"a": {}} == place(hosts, [wanted("a", 1, 4)])
    assert {"a": {"cpus": 1}} == place(hosts, [wanted("a", 2, 3, 3)])


def test_a_host_like_another() -> None:
    """Has its size and nothing on it, takes servers, and has a name of its own."""
    model = host("h1", 0, 5, memory_mb=0, traits=[DISABLED, "CUSTOM_X"])

    made = like(model, {"h1", "h1+1"})

    assert ("h1+2", {"MEMORY_MB": 1_000_000}, frozenset({"CUSTOM_X"})) == (made.name, made.free, made.traits)
    assert {0: {names.PCPU: 99}, 1: {names.PCPU: 99}} == {number: node.free for number, node in made.nodes.items()}
    assert {"a": {"h1+2": 2}} == place([made], [wanted("a", 2, 99)])


HOSTS = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), min_size=1, max_size=4).map(
    lambda sizes: [host(f"h{number}", *nodes) for number, nodes in enumerate(sizes)]
)
STRATEGIES = st.sampled_from(NumaStrategy)


@st.composite
def mixes(draw: st.DrawFn) -> list[Wanted]:
    """Some servers of up to three flavors."""
    sizes = draw(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=2), min_size=1, max_size=3))
    return [
        wanted(f"f{i}", draw(st.integers(1, 12)), *cells, strategy=draw(STRATEGIES)) for i, cells in enumerate(sizes)
    ]


@given(hosts=HOSTS, mix=mixes())
def test_nothing_is_given_twice(hosts: list[HostRoom], mix: list[Wanted]) -> None:
    """No host gives more CPUs than are free, and no flavor gets more servers than are wanted."""
    placed = place(hosts, mix)

    taken: Counter[str] = Counter()
    for item in mix:
        assert sum(placed[item.flavor].values()) <= item.servers
        taken.update({name: servers * item.vcpus for name, servers in placed[item.flavor].items()})
    assert [] == [name for name, cpus in taken.items() if cpus > free_cpus(hosts)[name]]


@given(hosts=HOSTS, cpus=st.integers(1, 4), strategy=STRATEGIES)
def test_one_kind_fits_as_often_as_it_is_counted(hosts: list[HostRoom], cpus: int, strategy: NumaStrategy) -> None:
    """Servers of one cell fill each node, whatever the strategy."""
    (item,) = [wanted("a", 200, cpus, strategy=strategy)]
    counted = {room.name: count for room in hosts if (count := room.count(item.request.cells, item.of_host))}

    assert {"a": counted} == place(hosts, [item])


def free_cpus(hosts: Sequence[HostRoom]) -> Mapping[str, int]:
    """The CPUs that are free on each host."""
    return {room.name: sum(node.free[names.PCPU] for node in room.nodes.values()) for room in hosts}
