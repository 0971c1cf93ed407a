# SPDX-License-Identifier: Apache-2.0
"""Guests that come back from a file on a real libvirtd: they have the agent's pins before they run."""

from __future__ import annotations

import os
import re
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libvirt
import pytest
from keystoneauth1 import adapter, session, token_endpoint

from kongming_sched.agent.ipc.hook_file import HookFile
from kongming_sched.cloud.signs import read_signs
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.flavor import cell_requests, extra_specs
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import PinningTemplate
from kongming_sched.topology import HostTopology
from testbed.lab import demo_setup, lab
from testbed.lab import hypervisor as lab_hypervisor
from testbed.lab.guests import Affinity, Guest, Guests
from testbed.lab.nova_api import placement_section
from testbed.lab.placement_api import TOKEN, PlacementApi
from testbed.lab.process import ChildProcess
from testbed.lab.scheduler import Flavor, Scheduled
from testbed.waiting import PATIENCE_SECONDS, until
from tests.functional.conftest import PlacementService

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start libvirtd"),
    pytest.mark.xdist_group("libvirt"),
]

OPERATORS_HOOK = """\
#!/bin/sh
echo "$@" >> {calls}
case "$2 $3" in "migrate begin"|"restore begin") sed 's|</name>|</name><title>seen by the operator</title>|';; esac
"""


class PatientHook(HookFile):
    """A hook that gives the agent more than a second for its answer, which it may need on a busy machine."""

    def install(self) -> bool:
        """Write the hook."""
        was_changed = super().install()
        text = re.sub(r"(?m)^PATIENCE_SECONDS = .*$", f"PATIENCE_SECONDS = {PATIENCE_SECONDS}", self.path.read_text())
        self.path.write_text(text)
        return was_changed


@dataclass
class Site:
    """A host with libvirtd, Placement, an operator's hook and KongMing's.

    :ivar hook: KongMing's
    :ivar cpu: of the dedicated pool
    :ivar other: one that is not
    """

    directory: Path
    hook: HookFile
    placement: PlacementService
    guests: Guests
    connection: Any
    topology: HostTopology
    pools: demo_setup.Pools
    controllers: frozenset[str]
    root: str = field(default_factory=lambda: str(uuid.uuid4()))

    def __post_init__(self) -> None:
        self.cpu, self.other = min(self.pools.dedicated), min(self.topology.cpus - self.pools.dedicated)
        memory = "strict" if "cpuset" in self.controllers else "none"
        cell = {"vcpus": "0", "cpus": "dedicated", "memory": memory}
        self.template = PinningTemplate.from_mapping({"name": "gold", "cells": [cell]})
        self.node = next(node for node in self.topology.nodes if self.cpu in node.cpus)
        TemplateStore(self.placement.client).create(self.template)
        self.placement.add_host(self.connection.getHostname(), self.root)

    def agent(self) -> ChildProcess:
        """The agent, not yet started."""
        self.log.write_text("")
        options = lab._AGENT.format(
            dedicated=self.pools.dedicated,
            shared="",
            uri=lab_hypervisor.URI,
            directory=self.directory,
        )
        conf = self.directory / "agent.conf"
        conf.write_text(options + placement_section(self.placement.endpoint))
        program = Path(sys.executable).with_name("kongming-agent")
        return ChildProcess("kongming-agent", [program, "--config-file", conf], self.directory)

    @property
    def log(self) -> Path:
        """The agent's log."""
        return self.directory / "kongming-agent.log"

    def wait_for_node(self, agent: ChildProcess) -> None:
        """Until the agent has registered the host and listens."""
        socket = self.directory / "run" / "agent.sock"
        wanted = names.node_uuid(self.root, self.node.id)
        client = self.placement.client
        agent.wait_for("its socket", lambda: socket.exists() or None)
        agent.wait_for(
            "a node with gold",
            lambda: (
                (
                    wanted in {provider.uuid for provider in client.providers(in_tree=self.root)}
                    and names.template_trait("gold") in client.traits(wanted)
                )
                or None
            ),
        )

    def boot(self, name: str, *, with_template: bool, pins: Sequence[int] = ()) -> Guest:
        """A running guest of one vCPU, with its claim.

        :param pins: the host CPU that Nova has pinned it to
        """
        return self.guests.spawn(name, self.server(with_template=with_template), pins)

    def server(self, *, with_template: bool = True, has_claim: bool = True) -> Scheduled:
        """What Nova knows of a server of one vCPU that comes here."""
        server, specs = str(uuid.uuid4()), {}
        if with_template:
            threads = self.node.threads_per_core
            specs = extra_specs(self.template, {}, vcpus=1, memory_mb=64, threads_per_core=threads)
            request = cell_requests(self.template, 64, threads)[0]
            if has_claim:
                self.placement.allocate(server, {names.node_uuid(self.root, self.node.id): dict(request.resources)})
        return Scheduled(server, "host", Flavor("f", "1", 1, 64, 0, 0, 0, specs), {})

    def end(self, guest: Guest) -> None:
        """A server is deleted."""
        self.guests.delete(guest)
        self.placement.adapter.delete(f"/allocations/{guest.server.uuid}", raise_exc=False)

    def domain(self, guest: Guest) -> Any:
        """A guest's domain."""
        return self.connection.lookupByUUIDString(guest.server.uuid)

    def misplace(self, guest: Guest) -> None:
        """Pin a guest as if it came from another host, where the other CPU is a dedicated one."""
        domain, wrong = self.domain(guest), self.cpu_map(self.other)
        domain.pinVcpuFlags(0, wrong, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        domain.pinEmulator(wrong, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        domain.pinIOThread(1, wrong, libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def cpu_map(self, *cpus: int) -> tuple[bool, ...]:
        """libvirt's word for a set of CPUs."""
        return tuple(cpu in cpus for cpu in range(max(self.topology.cpus) + 1))

    def save(self, guest: Guest) -> None:
        """Stop a guest into a file."""
        self.domain(guest).save(str(self.directory / "save"))

    def restore(self, guest: Guest) -> Affinity:
        """Bring a guest back that does not run yet; gives where its threads may run then."""
        self.connection.restoreFlags(str(self.directory / "save"), None, libvirt.VIR_DOMAIN_SAVE_PAUSED)
        return self.guests.affinity(guest)

    def pins(self, guest: Guest, flags: int = 0) -> list[str]:
        """The pins in a guest's XML."""
        return re.findall(r"<(?:vcpupin|emulatorpin|iothreadpin|memory mode)[^>]*>", self.domain(guest).XMLDesc(flags))


@pytest.fixture
def starts_allowed(site: Site) -> Iterator[None]:
    """The hook lets guests start without an agent."""
    PatientHook(site.hook.path.parents[1], site.hook.socket, refuses_starts=False).install()
    yield
    site.hook.install()


@contextmanager
def waiting(hook: HookFile, seconds: float) -> Iterator[None]:
    """A hook that waits so long for an agent that is being restarted."""
    text = hook.path.read_text()
    hook.path.write_text(re.sub(r"(?m)^START_PATIENCE_SECONDS = .*$", f"START_PATIENCE_SECONDS = {seconds}", text))
    yield
    hook.install()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose libvirtd has found the hooks."""
    directory = tmp_path_factory.mktemp("site")
    hooks = directory / "etc" / "hooks"
    hook = PatientHook(hooks, directory / "run" / "agent.sock")
    hook.install()
    (hooks / "qemu").write_text(OPERATORS_HOOK.format(calls=directory / "calls"))
    (hooks / "qemu").chmod(0o755)
    with ExitStack() as stack:
        running = stack.enter_context(lab_hypervisor.hypervisor(directory))
        if not running.is_own:
            pytest.skip("the libvirtd of this machine has hooks of its own")
        guests = stack.enter_context(Guests(running))
        api = stack.enter_context(PlacementApi(directory / "placement"))
        auth = token_endpoint.Token(api.endpoint, TOKEN)
        placement = PlacementService(api.endpoint, TOKEN, adapter.Adapter(session.Session(auth), "placement"))
        connection = running.connect()
        stack.callback(connection.close)
        _, topology = lab_hypervisor.read_host(running)
        pools = demo_setup.choose_pools(topology)
        yield Site(directory, hook, placement, guests, connection, topology, pools, running.controllers)


@pytest.fixture
def guest(site: Site, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A running guest, of a template unless none is named, pinned to CPUs of another host; the agent does not run."""
    if getattr(request, "param", True):
        with site.agent() as agent:
            site.wait_for_node(agent)
            guest = site.boot("web", with_template=True)
            until(lambda: site.guests.affinity(guest).vcpus[0] == str(site.cpu))
    else:
        guest = site.boot("other", with_template=False)
    site.misplace(guest)
    yield guest
    site.end(guest)


def test_pinned_before_it_runs(site: Site, guest: Guest) -> None:
    """The guest has the agent's pins from the start, and of QEMU's threads the agent moves none when it sees it."""
    site.save(guest)
    with site.agent() as agent:
        site.wait_for_node(agent)
        affinity = site.restore(guest)
        until(lambda: "incoming migration: " in site.log.read_text())
        time.sleep(3)
        log = site.log.read_text()

    arrival = log.index("incoming migration: ")
    assert {0: str(site.cpu)} == affinity.vcpus
    assert str(site.cpu) not in affinity.emulator.split(",")
    moved = [line for line in log[arrival:].splitlines() if " -> " in line]
    assert [] == [line for line in moved if "thread kvm-pit/" not in line]  # the kernel's own, which the XML cannot pin
    assert f"<vcpupin vcpu='0' cpuset='{site.cpu}'/>" in site.pins(guest)


@pytest.mark.usefixtures("starts_allowed")
def test_operators_hook_still_runs(site: Site, guest: Guest) -> None:
    """The operator's hook sees every operation, and what it prints for an arriving guest reaches libvirt too."""
    site.save(guest)
    site.restore(guest)

    calls = (site.directory / "calls").read_text()
    assert f"{guest.domain} restore begin -" in calls
    assert f"{guest.domain} started begin -" in calls
    assert "<title>seen by the operator</title>" in site.domain(guest).XMLDesc()


def test_without_an_agent(site: Site, guest: Guest) -> None:
    """A guest that would start is refused with the reason, and has lost nothing once the agent is back."""
    site.save(guest)
    with waiting(site.hook, 0.1):
        with pytest.raises(libvirt.libvirtError, match="has a template, and nothing would pin it: the agent at"):
            site.restore(guest)
        with pytest.raises(libvirt.libvirtError, match="has a template, and nothing would pin it: the agent at"):
            site.domain(guest).create()
    with site.agent() as agent:
        site.wait_for_node(agent)
        affinity = site.restore(guest)

    assert {0: str(site.cpu)} == affinity.vcpus


def test_agent_that_is_restarted(site: Site, guest: Guest) -> None:
    """A guest that starts meanwhile waits for the agent, whose pass does not wait for the guest."""
    calls = site.directory / "calls"
    site.domain(guest).destroy()
    calls.write_text("")
    with waiting(site.hook, 600), ThreadPoolExecutor() as pool:
        start = pool.submit(site.domain(guest).create)
        until(lambda: f"{guest.domain} start begin" in calls.read_text())  # now libvirt holds the guest's lock
        with site.agent():
            start.result()
            until(lambda: site.guests.affinity(guest).vcpus[0] == str(site.cpu))


def test_start_on_cpus_that_nova_has_chosen(site: Site) -> None:
    """The guest is let through while the agent's passes wait for it, and has these CPUs from the start."""
    with waiting(site.hook, PATIENCE_SECONDS), site.agent() as agent:
        site.wait_for_node(agent)
        guest = site.boot("pinned", with_template=True, pins=[site.cpu])
        affinity = site.guests.affinity(guest)
        until(lambda: site.guests.affinity(guest).emulator == str(site.topology.cpus - site.pools.dedicated))
        log = site.log.read_text()
    site.end(guest)

    assert {0: str(site.cpu)} == affinity.vcpus
    assert f"({guest.server.uuid}) starts on CPU {site.cpu}, where no other server is" in log
    assert "vCPU 0: " not in log


def test_start_on_cpus_of_another_server(site: Site) -> None:
    """On a node without room it does not start, with the reason; else the other one has made way before it runs."""
    has_room = len(site.pools.dedicated & site.node.cpus) > 1
    with waiting(site.hook, PATIENCE_SECONDS), site.agent() as agent:
        site.wait_for_node(agent)
        first = site.boot("first", with_template=True)
        until(lambda: site.guests.affinity(first).vcpus[0] == str(site.cpu))
        refusal = ""
        try:
            site.guests.spawn("second", site.server(has_claim=has_room), [site.cpu])
        except libvirt.libvirtError as error:
            refusal = str(error)
        on = site.guests.affinity(first).vcpus[0]
    for guest in list(site.guests.running.values()):
        site.end(guest)

    expected = (
        f"does not start here: CPU {site.cpu} is in use by server first ({first.server.uuid}), for which there is"
    )
    assert has_room or expected in refusal
    assert has_room == (refusal == "")
    assert has_room == (on != str(site.cpu))


@pytest.mark.usefixtures("starts_allowed")
def test_without_an_agent_if_that_is_allowed(site: Site, guest: Guest) -> None:
    """The pins of the other host are gone, and the agent pins the guest when it is back."""
    site.save(guest)
    affinity = site.restore(guest)
    pins = site.pins(guest)
    with site.agent():
        until(lambda: site.guests.affinity(guest).vcpus[0] == str(site.cpu))

    assert site.topology.cpus == CpuSet.parse(affinity.vcpus[0])
    assert [] == pins


@pytest.mark.parametrize("guest", [False], indirect=True)
def test_guest_without_a_template(site: Site, guest: Guest) -> None:
    """Its pins are not the agent's, and stay."""
    site.save(guest)
    affinity = site.restore(guest)

    assert {0: str(site.other)} == affinity.vcpus
    assert f"<vcpupin vcpu='0' cpuset='{site.other}'/>" in site.pins(guest)


def test_agent_is_seen(site: Site) -> None:
    """A running agent gives a sign of life in Placement."""
    with site.agent():
        until(lambda: site.connection.getHostname() in read_signs(site.placement.client))


def test_definition_is_repaired(site: Site, guest: Guest) -> None:
    """Pins in the persistent definition, which a migration brings along, are taken out; nothing else of it changes."""
    domain = site.domain(guest)
    inactive = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
    before = domain.XMLDesc(inactive)
    domain.pinVcpuFlags(0, site.cpu_map(site.other), libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    domain.pinEmulator(site.cpu_map(site.other), libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    with_pins = site.pins(guest, inactive)

    with site.agent():
        until(lambda: not site.pins(guest, inactive))
        until(lambda: site.guests.affinity(guest).vcpus[0] == str(site.cpu))

    assert 2 == len(with_pins)
    assert before == domain.XMLDesc(inactive)
    assert "took another host's pins out" in site.log.read_text()
