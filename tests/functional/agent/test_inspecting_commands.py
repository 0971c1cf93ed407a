# SPDX-License-Identifier: Apache-2.0
"""kongming-host map, plan and verify on a real libvirtd with a real guest, a real Placement and a real agent."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from keystoneauth1 import adapter, session, token_endpoint

from kongming_sched.agent.host.kernel import Host
from kongming_sched.agent.host.libvirt_host import LibvirtHypervisor
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory
from kongming_sched.placement.flavor import cell_requests, extra_specs
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import PinningTemplate
from testbed.lab import hypervisor as lab_hypervisor
from testbed.lab.guests import Guest, Guests
from testbed.lab.migration import migrating
from testbed.lab.placement_api import TOKEN, PlacementApi
from testbed.lab.scheduler import Flavor, Scheduled
from tests.functional.agent.test_libvirt import let_run_anywhere
from tests.functional.agent.test_service import AGENT, HOST
from tests.functional.cli.state import state_of
from tests.functional.conftest import PlacementService

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start libvirtd and read the threads of its guests"),
    pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one CPU cannot be dedicated and keep house too"),
    pytest.mark.xdist_group("libvirt"),
]

SOLO = PinningTemplate.from_mapping(
    {"name": "solo", "cells": [{"vcpus": "0", "cpus": "dedicated", "memory": "none"}], "emulator": "shared"}
)
MEMORY_MB = 64


@dataclass(frozen=True)
class Place:
    """A host with one dedicated core, which a running guest has claimed and the agent has pinned it to.

    :ivar cpu: a CPU of that core, on which the guest is
    """

    configuration: Path
    cloud: PlacementService
    libvirt: LibvirtHypervisor
    guests: Guests
    guest: Guest
    cpu: CpuSet
    housekeeping: CpuSet

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run kongming-host."""
        command = [*HOST, words[0], "--config-file", str(self.configuration), *words[1:]]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    def rows(self, *words: str) -> tuple[int, list[dict[str, Any]]]:
        """Exit code and table of a command."""
        done = self.command(*words, "-f", "json")
        assert "Traceback" not in done.stderr
        return done.returncode, json.loads(done.stdout)

    def run_agent(self) -> None:
        """Let the agent work until there is nothing to be done."""
        with subprocess.Popen([*AGENT, "--config-file", str(self.configuration)], stderr=subprocess.DEVNULL) as agent:
            try:
                for _ in range(60):
                    time.sleep(1)
                    done = self.command("plan")
                    if (0, "") == (done.returncode, done.stdout):
                        return
                raise AssertionError(f"there is still something to be done: {done.stdout}{done.stderr}")
            finally:
                agent.terminate()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Everything that runs, with a guest that the agent has pinned."""
    directory = tmp_path_factory.mktemp("place")
    with (
        lab_hypervisor.hypervisor(directory) as running,
        Guests(running) as guests,
        PlacementApi(directory / "placement") as placement,
    ):
        libvirt = LibvirtHypervisor(lab_hypervisor.URI)
        topology = libvirt.topology()
        core = topology.nodes[-1].cores[-1].cpus
        configuration = directory / "agent.conf"
        configuration.write_text(
            f"[kongming_agent]\ndedicated_cpu_set = {core}\nreserved_memory_mb = 0\nmetrics_port = 0\n"
            f"interval_seconds = 1\nrun_directory = {directory}/run\nlock_name = {directory}\n"
            f"history_file = {directory}/history.jsonl\n"
            f"libvirt_uri = {lab_hypervisor.URI}\n"
            f"[placement]\nauth_type = admin_token\nendpoint = {placement.endpoint}\ntoken = {TOKEN}\n"
        )
        auth = token_endpoint.Token(placement.endpoint, TOKEN)
        cloud = PlacementService(placement.endpoint, TOKEN, adapter.Adapter(session.Session(auth), "placement"))
        guest = boot(cloud, guests, libvirt.host_name(), topology.nodes[-1].id)
        place = Place(configuration, cloud, libvirt, guests, guest, core, topology.cpus - core)
        place.run_agent()
        yield place
        libvirt.close()


def boot(cloud: PlacementService, guests: Guests, host: str, node_id: int) -> Guest:
    """What an operator, Nova and libvirt do until a server of a template runs.

    The node's provider has what the server claims before the agent makes it what it should be.
    """
    root, server = str(uuid.uuid4()), str(uuid.uuid4())
    cloud.add_host(host, root)
    TemplateStore(cloud.client).create(SOLO)
    node, claim = names.node_uuid(root, node_id), cell_requests(SOLO, MEMORY_MB, 1)[0].resources
    cloud.client.ensure_resource_classes(claim)
    provider = cloud.client.create_provider(node, names.node_name(host, node_id), root)
    inventories = {name: Inventory(amount) for name, amount in claim.items()}
    cloud.client.set_inventories(node, provider.generation, inventories)
    cloud.allocate(server, {node: dict(claim)})
    specs = extra_specs(SOLO, {}, vcpus=1, memory_mb=MEMORY_MB, threads_per_core=1)
    return guests.spawn("web", Scheduled(server, host, Flavor("solo.1", "1", 1, MEMORY_MB, 0, 0, 0, specs), {}))


def everything(place: Place) -> tuple[object, ...]:
    """All that the agent could change: the guest by libvirt's word and the kernel's, Placement, and its own files."""
    claim = place.cloud.client.claim(place.guest.server.uuid)
    files = {path: path.read_bytes() for path in place.configuration.parent.glob("run/*.json")}
    return domain(place), Host().threads(domain(place)), state_of(place.cloud.client), claim, files


def test_a_check_finds_a_host_that_is_right_and_changes_nothing(place: Place) -> None:
    """``kongming-agent --check`` beside a guest that runs: what is there is reported, and stays as it is."""
    before = everything(place)
    command = [*AGENT, "--check", "--config-file", str(place.configuration)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    assert (0, "") == (done.returncode, done.stderr)
    assert before == everything(place)
    assert "solo can be honoured here" in done.stdout
    assert "1 run here, 1 of a template; the agent has nothing to do now, see 'kongming-host plan'" in done.stdout


def domain(place: Place, guest: Guest | None = None) -> Any:
    """A guest as libvirt has it, that of the template if nothing else is said."""
    uuid = (guest or place.guest).server.uuid
    return next(item for item in place.libvirt.domains() if item.uuid == uuid)


def test_all_agree_and_nothing_is_to_be_done(place: Place) -> None:
    """After the agent's work verify ends with 0 and has a line per thread; plan says nothing at all."""
    code, rows = place.rows("verify")
    plan = place.command("plan")

    mine = [row for row in rows if place.guest.server.uuid in row["Subject"]]
    assert 0 == code
    assert {"vCPU 0", "emulator", "I/O thread 1"} <= {row["What"] for row in mine}
    assert all(row["Placement"] == row["libvirt"] == row["Kernel"] for row in mine)
    assert (0, "", "") == (plan.returncode, plan.stdout, plan.stderr)
    assert (0, []) == place.rows("plan")
    assert "" == place.command("verify", "--faults").stdout


def test_a_pin_that_somebody_set(place: Place) -> None:
    """verify ends with 1 and says who is where, plan says what will be done and why, and the agent then does it."""
    place.libvirt.pin_vcpu(domain(place), 0, place.housekeeping)

    code, rows = place.rows("verify", "--faults")
    plan_code, steps = place.rows("plan")
    place.run_agent()

    assert 1 == code
    assert [f"the kernel has it on CPU {place.housekeeping}, and it belongs on {rows[0]['Placement']}"] == [
        row["Fault"] for row in rows
    ]
    assert 0 == plan_code
    assert [f"vCPU 0: CPU {place.housekeeping} -> {rows[0]['Placement']}"] == [step["Action"] for step in steps]
    assert "is not in the dedicated pool of node" in steps[0]["Reason"]
    assert 0 == place.command("verify").returncode


def move_behind_libvirts_back(place: Place, cpus: CpuSet) -> None:
    """Let the first vCPU run elsewhere as the kernel would when its CPU goes offline: cgroup first, then affinity."""
    tasks = Path(f"/proc/{Host().find_pid(domain(place))}/task")
    task = next(task for task in tasks.iterdir() if (task / "comm").read_text().startswith("CPU 0/"))
    for line in (task / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "cpuset"):
            file = Path("/sys/fs/cgroup", controllers, path.lstrip("/"), "cpuset.cpus")
            if file.exists():
                file.write_text(str(cpus))
    os.sched_setaffinity(int(task.name), set(cpus))


def test_a_pin_that_the_kernel_has_lost(place: Place) -> None:
    """libvirt goes on to report it, so only the kernel's own word shows it."""
    move_behind_libvirts_back(place, place.housekeeping)

    code, rows = place.rows("verify", "--faults")
    place.run_agent()

    assert 1 == code
    assert f"libvirt says CPU {rows[0]['Placement']}, and the kernel has {place.housekeeping}" in rows[0]["Fault"]
    assert 0 == place.command("verify").returncode


def test_a_thread_that_libvirt_does_not_pin(place: Place) -> None:
    """verify names it while it may run on a CPU that no emulator has, and the agent puts it back to the emulator."""
    number, name = next(iter(Host().threads(domain(place)).helpers.items()))
    let_run_anywhere(number, place.cpu | place.housekeeping)

    code, rows = place.rows("verify", "--faults")
    place.run_agent()

    fault = f"the kernel has it on CPU {place.cpu | place.housekeeping}, and the emulator on {place.housekeeping}"
    own = len(place.cpu) == 1  # its guest's own vCPU is there, which it hurts alone
    assert ((0, []) if own else (1, [(f"threads {name}", fault)])) == (
        code,
        [(row["What"], row["Fault"]) for row in rows],
    )
    found = Host().helper(number, name)
    assert found is not None
    assert place.housekeeping == found.cpus


def test_threads_of_a_migration(place: Place, tmp_path: Path) -> None:
    """verify names each thread of another guest on the CPU of the first, those of its migration and KVM's among them.

    The agent takes all of them off it. QEMU and libvirt are real, vhost is not there: that needs /dev/vhost-net.
    """
    (tmp_path / "agent.conf").write_text(
        f"{place.configuration.read_text()}[kongming_agent]\nconfine_unmanaged = true\n"
    )
    confining = replace(place, configuration=tmp_path / "agent.conf")
    flavor = Flavor("plain", "2", 1, MEMORY_MB, 0, 0, 0, {})
    guest = place.guests.spawn("plain", Scheduled(str(uuid.uuid4()), "host", flavor, {}))
    with migrating(place.guests, guest, tmp_path / "socket") as names:
        pid = Host().find_pid(domain(place, guest))
        of_kvm = sorted(set(Host().kernel_threads().get(pid, {}).values()))
        code, rows = confining.rows("verify", "--faults")
        confining.run_agent()
        after = confining.command("verify", "--faults")
    place.guests.delete(guest)

    faults = {row["What"]: row["Fault"] for row in rows}
    threads = next(what for what in faults if what.startswith("threads "))
    assert 1 == code
    assert {f"CPU {place.cpu} is used by server web ({place.guest.server.uuid}) too"} == set(faults.values())
    assert {"vCPU 0", "emulator", "I/O thread 1", threads} == faults.keys()
    assert [] == [name for name in (*names, *of_kvm) if name not in threads]
    assert (0, "") == (after.returncode, after.stdout)


def test_the_map_and_its_page(place: Place, tmp_path: Path) -> None:
    """Both show the guest on its CPU."""
    _, rows = place.rows("map")
    done = place.command("map", "--html", str(tmp_path / "map.html"))

    mine = [row for row in rows if "web (vCPU 0" in row["Runs"]]
    assert [row["CPU"] for row in mine] == [cpu for cpu in place.cpu if cpu == mine[0]["CPU"]]
    assert "dedicated" == mine[0]["Pool"]
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert f'title="CPU {mine[0]["CPU"]}, dedicated: web (vCPU 0)"' in (tmp_path / "map.html").read_text()
    assert ["map.html"] == [path.name for path in tmp_path.iterdir()]


def test_without_placement(place: Place, tmp_path: Path) -> None:
    """plan and verify need it and say so; the map does not."""
    text = place.configuration.read_text().replace("http://127.0.0.1:", "http://127.0.0.1:9/")
    (tmp_path / "agent.conf").write_text(text)
    away = replace(place, configuration=tmp_path / "agent.conf")

    plan, verify, shown = (away.command(word) for word in ("plan", "verify", "map"))

    assert (1, 1, 0) == (plan.returncode, verify.returncode, shown.returncode)
    assert plan.stderr.startswith("Placement could not list providers")
    assert verify.stderr.startswith("Placement could not list providers")
    assert "Traceback" not in plan.stderr
