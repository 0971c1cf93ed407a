# SPDX-License-Identifier: Apache-2.0
"""The page of a whole cloud as text, and the values that it shows."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from datetime import datetime, timezone
from html.parser import HTMLParser

import pytest

from kongming_sched.cli.report.cluster import NOTHING, Amount, Cluster, make_cluster
from kongming_sched.cli.report.page import report_page
from kongming_sched.cloud.capacity import DISABLED
from kongming_sched.cloud.compute import Flavor, Server
from kongming_sched.cloud.hosts import hosts_of
from kongming_sched.cloud.nodes import nodes_of
from kongming_sched.placement import names
from kongming_sched.placement.summaries import ProviderSummary
from kongming_sched.placement.templates import StoredTemplate, TemplateList
from kongming_sched.request import TEMPLATE_KEY
from kongming_sched.template import PinningTemplate
from tests.unit.cli.report.sample_clusters import NASTY, node, server, small_cloud

AT = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
ROOT, OTHER = "c1c1c1c1-0000-4000-8000-000000000001", "c2c2c2c2-0000-4000-8000-000000000002"
GOLD = PinningTemplate.from_mapping({"name": "gold", "cells": [{"vcpus": "0-1", "cpus": "dedicated"}]})


class Words(HTMLParser):
    """The texts of a page, of its body alone."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self._silent = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  # the base's
        """Leave out what is no text."""
        self._silent += tag in ("style", "script", "title")

    def handle_endtag(self, tag: str) -> None:
        """Go on after it."""
        self._silent -= tag in ("style", "script", "title")

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        if data.strip() and not self._silent:
            self.words.append(data.strip())


def test_a_page_is_of_characters() -> None:
    """Whatever names there are, no control character and no half of a character is on it."""
    nasty = "a\x1b[2J\x07\ud800\u202e"
    cluster = replace(small_cloud(), bare_hosts=(nasty,), notes=(nasty,))
    text = report_page(cluster, AT, nasty)
    assert text.count("a�[2J���") == 4
    assert all(line.isprintable() for line in text.split("\n"))
    assert text.encode().decode() == text


def words(cluster: Cluster) -> list[str]:
    """The texts of a cloud's page."""
    return Words(report_page(cluster, AT)).words


def test_numbers_say_what_bars_do() -> None:
    """Nothing is shown by a colour or a length alone."""
    found = " ".join(words(small_cloud()))
    assert "alpha gold node 0 CPUs 12 free of 16 GiB 60 free of 64 node 1 CPUs 16 free of 16" in found
    assert "beta gold node 0 CPUs full of 16 GiB 48 free of 64" in found
    assert "gamma disabled gold node 0" in found
    assert "shared 5 free of 8 GiB 1 free of 2.5" in found


def test_huge_pages_are_shown_by_their_size() -> None:
    """Where some host has them, the smallest first."""
    cloud = small_cloud()
    first = cloud.hosts[0].nodes[0]
    pages = {"1GiB": Amount(4, 8), "2MiB": Amount(0, 1024)}
    nodes = (replace(first, amounts={**first.amounts, **pages}), *cloud.hosts[0].nodes[1:])
    found = " ".join(words(replace(cloud, hosts=(replace(cloud.hosts[0], nodes=nodes), *cloud.hosts[1:]))))
    assert "node 0 CPUs 12 free of 16 GiB 60 free of 64 2MiB pages 1,024 free of 1,024 1GiB pages 4 free of 8" in found
    assert "pages of 2MiB free 1,024 of 1,024 pages of 1GiB free 4 of 8" in found
    assert "pages" not in " ".join(words(cloud))


def test_nodes_that_differ_say_each_what_they_offer() -> None:
    """Else the host says it once."""
    found = " ".join(words(small_cloud()))
    assert "delta node 0 CPUs 14 free of 16 GiB 62 free of 64 disabled gold, silver node 1" in found


def test_a_server_with_another_template_than_its_flavors() -> None:
    """Both are shown, or that the flavor names none."""
    cloud = small_cloud()
    changed = replace(server(7, "moved", "silver"), flavor_template="gold")
    taken_in = replace(server(8, "plain", "silver"), flavor_template=None)
    hosts = (replace(cloud.hosts[0], servers=(changed, taken_in, server(9, "own", "silver"))),)
    found = words(replace(cloud, hosts=hosts))
    at = {name: found[found.index(name) + 1] for name in ("moved", "plain", "own")}
    assert {"moved": "silver (flavor: gold)", "plain": "silver (flavor: none)", "own": "silver"} == at


def test_a_servers_name_is_a_text() -> None:
    """What a user wrote runs nowhere and opens no element; one script is allowed, by its digest."""
    text = report_page(small_cloud(), AT, NASTY)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert 1 == len(scripts)
    assert f"script-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text
    assert NASTY not in text
    assert NASTY in Words(text).words


def test_servers_that_nova_does_not_tell_of_are_not_none() -> None:
    """There is a dash where a number would be, and no row says that it has no servers."""
    cloud = small_cloud()
    hosts = tuple(replace(host, servers=None) for host in cloud.hosts)
    templates = tuple(replace(template, servers=None) for template in cloud.templates)
    found = words(replace(cloud, hosts=hosts, templates=templates, servers=None, homeless=()))
    assert [] == [word for word in found if re.fullmatch(r"\d+ servers?", word)]
    assert "-" == found[found.index("servers of templates") + 1]


def test_a_cloud_without_anything() -> None:
    """It has a page all the same."""
    found = words(Cluster((), ()))
    assert "0 hosts" in found
    assert "There is no template yet: openstack kongming template create" in found


@pytest.mark.parametrize("used", [17, 40])
def test_more_may_be_used_than_there_is(used: int) -> None:
    """As after a pool has shrunk: the bar is full and no number is below nothing."""
    cloud = replace(small_cloud(), hosts=(replace(small_cloud().hosts[0], nodes=(node(0, used),)),))
    text = report_page(cloud, AT)
    assert "--part:100%" in text
    assert "full of 16" in " ".join(Words(text).words)
    assert 0 == Amount(used, 16).free


def test_a_thousand_hosts_stay_small() -> None:
    """A host of two nodes with ten servers takes less than 3 kB, so that 1,000 of them are less than 3 MB."""
    cloud = small_cloud()
    servers = tuple(server(number, f"a-name-of-the-usual-length-{number}") for number in range(10))
    host = replace(cloud.hosts[0], name="compute-0000.rack-00.example.org", servers=servers)
    one, eleven = (len(report_page(replace(cloud, hosts=(host,) * count), AT).encode()) for count in (1, 11))
    assert 3000 > (eleven - one) / 10


def summary(uuid: str, root: str, capacity: dict[str, int], used: dict[str, int], *traits: str) -> ProviderSummary:
    """A provider as Placement summarises it."""
    parent = None if uuid == root else root
    return ProviderSummary(uuid, root, parent, frozenset(traits), capacity, used)


def read(servers: list[Server] | str | None) -> Cluster:
    """A cloud of a host with two nodes and of one that is disabled, put together of what is read."""
    gold = names.template_trait("gold")
    node = {names.NODE: 1, names.PCPU: 8, names.MEMORY_MB: 4096}
    summaries = [
        summary(ROOT, ROOT, {"MEMORY_MB": 8192}, {}),
        summary(names.node_uuid(ROOT, 0), ROOT, node, {names.PCPU: 3, names.MEMORY_MB: 1024}, gold),
        summary(names.node_uuid(ROOT, 1), ROOT, node, {}, names.DISABLED),
        summary(OTHER, OTHER, {"MEMORY_MB": 8192}, {}, DISABLED),
        summary(names.node_uuid(OTHER, 0), OTHER, node, {}, gold),
    ]
    provider_names = {
        names.node_uuid(root, number): names.node_name(name, number)
        for root, name, number in ((ROOT, "c1", 0), (ROOT, "c1", 1), (OTHER, "c2", 0))
    }
    nodes = nodes_of(provider_names, (item for item in summaries if names.NODE in item.capacity))
    templates = TemplateList({"gold": StoredTemplate(GOLD, 1)}, ())
    return make_cluster(nodes, hosts_of(provider_names, summaries), templates, servers)


def test_what_is_read_is_put_in_its_place() -> None:
    """Nodes with their hosts, servers of templates with theirs, and those that are on no host apart."""
    flavor, plain = Flavor("", "gold.2", 2, 512, {TEMPLATE_KEY: "gold"}), Flavor("", "m1", 2, 512, {})
    cluster = read(
        [
            Server("2", "web-2", flavor, {}, "c1", "ACTIVE"),
            Server("1", "web-1", flavor, {}, "c1", "ACTIVE"),
            Server("3", "plain", plain, {}, "c1", "ACTIVE"),
            Server("4", "shelved", flavor, {}, "", "SHELVED_OFFLOADED"),
        ]
    )
    first, second = cluster.hosts
    assert [("c1", False, [0, 1]), ("c2", True, [0])] == [
        (host.name, host.is_disabled, [node.id for node in host.nodes]) for host in (first, second)
    ]
    assert [Amount(3, 16), Amount(1024, 8192), NOTHING] == [
        first.total(name) for name in ("dedicated_cpus", "memory_mb", "shared_vcpus")
    ]
    assert [False, True] == [node.is_disabled for node in first.nodes]
    assert [["web-1", "web-2"], []] == [[server.name for server in host.servers or ()] for host in cluster.hosts]
    assert ["shelved"] == [server.name for server in cluster.homeless]
    assert 3 == cluster.servers


def test_room_for_more_servers() -> None:
    """As the command capacity counts it: not on hosts or nodes that are disabled."""
    [template] = read([]).templates
    assert ("gold", ("vCPU 0-1: dedicated, threads any",), 2, 0) == (
        template.name,
        template.cells,
        template.hosts,
        template.servers,
    )
    assert 2 == template.room


def test_why_servers_are_missing_is_said() -> None:
    """If Nova has refused; not if nobody wanted them."""
    assert ("The servers are not shown: Nova could not list servers: down",) == read(
        "Nova could not list servers: down"
    ).notes
    assert ((), None) == (read(None).notes, read(None).servers)


def test_the_next_day_of_templates_with_hours() -> None:
    """A bar for each stretch in which something is other, as long as that is, and the same in words."""
    night = {"zone": "Europe/Berlin", "from": "22:00", "to": "06:00", "qos": {"shares": 64}}
    noon = {"zone": "Europe/Berlin", "from": "12:00", "to": "13:30", "emulator": "cell"}
    found = PinningTemplate.from_mapping(GOLD.to_mapping() | {"hours": [night, noon]})
    cluster = make_cluster((), (), TemplateList({"gold": StoredTemplate(found, 1)}, ()), None)
    text = report_page(cluster, AT)
    assert [("0.00", "2.08"), ("37.50", "33.33"), ("95.83", "4.17")] == re.findall(
        'style="left:([0-9.]+)%;width:([0-9.]+)%"', text
    )
    shown = " ".join(words(cluster))
    assert "The next 24 hours template from now on what is other then gold 13:00 to 13:30" in shown
    assert "22:00 to 06:00 Europe/Berlin: qos shares 64 12:00 to 13:00 Europe/Berlin: emulator cell" in shown


def test_no_picture_of_a_day_without_hours() -> None:
    """Most clouds have none."""
    assert "The next 24 hours" not in report_page(small_cloud(), AT)
