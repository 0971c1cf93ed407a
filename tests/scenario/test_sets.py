# SPDX-License-Identifier: Apache-2.0
"""The CPU sets of nova.conf and the agent's pools change while servers run, and both services are restarted."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest

from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.template import PinningTemplate
from testbed.cloud import ini
from tests.scenario.cloud import PREFIX, Cloud
from tests.scenario.hosts import CONFIGURATION_FILES
from tests.scenario.machines import Kernel

RAM_MB = 64
DEDICATED = PinningTemplate.from_mapping(
    {"name": "scenario_sets", "cells": [{"vcpus": "0", "cpus": "dedicated", "memory": "none"}]}
)
PLAIN = f"{PREFIX}sets-plain"


@dataclass(frozen=True)
class Host:
    """A host with a server of the dedicated template and one without a template.

    :ivar given: the CPUs that its agent gives away, and kept those that it keeps
    """

    cloud: Cloud
    name: str
    given: CpuSet
    kept: CpuSet
    pinned: str
    plain: str

    def guest(self, server: str) -> Kernel:
        """The QEMU process of a server."""
        guest = self.cloud.kernel_view(server, self.name)
        assert guest
        return guest

    def configure(self, nova: dict[str, CpuSet | None], agent: dict[str, CpuSet | None]) -> None:
        """Change options of nova.conf's [compute] and of the agent, and restart both services.

        :param nova: by option; None takes one out, and so does agent
        :raises CalledProcessError: if one does not come up
        """
        sections = (("compute", nova), ("kongming_agent", agent))
        for file, (section, options) in zip(CONFIGURATION_FILES, sections, strict=True):
            words = {option: None if cpus is None else str(cpus) for option, cpus in options.items()}
            ini.change(self.cloud.hosts.configuration_file(self.name, file), section, words)
        self.restart()

    def restart(self) -> None:
        """Restart nova-compute and the agent.

        :raises CalledProcessError: if one does not come up
        """
        services = self.cloud.services
        services.kill(*filter(services.is_running, (f"{self.name}-nova-compute", f"{self.name}-agent")))
        services.restart()

    def vcpus_of_nova(self) -> int:
        """How many VCPU Nova offers here, by Placement."""
        (root,) = self.cloud.placement.providers(name=self.name)
        inventory = self.cloud.placement.inventories(root.uuid).get("VCPU")
        return inventory.total if inventory else 0

    def vcpus_of_agent(self) -> int:
        """How many shared vCPUs the agent offers here, by Placement."""
        (root,) = self.cloud.placement.providers(name=self.name)
        nodes = [node for node in self.cloud.placement.node_summaries() if node.root_uuid == root.uuid]
        return sum(node.capacity.get(names.VCPU, 0) for node in nodes)


@pytest.fixture(scope="module")
def servers(cloud: Cloud) -> Iterator[Host]:
    """The host with its servers, and nothing of them afterwards."""
    if cloud.plan is None or not cloud.plan.libvirt_hosts:
        pytest.skip("no host of this cloud can be configured; tools/cloud up makes one")
    name = cloud.plan.libvirt_hosts[0]
    cloud.make_template(DEDICATED, [name])
    cloud.wait_for("it is offered", lambda: cloud.offering(DEDICATED.name))
    cloud.delete_flavor(PLAIN)
    flavors = [
        cloud.make_flavor(DEDICATED, RAM_MB, cloud.hosts.cpus(name).threads_per_core),
        cloud.compute.create_flavor(name=PLAIN, ram=RAM_MB, vcpus=1, disk=1),
    ]
    pinned, plain = (cloud.create_server(f"sets-{flavor.name}", flavor, host=name)[0].id for flavor in flavors)
    options = ini.read(cloud.hosts.configuration_file(name, "kongming-agent.conf"))["kongming_agent"]
    given = CpuSet.parse(options["dedicated_cpu_set"])
    yield Host(cloud, name, given, cloud.hosts.cpus(name).online - given, pinned, plain)
    cloud.delete_all()
    for flavor in flavors:
        cloud.compute.delete_flavor(flavor)
    cloud.templates.delete(DEDICATED.name)
    cloud.wait_for("none offers it any more", lambda: not cloud.offering(DEDICATED.name))


@pytest.fixture
def host(servers: Host) -> Iterator[Host]:
    """The host, on which the server of the template is right before and after, in the same process."""
    cloud = servers.cloud
    files = [cloud.hosts.configuration_file(servers.name, name) for name in CONFIGURATION_FILES]
    before = [path.read_text() for path in files]
    cloud.wait_until_right(servers.pinned, DEDICATED)
    pid, shared = servers.guest(servers.pinned).pid, servers.vcpus_of_agent()
    assert shared > 0
    yield servers
    for path, text in zip(files, before, strict=True):
        path.write_text(text)
    servers.restart()
    cloud.wait_for("the agent has its pools back", lambda: servers.vcpus_of_agent() == shared)
    cloud.wait_for("its server is back", lambda: servers.guest(servers.pinned).vcpus[0] <= servers.given)
    cloud.wait_until_right(servers.pinned, DEDICATED)
    assert pid == servers.guest(servers.pinned).pid


def test_nova_gets_a_shared_set(host: Host) -> None:
    """Running servers stay as they are; one without a template keeps to the set from its next start."""
    before = host.guest(host.pinned), host.guest(host.plain)

    host.configure({"cpu_shared_set": host.kept}, {"shared_cpu_set": None})

    host.cloud.wait_for("Nova offers the set", lambda: host.vcpus_of_nova() == len(host.kept))
    host.cloud.wait_for("the agent offers it no more", lambda: host.vcpus_of_agent() == 0)
    host.cloud.wait_until_right(host.pinned, DEDICATED)
    assert before == (host.guest(host.pinned), host.guest(host.plain))
    host.cloud.compute.reboot_server(host.plain, "HARD")
    host.cloud.wait_for_status(host.plain, "ACTIVE")
    plain = host.guest(host.plain)
    assert (before[1].vcpus[0], host.kept) == (host.cloud.hosts.cpus(host.name).online, plain.vcpus[0])


def test_pool_moves(host: Host) -> None:
    """A server follows a pool that changes places with Nova's set, without a new process."""
    before = host.guest(host.pinned)

    host.configure({"cpu_shared_set": host.given}, {"dedicated_cpu_set": host.kept, "shared_cpu_set": None})

    host.cloud.wait_for("it follows", lambda: host.guest(host.pinned).vcpus[0] <= host.kept)
    host.cloud.wait_until_right(host.pinned, DEDICATED)
    after = host.guest(host.pinned)
    assert (before.pid, host.given) == (after.pid, after.emulator)


def test_sets_that_the_agent_gives_away_too(host: Host) -> None:
    """The agent names both and does not start; the server keeps its CPU until the sets are gone, and afterwards."""
    before = host.guest(host.pinned)

    with suppress(subprocess.CalledProcessError):  # where the agent ends before tools/cloud does
        host.configure({"cpu_dedicated_set": host.kept, "cpu_shared_set": host.given}, {})

    host.cloud.wait_for("the agent ends", lambda: not host.cloud.services.is_running(f"{host.name}-agent"))
    found = host.cloud.hosts.check(host.name)
    assert ["cpu_shared_set", "cpu_dedicated_set"] == [
        name for name in ("cpu_shared_set", "cpu_dedicated_set") if f"[compute] {name}" in found
    ]
    assert before == host.guest(host.pinned)
