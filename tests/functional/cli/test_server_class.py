# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming server set --template``: servers change their class, with the real Placement and Nova's API."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest
import yaml

from kongming_sched import exceptions
from kongming_sched.cloud.classes.change import ClassChanger
from kongming_sched.cloud.compute import Flavor, Server
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.classes.request_ids import request_words
from kongming_sched.placement.client import Inventory, PlacementClient
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import PinningTemplate
from testbed.adapters import Counting, Failing, Failure
from testbed.lab.nova_api import NovaApi
from testbed.topologies import two_nodes_smt2
from tests.functional.cli.conftest import Nova, Write, register_host
from tests.functional.cli.shell import Shell
from tests.functional.conftest import PlacementService

TEMPLATES = {
    "gold": "cells: [{vcpus: 0-1, cpus: dedicated}]",
    "silver": "cells: [{vcpus: 0-1, cpus: shared}]",
    "alone": "cells: [{vcpus: 0-1, cpus: dedicated, threads: isolate}]",
    "exact": "cells: [{vcpus: 0-1, cpus: explicit, pins: '5,13'}]",
    "twin": "cells: [{vcpus: '0', cpus: dedicated}, {vcpus: '1', cpus: dedicated}]",
    "loose": "cells: [{vcpus: 0-1, cpus: shared, memory: none}]",
    "wide": "cells: [{vcpus: 0-3, cpus: shared}]",
    "paged": "cells: [{vcpus: 0-1, cpus: dedicated, pages: 2MiB}]",
}
HOST = "c1"


@pytest.fixture
def openstack(openstack_with_nova: Shell, placement: PlacementService) -> Shell:
    """A cloud with a host and the templates."""
    store = TemplateStore(placement.client)
    for name, text in TEMPLATES.items():
        store.create(PinningTemplate.from_mapping({"name": name, **yaml.safe_load(text)}))
    register_host(placement, HOST, two_nodes_smt2(), CpuSet.parse("0,4,8,12"))
    return openstack_with_nova


@pytest.fixture
def root(openstack: Shell, placement: PlacementService) -> str:  # noqa: ARG001  # which makes the host
    """The id of the compute node."""
    (root,) = placement.client.providers(name=HOST)
    inventories = {"MEMORY_MB": Inventory(8192), "VCPU": Inventory(16)}
    placement.client.set_inventories(root.uuid, root.generation, inventories)
    return root.uuid


@pytest.fixture
def server(openstack: Shell, nova: Nova, nova_api: NovaApi, placement: PlacementService, root: str) -> str:
    """The id of a running server of the template gold on node 0."""
    flavor = nova.create_flavor("f-gold", vcpus=2, memory_mb=512)
    assert openstack("kongming flavor set f-gold --template gold").code == 0
    server = nova.create_server("web", flavor)
    nova_api.build(server, HOST)
    node = {names.PCPU: 2, names.MEMORY_MB: 512}
    placement.allocate(server, {root: {"MEMORY_MB": 512}, names.node_uuid(root, 0): node})
    return server


@pytest.fixture
def ordinary(openstack: Shell, nova: Nova, nova_api: NovaApi, placement: PlacementService, root: str) -> str:  # noqa: ARG001
    """The id of a running server whose flavor names no template."""
    server = nova.create_server("plain", nova.create_flavor("f-plain", vcpus=2, memory_mb=512))
    nova_api.build(server, HOST)
    placement.allocate(server, {root: {"VCPU": 2, "MEMORY_MB": 512}})
    return server


def claimed(placement: PlacementService, server: str, root: str) -> dict[str, dict[str, int]]:
    """What a server has claimed, by "root" and the numbers of nodes."""
    claim = placement.client.claim(server)
    assert claim is not None
    words = {root: "root", names.node_uuid(root, 0): "0", names.node_uuid(root, 1): "1"}
    return {words[uuid]: dict(amounts) for uuid, amounts in claim.resources.items()}


def recorded(placement: PlacementService, server: str) -> list[str]:
    """The templates on whose class providers a server is recorded."""
    record = placement.client.claim(names.class_consumer(server))
    return [name for name in TEMPLATES if record and names.class_uuid(name) in record.resources]


GOLD = {"root": {"MEMORY_MB": 512}, "0": {names.PCPU: 2, names.MEMORY_MB: 512}}
SILVER = {"root": GOLD["root"], "0": {names.VCPU: 2, names.MEMORY_MB: 512}}
PLAIN = {"root": {"VCPU": 2, "MEMORY_MB": 512}}
TAKEN_IN = {"root": GOLD["root"], "1": GOLD["0"]}
"""On the fullest node: that of which a template has CPUs set aside."""


def test_set_and_unset(openstack: Shell, placement: PlacementService, server: str, root: str) -> None:
    """The claim is that of the other template, and then that of the flavor's again; the record goes with it."""
    assert openstack("kongming server set web --template silver").code == 0
    assert (SILVER, ["silver"]) == (claimed(placement, server, root), recorded(placement, server))
    shown = openstack.json("kongming server show web")
    assert ("silver", "gold") == (shown["template"], shown["flavor_template"])

    assert openstack("kongming server unset web --template").code == 0
    assert (GOLD, []) == (claimed(placement, server, root), recorded(placement, server))
    assert "gold" == openstack.json("kongming server show web")["template"]


def test_the_record_names_the_command(openstack: Shell, placement: PlacementService, server: str) -> None:
    """Its number is the beginning of the id by which Placement logs the command; another command leaves another one."""
    found = []
    for words in ("--template silver --node 0", "--template silver --node 1"):
        done = openstack(f"-v kongming server set web {words}")
        record = placement.client.claim(names.class_consumer(server))
        assert record
        (amounts,) = record.resources.values()
        request = request_words(amounts[names.CLASS_REQUEST])
        assert f"Placement and Nova log this command as {request}-" in done.err
        found.append(request)
    assert found[0] != found[1]


def test_from_class_to_class(openstack: Shell, placement: PlacementService, server: str, root: str) -> None:
    """A server has one class; the flavor's own template is none."""
    for template in ("silver", "alone"):
        assert openstack(f"kongming server set web --template {template}").code == 0
    want = {"root": GOLD["root"], "0": {names.PCPU: 4, names.MEMORY_MB: 512}}
    assert (want, ["alone"]) == (claimed(placement, server, root), recorded(placement, server))

    assert openstack("kongming server set web --template gold").code == 0
    assert (GOLD, []) == (claimed(placement, server, root), recorded(placement, server))


def test_a_server_of_before(openstack: Shell, placement: PlacementService, ordinary: str, root: str) -> None:
    """A server whose flavor names no template is taken in, and takes no CPUs of the compute node; then it is let go."""
    assert openstack("kongming server set plain --template gold --node 1").code == 0
    want = {"root": GOLD["root"], "1": GOLD["0"]}
    assert (want, ["gold"]) == (claimed(placement, ordinary, root), recorded(placement, ordinary))
    shown = openstack.json("kongming server show plain")
    assert ("gold", None) == (shown["template"], shown["flavor_template"])

    assert openstack("kongming server unset plain --template").code == 0
    assert (PLAIN, []) == (claimed(placement, ordinary, root), recorded(placement, ordinary))


def test_dry_run(openstack: Shell, placement: PlacementService, server: str, ordinary: str, root: str) -> None:
    """Says what would be written and where the server would go, and writes nothing."""

    def lines(words: str) -> list[tuple[str, str]]:
        report = openstack.json(f"kongming server {words} --dry-run")
        assert {HOST} == {line["host"] for line in report}
        return [(line["effect"], line["detail"]) for line in report]

    assert lines("set web --template silver") == [
        ("change", "template: gold -> silver"),
        ("change", "claim of node 0: dedicated_cpus 2, memory_mb 512 -> shared_vcpus 2, memory_mb 512"),
        ("move", "its vCPUs to where template 'silver' has them, on node 0"),
    ]
    assert lines("set plain --template gold --node 1") == [
        ("change", "template: - -> gold"),
        ("change", "claim of node 1: - -> dedicated_cpus 2, memory_mb 512"),
        ("change", "claim of VCPU of the compute node: 2 -> -"),
        ("move", "its vCPUs to where template 'gold' has them, on node 1"),
    ]
    done = openstack("kongming server set web --template gold --dry-run -f json")
    assert (0, "[]", "Nothing would change.\n") == (done.code, done.out.strip(), done.err)
    assert (GOLD, PLAIN) == (claimed(placement, server, root), claimed(placement, ordinary, root))
    assert [] == recorded(placement, server)


def test_metadata_gives_way(openstack: Shell, nova: Nova, server: str) -> None:
    """What the server's metadata says of a template is deleted; what does not fit the new one must go first."""
    nova.call("POST", f"/servers/{server}/metadata", metadata={"kongming:template": "alone", "kongming:cpus": "1-2"})
    done = openstack("kongming server set web --template silver")
    assert (1, 1) == (done.code, done.err.count("\n"))
    assert "template 'silver' is not open to the metadata of servers" in done.err
    assert openstack("kongming server unset web --cpus --template").code == 0
    nova.call("POST", f"/servers/{server}/metadata", metadata={"kongming:template": "alone"})
    assert openstack("kongming server set web --template silver").code == 0
    assert {} == nova.metadata(server)


WRONG = {
    "--template wide": "it has 2 vCPUs and template 'wide' has 4",
    "--template paged": "Nova lays out the servers of template 'paged' (pages, guest_numa, realtime, devices)",
    "--template gone": "no template is named 'gone'",
    "--template silver --node 7": "its host has no node 7 in Placement; it has 0, 1",
    "--template exact --node 0": "node 0 does not offer template 'exact'",
    "--template twin --node 0": "its cells are on several nodes, so that none can be named",
    "--template silver --cpus 1": "say what to set: either --template or --cpus",
    "--cpus 1 --node 0": "--node goes with --template",
}


def test_wrong_words(openstack: Shell, placement: PlacementService, server: str, root: str) -> None:
    """One message, and 1, and nothing is written."""
    for words, message in WRONG.items():
        done = openstack(f"kongming server set web {words}")
        assert (1, "", 1) == (done.code, done.out, done.err.count("\n")), done.err
        assert message in done.err
    assert (GOLD, []) == (claimed(placement, server, root), recorded(placement, server))


def test_a_node_is_a_number(openstack: Shell, server: str) -> None:  # noqa: ARG001
    """Anything else is an error of usage."""
    assert "'x' is not the number of a NUMA node" in openstack("kongming server set web --template gold --node x").err


def test_does_not_fit(openstack: Shell, placement: PlacementService, server: str, root: str) -> None:
    """The reason is said for each node; what the server has itself counts as free."""
    taken = {names.node_uuid(root, 0): {names.PCPU: 4}, names.node_uuid(root, 1): {names.PCPU: 3}}
    placement.allocate("00000000-0000-0000-0000-0000000000aa", taken)
    done = openstack("kongming server set web --template alone --dry-run -f json")
    assert 1 == done.code
    assert "node 0 has no room: asked: 4 CUSTOM_KONGMING_PCPU; available: " in done.out
    assert "node 1 has no room" in done.out
    assert GOLD == claimed(placement, server, root)


def test_a_taken_slot(openstack: Shell, placement: PlacementService, server: str, root: str) -> None:  # noqa: ARG001
    """Explicit CPUs are of one server."""
    placement.allocate(
        "00000000-0000-0000-0000-0000000000aa", {names.node_uuid(root, 1): {names.slot_class("exact"): 1}}
    )
    done = openstack("kongming server set web --template exact")
    assert "node 1 has no room: asked: 1 CUSTOM_KONGMING_SLOT_EXACT; available: 0" in done.err


def test_a_template_with_servers_stays(
    openstack: Shell,
    placement: PlacementService,
    server: str,  # noqa: ARG001
    write: Write,
) -> None:
    """It cannot be deleted, even by force, nor take anything else, until they have another one."""
    assert openstack("kongming server set web --template silver").code == 0
    changed = write("name: silver\ncells: [{vcpus: 0-1, cpus: shared, memory: none}]")
    done = openstack("kongming template set silver --file", changed)
    assert "template 'silver' is in use by 1 server instead of the flavor's template" in done.err
    done = openstack("kongming template delete silver --force")
    assert "template 'silver' is in use by 1 server instead of the flavor's template" in done.err
    assert "silver" in openstack("kongming template list").out
    assert openstack("kongming server unset web --template").code == 0
    assert openstack("kongming template delete silver --force").code == 0
    assert [] == placement.client.providers(name=names.class_provider_name("silver"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"status": "ERROR"}, "it is ERROR, and only servers that are ACTIVE or SHUTOFF can", id="error"),
        pytest.param(
            {"status": "RESIZE", "task": "resize_migrating"},
            "Nova is busy with it (resize_migrating)",
            id="is being resized",
        ),
        pytest.param({"status": "VERIFY_RESIZE"}, "it is VERIFY_RESIZE", id="resized"),
        pytest.param({"task": "migrating"}, "Nova is busy with it (migrating); try again later", id="migrates"),
        pytest.param({"host": "", "status": "SHELVED_OFFLOADED"}, "it is on no host (SHELVED_OFFLOADED)", id="shelved"),
        pytest.param({"host": "c9"}, "its host c9 is no compute node in Placement", id="unknown host"),
        pytest.param({"id": "00000000-0000-0000-0000-0000000000ff"}, "it has no claim in Placement", id="no claim"),
    ],
)
def test_servers_that_cannot(
    placement: PlacementService, server: str, root: str, changes: dict[str, str], message: str
) -> None:
    """A server that Nova moves, or that is on no host, is refused with the reason, and nothing is written."""
    fields: dict[str, Any] = {"id": server, "host": HOST, "status": "ACTIVE", **changes}
    asked = Server(name="web", flavor=Flavor("", "f", 2, 512, {}), **fields)
    changer = ClassChanger(placement.client, TemplateStore(placement.client))
    with pytest.raises(exceptions.ClassRefused, match=r"server web \(") as caught:
        changer.change(asked, "silver")
    assert message in str(caught.value)
    assert (GOLD, []) == (claimed(placement, server, root), recorded(placement, server))


def plain_server(uuid: str) -> Server:
    """The ordinary server as Nova has it."""
    return Server(uuid, "plain", Flavor("", "f-plain", 2, 512, {}), {}, HOST, "ACTIVE")


@pytest.mark.parametrize("failure", list(Failure))
def test_failing_at_any_request(placement: PlacementService, ordinary: str, root: str, failure: Failure) -> None:
    """Whichever request fails, the server has the old claim and no class, or the new claim and its class."""
    counting = Counting(placement.adapter)
    ClassChanger(PlacementClient(counting), TemplateStore(PlacementClient(counting))).change(
        plain_server(ordinary), "gold"
    )
    count = len(counting.requests)
    undo = ClassChanger(placement.client, TemplateStore(placement.client))
    for number in range(count):
        undo.change(plain_server(ordinary), None)
        adapter = Failing(placement.adapter, number, failure)
        changer = ClassChanger(PlacementClient(adapter), TemplateStore(PlacementClient(adapter)))
        with contextlib.suppress(exceptions.KongMingError):
            changer.change(plain_server(ordinary), "gold")
        now = claimed(placement, ordinary, root), recorded(placement, ordinary)
        assert now in ((PLAIN, []), (TAKEN_IN, ["gold"]))


def test_few_requests(placement: PlacementService, ordinary: str) -> None:
    """A change needs so many requests of Placement, once the template has servers of its own."""
    store = TemplateStore(placement.client)
    ClassChanger(placement.client, store).change(plain_server(ordinary), "gold")
    ClassChanger(placement.client, store).change(plain_server(ordinary), None)
    counting = Counting(placement.adapter)
    ClassChanger(PlacementClient(counting), TemplateStore(PlacementClient(counting))).change(
        plain_server(ordinary), "gold"
    )
    assert ["POST /allocations"] == [f"{method} {url}" for method, url in counting.requests if method != "GET"]


def test_list(openstack: Shell, server: str, ordinary: str) -> None:
    """Servers are listed by the template that they have, be it their flavor's or not."""
    assert openstack("kongming server set plain --template gold").code == 0
    assert openstack("kongming server set web --template silver").code == 0
    rows = openstack.json("kongming server list --long")
    found = {row["id"]: (row["template"], row["flavor_template"]) for row in rows if row["id"] in (server, ordinary)}
    assert {server: ("silver", "gold"), ordinary: ("gold", None)} == found
    assert "web" not in openstack("kongming server list --template gold -f value -c name").out
    assert openstack("kongming server unset web --template").code == 0
    assert openstack("kongming server unset plain --template").code == 0


def test_explain_says_both_templates(openstack: Shell, server: str, ordinary: str) -> None:  # noqa: ARG001
    """Where a server has another template than its flavor names; hosts are judged by the flavor."""
    assert "" == openstack("kongming explain --server web").err
    assert openstack("kongming server set web --template silver").code == 0
    done = openstack("kongming explain --server web")
    assert "server web has template 'silver' now, and its flavor names 'gold', by which Nova claims first" in done.err
    by_flavor = openstack("kongming explain --flavor f-gold")
    assert (0, "", by_flavor.out) == (done.code, by_flavor.err, done.out)

    assert openstack("kongming server set plain --template gold").code == 0
    assert (
        "server plain has template 'gold' now, and its flavor names none"
        in openstack("kongming explain --server plain").err
    )
    assert "there is no server 'nobody'" in openstack("kongming explain --server nobody").err
    assert "not allowed with argument" in openstack("kongming explain --server web --flavor f-gold").err


def test_a_server_that_is_gone(openstack: Shell, placement: PlacementService, ordinary: str) -> None:
    """The list names what is left of its class, and unset deletes it."""
    gone = "00000000-0000-0000-0000-0000000000ee"
    store = TemplateStore(placement.client)
    assert openstack("kongming server set plain --template gold").code == 0
    record = placement.client.claim(names.class_consumer(ordinary))
    assert record is not None
    placement.client.replace_claims(
        [replace(record, consumer=names.class_consumer(gone), generation=None, user_id=gone)]
    )
    assert 2 == len(store.read_classes(store.list()))

    done = openstack("kongming server list")
    assert f"that Nova does not list, or that have another flavor now: {gone}; 'openstack" in done.err

    assert openstack(f"kongming server unset {gone} --template").code == 0
    assert 1 == len(store.read_classes(store.list()))
    assert "there is no server" in openstack(f"kongming server unset {gone} --template").err
