# SPDX-License-Identifier: Apache-2.0
"""The unit as systemd runs it: the agent does all of its work within its bounds, and cannot do more.

systemd is one of the lab's own; libvirt, QEMU and Placement are real.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kongming_sched.agent.host.kernel import Host
from kongming_sched.agent.host.libvirt_host import LibvirtHypervisor
from kongming_sched.agent.model.guest import Domain, HelperThread
from kongming_sched.agent.telemetry import change_log
from kongming_sched.placement import names
from kongming_sched.template import PinningTemplate
from testbed.lab.compute_host import AGENT, ComputeHost, compute_host
from testbed.lab.guests import Affinity, Guest
from testbed.lab.service_manager import PROGRAM, ServiceManager, python_in_sight
from testbed.waiting import until

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start libvirtd and systemd"),
    pytest.mark.skipif(not PROGRAM.exists() or shutil.which("systemctl") is None, reason="systemd is not here"),
    pytest.mark.xdist_group("libvirt"),
]

UNIT = Path(__file__).parents[3] / "etc" / "kongming-agent.service"
NOBODY = 65534

PROBE = """\
import json, os, socket, sys
from pathlib import Path

def is_done(call):
    try:
        call()
    except OSError:
        return False
    return True

pid = int(Path(sys.argv[1]).read_text())
answers = {
    "count the pages of a guest": is_done(Path(f"/proc/{pid}/numa_maps").read_text),
    "write to /etc": is_done(Path("/etc/kongming-probe").touch),
    "write to /sys": is_done(lambda: Path("/sys/kernel/mm/ksm/run").write_text("0")),
    "set an option of the kernel's": is_done(lambda: Path("/proc/sys/vm/swappiness").write_text("60")),
    "move a guest's threads": is_done(lambda: os.sched_setaffinity(pid, {0})),
    "be another user": is_done(lambda: os.setuid(65534)),
    "use a device": is_done(lambda: os.open("/dev/mem", os.O_RDONLY)),
    "send raw packets": is_done(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "change its root": is_done(lambda: os.chroot("/")),
}
Path(os.environ["RUNTIME_DIRECTORY"], "answers").write_text(json.dumps(answers))
"""
"""Tries what the agent has to do, and what it must not, with the unit's bounds: systemd runs it at each reload."""


@dataclass(frozen=True)
class Service:
    """The agent as a service, and a guest of a template.

    :ivar pins: those that the guest should have
    :ivar log: of the agent, in another user's directory
    :ivar history: of what the agent has changed
    :ivar answers: which things were done of those that were tried with the unit's bounds; written at a reload
    """

    host: ComputeHost
    manager: ServiceManager
    guest: Guest
    pins: Affinity
    log: Path
    history: Path
    answers: Path


@pytest.fixture(scope="module")
def directories() -> Iterator[tuple[Path, Path]]:
    """One that the unit may read, and another user's for logs. Of /tmp it has one of its own, so neither is there."""
    with (
        tempfile.TemporaryDirectory(prefix="kongming-lab-", dir="/run") as readable,
        tempfile.TemporaryDirectory(prefix="kongming-lab-", dir="/var/log") as logs,
    ):
        os.chown(logs, NOBODY, NOBODY)
        yield Path(readable), Path(logs)
        shutil.rmtree(f"{logs}.history", ignore_errors=True)


@pytest.fixture(scope="module")
def service(directories: tuple[Path, Path]) -> Iterator[Service]:
    """The unit, as it is but for the paths of its files, and a guest."""
    directory, logs = directories
    with compute_host(directory) as host, ServiceManager(directory) as manager:
        cpu, other = max(host.topology.cpus), min(host.topology.cpus)
        core = next(core.cpus for node in host.topology.nodes for core in node.cores if cpu in core.cpus)
        if other in core:
            pytest.skip("this machine has one core")
        cell = {"vcpus": "0-1", "cpus": "explicit", "pins": str(cpu), "memory": "none"}
        qos = {"vcpus": {1: {"quota_us": 25_000}}} if "cpu" in host.hypervisor.controllers else {}
        template = PinningTemplate.from_mapping({"name": "gold", "cells": [cell], **({"qos": qos} if qos else {})})
        host.store(template)
        run = manager.runtime / "kongming"
        history = Path(f"{logs}.history", "history.jsonl")
        history.parent.mkdir(mode=0o750)  # a manager of a user's puts LogsDirectory elsewhere
        agent = host.agent(dedicated_cpu_set=core, housekeeping_cpu_set=other, run_directory=run, history_file=history)
        os.chown(directory / "kongming-agent.conf", NOBODY, NOBODY)  # as nova.conf belongs to another user
        (directory / "kongming-agent.conf").chmod(0o600)
        (directory / "probe.py").write_text(PROBE)
        command = " ".join(agent.command).replace(str(AGENT), f"{sys.executable} {AGENT}")
        manager.add(
            UNIT,
            f"[Service]\nExecStart=\nExecStart={command} --log-file {logs}/agent.log\n"
            f"ExecReload={sys.executable} {directory}/probe.py {directory}/pid\n"
            f"LogsDirectory=\n{python_in_sight()}",
        )
        manager.systemctl("start", UNIT.name)
        host.client.ensure_traits([trait := names.template_trait("gold")])
        until(lambda: host.client.providers(in_tree=host.root_uuid, required=trait))
        guest = host.guests.spawn("gold", host.server(template, cpu))
        shutil.copy(f"/run/libvirt/qemu/{guest.domain}.pid", directory / "pid")
        pins = Affinity({0: str(cpu), 1: str(cpu)}, str(other))
        yield Service(host, manager, guest, pins, logs / "agent.log", history, run / "answers")
        host.delete(guest)


def helpers(domain: Domain) -> list[HelperThread]:
    """The threads of a guest that libvirt does not pin by themselves, the kernel's own for it included."""
    host = Host()
    threads = host.threads(domain)
    names = {**threads.helpers, **host.kernel_threads().get(threads.pid, {})}
    return [thread for number, name in names.items() if (thread := host.helper(number, name))]


def test_the_agent_does_its_work(service: Service) -> None:
    """It pins every thread, sets the quota of a single vCPU, and logs; what it reads belongs to another user."""
    until(lambda: service.host.guests.affinity(service.guest) == service.pins)
    libvirt = LibvirtHypervisor("qemu:///system")
    domain = next(domain for domain in libvirt.domains() if domain.uuid == service.guest.server.uuid)
    libvirt.close()

    until(lambda: {service.pins.emulator} == {str(thread.cpus) for thread in helpers(domain)})
    if "cpu" in service.host.hypervisor.controllers:
        until(lambda: {0: -1, 1: 25_000} == Host().vcpu_quotas(domain))
    until(lambda: "vCPU 1: CPU" in service.log.read_text(), lambda: "a line on vCPU 1")  # a pass logs when it ends
    changes = list(change_log.read(service.history, server=service.guest.server.uuid))
    assert {"vCPU 0", "vCPU 1", "emulator"} <= {change.what for change in changes}
    assert 0o640 == stat.S_IMODE(service.history.stat().st_mode)


def test_what_the_bounds_allow(service: Service) -> None:
    """A guest's pages can be counted and its threads be moved, and nothing else is done of what a root could do."""
    service.manager.systemctl("reload", UNIT.name)
    until(service.answers.exists)
    answers = json.loads(service.answers.read_text())

    assert ["count the pages of a guest", "move a guest's threads"] == [
        what for what, is_done in answers.items() if is_done
    ]
    assert 9 == len(answers)


def test_reload_and_stop(service: Service) -> None:
    """The service hears of both, and ends well; the guest keeps its pins."""
    service.manager.systemctl("reload", UNIT.name)
    until(lambda: "read the configuration again" in service.log.read_text())
    service.manager.systemctl("stop", UNIT.name)

    assert "success\n" == service.manager.systemctl("show", "--property=Result", "--value", UNIT.name)
    assert "stopped; the servers keep their pins" in service.log.read_text()
    assert service.pins == service.host.guests.affinity(service.guest)
