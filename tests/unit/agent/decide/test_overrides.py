# SPDX-License-Identifier: Apache-2.0
"""What servers' own metadata changes in the layout of their host, and what it never does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.agent.decide.layout import lay_out
from kongming_sched.agent.decide.occupancy import Occupancy
from kongming_sched.agent.decide.plan import plan
from kongming_sched.agent.model.guest import Domain, Guest, Identity, Threads
from kongming_sched.agent.model.view import HostLayout, HostView, OverrideRequest, units_of
from kongming_sched.allocator import usable_cores
from kongming_sched.cpuset import CpuSet
from kongming_sched.override import KEYS
from kongming_sched.placement import names
from kongming_sched.placement.flavor import cell_requests
from kongming_sched.placement.tree import NodeState
from kongming_sched.pools import HostCpus, HostPools
from kongming_sched.request import PinningRequest
from kongming_sched.template import PinningTemplate
from kongming_sched.topology import Core, HostTopology
from testbed.topologies import SHAPES, make_topology, two_nodes_smt2

ROOT = "00000000-0000-0000-0000-000000000001"
POOLS = HostPools(CpuSet.parse("1-3,9-11,5-7,13-15"), CpuSet.parse("12"), CpuSet.parse("0,4,8"), 4.0)
"""Node 0 has the cores 1,9 2,10 3,11 in its dedicated pool, node 1 the cores 5,13 6,14 7,15."""


def open_template(name: str, *cells: dict[str, object], override: str = "allowed", **clauses: str) -> PinningTemplate:
    """A template that servers may override."""
    return PinningTemplate.from_mapping({"name": name, "cells": list(cells), "override": override, **clauses})


TEMPLATES = {
    item.name: item
    for item in (
        open_template("pair", {"vcpus": "0-1", "cpus": "dedicated"}),
        open_template("siblings", {"vcpus": "0-1", "cpus": "dedicated", "threads": "require"}),
        open_template("alone", {"vcpus": "0", "cpus": "dedicated", "threads": "isolate"}),
        open_template("own", {"vcpus": "0", "cpus": "dedicated"}, emulator="own"),
        open_template("apart", {"vcpus": "0", "cpus": "dedicated", "threads": "isolate"}, emulator="own"),
        open_template("exact", {"vcpus": "0-1", "cpus": "explicit", "pins": {0: "5", 1: "13"}}),
        open_template("float", {"vcpus": "0", "cpus": "shared"}),
        open_template("closed", {"vcpus": "0-1", "cpus": "dedicated"}, override="denied"),
        open_template("both", {"vcpus": "0", "cpus": "dedicated", "node": 0}, {"vcpus": "1", "cpus": "dedicated"}),
    )
}


@dataclass(frozen=True)
class Scene:
    """A host on which tenants write metadata.

    :ivar templates: by name
    :ivar nodes: the nodes that the cells of a server of each template can be on
    :ivar room: node to the dedicated CPUs that are left beside the template with explicit ones
    """

    topology: HostTopology
    pools: HostPools
    templates: Mapping[str, PinningTemplate]
    nodes: Mapping[str, Sequence[tuple[int, ...]]]
    room: Mapping[int, int]


def guest(name: str, of: str, *vcpus: str) -> Guest:
    """A running guest of a template, with the affinities of its vCPUs; by default it floats."""
    template = TEMPLATES[of]
    return make_guest(name, template, two_nodes_smt2(), (0,), vcpus or ("0-15",) * template.vcpus)


def make_guest(
    name: str, template: PinningTemplate, topology: HostTopology, nodes: Sequence[int], vcpus: Sequence[str]
) -> Guest:
    """A running guest on these nodes of a host."""
    widths = {node.id: node.threads_per_core for node in topology.nodes}
    request = PinningRequest(template.name, cell_requests(template, 512, widths[nodes[0]]))
    threads = Threads(dict(enumerate(map(CpuSet.parse, vcpus))), topology.cpus)
    return Guest(Domain(name, name, ""), Identity(name, template.vcpus, request), threads, request)


def view(*guests: tuple[Guest, tuple[int, ...]], **metadata: dict[str, str]) -> HostView:
    """A host whose guests have claimed on the nodes given, with what their metadata says."""
    requests = {name: OverrideRequest(keys) for name, keys in metadata.items()}
    scene = Scene(two_nodes_smt2(), POOLS, TEMPLATES, {}, {})
    return replace(make_view(scene, guests), overrides=requests)


def make_view(scene: Scene, guests: Sequence[tuple[Guest, tuple[int, ...]]]) -> HostView:
    """A host whose guests have claimed on the nodes given."""
    states = {}
    for node in scene.topology.nodes:
        uuid = names.node_uuid(ROOT, node.id)
        claims = {
            guest.uuid: guest.request.cells[nodes.index(node.id)].resources
            for guest, nodes in guests
            if node.id in nodes
        }
        states[uuid] = NodeState(uuid, f"node{node.id}", 1, allocations=claims)
    running = tuple(guest for guest, _ in guests)
    return HostView(HostCpus(scene.topology, scene.pools), ROOT, "host", states, scene.templates, running)


def pins(layout: HostLayout, name: str) -> list[str]:
    """The vCPUs' CPUs, as text."""
    return list(map(str, layout.guests[name].vcpus))


CPUS = {"kongming:cpus": "0:11;1:2"}


def texts(layout: HostLayout) -> dict[str, str]:
    """What is wrong with which guest."""
    return {uuid: problem.text for uuid, problem in layout.problems.items()}


def test_dedicated_guest_chooses_free_cpus() -> None:
    """It goes there, and stays there at the next pass."""
    newcomer, settled = guest("a", "pair"), guest("a", "pair", "11", "2")
    layouts = [lay_out(view((item, (0,)), a=CPUS)) for item in (newcomer, settled)]
    assert [["11", "2"]] * 2 == [pins(layout, "a") for layout in layouts]
    assert [{}, {}] == [layout.problems for layout in layouts]
    assert {"a": CPUS} == layouts[0].granted


def test_dedicated_guest_rearranges_its_vcpus() -> None:
    """Its own CPUs are free to it."""
    layout = lay_out(view((guest("a", "pair", "2", "11"), (0,)), a=CPUS))
    assert ["11", "2"] == pins(layout, "a")


def test_dedicated_cpus_of_another_guest_are_refused() -> None:
    """The guest stays where it is, and its problem names the guest that has them."""
    layout = lay_out(view((guest("a", "pair", "1", "9"), (0,)), (guest("b", "pair", "2", "10"), (0,)), a=CPUS))
    assert (["1", "9"], ["2", "10"]) == (pins(layout, "a"), pins(layout, "b"))
    reason = "its metadata asks for host CPU 2, which server b has; it stays where it is until that is free"
    assert {"a": reason} == texts(layout)
    assert {} == layout.granted


def test_idle_siblings_of_an_isolated_guest_are_its_own() -> None:
    """Nobody may choose them, but the guest itself may sit on either."""
    alone = guest("b", "alone", "2")
    refused = lay_out(view((guest("a", "pair", "1", "9"), (0,)), (alone, (0,)), a={"kongming:cpus": "1,10"}))
    moved = lay_out(view((alone, (0,)), b={"kongming:cpus": "10"}))
    assert "its metadata asks for host CPU 10, which server b has" in refused.problems["a"].text
    assert ["10"] == pins(moved, "b")


def test_of_two_that_choose_the_same_cpu_the_one_that_is_there_has_it() -> None:
    """So that nobody takes a CPU away by writing its number."""
    asked = {"kongming:cpus": "0:3;1:11"}
    layout = lay_out(view((guest("a", "pair"), (0,)), (guest("b", "pair", "3", "11"), (0,)), a=asked, b=asked))
    assert ["3", "11"] == pins(layout, "b")
    assert "server b has" in layout.problems["a"].text


def test_a_chosen_place_yields_to_whole_cores() -> None:
    """Counting stays exact: a guest on two cores is moved when a server needs one of them, and that is reported."""
    spread = {"kongming:cpus": "0:1;1:2"}
    guests = [(guest("a", "pair", "1", "2"), (0,)), (guest("b", "pair", "3", "11"), (0,)), (guest("c", "alone"), (0,))]
    layout = lay_out(view(*guests, a=spread))
    assert {"a": "the host CPUs that its metadata asks for are needed for the whole cores of others"} == texts(layout)
    assert len(set(pins(layout, "a") + pins(layout, "b") + pins(layout, "c"))) == 5


@pytest.mark.parametrize(
    ("of", "node", "metadata", "reason"),
    [
        pytest.param("closed", 0, CPUS, "template 'closed' is not open to the metadata of servers", id="denied"),
        pytest.param(
            "pair", 0, {"kongming:cpus": "0-1"}, "host CPU 0 is not in the dedicated pool of node 0", id="housekeeping"
        ),
        pytest.param("pair", 0, {"kongming:cpus": "6-7"}, "host CPU 6-7 is not in the dedicated pool", id="other node"),
        pytest.param(
            "pair", 1, {"kongming:cpus": "5,13"}, "host CPU 5,13 is not in the dedicated pool", id="set aside"
        ),
        pytest.param("pair", 0, {"kongming:cpus": "gold"}, "is neither a number nor a range", id="no CPU set"),
        pytest.param(
            "siblings", 0, {"kongming:cpus": "1-2"}, "does not lie on cores as threads require", id="two cores"
        ),
        pytest.param("exact", 1, {"kongming:cpus": "5-6"}, "host CPU 6 is none of those", id="outside of the template"),
        pytest.param("float", 1, {"kongming:cpus": "5"}, "host CPU 5 is not in the shared pool", id="dedicated"),
        pytest.param("pair", 0, {"kongming:template": "gone"}, "template 'gone' does not exist", id="no template"),
        pytest.param("pair", 0, {"kongming:template": "closed"}, "template 'closed' is not open", id="closed template"),
        pytest.param("pair", 0, {"kongming:template": "exact"}, "and template 'exact' now takes", id="another claim"),
        pytest.param("pair", 0, {"kongming:template": "alone"}, "has 1", id="another count"),
        pytest.param(
            "pair",
            0,
            {"kongming:template": "both"},
            "the server has 1 cells and template 'both' has 2",
            id="other cells",
        ),
        pytest.param("pair", 0, {"kongming:template": "Gold!"}, "is not a template's name", id="no name"),
    ],
)
def test_refused(of: str, node: int, metadata: dict[str, str], reason: str) -> None:
    """What is wrong or not open changes nothing, and is said."""
    running = guest("a", of)
    plain, asked = lay_out(view((running, (node,)))), lay_out(view((running, (node,)), a=metadata))
    assert pins(plain, "a") == pins(asked, "a")
    assert ({}, {}) == (plain.problems, asked.granted)
    assert reason in asked.problems["a"].text


def test_a_guest_of_one_cache_chooses_cores_of_one() -> None:
    """Of two caches here, 0-1 and 2-3 with their siblings; the refusal says what the template wants."""
    cell = {"vcpus": "0-1", "cpus": "dedicated", "threads": "isolate", "caches": "one"}
    close = PinningTemplate.from_mapping({"name": "close", "cells": [cell], "override": "pins"})
    topology = make_topology(2, 4, 2, cores_per_cache=2)
    scene = Scene(topology, POOLS, {"close": close}, {}, {})
    running = make_view(scene, [(make_guest("a", close, topology, (0,), ("2", "3")), (0,))])
    for asked, expected, problem in (
        ("0:3;1:2", ["3", "2"], {}),
        ("0:1;1:2", ["2", "3"], {"a": "host CPU 1-2 does not lie on cores as threads isolate and caches one"}),
    ):
        layout = lay_out(replace(running, overrides={"a": OverrideRequest({"kongming:cpus": asked})}))
        assert expected == pins(layout, "a")
        assert problem.keys() == texts(layout).keys()
        assert all(problem[name] in text for name, text in texts(layout).items())


def test_explicit_guest_moves_within_its_own() -> None:
    """The CPUs that its template sets aside are its own."""
    layout = lay_out(view((guest("a", "exact"), (1,)), a={"kongming-vcpu-pinning": "5,13"}))
    assert ["5,13", "5,13"] == pins(layout, "a")


def test_another_template() -> None:
    """One that takes the same replaces that of the flavor."""
    layout = lay_out(view((guest("a", "pair", "1", "2"), (0,)), a={"kongming:template": "siblings"}))
    cores = {CpuSet.parse(text) for text in ("1,9", "2,10", "3,11")}
    assert CpuSet.union(layout.guests["a"].vcpus) in cores
    assert {} == layout.problems


def test_what_was_granted_stays_while_a_wrong_value_stands() -> None:
    """And goes when nothing is asked for any more."""
    running = guest("a", "exact", "5,13", "5,13")
    host = view((running, (1,)))
    wrong = replace(host, overrides={"a": OverrideRequest({"kongming:cpus": "99"}, {"kongming:cpus": "5,13"})})
    layout = lay_out(wrong)
    assert ["5,13", "5,13"] == pins(layout, "a")
    assert "host CPU 99 is none of those" in layout.problems["a"].text
    assert {"a": {"kongming:cpus": "5,13"}} == layout.granted
    assert ["5", "13"] == pins(lay_out(host), "a")


def widest(cores: Sequence[Core]) -> list[Core]:
    """Those that count where servers may take whole cores."""
    width = max((len(core.cpus) for core in cores), default=0)
    return [core for core in cores if len(core.cpus) == width]


def test_a_server_may_ask_for_the_cpu_of_its_own_emulator() -> None:
    """Which then gets another one."""
    running = guest("a", "own", "1")
    at_rest = replace(running, threads=replace(running.threads, emulator=CpuSet.of([9])))

    layout = lay_out(view((at_rest, (0,)), a={"kongming:cpus": "0:9"}))

    assert (["9"], {}) == (pins(layout, "a"), layout.problems)
    assert CpuSet.of([1]) == layout.guests["a"].emulator


@pytest.mark.parametrize(("of", "asked"), [("own", "9"), ("apart", "9"), ("apart", "1")])
def test_a_server_waits_for_the_cpu_of_anothers_emulator(of: str, asked: str) -> None:
    """It is as much the other's as that of a vCPU; with whole cores the sibling too."""
    other, running = guest("b", of, "2"), guest("a", "own", "3")
    emulator = CpuSet.parse("9" if of == "own" else "1,9")
    at_rest = replace(other, threads=replace(other.threads, emulator=emulator))

    layout = lay_out(view((running, (0,)), (at_rest, (0,)), a={"kongming:cpus": f"0:{asked}"}))

    assert f"its metadata asks for host CPU {asked}, which server b has" in layout.problems["a"].text
    assert (["3"], emulator) == (pins(layout, "a"), layout.guests["b"].emulator)


def make_scene(topology: HostTopology) -> Scene:
    """A host of this shape: its first core for housekeeping, a core of its last node shared, the others dedicated."""
    housekeeping, *others = [core.cpus for node in topology.nodes for core in node.cores]
    shared = others.pop() if len(others) > 2 else CpuSet()
    pools = HostPools(CpuSet.union(others), shared, housekeeping, 4.0)
    usable = {node.id: widest(usable_cores(node.cores, pools.dedicated)) for node in topology.nodes}
    usable = {node_id: cores for node_id, cores in usable.items() if cores}
    room = {node_id: sum(len(core.cpus) for core in cores) for node_id, cores in usable.items()}
    strict: list[tuple[int, ...]] = [(node_id,) for node_id in usable if node_id in topology.memory_nodes]
    templates = {name: item for name, item in TEMPLATES.items() if name not in ("exact", "both")}
    nodes: dict[str, list[tuple[int, ...]]] = dict.fromkeys(("pair", "alone", "closed", "own", "apart"), strict)
    nodes["siblings"] = [on for on in strict if len(usable[on[0]][0].cpus) > 1]
    nodes["float"] = [(node.id,) for node in topology.nodes if shared and shared <= node.cpus and node.memory_mb]
    templates["anywhere"] = open_template("anywhere", {"vcpus": "0-1", "cpus": "dedicated", "memory": "none"})
    nodes["anywhere"] = [(node_id,) for node_id in usable]
    if strict and len(cores := usable[strict[-1][0]]) > 1:
        first, second = [cpu for core in cores for cpu in core.cpus][:2]
        cell: dict[str, object] = {"vcpus": "0-1", "cpus": "explicit", "pins": {0: str(first), 1: str(second)}}
        templates["exact"], nodes["exact"] = open_template("exact", cell), strict[-1:]
        room[strict[-1][0]] -= sum(len(core.cpus) for core in cores if first in core.cpus or second in core.cpus)
    if len(strict) > 1:
        both: list[dict[str, object]] = [
            {"vcpus": "0", "cpus": "dedicated", "node": strict[0][0]},
            {"vcpus": "1", "cpus": "dedicated"},
        ]
        templates["both"] = open_template("both", *both)
        nodes["both"] = [(*strict[0], *on) for on in strict[1:]]
    return Scene(topology, pools, templates, {name: on for name, on in nodes.items() if on}, room)


SCENES = {shape: make_scene(topology) for shape, topology in SHAPES.items()}


@st.composite
def metadata(draw: st.DrawFn, scene: Scene) -> dict[str, str]:
    """What tenants write: mostly what might work."""
    on = st.sampled_from([*scene.topology.present][:24])
    cpus = st.one_of(
        st.builds("0:{};1:{}".format, on, on),
        st.builds("{}".format, on),
        st.builds("{},{}".format, on, on),
        st.text(max_size=5),
    )
    keys = draw(st.sets(st.sampled_from(KEYS), max_size=2))
    return {key: draw(st.sampled_from(sorted(scene.templates)) if key == KEYS[0] else cpus) for key in sorted(keys)}


@st.composite
def hosts(draw: st.DrawFn) -> tuple[HostView, HostView]:
    """A host of any shape whose claims fit, as it is with and without what its servers' metadata says.

    The guests are anywhere.
    """
    scene = SCENES[draw(st.sampled_from(sorted(SCENES)))]
    room, slots = dict(scene.room), {"exact": 1, "float": 4 * len(scene.pools.shared)}
    on = st.one_of(st.sampled_from([*scene.topology.cpus][:24]).map(str), st.just(str(scene.topology.cpus)))
    guests = []
    for number in range(draw(st.integers(1, 6)) if scene.nodes else 0):
        of = draw(st.sampled_from(sorted(scene.nodes)))
        nodes = draw(st.sampled_from(scene.nodes[of]))
        vcpus = draw(st.tuples(*[on] * scene.templates[of].vcpus))
        item = make_guest(f"g{number}", scene.templates[of], scene.topology, nodes, vcpus)
        takes = [cell.resources.get(names.PCPU, 0) for cell in item.request.cells]
        if any(take > room.get(node, 0) for node, take in zip(nodes, takes, strict=True) if take):
            continue
        if slots.get(of, 1) < 1:
            continue
        for node, take in zip(nodes, takes, strict=True):
            room[node] = room.get(node, 0) - take
        slots[of] = slots.get(of, 9) - 1
        guests.append((item, nodes))
    plain = make_view(scene, guests)
    requests = {
        item.uuid: OverrideRequest(draw(metadata(scene)), draw(metadata(scene)))
        for item, _ in guests
        if draw(st.booleans())
    }
    return plain, replace(plain, overrides={name: asked for name, asked in requests.items() if asked.metadata})


def owned(view: HostView, layout: HostLayout, name: str) -> CpuSet:
    """The CPUs of the dedicated pool that a guest's vCPUs have, and its emulator if it has one of its own."""
    return layout.guests[name].cpus & view.pools.dedicated


@given(hosts())
def test_no_override_touches_anybody_else(host: tuple[HostView, HostView]) -> None:
    """Whatever tenants write: no dedicated CPU has two guests, every guest has its place, and Placement gets the
    same as without.
    """
    plain, asked = host
    before, after = lay_out(plain), lay_out(asked)
    assert before.tree == after.tree
    assert {} == before.problems
    assert set(after.problems) <= set(asked.overrides)
    seen = CpuSet()
    for item in asked.guests:
        mine = owned(asked, after, item.uuid)
        assert mine.isdisjoint(seen)
        seen |= mine
        dedicated = asked.templates[item.request.template].host_cpus or item.request.template != "float"
        assert not dedicated or len(mine) >= 1


@given(hosts())
def test_who_asks_for_nothing_or_may_not_has_what_its_template_says(host: tuple[HostView, HostView]) -> None:
    """A tenant cannot change pins that the operator did not open: closed guests are on their node's pool as ever."""
    _, asked = host
    layout = lay_out(asked)
    for item in asked.guests:
        if item.request.template == "closed" and item.uuid in asked.overrides:
            assert "is not open" in layout.problems[item.uuid].text or "metadata" in layout.problems[item.uuid].text
            assert item.uuid not in layout.granted


@given(hosts())
def test_the_way_there_is_safe(host: tuple[HostView, HostView]) -> None:
    """From wherever the guests are, no action of the plan puts two of them on one dedicated CPU."""
    _, asked = host
    layout = lay_out(asked)
    pools = asked.pools
    occupancy = Occupancy(units_of(asked.guests, layout.guests), pools.dedicated)
    for action in plan(asked.guests, layout.guests, pools.dedicated, pools.housekeeping):
        if action.is_pin:
            assert occupancy.blocker(action.guest, action.cpus) is None
            occupancy.move(action)


def settled(host: HostView, layout: HostLayout) -> HostView:
    """The host after its guests went where they should, and what was granted was noted."""
    guests = tuple(
        replace(
            item, threads=Threads(dict(enumerate(layout.guests[item.uuid].vcpus)), layout.guests[item.uuid].emulator)
        )
        for item in host.guests
    )
    requests = {
        name: OverrideRequest(asked.metadata, layout.granted.get(name, asked.granted))
        for name, asked in host.overrides.items()
    }
    return replace(host, guests=guests, overrides=requests)


@given(hosts())
def test_it_comes_to_rest(host: tuple[HostView, HostView]) -> None:
    """Guests do not push each other around: after each had a turn to take what another left, nobody moves any more."""
    _, asked = host
    layout = lay_out(asked)
    for _ in asked.guests:
        asked = settled(asked, layout)
        layout = lay_out(asked)
    assert layout.guests == lay_out(settled(asked, layout)).guests


@given(hosts(), st.sets(st.integers(0, 5)))
def test_wishes_go_round_guests_that_cannot_be_moved(host: tuple[HostView, HostView], numbers: set[int]) -> None:
    """A guest that can be moved shares no dedicated CPU with another, wherever the others are stuck."""
    _, asked = host
    stuck = frozenset(f"g{number}" for number in numbers)
    layout = lay_out(replace(asked, immovable=stuck))
    seen = CpuSet.union(
        cpus
        for item in asked.guests
        if item.uuid in stuck
        for cpus in item.threads.vcpus.values()
        if cpus <= asked.pools.dedicated
    )
    for item in asked.guests:
        if item.uuid not in stuck and item.uuid not in layout.problems:
            mine = owned(asked, layout, item.uuid)
            assert mine.isdisjoint(seen)
            seen |= mine
