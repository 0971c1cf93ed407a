# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming host`` through the real shell, against the real Placement."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest

from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory
from testbed.topologies import one_node_no_smt, two_nodes_smt2
from tests.functional.cli.conftest import Register, Write
from tests.functional.cli.samples import GOLD, SILVER
from tests.functional.cli.shell import Shell
from tests.functional.conftest import PlacementService

SERVER = "5e00e000-0000-4000-8000-000000000001"
OTHER = "5e00e000-0000-4000-8000-000000000002"


def usage(total: int, used: int = 0) -> dict[str, int]:
    """As JSON has it."""
    return {"total": total, "used": used, "free": total - used}


@pytest.fixture
def root(openstack: Shell, write: Write, register: Register, placement: PlacementService) -> str:
    """The provider of host ``c1``, on whose node 0 one server is, and on whose node 1 one of the template silver."""
    openstack("kongming template create --file", write(GOLD))
    silver = SILVER.replace('{0: 1, 1: "9"}', '"5,13"').replace("node: 1", "node: 0")
    openstack("kongming template create --file", write(silver))
    root = register("c1", two_nodes_smt2())
    node0, node1 = names.node_uuid(root, 0), names.node_uuid(root, 1)
    placement.allocate(SERVER, {root: {"MEMORY_MB": 512}, node0: {names.PCPU: 4, names.MEMORY_MB: 512}})
    slot = names.slot_class("silver")
    placement.allocate(OTHER, {root: {"MEMORY_MB": 64}, node0: {names.PCPU: 1}, node1: {slot: 1}})
    return root


def test_list_shows_every_node(openstack: Shell, root: str, register: Register) -> None:
    """By host and number, with what is free of how much."""
    assert root
    register("b", one_node_no_smt())
    node = {"state": "enabled", "threads_per_core": 2, "shared_vcpus": None, "templates": ["gold", "silver"]}
    assert openstack.json("kongming host list") == [
        {
            "host": "b",
            "node": 0,
            "state": "enabled",
            "threads_per_core": 1,
            "dedicated_cpus": usage(3),
            "shared_vcpus": None,
            "memory_mb": usage(16384),
            "templates": ["gold"],
        },
        node | {"host": "c1", "node": 0, "dedicated_cpus": usage(6, 5), "memory_mb": usage(16384, 512)},
        node | {"host": "c1", "node": 1, "dedicated_cpus": usage(4), "memory_mb": usage(16384)},
    ]


def test_list_is_for_people(openstack: Shell, root: str) -> None:
    """What is free comes first."""
    assert root
    done = openstack("kongming host list")
    lines = [[word.strip() for word in line.split("|")[1:-1]] for line in done.out.splitlines()]
    assert ["c1", "0", "enabled", "2", "1 free of 6", "-", "15872 free of 16384", "gold, silver"] in lines


def test_list_takes_two_requests(openstack: Shell, root: str, register: Register) -> None:
    """However many hosts there are."""
    assert root
    register("b", one_node_no_smt())
    done = openstack("--timing kongming host list")
    asked = re.findall(r"GET http://\S+/(resource_providers|allocation_candidates)\?", done.out)
    assert sorted(asked) == ["allocation_candidates", "resource_providers"]


def test_list_shows_who_offers_a_template(openstack: Shell, root: str, register: Register) -> None:
    """And nobody, where nobody does."""
    assert root
    register("b", one_node_no_smt())
    listed = openstack.json("kongming host list --template silver")
    assert [(item["host"], item["node"]) for item in listed] == [("c1", 0), ("c1", 1)]
    assert openstack.json("kongming host list --template bronze") == []


def test_show_says_what_each_server_has(openstack: Shell, root: str) -> None:
    """Node by node; a server with cells on two nodes appears twice."""
    shown = openstack.json("kongming host show c1")
    assert (shown["host"], shown["uuid"], shown["aggregates"]) == ("c1", root, [])
    assert shown["nodes"][0] == {
        "node": 0,
        "uuid": names.node_uuid(root, 0),
        "state": "enabled",
        "threads_per_core": 2,
        "dedicated_cpus": usage(6, 5),
        "shared_vcpus": None,
        "memory_mb": usage(16384, 512),
        "huge_pages": {},
        "templates": ["gold", "silver"],
        "templates_taken": [],
    }
    assert shown["nodes"][1]["templates_taken"] == ["silver"]
    assert shown["servers"] == [
        {"server": SERVER, "node": 0, "resources": {"dedicated_cpus": 4, "memory_mb": 512}},
        {"server": OTHER, "node": 0, "resources": {"dedicated_cpus": 1}},
        {"server": OTHER, "node": 1, "resources": {"CUSTOM_KONGMING_SLOT_SILVER": 1}},
    ]


def test_show_is_for_people(openstack: Shell, root: str) -> None:
    """A line for each node, and one for each server on it."""
    assert root
    lines = openstack("kongming host show c1").out.splitlines()
    values: list[Any] = [line.split("|")[2].strip() for line in lines if line.startswith("| ")]
    assert "node 1: dedicated_cpus 4 free of 4, memory_mb 16384 free of 16384, templates gold, silver (taken)" in values
    assert f"{SERVER} on node 0: dedicated_cpus 4, memory_mb 512" in values


def test_show_has_huge_pages(openstack: Shell, root: str, placement: PlacementService) -> None:
    """By their size, the smallest first, less those that are reserved."""
    client = placement.client
    node = names.node_uuid(root, 0)
    (provider,) = client.providers(uuid=node)
    pages = {names.pages_class(1 << 20): Inventory(8, 2), names.pages_class(2048): Inventory(512)}
    client.ensure_resource_classes(pages)
    client.set_inventories(node, provider.generation, client.inventories(node) | pages)
    placement.allocate(str(uuid.UUID(int=7)), {node: {names.pages_class(1 << 20): 4}})
    shown = openstack.json("kongming host show c1")
    assert [list(item["huge_pages"].items()) for item in shown["nodes"]] == [
        [("2MiB", usage(512)), ("1GiB", usage(6, 4))],
        [],
    ]
    words = "memory_mb 15872 free of 16384, pages of 2MiB 512 free of 512, pages of 1GiB 2 free of 6, templates"
    assert words in openstack("kongming host show c1").out


def test_show_marks_a_node_that_takes_no_more_servers(openstack: Shell, root: str, placement: PlacementService) -> None:
    """The list leaves it out; what still runs there is shown."""
    client = placement.client
    node = names.node_uuid(root, 0)
    (provider,) = client.providers(uuid=node)
    retired = {name: Inventory(item.total, item.total) for name, item in client.inventories(node).items()}
    client.set_inventories(node, provider.generation, retired)
    assert [item["node"] for item in openstack.json("kongming host list")] == [1]
    shown = openstack.json("kongming host show c1")
    assert [item["state"] for item in shown["nodes"]] == ["retired", "enabled"]
    assert shown["nodes"][0]["dedicated_cpus"] == {"total": 0, "used": 5, "free": 0}
    assert shown["servers"][0]["server"] == SERVER
    assert "node 0 (retired): dedicated_cpus 0 free of 0" in openstack("kongming host show c1").out


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("c9", "host 'c9' is no compute node in Placement; see 'openstack kongming host list'\n"),
        ("c2", "host 'c2' has no nodes: no kongming-agent has registered them; see 'openstack kongming host list'\n"),
        ("kongming_template_gold", "host 'kongming_template_gold' has no nodes: no kongming-agent has"),
    ],
)
def test_show_refuses_what_is_no_host_with_nodes(
    openstack: Shell, root: str, placement: PlacementService, host: str, message: str
) -> None:
    """And says whether Nova or KongMing does not know it."""
    assert root
    placement.add_host("c2", "c2000000-0000-4000-8000-000000000001")
    done = openstack("kongming host show", host)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(message)
