# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming server`` through the real shell, against the real Placement and the real Nova API."""

from __future__ import annotations

import json

import pytest
import yaml

from kongming_sched.cli.server_show import read_claims
from kongming_sched.cloud.compute import Flavor, Server
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import PinningTemplate
from testbed.adapters import Counting
from testbed.lab.nova_api import NovaApi
from testbed.topologies import two_nodes_smt2
from tests.functional.cli.conftest import Nova, Register
from tests.functional.cli.shell import Shell
from tests.functional.conftest import PlacementService

TEMPLATES = {
    "pair": "cells: [{vcpus: 0-1, cpus: dedicated}]\noverride: allowed",
    "near": "cells: [{vcpus: 0-1, cpus: dedicated, threads: require}]\noverride: allowed",
    "alone": "cells: [{vcpus: 0-1, cpus: dedicated, threads: isolate}]\noverride: allowed",
    "shut": "cells: [{vcpus: 0-1, cpus: dedicated}]",
    "exact": "cells: [{vcpus: 0-1, cpus: explicit, pins: '5,13'}]\noverride: allowed",
    "elsewhere": "cells: [{vcpus: 0-1, cpus: dedicated, node: 1}]\noverride: allowed",
}
HOST = "c1"
FOREIGN = {"owner": "me"}


@pytest.fixture
def openstack(openstack_with_nova: Shell, placement: PlacementService, register: Register) -> Shell:
    """A cloud with a host and the templates."""
    store = TemplateStore(placement.client)
    for name, text in TEMPLATES.items():
        store.create(PinningTemplate.from_mapping({"name": name, **yaml.safe_load(text)}))
    register(HOST, two_nodes_smt2())
    return openstack_with_nova


@pytest.fixture
def server(
    openstack: Shell, nova: Nova, nova_api: NovaApi, placement: PlacementService, request: pytest.FixtureRequest
) -> str:
    """The id of a running server, by default of the template pair on node 0; its name is ``web-`` and the template."""
    template = getattr(request, "param", "pair")
    flavor = nova.create_flavor(f"f-{template}", vcpus=2, memory_mb=512)
    assert openstack(f"kongming flavor set f-{template} --threads-per-core 2 --template", template).code == 0
    server = nova.create_server(f"web-{template}", flavor, metadata=FOREIGN)
    nova_api.build(server, HOST)
    (root,) = placement.client.providers(name=HOST)
    node = names.node_uuid(root.uuid, 1 if template == "exact" else 0)
    resource = names.slot_class("exact") if template == "exact" else names.PCPU
    amount = {"exact": 1, "alone": 4}.get(template, 2)
    placement.allocate(server, {root.uuid: {"MEMORY_MB": 512}, node: {resource: amount, names.MEMORY_MB: 512}})
    return server


def test_set_show_unset(openstack: Shell, nova: Nova, server: str) -> None:
    """What is set is shown and what is unset is gone; what others wrote stays."""
    nova.call("POST", f"/servers/{server}/metadata", metadata={"kongming:template": "near"})
    assert openstack(f"kongming server set {server} --cpus 0:2;1:10").code == 0
    assert nova.metadata(server) == FOREIGN | {"kongming:template": "near", "kongming:cpus": "0:2;1:10"}
    shown = openstack.json(f"kongming server show {server}")
    assert shown == {
        "name": "web-pair",
        "id": server,
        "host": HOST,
        "state": "ACTIVE",
        "nodes": [{"node": 0, "resources": {"dedicated_cpus": 2, "memory_mb": 512}}],
        "template": "pair",
        "flavor_template": "pair",
        "override_template": "near",
        "override_cpus": "0:2;1:10",
        "problem": None,
    }
    assert openstack(f"kongming server unset {server} --template").code == 0
    assert nova.metadata(server) == FOREIGN | {"kongming:cpus": "0:2;1:10"}
    assert openstack(f"kongming server unset {server} --cpus").code == 0
    assert nova.metadata(server) == FOREIGN
    done = openstack(f"kongming server unset {server} --cpus --template")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_the_older_key_gives_way(openstack: Shell, nova: Nova, server: str) -> None:
    """It is shown, replaced and unset like the new one."""
    nova.call("POST", f"/servers/{server}/metadata", metadata={"kongming-vcpu-pinning": "1-2"})
    assert openstack.json(f"kongming server show {server}")["override_cpus"] == "1-2"
    assert openstack(f"kongming server set {server} --cpus 2-3").code == 0
    assert nova.metadata(server) == FOREIGN | {"kongming:cpus": "2-3"}
    nova.call("POST", f"/servers/{server}/metadata", metadata={"kongming-vcpu-pinning": "1-2"})
    assert openstack(f"kongming server unset {server} --cpus").code == 0
    assert nova.metadata(server) == FOREIGN


def test_dry_run(openstack: Shell, nova: Nova, server: str) -> None:
    """Says what would change and where the server would go, and changes nothing."""
    nova.call("POST", f"/servers/{server}/metadata", metadata={"kongming:cpus": "1-2"})
    asked = ("set --cpus 2,10", "unset --cpus")
    reports = [openstack.json(f"kongming server {words} {server} --dry-run") for words in asked]
    assert [[(line["effect"], line["host"], line["detail"]) for line in report] for report in reports] == [
        [
            ("change", HOST, "kongming:cpus: 1-2 -> 2,10"),
            ("move", HOST, "its vCPUs to CPU 2,10"),
        ],
        [
            ("change", HOST, "kongming:cpus: 1-2 -> -"),
            ("move", HOST, "its vCPUs to where template 'pair' has them"),
        ],
    ]
    done = openstack(f"kongming server set --cpus 1-2 {server} --dry-run -f json")
    assert (done.code, done.out.strip(), done.err) == (0, "[]", "Nothing would change.\n")
    done = openstack(f"kongming server set --cpus 1 {server} --dry-run -f value -c effect")
    assert (done.code, done.out.split()) == (1, ["change", "conflict"])
    assert nova.metadata(server) == FOREIGN | {"kongming:cpus": "1-2"}


WRONG = {
    "shut": {"--cpus 1-2": "template 'shut' is not open to the metadata of servers"},
    "exact": {"--cpus 5,7": "host CPU 7 is none of those that template 'exact' sets aside"},
    "pair": {
        "--cpus 1": "each vCPU has one host CPU, and 1 is 1 for vCPU 0-1",
        "--cpus gold": "'gold' is neither a number nor a range",
        "--cpus 0:1;2:3": "the server has no vCPU 2; it has 0-1",
    },
}


@pytest.mark.parametrize("server", WRONG, indirect=True)
def test_set_writes_nothing_that_is_wrong(openstack: Shell, nova: Nova, server: str) -> None:
    """One message, and 1."""
    template = openstack.json(f"kongming server show {server}")["flavor_template"]
    for words, message in WRONG[template].items():
        done = openstack(f"kongming server set {server} {words}")
        assert (done.code, done.out) == (1, "")
        assert message in done.err
        assert done.err.count("\n") == 1
    assert nova.metadata(server) == FOREIGN


def test_unset_leaves_nothing_that_is_wrong(openstack: Shell, nova: Nova, server: str) -> None:
    """Pins that are not for the flavor's template go first."""
    wrong = {"kongming:template": "near", "kongming:cpus": "gold"}
    nova.call("POST", f"/servers/{server}/metadata", metadata=wrong)
    assert "'gold' is neither" in openstack.json(f"kongming server show {server}")["problem"]
    assert openstack(f"kongming server unset {server} --template").code == 1
    assert openstack(f"kongming server unset {server} --template --cpus").code == 0
    assert nova.metadata(server) == FOREIGN


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param("set web", "say what to set: either --template or --cpus", id="set nothing"),
        pytest.param("unset web", "say what to unset: --template, --cpus, or both", id="unset nothing"),
        pytest.param(
            "show nobody", "there is no server 'nobody'; see 'openstack server list --all-projects'", id="gone"
        ),
        pytest.param("show dup", "2 servers are named; say by id which one is meant, not 'dup'", id="two of a name"),
        pytest.param("set plain --cpus 1", "the flavor of server 'plain' names no template", id="no template"),
    ],
)
def test_wrong_words(openstack_with_nova: Shell, nova: Nova, words: str, message: str) -> None:
    """One message, and 1; a server may be named by its name."""
    flavor = nova.create_flavor("plain", vcpus=1)
    if "dup" in words or "plain" in words:
        for name in ("dup", "dup") if "dup" in words else ("plain",):
            nova.create_server(name, flavor)
    done = openstack_with_nova(f"kongming server {words}")
    assert (done.code, done.out) == (1, "")
    assert message in done.err


def test_claims_are_read_by_node_or_by_server(placement: PlacementService, register: Register) -> None:
    """Whichever are fewer; it comes to the same."""
    root = register(HOST, two_nodes_smt2())
    nodes = [names.node_uuid(root, number) for number in range(2)]
    flavor = Flavor("", "f", 1, 64, {})
    servers = [
        Server(f"5e00e000-0000-4000-8000-00000000000{index}", f"s{index}", flavor, {}, HOST) for index in range(3)
    ]
    for index, server in enumerate(servers):
        placement.allocate(server.id, {root: {"MEMORY_MB": 64}, nodes[index % 2]: {names.PCPU: 1}})
    counting = Counting(placement.adapter)
    client = PlacementClient(counting)
    providers = client.providers(required=names.HW_NUMA_ROOT)
    counting.requests.clear()

    many = read_claims(client, servers, providers)
    few = read_claims(client, servers[:1], providers)

    assert {server.id: {index % 2: {names.PCPU: 1}} for index, server in enumerate(servers)} == many
    assert {servers[0].id: many[servers[0].id]} == few
    by_node = [f"/resource_providers/{uuid}/allocations" for uuid in nodes]
    assert sorted([*by_node, f"/allocations/{servers[0].id}"]) == sorted(url for _, url in counting.requests)


NASTY = "1\x1b[31m\x07\u202e"
"""What Nova takes for metadata."""


@pytest.mark.parametrize(
    "command",
    [
        *(f"list --long -f {formatter}" for formatter in ("table", "csv", "value")),
        *(f"show web-pair -f {formatter}" for formatter in ("table", "shell", "value")),
    ],
)
def test_metadata_do_not_reach_the_terminal(openstack: Shell, nova: Nova, server: str, command: str) -> None:
    """What others wrote is shown, without what a terminal would obey."""
    nova.call("POST", f"/servers/{server}/metadata", metadata={"kongming:cpus": NASTY})
    done = openstack(f"kongming server {command}")
    assert (done.code, done.err) == (0, "")
    assert "1�[31m��" in done.out
    assert all(line.isprintable() for line in done.out.split("\n"))


@pytest.mark.parametrize("command", ["list --long", "show web-pair"])
def test_metadata_are_exact_as_json(openstack: Shell, nova: Nova, server: str, command: str) -> None:
    """Programs get what Nova has, in characters that can be printed."""
    nova.call("POST", f"/servers/{server}/metadata", metadata={"kongming:cpus": NASTY})
    done = openstack(f"kongming server {command} -f json")
    found = json.loads(done.out)
    assert NASTY == (found[0] if isinstance(found, list) else found)["override_cpus"]
    assert all(line.isprintable() for line in done.out.split("\n"))


def test_names_do_not_reach_the_terminal_by_an_error(openstack: Shell) -> None:
    """Neither by what is quoted, nor by what is not."""
    done = openstack("kongming server show", "web\x1b[31m")
    assert done.code == 1
    assert all(line.isprintable() for line in done.err.split("\n"))
