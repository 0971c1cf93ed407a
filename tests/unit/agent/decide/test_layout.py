# SPDX-License-Identifier: Apache-2.0
"""What a host should look like, from what was observed."""

from __future__ import annotations

from dataclasses import replace

from kongming_sched.agent.decide.layout import lay_out
from kongming_sched.agent.model.guest import Domain, Guest, Identity, Threads
from kongming_sched.agent.model.view import GuestLayout, HostLayout, HostView
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory
from kongming_sched.placement.flavor import cell_requests, extra_specs
from kongming_sched.placement.tree import NodeState
from kongming_sched.pools import HostCpus, HostPools, HugePages
from kongming_sched.request import PinningRequest
from kongming_sched.template import PinningTemplate
from testbed.topologies import two_nodes_no_smt

ROOT = "00000000-0000-0000-0000-000000000001"
POOLS = HostPools(CpuSet.parse("1-3,5-7"), CpuSet(), CpuSet.parse("0,4"))
SCHEDULER = {"cpu_shares": 1024, "vcpu_period": 100_000, "vcpu_quota": -1}

GOLD: dict[str, object] = {"name": "gold", "cells": [{"vcpus": "0-1", "cpus": "dedicated"}]}
EXACT: dict[str, object] = {"name": "exact", "cells": [{"vcpus": "0-1", "cpus": "explicit", "pins": {0: "1", 1: "2"}}]}


def template(mapping: dict[str, object]) -> PinningTemplate:
    """A template."""
    return PinningTemplate.from_mapping(mapping)


def guest(name: str, of: PinningTemplate, *vcpus: str) -> Guest:
    """A running guest of a template, with the affinities of its vCPUs."""
    request = PinningRequest(of.name, cell_requests(of, 512, 1))
    threads = Threads(dict(enumerate(map(CpuSet.parse, vcpus))), CpuSet.parse("0-7"))
    return Guest(Domain(name, name, "", SCHEDULER), Identity(name, len(vcpus), request), threads, request)


def view(templates: list[PinningTemplate], *guests: tuple[Guest, int], pools: HostPools = POOLS) -> HostView:
    """A host of two nodes; each guest has claimed on the node given what its cells ask for."""
    states = {}
    for node in (0, 1):
        uuid = names.node_uuid(ROOT, node)
        claims = {guest.uuid: guest.request.cells[0].resources for guest, on in guests if on == node}
        traits = frozenset(names.template_trait(item.name) for item in templates)
        states[uuid] = NodeState(uuid, f"node{node}", 1, traits, {names.PCPU: Inventory(3)}, claims)
    by_name = {item.name: item for item in templates}
    cpus, running = HostCpus(two_nodes_no_smt(), pools), tuple(guest for guest, _ in guests)
    return HostView(cpus, ROOT, "host", states, by_name, running)


def pins(layout: GuestLayout) -> list[str]:
    """The vCPUs' CPUs, as text."""
    return list(map(str, layout.vcpus))


def texts(layout: HostLayout) -> dict[str, str]:
    """What is wrong with which guest."""
    return {uuid: problem.text for uuid, problem in layout.problems.items()}


def test_pool_that_shrank() -> None:
    """Of guests that no longer fit those stay that are placed; the others are reported and disturb nobody."""
    small = HostPools(CpuSet.parse("1-3"), CpuSet(), CpuSet.parse("0,4"))
    gold = template(GOLD)
    first, second = guest("a", gold, "1", "2"), guest("b", gold, "0-7", "0-7")

    layout = lay_out(view([gold], (first, 0), (second, 0), pools=small))

    assert ["1", "2"] == pins(layout.guests["a"])
    assert ["0,4", "0,4"] == pins(layout.guests["b"])
    expected = "no room on node 0: asked: 2 dedicated CPUs (vcpus=2, threads=any); available: 1 of 3"
    assert {"b": expected} == texts(layout)


def test_explicit_template_that_cannot_be_honoured() -> None:
    """Guests of a template whose CPUs left the pool keep what they have, and nobody else gets it."""
    exact, gold = template(EXACT), template(GOLD)
    pools = HostPools(CpuSet.parse("2-3,5-7"), CpuSet(), CpuSet.parse("0,4"))
    pinned, newcomer = guest("a", exact, "1", "2"), guest("b", gold, "0-7", "0-7")

    layout = lay_out(view([exact, gold], (pinned, 0), (newcomer, 1), pools=pools))

    assert ["1", "2"] == pins(layout.guests["a"])
    assert CpuSet.parse("3") == layout.tree.pools[0]
    assert "node 0 cannot honour template 'exact' now: CPU 1 is not in dedicated_cpu_set" == layout.problems["a"].text


def test_template_with_another_demand() -> None:
    """A template that takes something else now is not forced on a guest that has claimed for the old one."""
    old = template(GOLD)
    new = template({"name": "gold", "cells": [{"vcpus": "0-1", "cpus": "shared"}]})
    running = guest("a", old, "1", "2")

    layout = lay_out(view([new], (running, 0)))

    assert ["1", "2"] == pins(layout.guests["a"])
    expected = "cell 0 has claimed CUSTOM_KONGMING_PCPU=2, and template 'gold' now takes CUSTOM_KONGMING_VCPU=2"
    assert {"a": expected} == texts(layout)


def test_stale_pins_do_not_push_a_rightful_guest_away() -> None:
    """A guest without a claim that came with pins to CPUs of another guest goes to the housekeeping CPUs."""
    gold = template(GOLD)
    rightful, other = guest("b", gold, "1", "2"), guest("a", gold, "2", "3")

    layout = lay_out(view([gold], (rightful, 0), (other, 7)))

    assert ["1", "2"] == pins(layout.guests["b"])
    assert ["0,4", "3"] == pins(layout.guests["a"])


def test_memory_bound_for_good() -> None:
    """A guest that was started with a strict binding elsewhere gets its pins and a remark."""
    gold = template(GOLD)
    running = guest("a", gold, "0-7", "0-7")
    strict = replace(running, identity=replace(running.identity, memory_nodes=CpuSet.of([1]), memory_mode="strict"))

    layout = lay_out(view([gold], (strict, 0)))

    assert ["1", "2"] == pins(layout.guests["a"])
    assert CpuSet() == layout.guests["a"].memory_nodes
    assert "its memory was bound to node 1 (strict) at its start" in layout.problems["a"].text


def test_memory_is_let_go() -> None:
    """A binding that KongMing made is widened when the template no longer asks for one."""
    free = template({"name": "gold", "cells": [{"vcpus": "0-1", "cpus": "dedicated", "memory": "none"}]})
    running = guest("a", free, "1", "2")
    bound = replace(running, identity=replace(running.identity, memory_nodes=CpuSet.of([0]), memory_mode="restrictive"))

    layout = lay_out(view([free], (bound, 0)))

    assert CpuSet.parse("0-1") == layout.guests["a"].memory_nodes


def without_memory(view: HostView, node_id: int) -> HostView:
    """The same host, of which one node has CPUs only."""
    nodes = tuple(replace(node, memory_mb=0) if node.id == node_id else node for node in view.topology.nodes)
    return replace(view, cpus=replace(view.cpus, topology=replace(view.topology, nodes=nodes)))


def test_memory_is_let_go_to_nodes_that_have_memory() -> None:
    """The kernel lets no memory be bound to a node without any."""
    free = template({"name": "gold", "cells": [{"vcpus": "0-1", "cpus": "dedicated", "memory": "none"}]})
    running = guest("a", free, "1", "2")
    bound = replace(running, identity=replace(running.identity, memory_nodes=CpuSet.of([1]), memory_mode="restrictive"))

    layout = lay_out(without_memory(view([free], (bound, 0)), 1))

    assert CpuSet.of([0]) == layout.guests["a"].memory_nodes


def test_memory_that_is_on_the_only_node_with_memory_stays() -> None:
    """A guest that is bound to nothing is where it belongs if there is one such node."""
    gold = template(GOLD)

    layout = lay_out(without_memory(view([gold], (guest("a", gold, "1", "2"), 0)), 1))

    assert (CpuSet(), {}) == (layout.guests["a"].memory_nodes, layout.problems)


def test_strict_memory_on_a_node_without_memory_is_a_problem() -> None:
    """The guest keeps its pins and its binding."""
    gold = template(GOLD)

    layout = lay_out(without_memory(view([gold], (guest("a", gold, "5", "6"), 1)), 1))

    assert (["5", "6"], CpuSet()) == (pins(layout.guests["a"]), layout.guests["a"].memory_nodes)
    assert {"a": "its memory belongs on node 1, which has none; move it to another node"} == texts(layout)


def test_quality_of_service_without_a_controller() -> None:
    """Where the host has no cpu controller a template that asks for qos is reported, and the pins are set."""
    gold = template({**GOLD, "qos": {"shares": 512}})
    running = guest("a", gold, "1", "2")
    bare = replace(running, domain=replace(running.domain, scheduler={}))

    layout = lay_out(view([gold], (bare, 0)))

    assert {} == layout.guests["a"].scheduler
    assert {"a": "its template asks for qos, and the host has no cpu controller for guests"} == texts(layout)


def test_flavors_quota_is_kept() -> None:
    """The template's values come first, then the flavor's own, then the kernel's."""
    gold = template({**GOLD, "qos": {"shares": 512}})
    running = guest("a", gold, "1", "2")
    with_quota = replace(running, identity=replace(running.identity, quota={"cpu_shares": 4096, "vcpu_quota": 50_000}))

    layout = lay_out(view([gold], (with_quota, 0)))

    assert {"cpu_shares": 512, "vcpu_period": 100_000, "vcpu_quota": 50_000} == layout.guests["a"].scheduler


def with_immovable(view: HostView, *guests: str) -> HostView:
    """The same host while some guests cannot be moved."""
    return replace(view, immovable=frozenset(guests))


def test_others_go_round_a_guest_that_cannot_be_moved() -> None:
    """A guest on a CPU of another's stays there, and the other one gets a CPU that is free."""
    gold, one = template(GOLD), template({"name": "one", "cells": [{"vcpus": "0", "cpus": "dedicated"}]})
    stuck, newcomer = guest("b", one, "2"), guest("a", gold, "0-7", "0-7")

    layout = lay_out(with_immovable(view([gold, one], (stuck, 0), (newcomer, 0)), "b"))

    assert (["2"], ["1", "3"]) == (pins(layout.guests["b"]), pins(layout.guests["a"]))
    assert {} == layout.problems


def test_guest_that_cannot_be_moved_stays_off_its_own_place() -> None:
    """A guest that belongs to another node and cannot be moved keeps its CPUs there from everybody else."""
    gold = template(GOLD)
    other, others = guest("b", gold, "5", "6"), guest("a", gold, "0-7", "0-7")

    layout = lay_out(with_immovable(view([gold], (other, 0), (others, 1)), "b"))

    assert ["5", "6"] == pins(layout.guests["b"])
    reason = "no room on node 1: asked: 2 dedicated CPUs (vcpus=2, threads=any); available: 1 of 3"
    assert {"a": reason} == texts(layout)
    assert ["0,4", "0,4"] == pins(layout.guests["a"])


def test_explicit_cpus_that_somebody_cannot_leave() -> None:
    """A guest of explicit CPUs waits where it is for who cannot leave them, and so does who wants its own."""
    exact = template(EXACT)
    other = template({"name": "other", "cells": [{"vcpus": "0", "cpus": "explicit", "pins": {0: "3"}}]})
    gold = template({"name": "gold", "cells": [{"vcpus": "0", "cpus": "dedicated"}]})
    stuck, waiting, behind = guest("c", gold, "1"), guest("a", exact, "0-7", "3"), guest("b", other, "5")

    layout = lay_out(with_immovable(view([exact, other, gold], (stuck, 1), (waiting, 0), (behind, 0)), "c"))

    assert (["1"], ["0,4", "3"], ["5"]) == tuple(pins(layout.guests[name]) for name in ("c", "a", "b"))
    assert {
        "a": "CPU 1 is in use by server c (c), which cannot be moved now",
        "b": "CPU 3 is in use by server a (a), which cannot be moved now",
    } == texts(layout)


def test_guest_that_floats_is_in_nobodys_way() -> None:
    """CPUs over which a guest floats that cannot be pinned are given to others: nobody has given them to it."""
    gold = template(GOLD)
    floating, newcomer = guest("a", gold, "0-7", "0-7"), guest("b", gold, "0-7", "0-7")

    layout = lay_out(with_immovable(view([gold], (floating, 0), (newcomer, 1)), "a"))

    assert (["0-7", "0-7"], ["5", "6"]) == (pins(layout.guests["a"]), pins(layout.guests["b"]))


WIDE: dict[str, object] = {
    "name": "wide",
    "guest_numa": "visible",
    "cells": [{"vcpus": "0", "cpus": "dedicated"}, {"vcpus": "1", "cpus": "dedicated"}],
}


def laid_out(of: PinningTemplate, *nodes: int, vcpus: tuple[str, ...] = ("0-7", "0-7"), memory_mb: int = 512) -> Guest:
    """A guest of two cells that Nova has put on these nodes, in this order."""
    specs = extra_specs(of, {}, vcpus=of.vcpus, memory_mb=memory_mb)
    request = PinningRequest.from_extra_specs(specs)
    assert request is not None
    cells = tuple(CpuSet.of([node]) for node in nodes)
    identity = Identity("a", 2, request, {}, CpuSet.union(cells), "strict", cell_nodes=cells)
    threads = Threads(dict(enumerate(map(CpuSet.parse, vcpus))), CpuSet.parse("0-7"))
    return Guest(Domain("a", "a", "", SCHEDULER), identity, threads, request)


def on_both(of: PinningTemplate, running: Guest) -> HostView:
    """A host of two nodes of which the guest has claimed both: cell 0 is counted on node 0."""
    seen = view([of], (running, 0))
    states = {
        uuid: replace(state, allocations={running.uuid: cell.resources})
        for (uuid, state), cell in zip(seen.states.items(), running.request.cells, strict=True)
    }
    return replace(seen, states=states)


def test_vcpus_are_on_the_nodes_of_their_memory() -> None:
    """Where Nova has put equal cells on the nodes in another order than by their numbers."""
    wide = template(WIDE)

    layout = lay_out(on_both(wide, laid_out(wide, 1, 0)))

    assert {} == texts(layout)
    first, second = layout.guests["a"].vcpus
    assert first <= CpuSet.parse("4-7")
    assert second <= CpuSet.parse("0-3")
    assert CpuSet() == layout.guests["a"].memory_nodes


def test_cpus_that_nova_gave_are_kept() -> None:
    """The agent has no reason to move vCPUs that are on CPUs of the pool on the right node."""
    wide = template(WIDE)

    layout = lay_out(on_both(wide, laid_out(wide, 0, 1, vcpus=("3", "6"))))

    assert ["3", "6"] == pins(layout.guests["a"])


def test_unequal_cells_on_each_others_nodes_are_reported() -> None:
    """Their claim counts for one node what the memory takes of the other."""
    wide = template(WIDE)

    layout = lay_out(on_both(wide, laid_out(wide, 1, 0, memory_mb=513)))

    expected = "the memory of its cells is on nodes 1, 0, and they have claimed nodes 0, 1; migrate it"
    assert {"a": expected} == texts(layout)


def test_pages_that_were_not_claimed() -> None:
    """A template that was given pages is not forced on a guest that has claimed memory, nor the other way."""
    paged: dict[str, object] = {"name": "gold", "cells": [{"vcpus": "0-1", "cpus": "dedicated", "pages": "2MiB"}]}
    pools = HostCpus(two_nodes_no_smt(), POOLS, {node: (HugePages(2048, 512),) for node in (0, 1)})
    for old, new, reason in (
        (GOLD, paged, "cell 0 has claimed no pages of 2MiB, which template 'gold' now takes"),
        (paged, GOLD, "cell 0 has claimed CUSTOM_KONGMING_PAGES_2MIB, and template 'gold' takes no huge pages now"),
    ):
        running = guest("a", template(old), "1", "2")
        layout = lay_out(replace(view([template(new)], (running, 0)), cpus=pools))
        assert {"a": reason} == texts(layout)


def test_real_time() -> None:
    """Each of these vCPUs has the template's priority, and the emulator keeps off their CPUs."""
    ran = template({**GOLD, "emulator": "cell", "realtime": {"vcpus": "1", "priority": 5}})

    layout = lay_out(view([ran], (guest("a", ran, "1", "2"), 0))).guests["a"]

    assert (["1", "2"], "1", {1: 5}) == (pins(layout), str(layout.emulator), layout.realtime)


def test_no_real_time_without_a_place() -> None:
    """Such a guest is on CPUs that the host needs."""
    ran = template({**GOLD, "realtime": {"vcpus": "1"}})

    layout = lay_out(view([ran], (guest("a", ran, "0-7", "0-7"), 7))).guests["a"]

    assert (["0,4", "0,4"], {}) == (pins(layout), layout.realtime)
