# SPDX-License-Identifier: Apache-2.0
"""Servers of every template through every action: after each, three views say what the template says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kongming_sched.cpuset import CpuSet
from kongming_sched.template import PinningTemplate
from tests.scenario.actions import ACTIONS, Action, Subject
from tests.scenario.cloud import PREFIX, Cloud, wait_for
from tests.scenario.table import Table
from tests.scenario.views import kernel_view, siblings

TEMPLATES = {
    "any": [{"vcpus": "0", "cpus": "dedicated"}],
    "prefer": [{"vcpus": "0", "cpus": "dedicated", "threads": "prefer"}],
    "require": [{"vcpus": "0-1", "cpus": "dedicated", "threads": "require"}],
    "isolate": [{"vcpus": "0", "cpus": "dedicated", "threads": "isolate"}],
    "shared": [{"vcpus": "0", "cpus": "shared"}],
    "two_cells": [{"vcpus": "0", "cpus": "dedicated"}, {"vcpus": "1", "cpus": "dedicated"}],
    "explicit": [{"vcpus": "0", "cpus": "explicit", "pins": "CPU"}],
}
"""Cells by the name of the template. CPU stands for the last one, which is in the dedicated pool."""

RAM_MB, OTHER_RAM_MB = 64, 96


@dataclass
class Column:
    """A template with its server.

    :ivar reason: why the template cannot be used on this cloud; empty if it can
    """

    name: str
    template: PinningTemplate
    threads_per_core: int
    subject: Subject | None = None
    reason: str = ""


@pytest.fixture(scope="module", params=list(TEMPLATES))
def column(request: pytest.FixtureRequest, cloud: Cloud) -> Iterator[Column]:
    """A template and its flavors, and nothing of it afterwards."""
    name = request.param
    last = max(_online())
    cells = [{**cell, "pins": str(last)} if "pins" in cell else cell for cell in TEMPLATES[name]]
    template = PinningTemplate.from_mapping({"name": f"scenario_{name}", "cells": cells})
    column = Column(name, template, len(siblings(last)))
    cloud.make_template(template)
    try:
        wait_for(f"a host offers {name}", lambda: cloud.offering(template.name), 30)
    except AssertionError:
        column.reason = _why_not(name)
        assert column.reason, f"no host offers template {template.name}"
    yield column
    cloud.delete_all()
    for ram in (RAM_MB, OTHER_RAM_MB):
        cloud.delete_flavor(f"{PREFIX}{template.name}-{ram}")
    cloud.templates.delete(template.name)
    wait_for("no host offers it any more", lambda: not cloud.offering(template.name))


def _online() -> list[int]:
    return list(CpuSet.parse(Path("/sys/devices/system/cpu/online").read_text()))


def _why_not(name: str) -> str:
    """The reasons for which a machine like this cannot have a template; empty if it should."""
    if name == "require" and len(siblings(0)) == 1:
        return "the hosts have one hardware thread per core, and require asks for siblings"
    if name == "two_cells" and not Path("/sys/devices/system/node/node1").exists():
        return "the hosts have one NUMA node, and two cells ask for two"
    return ""


def make_subject(cloud: Cloud, column: Column) -> Subject:
    """A server of the template."""
    flavors = [cloud.make_flavor(column.template, ram, column.threads_per_core) for ram in (RAM_MB, OTHER_RAM_MB)]
    (server,) = cloud.create_server(column.name, flavors[0])
    return Subject(cloud, server.id, *flavors)


def check(cloud: Cloud, column: Column, action: str, table: Table) -> None:
    """All views are right; the cell of the table says how long that took."""
    assert column.subject
    server = column.subject.server
    views = cloud.wait_until_right(server, column.template, column.threads_per_core)
    kind = cloud.plan.virt_type if cloud.plan else "a host of this cloud"
    table.hold(action, column.name, cloud.stopwatch.seconds(server), kind)
    assert views.host


def test_create(cloud: Cloud, column: Column, table: Table) -> None:
    """A new server is where its template says."""
    if column.reason:
        table.skip("create", column.name, column.reason)
        pytest.skip(column.reason)
    table.note("create", column.name, "FAILED")

    column.subject = make_subject(cloud, column)

    check(cloud, column, "create", table)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)
def test_action(cloud: Cloud, column: Column, action: Action, table: Table) -> None:
    """After the action the server is where its template says."""
    reason = column.reason
    if not reason and action.is_local and cloud.plan is None:
        reason = "the cloud's services are not this machine's to be killed"
    if not reason and action.hosts > 1 and len(cloud.libvirts) < action.hosts:
        reason = "the cloud has one host with libvirt; tools/cloud up --libvirt-hosts 2 makes two"
    if reason:
        table.skip(action.name, column.name, reason)
        pytest.skip(reason)
    table.note(action.name, column.name, "FAILED")
    if column.subject is None:
        cloud.delete_all()
        column.subject = make_subject(cloud, column)
        cloud.wait_until_right(column.subject.server, column.template, column.threads_per_core)
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
    assert None is kernel_view(server)
    table.note("delete", column.name, "ok")
