# SPDX-License-Identifier: Apache-2.0
"""The hosts: those with a libvirtd, those that only say so, and their agents."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from kongming_sched.agent.host.libvirt_host import LibvirtHypervisor
from kongming_sched.topology import HostTopology
from testbed.cloud import emulated_host, ini, nova_conf, numa_conf
from testbed.cloud.clients import PROGRAMS
from testbed.cloud.compute_host import address, holder, socket_path
from testbed.cloud.controllers import discover_hosts
from testbed.cloud.fake_agents import topology_file
from testbed.cloud.ini import configuration_folder
from testbed.cloud.plan import Plan
from testbed.cloud.readiness import (
    Probe,
    compute_up,
    has_nodes,
    heard_of_since_start,
    libvirt_answers,
    libvirt_uri,
    namespaces_stand,
)
from testbed.cloud.service import Daemon, Part, Service, Task
from testbed.lab.demo_setup import choose_pools
from testbed.topologies import capabilities_xml, make_topology

FAKE_TOPOLOGY = make_topology(nodes=2, cores_per_node=16, threads=2, memory_mb=131072)
"""What a fake host is unless a file says something else: 64 CPUs."""

RESERVED_MEMORY_MB = 512
EMULATED_PATIENCE_SECONDS = 1200.0
CONTROLLERS = ("nova-conductor-super", "nova-conductor-cell1")


def hosts(plan: Plan) -> list[Part]:
    """The parts of all hosts."""
    parts = [part for host in plan.libvirt_hosts for part in _libvirt_host(plan, host)]
    parts += _emulated_machine(plan) if plan.emulated_hosts else []
    parts += [part for host in plan.emulated_hosts for part in _emulated_host(plan, host)]
    parts += [part for host in plan.fake_hosts for part in _fake_host(plan, host)]
    everywhere = (*plan.libvirt_hosts, *plan.emulated_hosts, *plan.fake_hosts)
    computes = tuple(f"{host}-nova-compute" for host in everywhere)
    parts.append(Task("discover-hosts", lambda: discover_hosts(plan), computes))
    if plan.options.kongming:
        parts += [_agent(plan, host) for host in (*plan.libvirt_hosts, *plan.emulated_hosts)]
        if plan.fake_hosts:
            parts += _fake_agents(plan)
    return parts


def _libvirt_host(plan: Plan, host: str) -> list[Part]:
    space, daemon = holder(host), f"{host}-libvirtd"
    files = configuration_folder(plan, host)
    state = plan.directory / "nova-compute" / host

    def write_files() -> None:
        (state / "lock").mkdir(parents=True, exist_ok=True)
        conf = files / "nova.conf"
        helper = f"{PROGRAMS / 'privsep-helper'} --config-file {conf}"
        ini.write(conf, nova_conf.libvirt_compute(plan, host, state, helper, address(plan, host)))
        link = plan.directory / "at" / address(plan, host)
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(socket_path(plan, host).parent)

    def install_hook() -> None:
        folder = plan.host_directory(host) / "etc/hooks"
        folder.mkdir(parents=True, exist_ok=True)
        command: list[str | Path] = [PROGRAMS / "kongming-host", "hook", "install", "--directory", folder]
        Daemon(f"{host}-hook", command, plan.directory).finish()

    # libvirt looks for hooks when it starts.
    hook: list[Part] = [Task(f"{host}-hook", install_hook)] if plan.options.kongming else []
    # Nova looks for ssh and scp in its path, and finds those that reach the other hosts.
    path = os.pathsep.join([str(plan.host_directory(host) / "bin"), str(PROGRAMS), os.environ.get("PATH", "")])
    compute: list[str | Path] = [PROGRAMS / "nova-compute", "--config-file", files / "nova.conf"]
    return [
        *hook,
        Service(space, _in_host(plan, host, verb="hold"), namespaces_stand(plan, host)),
        Service(
            daemon,
            _in_host(plan, host, "libvirtd", "--config", "/etc/libvirt/libvirtd.conf"),
            libvirt_answers(plan, host),
            (space, *(task.name for task in hook)),
            bound_to=(space,),
        ),
        Task(f"{host}-files", write_files),
        Task(f"{host}-agent-files", lambda: write_agent_file(plan, host), (daemon,)),
        Service(
            f"{host}-nova-compute",
            _in_host(plan, host, *compute),
            compute_up(plan, host),
            (*CONTROLLERS, "glance", "neutron-stub", daemon, f"{host}-files"),
            {"PATH": path},
            bound_to=(space, "rabbitmq"),
        ),
    ]


def _emulated_machine(plan: Plan) -> list[Part]:
    """The virtual machine of all emulated hosts."""
    boot: list[str | Path] = [sys.executable, "-m", "testbed.cloud.emulated_host", "boot", plan.directory]
    disk = Task(f"{emulated_host.MACHINE}-disk", lambda: emulated_host.prepare(plan))
    machine = Service(
        emulated_host.MACHINE_SERVICE,
        boot,
        lambda: emulated_host.answers(plan),
        (disk.name,),
        patience_seconds=EMULATED_PATIENCE_SECONDS,
    )
    return [disk, machine]


def _emulated_host(plan: Plan, host: str) -> list[Part]:
    system, daemon = emulated_host.MACHINE_SERVICE, f"{host}-libvirtd"

    def write_files() -> None:
        helper = emulated_host.privsep_helper(plan, host)
        state = emulated_host.state(plan, host)
        conf = nova_conf.libvirt_compute(plan, host, state, helper, emulated_host.address(plan, host))
        if plan.options.kongming:
            for section, lines in numa_conf.options(plan, host, _topology(plan, host)).items():
                conf.setdefault(section, {}).update(lines)
        ini.write(configuration_folder(plan, host) / "nova.conf", conf)

    def slow(
        name: str, command: Sequence[str | Path], is_ready: Probe, after: tuple[str, ...], bound_to: tuple[str, ...]
    ) -> Service:
        return Service(name, command, is_ready, after, bound_to=bound_to, patience_seconds=EMULATED_PATIENCE_SECONDS)

    def is_up() -> bool:
        return heard() and up()

    up, heard = compute_up(plan, host), heard_of_since_start(plan, host)
    before_compute = (*CONTROLLERS, "glance", "neutron-stub", daemon, f"{host}-files")
    return [
        slow(daemon, emulated_host.libvirtd(plan, host), libvirt_answers(plan, host), (system,), (system,)),
        Task(f"{host}-files", write_files, (daemon,)),
        Task(f"{host}-agent-files", lambda: write_agent_file(plan, host), (daemon,)),
        slow(
            f"{host}-nova-compute",
            emulated_host.nova_compute(plan, host),
            is_up,
            before_compute,
            (system, "rabbitmq"),
        ),
    ]


def _in_host(plan: Plan, host: str, *command: str | Path, verb: str = "enter") -> list[str | Path]:
    return [sys.executable, "-m", "testbed.cloud.compute_host", verb, plan.directory, host, *command]


def _topology(plan: Plan, host: str) -> HostTopology:
    """The CPUs of a host whose libvirtd runs."""
    hypervisor = LibvirtHypervisor(libvirt_uri(plan, host))
    topology = hypervisor.topology()
    hypervisor.close()
    return topology


def write_agent_file(plan: Plan, host: str) -> None:
    """The agent's configuration, with pools that are computed from the machine's topology."""
    is_emulated = host in plan.emulated_hosts
    choose = numa_conf.choose_emulated_pools if is_emulated else choose_pools
    pools = choose(_topology(plan, host))
    sections: ini.Sections = {
        "kongming_agent": {
            "dedicated_cpu_set": str(pools.dedicated),
            "shared_cpu_set": str(pools.shared),
            "reserved_memory_mb": RESERVED_MEMORY_MB,
            "interval_seconds": 2,
            # An emulated host has no library for messages.
            "triggers": "libvirt,timer" if is_emulated else "libvirt,timer,notifications",
            "metrics_port": 0,  # each agent of this machine would want the same one
            "lock_name": configuration_folder(plan, host),  # and so the hosts, which are one machine
            "history_file": "" if is_emulated else configuration_folder(plan, host) / "history.jsonl",
        }
    }
    ini.write(configuration_folder(plan, host) / "kongming-agent.conf", sections)


def _agent(plan: Plan, host: str) -> Service:
    after = (f"{host}-nova-compute", f"{host}-agent-files")
    is_ready = has_nodes(plan, (host,))
    if host in plan.emulated_hosts:
        system = emulated_host.MACHINE_SERVICE
        command = emulated_host.agent(plan, host)
        return Service(
            f"{host}-agent", command, is_ready, after, bound_to=(system,), patience_seconds=EMULATED_PATIENCE_SECONDS
        )
    files = configuration_folder(plan, host)
    options: list[str | Path] = ["--config-file", files / "nova.conf", "--config-file", files / "kongming-agent.conf"]
    command = _in_host(plan, host, PROGRAMS / "kongming-agent", *options)
    return Service(f"{host}-agent", command, is_ready, after, bound_to=(holder(host),))


def _fake_host(plan: Plan, host: str) -> list[Part]:
    conf = configuration_folder(plan, host) / "nova.conf"

    def write_files() -> None:
        (plan.directory / "nova-fake" / host / "lock").mkdir(parents=True, exist_ok=True)
        ini.write(conf, nova_conf.fake_compute(plan, host))

    command: list[str | Path] = [PROGRAMS / "nova-compute", "--config-file", conf]
    after = (*CONTROLLERS, f"{host}-files")
    return [
        Task(f"{host}-files", write_files),
        Service(f"{host}-nova-compute", command, compute_up(plan, host), after, bound_to=("rabbitmq",)),
    ]


def _fake_agents(plan: Plan) -> list[Part]:
    def write_topology() -> None:
        if plan.options.topology:
            shutil.copy(plan.options.topology, topology_file(plan))
        else:
            topology_file(plan).write_text(capabilities_xml(FAKE_TOPOLOGY))

    command: list[str | Path] = [sys.executable, "-m", "testbed.cloud.fake_agents", plan.directory]
    after = ("fake-topology", *(f"{host}-nova-compute" for host in plan.fake_hosts))
    return [
        Task("fake-topology", write_topology),
        Service("fake-agents", command, has_nodes(plan, plan.fake_hosts), after),
    ]
