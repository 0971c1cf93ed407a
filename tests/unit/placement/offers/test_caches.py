# SPDX-License-Identifier: Apache-2.0
"""The rooms for cells of one last-level cache: what a node offers, and that servers whose counts fit have a place."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kongming_sched.allocator import Demand, allocate, usable_cores
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory
from kongming_sched.placement.flavor import cell_requests
from kongming_sched.placement.tree import DesiredTree, NodeState, desired_tree
from kongming_sched.pools import HostCpus, HostPools
from kongming_sched.request import CellRequest
from kongming_sched.template import CachePolicy, CpuPolicy, PinningTemplate
from kongming_sched.topology import HostTopology
from testbed.topologies import describe_host, make_topology
from tests.unit.caches.nodes import CHAINS

ROOT = "5a1e0000-0000-4000-8000-000000000001"
NODE = names.node_uuid(ROOT, 0)
HOST = make_topology(1, 16, 2, cores_per_cache=8)
"""Cores 0,16 to 7,23 on one cache, and 8,24 to 15,31 on another."""


def close(vcpus: int, threads: str = "isolate", name: str = "", **more: object) -> PinningTemplate:
    """A template of one cell that lies in one cache."""
    cell = {"vcpus": f"0-{vcpus - 1}", "cpus": "dedicated", "threads": threads, "caches": "one", "memory": "none"}
    return PinningTemplate.from_mapping({"name": name or f"close{vcpus}", "cells": [{**cell, **more}]})


def ordinary(name: str, vcpus: int, threads: str) -> PinningTemplate:
    """A template of one cell that may lie in several caches."""
    cell = {"vcpus": f"0-{vcpus - 1}", "cpus": "dedicated", "threads": threads, "memory": "none"}
    return PinningTemplate.from_mapping({"name": name, "cells": [cell]})


def explicit(name: str, pins: str) -> PinningTemplate:
    """A template of one vCPU on these host CPUs."""
    cell = {"vcpus": "0", "cpus": "explicit", "pins": pins, "memory": "none"}
    return PinningTemplate.from_mapping({"name": name, "cells": [cell]})


def plan(
    *templates: PinningTemplate,
    dedicated: str = "0-31",
    topology: HostTopology = HOST,
    before: DesiredTree | None = None,
    claims: Mapping[str, Mapping[str, int]] | None = None,
) -> DesiredTree:
    """What a host of one node has in Placement.

    :param before: what it has had until now
    :param claims: consumer to what it has claimed of the node
    """
    state = {
        node.uuid: NodeState(node.uuid, node.name, 1, node.traits, node.inventories, claims or {})
        for node in (before.nodes if before else ())
    }
    cpus = HostCpus(topology, HostPools(CpuSet.parse(dedicated)))
    return desired_tree(ROOT, "compute1", cpus, templates, state)


def rooms(tree: DesiredTree) -> dict[int, int]:
    """Size to how many rooms the node has for it."""
    return {
        size: item.capacity
        for name, item in tree.nodes[0].inventories.items()
        if (size := names.cores_of_cache_class(name))
    }


def offered(tree: DesiredTree) -> set[str]:
    """The templates that the node offers."""
    return set(filter(None, map(names.offered_template, tree.nodes[0].traits)))


@pytest.mark.parametrize(
    ("template", "dedicated", "expected"),
    [
        pytest.param(close(8), "0-31", {8: 2, 4: 4, 2: 8}, id="whole caches"),
        pytest.param(close(8, "require"), "0-31", {4: 4, 2: 8}, id="two vCPUs on a core"),
        pytest.param(close(7), "0-31", {7: 2}, id="a size that nothing divides"),
        pytest.param(close(6), "2-15,18-31", {6: 2, 3: 4, 2: 7}, id="a cache without the host's own cores"),
        pytest.param(close(8), "2-15,18-31", {8: 1, 4: 3, 2: 7}, id="one cache that is too small"),
        pytest.param(close(1), "0-31", {}, id="a core is in one cache wherever it is"),
        pytest.param(close(2, "require"), "0-31", {}, id="as are its threads"),
    ],
)
def test_a_node_has_rooms_for_every_size_that_divides_the_cells(
    template: PinningTemplate, dedicated: str, expected: dict[int, int]
) -> None:
    """Of the cores in the dedicated pool, cache by cache."""
    tree = plan(template, dedicated=dedicated)
    assert ({template.name}, expected) == (offered(tree), rooms(tree))


def test_a_node_has_no_rooms_where_nobody_needs_them() -> None:
    """What other clouds have in Placement stays as it was."""
    assert {} == rooms(plan(ordinary("cores", 4, "isolate")))


@pytest.mark.parametrize(
    ("templates", "reason"),
    [
        pytest.param(
            [close(9)], "needs 9 whole cores of one cache, and the most that the node has is 8", id="too large"
        ),
        pytest.param(
            [close(4), close(6)],
            "cells in one cache of 4 and of 6 cores cannot both be counted, for one must divide the other",
            id="sizes of which neither divides the other",
        ),
    ],
)
def test_a_node_says_why_it_does_not_offer_a_template(templates: list[PinningTemplate], reason: str) -> None:
    """The template that came first stays."""
    tree = plan(*templates)
    assert ({item.name for item in templates[:-1]}, reason) == (offered(tree), tree.refusal(templates[-1].name, 0))


def test_two_cells_whose_sizes_do_not_divide_each_other_keep_apart_by_their_nodes() -> None:
    """Without a node for each, either could land on either."""
    cells = [
        {"vcpus": "0-3", "cpus": "dedicated", "threads": "isolate", "caches": "one", "memory": "none"},
        {"vcpus": "4-9", "cpus": "dedicated", "threads": "isolate", "caches": "one", "memory": "none"},
    ]
    topology = make_topology(2, 16, 1, cores_per_cache=8)
    free = PinningTemplate.from_mapping({"name": "free", "cells": cells})
    named = PinningTemplate.from_mapping({"name": "named", "cells": [{**cells[0], "node": 0}, {**cells[1], "node": 1}]})
    assert {"named"} == offered(plan(free, named, topology=topology))


def test_cells_in_use_keep_sizes_away_that_do_not_divide_theirs() -> None:
    """Also when their own template is not offered any more."""
    before = plan(close(4))
    claims = {"server": cell_requests(close(4), 0, 2)[0].resources}
    assert {"close2"} == offered(plan(close(6), close(2), before=before, claims=claims))
    assert {"close6"} == offered(plan(close(6, name="close6"), before=before))


def test_rooms_in_use_stay_counted_when_their_template_goes() -> None:
    """So that the cells of others do not take them."""
    before = plan(close(8))
    claims = {"server": cell_requests(close(8), 0, 2)[0].resources}
    assert {8: 2, 4: 4, 2: 8} == rooms(plan(close(4), before=before, claims=claims))


@pytest.mark.parametrize(("servers", "expected"), [(1, {"close7", "mine"}), (2, {"close7"})])
def test_explicit_cpus_cut_no_cache_that_is_in_use(servers: int, expected: set[str]) -> None:
    """Although the pool has CPUs enough for all: in one of the two caches six cores would be left."""
    before, mine = plan(close(7)), explicit("mine", "3-4")
    claims = {str(number): cell_requests(close(7), 0, 2)[0].resources for number in range(servers)}
    after = plan(close(7), mine, before=before, claims=claims)
    reason = "2 rooms for 7 cores of one cache are allocated, without these only 1 would be left"
    assert expected == offered(after)
    assert (None if mine.name in expected else reason) == after.refusal("mine", 0)


def test_explicit_cpus_stay_set_aside_when_rooms_are_lost_otherwise() -> None:
    """What is offered already takes nothing more."""
    before = plan(close(8), explicit("mine", "3"))
    claims = {str(number): cell_requests(close(8), 0, 2)[0].resources for number in range(2)}
    assert "mine" in offered(plan(close(8), explicit("mine", "3"), before=before, claims=claims))


def test_narrow_cores_are_no_rooms() -> None:
    """Cells of one cache take whole cores, which are the widest ones."""
    topology = describe_host({0: "0-1 2-3 4-5 6-7 16 17 18 19"})
    assert {4: 1, 2: 2} == rooms(plan(close(4), dedicated="0-7,16-19", topology=topology))


def fits(cell: CellRequest, inventories: Mapping[str, Inventory], claims: Mapping[str, Mapping[str, int]]) -> bool:
    """Whether Placement admits a cell."""
    used = {name: sum(claim.get(name, 0) for claim in claims.values()) for name in cell.resources}
    return all(
        used[name] + amount <= (inventories[name].capacity if name in inventories else 0)
        for name, amount in cell.resources.items()
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**64))
def test_all_servers_that_placement_admits_have_a_place(seed: int) -> None:
    """Templates come and go, with sizes that fit together or do not, and with explicit CPUs; so do servers."""
    rng = random.Random(seed)
    width = rng.choice([1, 2, 4])
    topology = make_topology(1, rng.randint(4, 24), width, cores_per_cache=rng.choice([2, 3, 4, 6, 8]))
    (node,) = topology.nodes
    dedicated = CpuSet.union(core.cpus for core in node.cores[rng.randint(0, 2) :])
    threads = ["isolate", *["require"] * (width > 1)]
    sizes = [*rng.choice(CHAINS), rng.randint(1, 9)]
    known = {f"close{number}": close(size, rng.choice(threads), f"close{number}") for number, size in enumerate(sizes)}
    known |= {f"any{count}": ordinary(f"any{count}", count, rng.choice(["any", "prefer"])) for count in (1, 3)}
    known |= {f"cores{count}": ordinary(f"cores{count}", count, rng.choice(threads)) for count in (1, 2)}
    known["mine"] = explicit("mine", str(rng.choice(list(dedicated))))
    there: set[str] = set()
    servers: dict[str, str] = {}
    claims: dict[str, Mapping[str, int]] = {}
    present: dict[str, tuple[int, ...]] = {}
    tree: DesiredTree | None = None
    for number in range(60):
        if number % 5 == 0:
            used = set(servers.values())
            there = {name for name in known if name in used or rng.random() < 0.7}
            templates = [known[name] for name in sorted(there)]
            tree = plan(*templates, dedicated=str(dedicated), topology=topology, before=tree, claims=claims)
        assert tree is not None
        inventories = tree.nodes[0].inventories
        if servers and rng.random() < 0.2:
            gone = rng.choice(sorted(servers))
            del servers[gone], claims[gone]
            present.pop(gone, None)
        elif names_offered := sorted(offered(tree) & there):
            name = rng.choice(names_offered)
            (cell,) = cell_requests(known[name], 0, width)
            if fits(cell, inventories, claims):
                servers[f"s{number}"], claims[f"s{number}"] = name, cell.resources
        demands = [
            Demand(server, len(cell.vcpus), cell.threads, present.get(server, ()), cell.caches is CachePolicy.ONE)
            for server, name in servers.items()
            for cell in known[name].cells
            if cell.cpus is CpuPolicy.DEDICATED
        ]
        layout = allocate(usable_cores(node.cores, tree.pools[0]), demands)
        assert {} == layout.unplaced
        present = dict(layout.pins)
