# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming host disable`` and ``enable`` through the real shell, against the real Placement."""

from __future__ import annotations

import json

import pytest

from kongming_sched.placement import names
from testbed.topologies import one_node_no_smt, two_nodes_smt2
from tests.functional.cli.conftest import Register, Write
from tests.functional.cli.samples import AGGREGATE, GOLD
from tests.functional.cli.shell import Shell
from tests.functional.cli.state import state_of, unchanged
from tests.functional.conftest import PlacementService


@pytest.fixture
def hosts(openstack: Shell, write: Write, register: Register) -> tuple[str, str]:
    """Two hosts that offer the template gold, of two nodes and of one; gives their providers."""
    openstack("kongming template create --file", write(GOLD))
    return register("c1", two_nodes_smt2()), register("c2", one_node_no_smt())


def listed(openstack: Shell) -> list[tuple[str, int, str, list[str]]]:
    """The nodes with their states and templates."""
    shown = openstack.json("kongming host list")
    return [(item["host"], item["node"], item["state"], item["templates"]) for item in shown]


def test_a_host_is_disabled_and_enabled(openstack: Shell, register: Register, hosts: tuple[str, str]) -> None:
    """At once, through its agent's passes, and until it is enabled; then its agent offers the templates again."""
    done = openstack("kongming host disable c1")
    assert (done.code, done.out, done.err) == (0, "", "")
    disabled = [("c1", 0, "disabled", []), ("c1", 1, "disabled", []), ("c2", 0, "enabled", ["gold"])]
    assert listed(openstack) == disabled
    register("c1", two_nodes_smt2())
    assert listed(openstack) == disabled
    assert [node["state"] for node in openstack.json("kongming host show c1")["nodes"]] == ["disabled", "disabled"]
    assert "node 0 (disabled): dedicated_cpus" in openstack("kongming host show c1").out

    assert openstack("kongming host enable c1").code == 0
    assert listed(openstack)[0] == ("c1", 0, "enabled", [])
    register("c1", two_nodes_smt2())
    assert listed(openstack)[:2] == [("c1", 0, "enabled", ["gold"]), ("c1", 1, "enabled", ["gold"])]
    assert hosts


def test_a_single_node(openstack: Shell, hosts: tuple[str, str]) -> None:
    """The other one goes on."""
    assert openstack("kongming host disable c1 --node 1").code == 0
    assert [line[:3] for line in listed(openstack)] == [
        ("c1", 0, "enabled"),
        ("c1", 1, "disabled"),
        ("c2", 0, "enabled"),
    ]
    assert hosts


def test_once_more_changes_nothing(openstack: Shell, placement: PlacementService, hosts: tuple[str, str]) -> None:
    """A host that is disabled stays so, and one that is enabled too."""
    with unchanged(placement.client):
        assert openstack("kongming host enable c1").code == 0
    openstack("kongming host disable c1")
    with unchanged(placement.client):
        assert openstack("kongming host disable c1").code == 0
    assert hosts


def test_a_dry_run_tells_what_is_lost(openstack: Shell, placement: PlacementService, hosts: tuple[str, str]) -> None:
    """A template that no other host offers is a conflict."""
    with unchanged(placement.client):
        done = openstack("kongming host disable c1 --dry-run -f json")
    change = {"effect": "change", "host": "c1", "detail": "offers gold -> no templates"}
    assert done.code == 0
    assert json.loads(done.out) == [change | {"subject": "node 0"}, change | {"subject": "node 1"}]
    openstack("kongming host disable c2")
    before = state_of(placement.client)
    done = openstack("kongming host disable c1 --dry-run -f json")
    assert done.code == 1
    assert json.loads(done.out)[-1] == {
        "effect": "conflict",
        "subject": "template gold",
        "host": "c1",
        "detail": "no other node offers it: new servers get no host",
    }
    assert before == state_of(placement.client)
    enable = openstack.json("kongming host enable c2 --dry-run")
    assert enable == [
        {"effect": "change", "subject": "node 0", "host": "c2", "detail": "its agent offers templates again"}
    ]
    assert hosts


@pytest.mark.parametrize("verb", ["disable", "enable"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("c9", "host 'c9' is no compute node in Placement; see 'openstack kongming host list'\n"),
        ("c3", "host 'c3' has no nodes: no kongming-agent has registered them; see 'openstack kongming host list'\n"),
        ("c1 --node 7", "host 'c1' has no node 7 for templates; it has 0, 1\n"),
    ],
)
def test_what_is_no_host_is_refused(
    openstack: Shell, placement: PlacementService, hosts: tuple[str, str], verb: str, words: str, message: str
) -> None:
    """In one line."""
    assert hosts
    placement.add_host("c3", "c3000000-0000-4000-8000-000000000001")
    done = openstack(f"kongming host {verb} {words}")
    assert (done.code, done.out, done.err) == (1, "", message)


def test_the_list_can_be_narrowed(openstack: Shell, placement: PlacementService, hosts: tuple[str, str]) -> None:
    """To a host, an aggregate, a template; and sorted by what is free."""
    (root,) = placement.client.providers(uuid=hosts[1])
    placement.client.set_aggregates(root.uuid, root.generation, [AGGREGATE])
    assert [line["host"] for line in openstack.json("kongming host list --host c1")] == ["c1", "c1"]
    assert [line["host"] for line in openstack.json("kongming host list --aggregate", AGGREGATE)] == ["c2"]
    assert openstack.json("kongming host list --template bronze") == []
    order = openstack.json("kongming host list --sort-column dedicated_cpus")
    assert [line["dedicated_cpus"]["free"] for line in order] == [3, 6, 6]
    order = openstack.json("kongming host list --sort-column dedicated_cpus --sort-descending")
    assert [line["dedicated_cpus"]["free"] for line in order] == [6, 6, 3]
    long = openstack.json("kongming host list --long --host c2")
    assert [(line["uuid"], line["host_uuid"], line["templates_taken"]) for line in long] == [
        (names.node_uuid(hosts[1], 0), hosts[1], [])
    ]


def test_templates_of_a_host(openstack: Shell, hosts: tuple[str, str]) -> None:
    """Those that it offers."""
    assert [item["name"] for item in openstack.json("kongming template list --host c1")] == ["gold"]
    openstack("kongming host disable c1")
    assert openstack.json("kongming template list --host c1") == []
    assert openstack.json("kongming template list --template silver") == []
    done = openstack("kongming template list --host c9")
    assert (done.code, done.err) == (
        1,
        "host 'c9' has no nodes that take servers; see 'openstack kongming host list'\n",
    )
    assert hosts


def test_the_machine_is_forgotten(openstack: Shell, placement: PlacementService, hosts: tuple[str, str]) -> None:
    """A dry run names the mark; then the nodes have none, and once more nothing changes."""
    client, node = placement.client, names.node_uuid(hosts[1], 0)
    client.ensure_traits([names.machine_trait("0123456789AB")])
    traits = client.traits(node)
    client.set_traits(node, client.providers(uuid=node)[0].generation, {*traits, names.machine_trait("0123456789AB")})

    with unchanged(client):
        planned = openstack.json("kongming host unset c2 --machine --dry-run")
    done = openstack("kongming host unset c2 --machine")
    after = client.traits(node)
    again = openstack("kongming host unset c2 --machine --dry-run")

    detail = {"effect": "change", "subject": "node 0", "host": "c2", "detail": "machine 0123456789AB -> -"}
    assert [detail] == planned
    assert (0, "", traits, "Nothing would change.\n") == (done.code, done.out, after, again.err)
