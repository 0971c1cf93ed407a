# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming report`` through the real shell, against the real Placement and the real Nova API."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from kongming_sched.cli.report.cluster import read_cluster
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.templates import TemplateStore
from testbed.adapters import Counting
from testbed.topologies import two_nodes_smt2
from tests.functional.cli.conftest import NOWHERE, InCloud, Nova, Register, Write
from tests.functional.cli.samples import GOLD
from tests.functional.cli.shell import Shell
from tests.functional.cli.state import unchanged
from tests.functional.cli.test_flavor import GOLD_SPECS
from tests.functional.conftest import PlacementService
from tests.unit.cli.report.test_page import Words

BARE = "ba4e0000-0000-4000-8000-000000000001"


@pytest.fixture
def openstack(openstack_with_nova: Shell, write: Write, register: Register) -> Shell:
    """A cloud of two hosts that offer a template."""
    assert openstack_with_nova("kongming template create --file", write(GOLD)).code == 0
    for name in ("c1", "c2"):
        register(name, two_nodes_smt2())
    return openstack_with_nova


def test_the_page_holds_the_cloud(openstack: Shell, placement: PlacementService, nova: Nova, tmp_path: Path) -> None:
    """Hosts, nodes, what is free, templates, servers of templates, and compute nodes without an agent."""
    client = placement.client
    placement.add_host("plain-1", BARE)
    client.set_traits(BARE, client.providers(uuid=BARE)[0].generation, {"COMPUTE_NODE"})
    [root] = client.providers(name="c1")
    node = next(item for item in client.providers(in_tree=root.uuid) if item.name == "c1_kongming_numa0")
    placement.allocate(str(uuid.uuid4()), {node.uuid: {"CUSTOM_KONGMING_PCPU": 4, "CUSTOM_KONGMING_MEMORY_MB": 512}})
    mark = f"page-{uuid.uuid4()}"
    server = nova.create_server(mark, nova.create_flavor("gold.2", vcpus=2, memory_mb=512, specs=GOLD_SPECS))
    path = tmp_path / "cloud.html"

    with unchanged(client):
        done = openstack("kongming report --title Region-one --html", str(path))
    found = " ".join(Words(path.read_text(encoding="utf-8")).words)

    assert (0, "", "") == (done.code, done.out, done.err)
    assert found.startswith("Region-one Hosts and servers of templates on ")
    assert "2 hosts, with 4 NUMA nodes" in found.replace("hosts, with 4 NUMA nodes 2", "2 hosts, with 4 NUMA nodes")
    assert "c1 gold node 0 CPUs 2 free of 6 GiB 15 free of 16 node 1 CPUs 6 free of 6" in found
    assert "gold vCPU 0-1: dedicated, threads isolate 2" in found
    assert f"{mark} gold BUILD {server}" in found
    assert "1 compute node without NUMA nodes for servers of templates plain-1" in found


def test_it_is_printed(openstack: Shell) -> None:
    """With a dash for the file; without servers Nova is not asked."""
    done = openstack("kongming report --no-servers --html -")

    assert (0, "") == (done.code, done.err)
    assert done.out.startswith("<!DOCTYPE html>")
    assert done.out.endswith("</html>\n")


@pytest.mark.usefixtures("openstack")
def test_nova_is_down(in_cloud: InCloud, placement: PlacementService, tmp_path: Path) -> None:
    """The page is made all the same, and both it and the command say what is missing."""
    path = tmp_path / "cloud.html"
    done = in_cloud(placement.endpoint, NOWHERE)("kongming report --html", str(path))

    assert 0 == done.code
    assert "The servers are not shown: Nova could not list servers: " in done.err
    assert "The servers are not shown: Nova could not list servers: " in path.read_text(encoding="utf-8")


def test_placement_is_down(in_cloud: InCloud, nova: Nova, tmp_path: Path) -> None:
    """Without it there is nothing to show: one message, 1, and no file."""
    done = in_cloud(NOWHERE, nova.endpoint)("kongming report --html", str(tmp_path / "cloud.html"))

    assert (1, "", 1) == (done.code, done.out, done.err.count("\n"))
    assert done.err.startswith("Placement could not be reached: ")
    assert [] == list(tmp_path.glob("*.html"))


def test_a_place_that_cannot_be_written(openstack: Shell, tmp_path: Path) -> None:
    """One message that names it, and nothing half written."""
    path = tmp_path / "no" / "cloud.html"
    done = openstack("kongming report --no-servers --html", str(path))

    assert (1, f"option --html: cannot write {path}: No such file or directory\n") == (done.code, done.err)


def test_an_old_page_is_replaced_whole(openstack: Shell, tmp_path: Path) -> None:
    """And nothing is left beside it."""
    path = tmp_path / "cloud.html"
    path.write_text("old")
    openstack("kongming report --no-servers --html", str(path))

    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert ["cloud.html"] == [item.name for item in tmp_path.glob("*.html*")] + [
        item.name for item in tmp_path.glob(".cloud*")
    ]


@pytest.mark.parametrize("hosts", [1, 8])
def test_as_few_requests_as_for_one_host(placement: PlacementService, register: Register, hosts: int) -> None:
    """Names, summaries, compute nodes: three, however many hosts there are."""
    for number in range(hosts):
        register(f"c{number}", two_nodes_smt2())
    templates = TemplateStore(placement.client).list()
    counting = Counting(placement.adapter)

    cluster = read_cluster(PlacementClient(counting), templates, None)

    assert hosts == len(cluster.hosts)
    assert [("GET", "/resource_providers"), ("GET", "/allocation_candidates"), ("GET", "/resource_providers")] == (
        counting.requests
    )
