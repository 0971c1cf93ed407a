# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming server set --all``: what an operator reads, with the real Placement and Nova's API."""

from __future__ import annotations

import pytest
import yaml

from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import PinningTemplate
from testbed.lab.nova_api import NovaApi
from testbed.topologies import two_nodes_smt2
from tests.functional.cli.conftest import Nova, register_host
from tests.functional.cli.shell import Done, Shell
from tests.functional.conftest import PlacementService

TEMPLATES = {
    "gold": "cells: [{vcpus: 0-1, cpus: dedicated}]",
    "silver": "cells: [{vcpus: 0-1, cpus: shared}]",
    "wide": "cells: [{vcpus: 0-3, cpus: shared}]",
}
HOST = "c1"


@pytest.fixture
def openstack(openstack_with_nova: Shell, placement: PlacementService) -> Shell:
    """A cloud with a host and the templates."""
    store = TemplateStore(placement.client)
    for name, text in TEMPLATES.items():
        store.create(PinningTemplate.from_mapping({"name": name, **yaml.safe_load(text)}))
    register_host(placement, HOST, two_nodes_smt2(), CpuSet.parse("0,4,8,12"))
    (root,) = placement.client.providers(name=HOST)
    inventories = {"MEMORY_MB": Inventory(8192), "VCPU": Inventory(16)}
    placement.client.set_inventories(root.uuid, root.generation, inventories)
    return openstack_with_nova


@pytest.fixture
def root(openstack: Shell, placement: PlacementService) -> str:  # noqa: ARG001  # which makes the host
    """The id of the compute node."""
    return placement.client.providers(name=HOST)[0].uuid


@pytest.fixture
def servers(openstack: Shell, nova: Nova, nova_api: NovaApi, placement: PlacementService, root: str) -> dict[str, str]:
    """The ids of running servers by name: two of gold, and one without a template."""
    gold, plain = (nova.create_flavor(name, vcpus=2, memory_mb=512) for name in ("f-gold", "f-plain"))
    assert openstack("kongming flavor set f-gold --template gold").code == 0
    found = {}
    for name, flavor in (("web-1", gold), ("web-2", gold), ("plain", plain)):
        found[name] = nova.create_server(name, flavor)
        nova_api.build(found[name], HOST)
        of_root = {"MEMORY_MB": 512} | ({"VCPU": 2} if flavor == plain else {})
        of_node = {} if flavor == plain else {names.node_uuid(root, 0): {names.PCPU: 2, names.MEMORY_MB: 512}}
        placement.allocate(found[name], {root: of_root, **of_node})
    return found


def templates(openstack: Shell, servers: dict[str, str]) -> dict[str, str]:
    """The template of each server that has one."""
    return {row["name"]: row["template"] for row in openstack.json("kongming server list") if row["name"] in servers}


def leave_room_for_one(placement: PlacementService, root: str) -> None:
    """Let others take the shared pool, of which each node has 8, but for 2 of node 0."""
    for number, nodes in enumerate(((0, 1), (0, 1), (0, 1), (1,))):
        taken = {names.node_uuid(root, node): {names.VCPU: 2} for node in nodes}
        placement.allocate(f"00000000-0000-0000-0000-0000000000a{number}", taken)


SET = "kongming server set --all --with-template gold --template silver"


def test_one_after_the_other(openstack: Shell, servers: dict[str, str]) -> None:
    """A dry run writes nothing; then so many change as are to, and the same command takes up those that are left."""
    report = openstack.json(f"{SET} --dry-run")
    subjects = [f"server {name} ({servers[name]})" for name in ("web-1", "web-2")]
    assert subjects == [line["subject"] for line in report if line["detail"] == "template: gold -> silver"]
    assert {"web-1": "gold", "web-2": "gold"} == templates(openstack, servers)

    left = "1 server left: run the same command again to go on.\n"
    done = openstack(f"{SET} --at-most 1")
    assert Done(0, "", f"1 of 2 servers changed to 'silver'.\n{left}") == done
    assert {"web-1": "silver", "web-2": "gold"} == templates(openstack, servers)
    assert Done(0, "", "1 of 1 server changed to 'silver'.\n") == openstack(f"{SET} --at-most 1")
    assert {"web-1": "silver", "web-2": "silver"} == templates(openstack, servers)
    assert Done(0, "", "None of these servers has template 'gold'.\n") == openstack(SET)


def test_which_servers(openstack: Shell, servers: dict[str, str]) -> None:
    """Those without a template are taken in; host, flavor, beginning of the name and project leave others out."""
    nobody = "None of these servers has template 'gold'.\n"
    assert nobody == openstack(f"{SET} --host c9").err
    assert nobody == openstack(f"{SET} --name-prefix db").err
    assert nobody == openstack(f"{SET} --flavor f-plain").err
    assert 0 == openstack(f"{SET} --name-prefix web-2").code
    project = next(row["project_id"] for row in openstack.json("kongming server list --long"))
    done = openstack(f"kongming server set --all --without-template --project {project} --template gold")
    assert Done(0, "", "1 of 1 server changed to 'gold'.\n") == done
    assert {"plain": "gold", "web-1": "gold", "web-2": "silver"} == templates(openstack, servers)


def test_those_that_cannot(openstack: Shell, servers: dict[str, str], placement: PlacementService, root: str) -> None:
    """They are listed with the reason, and the exit code is 1; the others have changed."""
    leave_room_for_one(placement, root)
    done = openstack(SET, "-f", "json")
    assert (1, "1 of 2 servers changed to 'silver'; 1 could not.\n") == (done.code, done.err)
    (line,) = yaml.safe_load(done.out)
    assert ("conflict", f"server web-2 ({servers['web-2']})", HOST) == (line["effect"], line["subject"], line["host"])
    assert "host c1: node 0 has no room: asked: 2 CUSTOM_KONGMING_VCPU; available: 0" in line["detail"]
    assert {"web-1": "silver", "web-2": "gold"} == templates(openstack, servers)

    shown = openstack(SET)
    assert (1, "0 of 1 server changed to 'silver'; 1 could not.\n") == (shown.code, shown.err)
    assert "| conflict |" in shown.out
    assert 1 == openstack(f"{SET} --dry-run").code


def test_a_dry_run_counts(openstack: Shell, servers: dict[str, str], placement: PlacementService, root: str) -> None:
    """It gives no room away twice, be there as many servers as there may."""
    leave_room_for_one(placement, root)
    report = openstack(SET, "--dry-run", "-f", "json")
    conflicts = [line["subject"] for line in yaml.safe_load(report.out) if line["effect"] == "conflict"]
    assert (1, [f"server web-2 ({servers['web-2']})"]) == (report.code, conflicts)


def test_what_a_server_asks_for_itself_goes(openstack: Shell, servers: dict[str, str], nova: Nova) -> None:
    """Its own template goes from its metadata, also where the command was broken off in between."""
    assert 0 == openstack(SET).code
    nova.call("POST", f"/servers/{servers['web-1']}/metadata", metadata={"kongming:template": "gold"})
    assert Done(0, "", "1 of 1 server changed to 'silver'.\n") == openstack(SET)
    assert {} == nova.metadata(servers["web-1"])


WRONG = {
    f"web-1 {SET}": "say which servers: either one, or --all",
    "--template silver": "say which servers: either one, or --all",
    "web-1 --template silver --at-most 2": "--at-most goes with --all",
    "web-1 --template silver --with-template gold": "--with-template goes with --all",
    "web-1 --template silver --host c1": "--host goes with --all",
    "web-1 --template silver --flavor f-gold": "--flavor goes with --all",
    "--all --template silver": "say which servers: either --with-template or --without-template",
    "--all --template silver --with-template gold --without-template": "either --with-template or --without-template",
    "--all --with-template gold --cpus 1": "--all goes with --template: host CPUs are given to one server at a time",
    "--all --with-template gold": "say what to set: either --template or --cpus",
    "--all --with-template gold --template gold": "they have template 'gold' already",
    "--all --with-template gold --template gone": "no template is named 'gone'",
    "--all --with-template gone --template gold": "no template is named 'gone'",
    "--all --with-template gold --template silver --project x": "no server is of a project with the ID 'x'",
}


def test_wrong_words(openstack: Shell, servers: dict[str, str]) -> None:
    """One message, and 1, and nothing is written."""
    for words, message in WRONG.items():
        done = openstack(f"kongming server set {words.replace('kongming server set ', '')}")
        assert (1, "", 1) == (done.code, done.out, done.err.count("\n")), done.err
        assert message in done.err
    assert "'0' is not a whole number from 1" in openstack(f"{SET} --at-most 0").err
    assert {"web-1": "gold", "web-2": "gold"} == templates(openstack, servers)


def test_another_number_of_vcpus(openstack: Shell, servers: dict[str, str]) -> None:
    """Each server that has another number is listed, and stays as it is."""
    done = openstack("kongming server set --all --with-template gold --template wide -f json")
    assert (1, "0 of 2 servers changed to 'wide'; 2 could not.\n") == (done.code, done.err)
    want = {f"server {name} ({id_}): it has 2 vCPUs and template 'wide' has 4" for name, id_ in servers.items()}
    assert want >= {line["detail"] for line in yaml.safe_load(done.out)}
    assert {"web-1": "gold", "web-2": "gold"} == templates(openstack, servers)
