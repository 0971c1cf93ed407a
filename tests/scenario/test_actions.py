# SPDX-License-Identifier: Apache-2.0
"""Servers of every template through every action: after each, three views say what the template says.

Where the cloud has an emulated host, templates that ask for hardware that a plain machine lacks are used on that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from kongming_sched.template import PinningTemplate
from tests.scenario.actions import ACTIONS, Action, Subject
from tests.scenario.cloud import PREFIX, Cloud
from tests.scenario.machines import HostCpus
from tests.scenario.table import Table

TEMPLATES: dict[str, list[dict[str, object]]] = {
    "any": [{"vcpus": "0", "cpus": "dedicated"}],
    "prefer": [{"vcpus": "0", "cpus": "dedicated", "threads": "prefer"}],
    "require": [{"vcpus": "0-1", "cpus": "dedicated", "threads": "require"}],
    "isolate": [{"vcpus": "0", "cpus": "dedicated", "threads": "isolate"}],
    "shared": [{"vcpus": "0", "cpus": "shared"}],
    "two_cells": [{"vcpus": "0", "cpus": "dedicated"}, {"vcpus": "1", "cpus": "dedicated"}],
    "explicit": [{"vcpus": "0", "cpus": "explicit", "pins": "CPU"}],
    "second_node": [{"vcpus": "0", "cpus": "dedicated", "node": 1}],
    "four_vcpus": [
        {"vcpus": "0-1", "cpus": "dedicated", "threads": "require"},
        {"vcpus": "2-3", "cpus": "dedicated", "threads": "require"},
    ],
    "unequal_cells": [{"vcpus": "0-1", "cpus": "dedicated"}, {"vcpus": "2", "cpus": "dedicated"}],
    "mixed_cells": [{"vcpus": "0", "cpus": "shared"}, {"vcpus": "1-2", "cpus": "dedicated"}],
}
"""Cells by the name of the template. CPU stands for the last one, which is in the dedicated pool."""

TWO_NODES = {"two_cells", "second_node", "four_vcpus", "unequal_cells", "mixed_cells"}
FOR_EMULATED = {"require", "isolate"} | TWO_NODES
"""What asks for several NUMA nodes, or for cores of several threads."""

RAM_MB, OTHER_RAM_MB = 64, 96

SOON_SECONDS = 4.0
"""Within which an agent of tools/cloud makes a pass."""


@dataclass
class Column:
    """A template with its server.

    :ivar host: one of those that are offered it, and cpus its CPUs
    :ivar reason: why the template cannot be used on this cloud; empty if it can
    """

    name: str
    template: PinningTemplate
    host: str
    cpus: HostCpus
    subject: Subject | None = None
    reason: str = ""


@pytest.fixture(scope="module", params=list(TEMPLATES))
def column(request: pytest.FixtureRequest, cloud: Cloud) -> Iterator[Column]:
    """A template and its flavors, and nothing of it afterwards."""
    name = request.param
    hosts = cloud.hosts.names(emulated=name in FOR_EMULATED)
    host = hosts[0] if hosts else ""
    cpus = cloud.hosts.cpus(host)
    last = max(cpus.online)
    cells = [{**cell, "pins": str(last)} if "pins" in cell else cell for cell in TEMPLATES[name]]
    template = PinningTemplate.from_mapping({"name": f"scenario_{name}", "cells": cells})
    column = Column(name, template, host, cpus, reason=_why_not(name, cpus))
    cloud.make_template(template, hosts)
    if column.reason:
        time.sleep(SOON_SECONDS)
        assert {} == cloud.offering(template.name), "no host can have it"
    else:
        cloud.wait_for(f"a host offers {name}", lambda: is_offered(cloud, template))
    yield column
    cloud.delete_all()
    for ram in (RAM_MB, OTHER_RAM_MB):
        cloud.delete_flavor(f"{PREFIX}{template.name}-{ram}")
    cloud.templates.delete(template.name)
    cloud.wait_for("no host offers it any more", lambda: not cloud.offering(template.name))


def is_offered(cloud: Cloud, template: PinningTemplate) -> bool:
    """Whether a host offers a template on as many nodes as a server of it needs."""
    return any(len(nodes) >= len(template.cells) for nodes in cloud.offering(template.name).values())


def _why_not(name: str, cpus: HostCpus) -> str:
    """The reasons for which a machine like this cannot have a template; empty if it should."""
    if name in ("require", "four_vcpus") and cpus.threads_per_core == 1:
        return "the hosts have one hardware thread per core, and require asks for siblings; tools/cloud up --numa-host"
    if name in TWO_NODES and len(cpus.nodes) == 1:
        return "the hosts have one NUMA node, and the template asks for a second; tools/cloud up --numa-host"
    return ""


def make_subject(cloud: Cloud, column: Column) -> Subject:
    """A server of the template."""
    threads = column.cpus.threads_per_core
    flavors = [cloud.make_flavor(column.template, ram, threads) for ram in (RAM_MB, OTHER_RAM_MB)]
    (server,) = cloud.create_server(column.name, flavors[0])
    return Subject(cloud, server.id, *flavors)


def check(cloud: Cloud, column: Column, action: str, table: Table) -> None:
    """All views are right; the cell of the table says how long that took."""
    assert column.subject
    server = column.subject.server
    views = cloud.wait_until_right(server, column.template)
    table.hold(action, column.name, cloud.stopwatch.seconds(server), cloud.hosts.machine(views.host).kind)
    assert views.host


def test_create(cloud: Cloud, column: Column, table: Table) -> None:
    """A new server is where its template says."""
    if column.reason:
        table.skip("create", column.name, column.reason)
        pytest.skip(column.reason)
    table.note("create", column.name, "FAILED")

    column.subject = make_subject(cloud, column)

    check(cloud, column, "create", table)


def test_io_threads(cloud: Cloud, column: Column) -> None:
    """The agent's view, libvirt's XML and the kernel agree on the I/O thread that Nova gives each server."""
    if column.reason:
        pytest.skip(column.reason)
    if cloud.plan is None:
        pytest.skip("the hosts of this cloud are not to be entered")
    assert column.subject
    views = cloud.wait_until_right(column.subject.server, column.template)
    assert views.kernel
    where = views.kernel.emulator

    assert ({1: where}, {1: where}) == (views.io_pins, views.kernel.iothreads)
    if cloud.hosts.is_emulated(views.host):
        return  # where the command takes minutes

    row = cloud.hosts.verify(views.host, column.subject.server)["I/O thread 1"]

    assert dict.fromkeys(("Placement", "libvirt", "Kernel"), str(where)) | {"Fault": ""} == {
        name: row[name] for name in ("Placement", "libvirt", "Kernel", "Fault")
    }


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)
def test_action(cloud: Cloud, column: Column, action: Action, table: Table) -> None:
    """After the action the server is where its template says."""
    reason = column.reason
    if not reason and action.is_local and cloud.plan is None:
        reason = "the cloud's services are not this machine's to be killed"
    if not reason and action.hosts > 1 and cloud.hosts.is_emulated(column.host):
        reason = "the cloud has one emulated host, and a server could not move"
    if not reason and action.hosts > len(cloud.hosts.names(emulated=False)):
        reason = "the cloud has one host with libvirt; tools/cloud up --libvirt-hosts 2 makes two"
    if reason:
        table.skip(action.name, column.name, reason)
        pytest.skip(reason)
    table.note(action.name, column.name, "FAILED")
    if column.subject is None:
        cloud.delete_all()
        column.subject = make_subject(cloud, column)
        cloud.wait_until_right(column.subject.server, column.template)
    subject, column.subject = column.subject, None  # a server to which something went wrong is not used again
    cloud.stopwatch.reset(subject.server)

    action.do(subject)

    column.subject = subject
    check(cloud, column, action.name, table)


def test_delete(cloud: Cloud, column: Column, table: Table) -> None:
    """Nothing of a deleted server is left in Placement, and no process."""
    if column.reason:
        table.skip("delete", column.name, column.reason)
        pytest.skip(column.reason)
    assert column.subject
    table.note("delete", column.name, "FAILED")
    server = column.subject.server

    cloud.delete_server(server)

    assert {} == cloud.allocations(server)
    assert None is cloud.kernel_view(server, column.host)
    table.note("delete", column.name, "ok")
