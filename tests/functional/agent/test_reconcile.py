# SPDX-License-Identifier: Apache-2.0
"""The agent's pass over a host, on the real Placement and simulated guests."""

from __future__ import annotations

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.model.problem import PLACEMENT
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import PinningTemplate
from testbed.adapters import Counting, Meddling
from tests.functional.agent.world import TEMPLATES, World, store_templates
from tests.functional.conftest import PlacementService


@pytest.fixture
def world(placement: PlacementService) -> World:
    """A host whose agent has registered it, on a cloud with all templates."""
    store_templates(placement.client)
    world = World(placement, "host")
    world.settle()
    return world


def test_registers_nodes(world: World) -> None:
    """Each node offers the templates that it can honour, less what explicit ones set aside."""
    tree = world.tree()

    traits, inventories = tree["_kongming_numa1"]
    amounts = {name: inventory.capacity for name, inventory in inventories}
    assert ["_kongming_numa0", "_kongming_numa1"] == sorted(tree)
    assert {
        "CUSTOM_KONGMING_MEMORY_MB": 15360,
        "CUSTOM_KONGMING_NODE": 1,
        "CUSTOM_KONGMING_PCPU": 4,
        "CUSTOM_KONGMING_SLOT_EXACT": 1,
        "CUSTOM_KONGMING_VCPU": 4,
    } == amounts
    assert {"CUSTOM_KONGMING_TEMPLATE_EXACT", "CUSTOM_KONGMING_NODE_1", "HW_NUMA_ROOT"} <= set(traits)


def test_pins_servers_of_every_template(world: World) -> None:
    """Dedicated, shared and explicit cells get what they ask for, on the nodes that were claimed."""
    world.boot_all()

    outcome = world.settle()

    assert () == outcome.problems
    assert {
        "gold-1": ("1", "emulator 0,4", "memory 0"),
        "silver-1": ("2", "10", "emulator 2,10", "memory 0"),
        "silver-2": ("6", "14", "emulator 6,14", "memory 1"),
        "bronze-1": ("12", "emulator 0,4", "memory 1"),
        "exact-1": ("5", "13", "emulator 0,4", "memory 1"),
        "twin-1": ("7", "3", "emulator 0,4", "memory anywhere"),
    } == world.pins()


def test_sets_quality_of_service(world: World) -> None:
    """The template's values are set, and those it does not name are left as they are."""
    world.boot_all()

    world.settle()

    bronze = world.host.scheduler_of(world.servers["bronze-1"])
    emulator = {"emulator_period": 100_000, "emulator_quota": -1}
    assert {"cpu_shares": 1024, "vcpu_period": 100_000, "vcpu_quota": 50_000, **emulator} == bronze


def test_rests_when_all_is_well(world: World) -> None:
    """A pass that finds nothing to do asks Placement once for the tree, once for the templates and once per node."""
    world.boot_all()
    world.adapter = counting = Counting(world.placement.adapter)
    world.start_agent()
    world.settle()
    counting.requests.clear()
    world.host.log.clear()

    world.run_pass()

    assert 4 == len(counting.requests)
    assert {"domains", "read", "threads"} == set(world.host.log)


def test_repairs_drift(world: World) -> None:
    """A pin that was set by hand is put back."""
    world.boot_all()
    world.settle()
    before = world.pins()
    world.host.set_affinity(world.servers["gold-1"], 0, CpuSet.parse("0-15"))

    world.settle()

    assert before == world.pins()


def test_whole_cores_make_others_move(world: World) -> None:
    """A server that the counts admit gets its whole core although single threads are in the way."""
    for name in ("a", "b", "c"):
        world.boot(name, "silver", 0)
        world.settle()
    world.host.destroy(world.servers["b"])
    world.placement.adapter.delete(f"/allocations/{world.servers['b']}")
    world.host.set_affinity(world.servers["a"], 1, CpuSet.parse("2"))  # a on 1 and 2, c on 3 and 11: no core is free
    world.start_agent()  # which takes them to be where they belong
    world.settle()

    world.boot("new", "gold", 0)
    outcome = world.settle()

    assert () == outcome.problems
    assert CpuSet() == world.host.shared_at_any_time
    own = {cpu for cpus in world.pins()["new"][:1] for cpu in CpuSet.parse(cpus)}
    others = {cpu for name in ("a", "c") for cpus in world.pins()[name][:2] for cpu in CpuSet.parse(cpus)}
    assert not {sibling for cpu in own for sibling in (cpu, cpu + 8, cpu - 8)} & others


def test_changed_template_is_followed(world: World) -> None:
    """Guests of a template whose explicit CPUs change move there, and dedicated guests get out of the way first."""
    world.boot_all()
    world.settle()
    moved = PinningTemplate.from_mapping(
        {"name": "exact", "cells": [{"vcpus": "0-1", "cpus": "explicit", "pins": {0: "6", 1: "14"}}]}
    )

    TemplateStore(world.placement.client).update(moved)
    outcome = world.settle()

    assert () == outcome.problems
    assert ("6", "14") == world.pins()["exact-1"][:2]
    assert {"5", "13", "15"} >= set(world.pins()["silver-2"][:2])
    assert CpuSet() == world.host.shared_at_any_time


def test_swapped_templates_go_through_housekeeping(world: World) -> None:
    """Two guests that change places never have a CPU in common."""
    store = TemplateStore(world.placement.client)
    store.create(PinningTemplate.from_mapping(_explicit("other", "6", "14")))
    world.settle()
    TEMPLATES_BY_NAME = {**TEMPLATES, "other": PinningTemplate.from_mapping(_explicit("other", "6", "14"))}
    for name, template in (("x", "exact"), ("y", "other")):
        TEMPLATES[template] = TEMPLATES_BY_NAME[template]
        world.boot(name, template, 1)
    world.settle()
    for name, pins in (("exact", ("7", "15")), ("other", ("5", "13")), ("exact", ("6", "14"))):
        store.update(PinningTemplate.from_mapping(_explicit(name, *pins)))

    outcome = world.settle()
    del TEMPLATES["other"]

    assert () == outcome.problems
    assert {"x": ("6", "14"), "y": ("5", "13")} == {name: pins[:2] for name, pins in world.pins().items()}
    assert CpuSet() == world.host.shared_at_any_time


def _explicit(name: str, first: str, second: str) -> dict[str, object]:
    return {"name": name, "cells": [{"vcpus": "0-1", "cpus": "explicit", "pins": {0: first, 1: second}}]}


def test_source_of_a_move_keeps_its_pins(world: World) -> None:
    """While Nova books a move's source under the migration's id, the guest there is still accounted for."""
    world.boot_all()
    world.settle()
    before = world.pins()
    world.placement.adapter.delete(f"/allocations/{world.servers['gold-1']}")
    world.claim("gold-1", "gold", 0, consumer="99999999-9999-4999-8999-999999999999")

    outcome = world.settle()

    assert () == outcome.problems
    assert before == world.pins()


def test_server_without_claim_keeps_what_it_has(world: World) -> None:
    """A guest without a claim is reported, and nobody gets the CPUs that it holds."""
    world.boot_all()
    world.settle()
    before = world.pins()
    world.placement.adapter.delete(f"/allocations/{world.servers['silver-1']}")

    outcome = world.settle()

    assert before == world.pins()
    assert ["its flavor's groups are not claimed on this host's node providers"] == [
        problem.text for problem in outcome.problems
    ]


def test_server_of_unknown_template_is_confined(world: World) -> None:
    """A new guest whose template is gone is kept off the pool and reported."""
    world.boot("lost", "gold", 0)
    TemplateStore(world.placement.client).delete("gold")

    outcome = world.settle()

    assert ("0,4", "emulator 0,4", "memory anywhere") == world.pins()["lost"]
    assert ["template 'gold' does not exist or is not offered to this host"] == [
        problem.text for problem in outcome.problems
    ]


def test_deleted_template_takes_its_trait_along(world: World) -> None:
    """The last node that gives a deleted template up deletes its trait, so that Nova can name it as missing."""
    other = World(world.placement, "other-host", 2)
    other.settle()
    TemplateStore(world.placement.client).delete("gold")
    traits = []

    for host in (world, other):
        host.settle()
        url = "/traits?name=startswith:CUSTOM_KONGMING_TEMPLATE_GOLD"
        traits.append(world.placement.adapter.get(url, microversion="1.36").json()["traits"])

    assert [["CUSTOM_KONGMING_TEMPLATE_GOLD"], []] == traits


def test_written_although_others_write_at_the_same_time(world: World) -> None:
    """Four conflicts in one pass are four times more to read, and no problem; the fifth is one."""
    mine, node = world.placement.client, world.node(0)
    conflicts = 4

    def write(method: str, url: str) -> None:
        nonlocal conflicts
        if method == "PUT" and url == f"/resource_providers/{node}/traits" and conflicts:
            conflicts -= 1
            (provider,) = mine.providers(uuid=node)
            mine.set_aggregates(node, provider.generation, [])

    world.client.transport.adapter = Meddling(world.placement.adapter, write)
    TemplateStore(mine).delete("bronze")
    problems = world.run_pass().problems
    traits = mine.traits(node)
    conflicts = 5
    TemplateStore(mine).delete("silver")
    outcome = world.run_pass()

    assert ((), False) == (problems, names.template_trait("bronze") in traits)
    assert [PLACEMENT] == [problem.subject for problem in outcome.problems]


def test_memory_stays_where_the_first_round_has_bound_it(world: World) -> None:
    """When another guest fails, and the rest is planned again, pages are expected on the nodes that hold by then."""
    world.boot("gold-1", "gold", 0)
    world.settle()
    world.placement.adapter.delete(f"/allocations/{world.servers['gold-1']}")
    world.claim("gold-1", "gold", 1)
    world.boot("silver-1", "silver", 0)
    world.start_agent()  # which has not counted its pages yet

    def fail(name: str) -> None:
        if name == "bind_memory" and world.pins()["gold-1"][-1] == "memory 1":
            world.host.on_call = lambda _name: None
            raise exceptions.HypervisorError("bind it", "injected", 38)

    world.host.on_call = fail
    outcome = world.run_pass()

    assert [world.servers["silver-1"]] == [problem.subject.id for problem in outcome.problems]
    assert ("6", "memory 1") == (world.pins()["gold-1"][0], world.pins()["gold-1"][-1])
