# SPDX-License-Identifier: Apache-2.0
"""Servers with huge pages, or that see their NUMA nodes, through every action on emulated hosts.

After each, Placement's claim, Nova's own layout, libvirt's XML, and what the kernel says of pages and threads agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from kongming_sched.placement.flavor import cell_requests
from kongming_sched.template import PinningTemplate
from tests.scenario.actions import Action, Subject
from tests.scenario.cloud import PREFIX, Cloud
from tests.scenario.further_actions import FURTHER_ACTIONS
from tests.scenario.layout import flavor_memory, wait_until_laid_out
from tests.scenario.table import Table

PAGES = "2MiB"
_DEDICATED = {"cpus": "dedicated", "pages": PAGES}


def _template(name: str, *cells: dict[str, object], **more: object) -> PinningTemplate:
    return PinningTemplate.from_mapping({"name": f"scenario_{name}", "cells": list(cells), **more})


TEMPLATES = {
    "pages, node 0": _template("pages_0", {"vcpus": "0", "node": 0, **_DEDICATED}),
    "pages, node 1": _template("pages_1", {"vcpus": "0", "node": 1, **_DEDICATED}),
    "visible, unequal": _template(
        "unequal", {"vcpus": "0-1", **_DEDICATED}, {"vcpus": "2", **_DEDICATED}, guest_numa="visible"
    ),
    "emulator own": _template("own", {"vcpus": "0", "node": 1, **_DEDICATED}, emulator="own"),
}
FOREIGN = _template("foreign", {"vcpus": "0", "cpus": "dedicated", "node": 1})
"""What servers are resized to and back from: without pages."""
ANYWHERE = _template("anywhere", {"vcpus": "0", **_DEDICATED})
FLOATING = _template("floating", {"vcpus": "0", "cpus": "shared", "pages": PAGES})

RAM_MB, OTHER_RAM_MB = 48, 96
"""Both are whole pages for each of three vCPUs."""
SMALL_RAM_MB = 32
BURST = 20


@dataclass
class Column:
    """A template with its server on emulated hosts."""

    name: str
    template: PinningTemplate
    hosts: list[str]
    flavors: dict[str, Any] = field(default_factory=dict)
    subject: Subject | None = None


@pytest.fixture(scope="module")
def hosts(cloud: Cloud) -> list[str]:
    """The emulated hosts, each of which has huge pages and leads Nova to its nodes."""
    found = [host for host in cloud.hosts.libvirts if cloud.hosts.is_emulated(host)]
    if not found:
        pytest.skip("the cloud has no emulated host; tools/cloud up --numa-host 2 makes two")
    return found


def _offer(cloud: Cloud, template: PinningTemplate, hosts: list[str]) -> None:
    cloud.make_template(template, hosts)
    cloud.wait_for(f"the hosts offer {template.name}", lambda: len(cloud.offering(template.name)) == len(hosts))


def _withdraw(cloud: Cloud, template: PinningTemplate) -> None:
    cloud.templates.delete(template.name)
    cloud.wait_for("no host offers it any more", lambda: not cloud.offering(template.name))


@pytest.fixture(scope="module")
def others(cloud: Cloud, hosts: list[str]) -> Iterator[dict[str, Any]]:
    """Flavors of another template and of none, of the same size."""
    _offer(cloud, FOREIGN, hosts)
    name = f"{PREFIX}plain-{RAM_MB}"
    cloud.delete_flavor(name)
    made = {
        "foreign_flavor": cloud.make_flavor(FOREIGN, RAM_MB, 2),
        "plain_flavor": cloud.compute.create_flavor(name=name, ram=RAM_MB, vcpus=1, disk=1),
    }
    yield made
    cloud.delete_all()
    for flavor in made.values():
        cloud.compute.delete_flavor(flavor)
    _withdraw(cloud, FOREIGN)


@pytest.fixture(scope="module", params=list(TEMPLATES))
def column(request: pytest.FixtureRequest, cloud: Cloud, hosts: list[str], others: dict[str, Any]) -> Iterator[Column]:
    """A template and its flavors, and nothing of it afterwards."""
    template = TEMPLATES[request.param]
    _offer(cloud, template, hosts)
    flavors = {
        "flavor": cloud.make_flavor(template, RAM_MB, 2),
        "other_flavor": cloud.make_flavor(template, OTHER_RAM_MB, 2),
    }
    yield Column(request.param, template, hosts, flavors | others)
    cloud.delete_all()
    for flavor in flavors.values():
        cloud.compute.delete_flavor(flavor)
    _withdraw(cloud, template)


def make_subject(cloud: Cloud, column: Column) -> Subject:
    """A server of the template."""
    (server,) = cloud.create_server("numa", column.flavors["flavor"])
    return Subject(cloud, server.id, **column.flavors)


def check(cloud: Cloud, column: Column, action: str, table: Table) -> None:
    """All views agree; the cell of the table says so."""
    assert column.subject
    server = column.subject.server
    views = wait_until_laid_out(cloud, server, column.template, flavor_memory(cloud, server))
    table.hold(action, column.name, cloud.stopwatch.seconds(server), views.host)


def fitting(cloud: Cloud, template: PinningTemplate, ram_mb: int, hosts: list[str]) -> int:
    """How many servers of one cell the hosts have room for, by Placement."""
    (request,) = cell_requests(template, ram_mb, 2)
    roots = {provider.uuid for host in hosts for provider in cloud.placement.providers(name=host)}
    return sum(
        min(
            (node.capacity.get(name, 0) - node.used.get(name, 0)) // amount
            for name, amount in request.resources.items()
        )
        for node in cloud.placement.node_summaries()
        if node.root_uuid in roots and request.required <= node.traits
    )


def test_check_finds_the_lines_that_it_prints(cloud: Cloud, hosts: list[str]) -> None:
    """The lines of nova.conf are those that the agent's own check asks for, and so it prints none."""
    for host in hosts:
        found = cloud.hosts.check(host)

        assert "leads Nova to the nodes" in found
        assert "[neutron]" not in found


def test_create(cloud: Cloud, column: Column, table: Table) -> None:
    """A new server is laid out on the nodes of its claim."""
    table.note("create", column.name, "FAILED")

    column.subject = make_subject(cloud, column)

    check(cloud, column, "create", table)


@pytest.mark.parametrize("action", FURTHER_ACTIONS, ids=lambda action: action.name)
def test_action(cloud: Cloud, column: Column, action: Action, table: Table) -> None:
    """After the action the server is laid out on the nodes of its claim."""
    if action.hosts > len(column.hosts):
        reason = "the cloud has one emulated host; tools/cloud up --numa-host 2 makes two"
        table.skip(action.name, column.name, reason)
        pytest.skip(reason)
    table.note(action.name, column.name, "FAILED")
    if column.subject is None:
        cloud.delete_all()
        column.subject = make_subject(cloud, column)
        check(cloud, column, "create", table)
    subject, column.subject = column.subject, None  # a server to which something went wrong is not used again
    cloud.stopwatch.reset(subject.server)

    action.do(subject)

    column.subject = subject
    check(cloud, column, action.name, table)


def test_as_many_as_fit(cloud: Cloud, column: Column, table: Table) -> None:
    """All servers of one request that fit by Placement's count run on the nodes of their claims."""
    table.note("as many as fit at once", column.name, "FAILED")
    cloud.delete_all()
    column.subject = None
    if len(column.template.cells) > 1:
        count = len(column.hosts)  # one takes all that a node of each host has
    else:
        count = fitting(cloud, column.template, RAM_MB, column.hosts)
    assert count >= len(column.hosts)

    servers = cloud.create_server("many", column.flavors["flavor"], count)

    for server in servers:
        wait_until_laid_out(cloud, server.id, column.template, RAM_MB)
    table.note("as many as fit at once", column.name, f"ok, {count}")
    cloud.delete_all()


def test_many_over_all_nodes(cloud: Cloud, hosts: list[str]) -> None:
    """One request fills both nodes of every host, and each server has its pages on the node of its claim."""
    cloud.delete_all()
    _offer(cloud, ANYWHERE, hosts)
    flavor = cloud.make_flavor(ANYWHERE, SMALL_RAM_MB, 2)
    count = fitting(cloud, ANYWHERE, SMALL_RAM_MB, hosts)

    servers = cloud.create_server("anywhere", flavor, count)

    seen = [wait_until_laid_out(cloud, server.id, ANYWHERE, SMALL_RAM_MB) for server in servers]
    on = Counter((views.host, node) for views in seen for node in views.nodes)
    assert {(host, node) for host in hosts for node in (0, 1)} == on.keys()
    assert 1 == len(set(on.values()))
    assert 0 == fitting(cloud, ANYWHERE, SMALL_RAM_MB, hosts)
    cloud.delete_all()
    cloud.compute.delete_flavor(flavor)
    _withdraw(cloud, ANYWHERE)


def test_burst_of_mixed_kinds(cloud: Cloud, hosts: list[str]) -> None:
    """Twenty servers of several templates, each by a request of its own at the same time, are all on their claims."""
    cloud.delete_all()
    kinds = [TEMPLATES["pages, node 0"], TEMPLATES["pages, node 1"], FLOATING]
    for template in kinds:
        _offer(cloud, template, hosts)
    flavors = {template: cloud.make_flavor(template, SMALL_RAM_MB, 2) for template in kinds}
    counts = {template: fitting(cloud, template, SMALL_RAM_MB, hosts) for template in kinds[:2]}
    counts[FLOATING] = BURST - sum(counts.values())

    def create(number: int, template: PinningTemplate) -> tuple[str, PinningTemplate]:
        (server,) = cloud.create_server(f"burst-{number}", flavors[template])
        return server.id, template

    wanted = list(Counter(counts).elements())
    with ThreadPoolExecutor(len(wanted)) as pool:
        made = list(pool.map(create, range(len(wanted)), wanted))

    for server, template in made:
        wait_until_laid_out(cloud, server, template, SMALL_RAM_MB)
    cloud.delete_all()
    for template, flavor in flavors.items():
        cloud.compute.delete_flavor(flavor)
        _withdraw(cloud, template)
