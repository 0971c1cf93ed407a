# SPDX-License-Identifier: Apache-2.0
"""A running server's own metadata, by the command and through Nova's notifications to the agent."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kongming_sched.cpuset import CpuSet
from kongming_sched.template import PinningTemplate
from tests.scenario.actions import Subject
from tests.scenario.cloud import PREFIX, Cloud

RAM_MB = 64
CELLS = [{"vcpus": "0", "cpus": "dedicated"}]
OWN = PinningTemplate.from_mapping({"name": "scenario_own", "cells": CELLS, "override": "allowed"})
OTHER = PinningTemplate.from_mapping(
    {"name": "scenario_other", "cells": CELLS, "emulator": "cell", "override": "allowed"}
)
"""Takes the same, and has its emulator threads on the vCPUs' CPUs, which the kernel shows."""


@pytest.fixture
def subject(cloud: Cloud) -> Iterator[Subject]:
    """A server of a template that allows an override."""
    if cloud.plan is None or not cloud.plan.libvirt_hosts:
        pytest.skip("no agent of this cloud is known to hear notifications; tools/cloud up makes one that does")
    hosts = cloud.hosts.names(emulated=False)
    for template in (OWN, OTHER):
        cloud.make_template(template, hosts)
        cloud.wait_for("all offer it", lambda template=template: len(cloud.offering(template.name)) == len(hosts))
    flavor = cloud.make_flavor(OWN, RAM_MB, cloud.hosts.cpus(hosts[0]).threads_per_core)
    (server,) = cloud.create_server("override", flavor)
    cloud.wait_until_right(server.id, OWN)
    yield Subject(cloud, server.id, flavor, flavor)
    cloud.delete_all()
    cloud.delete_flavor(f"{PREFIX}{OWN.name}-{RAM_MB}")
    for template in (OWN, OTHER):
        cloud.templates.delete(template.name)
        cloud.wait_for("none offers it any more", lambda template=template: not cloud.offering(template.name))


def openstack(*words: str) -> subprocess.CompletedProcess[str]:
    """The command, as an operator gives it."""
    program = Path(sys.executable).with_name("openstack")
    return subprocess.run([program, "kongming", "server", *words], capture_output=True, text=True, timeout=120)


def seconds_until_emulator_is_on(subject: Subject, cpus: CpuSet) -> float:
    """How long that takes from now."""
    begin = time.monotonic()
    subject.cloud.wait_for(f"its emulator runs on CPU {cpus}", lambda: subject.guest.emulator == cpus)
    return time.monotonic() - begin


def test_set_and_unset(cloud: Cloud, subject: Subject, capsys: pytest.CaptureFixture[str]) -> None:
    """The server follows as soon as Nova has sent a notification, long before the agent would ask; and back."""
    own = subject.guest
    assert 0 == openstack("set", subject.server, "--template", OTHER.name).returncode
    there = seconds_until_emulator_is_on(subject, own.vcpus[0])
    cloud.wait_until_right(subject.server, OTHER)
    assert 0 == openstack("unset", subject.server, "--template").returncode
    back = seconds_until_emulator_is_on(subject, own.emulator)
    cloud.wait_until_right(subject.server, OWN)
    with capsys.disabled():
        print(f"\noverride: followed {there:.2f} s after the command ended, and back after {back:.2f} s")


def test_wrong_metadata(cloud: Cloud, subject: Subject) -> None:
    """What no command would write is reported, and the pins stay."""
    own = subject.guest
    cloud.compute.set_server_metadata(subject.server, **{"kongming:template": "no_such"})
    assert cloud.plan
    log = cloud.plan.logs / f"{subject.host}-agent.log"
    cloud.wait_for("the agent says what is wrong", lambda: "no_such" in log.read_text(errors="replace"))

    shown = json.loads(openstack("show", subject.server, "-f", "json").stdout)

    assert "no_such" in shown["problem"]
    assert own == subject.guest
