# SPDX-License-Identifier: Apache-2.0
"""A machine that is not there: namespaces in which a libvirtd, a nova-compute and an agent believe to have their own.

``python -m testbed.cloud.compute_host hold DIRECTORY HOST`` makes them and keeps them until a signal comes;
``python -m testbed.cloud.compute_host enter DIRECTORY HOST COMMAND...`` runs a command in them. Inside,

- /etc/libvirt, /var/lib/libvirt and so on are folders of ``DIRECTORY/hosts/HOST``, and so is all of /run, without the
  sockets of the machine's own services;
- the folder with the disks of Nova's servers has the same name on each host and is another on each, so that Nova copies
  the disks of servers that move;
- the host's name is ``HOST``, and the control groups begin at a group of its own.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import uuid
from pathlib import Path

from testbed.cloud import cgroups
from testbed.cloud.plan import Plan, load_plan
from testbed.cloud.service import read_record, record_file
from testbed.lab.libvirtd import FOLDERS, add_debian_user, configure, folders_in_place, mount_over
from testbed.lab.process import LabError, ended_by_signals

_SHIMS = ("ssh", "scp")


def holder(host: str) -> str:
    """The service that keeps a host's namespaces."""
    return f"{host}-namespaces"


def cgroup_name(plan: Plan, host: str) -> str:
    """The control group of a host."""
    return f"{plan.short_name}-{host}"


def ready_file(plan: Plan, host: str) -> Path:
    """Holds the id of the process whose namespaces are furnished."""
    return plan.host_directory(host) / "ready"


def socket_path(plan: Plan, host: str) -> Path:
    """Where the host's libvirtd is reached from everywhere."""
    return plan.host_directory(host) / "run/libvirt/libvirt-sock"


def address(plan: Plan, host: str) -> str:
    """Under which the other hosts reach this one: all of 127/8 is loopback."""
    return f"127.0.0.{plan.libvirt_hosts.index(host) + 1}"


def hold(plan: Plan, host: str) -> None:
    """Join the host's control group, and start again in namespaces of our own."""
    name = cgroup_name(plan, host)
    cgroups.make(name)
    cgroups.join(name)
    unshare = ["unshare", "--mount", "--uts", "--cgroup", "--propagation", "private", "--"]
    os.execvp(
        "unshare", [*unshare, sys.executable, "-m", "testbed.cloud.compute_host", "held", str(plan.directory), host]
    )


def held(plan: Plan, host: str) -> None:
    """Furnish the namespaces, and wait."""
    directory = plan.host_directory(host)
    socket.sethostname(host)
    cgroups.be_root(cgroup_name(plan, host))
    for name in ("run/lock", "run/libvirt", "instances"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    disks = plan.directory / "instances"
    disks.mkdir(exist_ok=True)
    with ended_by_signals(), folders_in_place(directory, FOLDERS | {"run": Path("/run")}):
        known = "".join(f"{address(plan, other)} {other}\n" for other in plan.libvirt_hosts)
        (directory / "hosts").write_text(f"127.0.0.1 localhost\n{known}")
        mount_over(directory / "hosts", Path("/etc/hosts"))
        mount_over(directory / "instances", disks)
        add_debian_user(directory)
        host_uuid = uuid.uuid5(uuid.NAMESPACE_DNS, cgroup_name(plan, host))
        configure(directory / "etc", f'host_uuid = "{host_uuid}"\n')
        write_shims(plan, directory / "bin")
        ready_file(plan, host).write_text(str(os.getpid()))
        signal.pause()


def write_shims(plan: Plan, directory: Path) -> None:
    """The ssh and scp with which nova-compute makes and copies files on other hosts, which are all here."""
    directory.mkdir(exist_ok=True)
    for name in _SHIMS:
        shim = directory / name
        module = "testbed.cloud.remote_shell"
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "{plan.directory}" {name} "$@"\n')
        shim.chmod(0o755)


def enter(plan: Plan, host: str, command: list[str]) -> None:
    """Become a command in the host's namespaces and control group.

    :raises LabError: if the host is not up
    """
    process = read_record(record_file(plan.directory, holder(host)))
    if process is None:
        raise LabError(f"nobody holds the namespaces of {host}; run tools/cloud up again")
    cgroups.join(cgroup_name(plan, host))
    os.execvp("nsenter", ["nsenter", "--target", str(process.pid), "--mount", "--uts", "--cgroup", "--", *command])


def main() -> None:
    """Hold or enter."""
    verb, directory, host, *command = sys.argv[1:]
    plan = load_plan(Path(directory))
    if plan is None:
        sys.exit(f"there is no cloud in {directory}")
    if verb == "enter":
        enter(plan, host, command)
    {"hold": hold, "held": held}[verb](plan, host)


if __name__ == "__main__":
    main()
