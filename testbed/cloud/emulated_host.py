# SPDX-License-Identifier: Apache-2.0
"""Compute hosts in a virtual machine with two NUMA nodes, as testbed.numa_host makes it.

``python -m testbed.cloud.emulated_host boot DIRECTORY`` becomes the machine. ``python -m testbed.cloud.emulated_host
enter DIRECTORY HOST COMMAND...`` runs a command in the namespaces that a host has there, with the configuration files
of that host, and ends it when it ends itself; ``start`` instead of ``enter`` makes the namespaces before. In there the
ports of the cloud are loopback's as they are here, and so all files say the same.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

from testbed.cloud.ini import configuration_folder
from testbed.cloud.plan import APIS, LOOPBACK, Plan, load_plan
from testbed.lab.process import REPOSITORY, LabError
from testbed.numa_host import machine, space
from testbed.numa_host.command_client import Caller, write_all
from testbed.numa_host.command_server import OUTPUT
from testbed.numa_host.image import CLOUD, PARCEL, PROGRAMS, Image, default_directory, prepare_image
from testbed.numa_host.payload import write_parcel

DOOR_PORT = 1023
"""In the host: one that none of the cloud's can be."""

MACHINE = "numa-host"
"""The folder of the machine, which the first host in it has too."""

FORWARDED = (*APIS, "rabbitmq")
"""The cloud's ports that a compute host needs."""

SITE_PROGRAMS = PARCEL / "site/bin"


MACHINE_SERVICE = f"{MACHINE}-machine"
"""The service that is the virtual machine."""


def address(plan: Plan, host: str) -> str:
    """Under which the hosts in the machine reach each other: all of 127/8 is loopback."""
    return f"127.0.1.{plan.emulated_hosts.index(host) + 1}"


def caller(plan: Plan) -> Caller:
    """Who runs commands in the host."""
    return Caller(plan.ports["numa-host"], plan.passwords["numa-host"])


def answers(plan: Plan) -> bool:
    """Whether commands can be run in it."""
    try:
        return caller(plan).run(["true"]).returncode == 0
    except LabError:
        return False


def image(plan: Plan) -> Image:
    """Kernel and disk of the machine, where nobody makes them anew."""
    folder = plan.host_directory(MACHINE)
    return Image(folder / "base.img", folder / "vmlinuz")


def prepare(plan: Plan) -> None:
    """Make what the machine boots from: kernel, a disk over that which all such machines share, and a parcel."""
    folder = plan.host_directory(MACHINE)
    folder.mkdir(parents=True, exist_ok=True)
    kept = prepare_image(default_directory(os.environ), CLOUD, False, lambda line: print(line, file=sys.stderr))
    mine = image(plan)
    for source, target in ((kept.disk, mine.disk), (kept.kernel, mine.kernel)):
        _link(source, target)
    overlay: list[str | Path] = ["-q", "-f", "qcow2", "-F", "raw", "-b", mine.disk, folder / "disk.qcow2"]
    subprocess.run(["qemu-img", "create", *overlay], check=True)
    door = {"port": DOOR_PORT, "word": plan.passwords["numa-host"]}
    (folder / "parcel.tar").touch(mode=0o600)
    write_parcel(folder / "parcel.tar", {"door.json": json.dumps(door)})


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:  # another file system
        shutil.copy(source, target)


def boot(plan: Plan) -> None:
    """Become the machine; its console is what is printed."""
    folder = plan.host_directory(MACHINE)
    mine = image(plan)
    ports = ",".join(str(plan.ports[name]) for name in FORWARDED)
    accelerator = machine.choose_accelerator(mine)
    command = machine.command_line(mine.kernel, accelerator, f"kongming=door ports={ports}")
    command += machine.disk("root", folder / "disk.qcow2", form="qcow2")
    command += machine.disk("parcel", folder / "parcel.tar")
    forward = f"hostfwd=tcp:{LOOPBACK}:{plan.ports['numa-host']}-:{DOOR_PORT}"
    command += ["-netdev", f"user,id=net,{forward}", "-device", "virtio-net-pci,netdev=net,romfile="]
    command += ["-serial", "stdio"]
    os.execvp(command[0], command)


def enter(plan: Plan, host: str, command: list[str]) -> int:
    """Run a command in the namespaces of a host, with our input and output; gives its exit status."""
    return _converse(plan, host, space.entering(host, command))


def start(plan: Plan, host: str, command: list[str]) -> int:
    """Run a command likewise, and make the namespaces before unless they are there."""
    link = plan.directory / "at" / address(plan, host)
    return _converse(plan, host, space.starting(host, plan.directory / "instances", link, command))


def _converse(plan: Plan, host: str, command: list[str | Path]) -> int:
    files = {str(path): path.read_text() for path in configuration_folder(plan, host).glob("*.conf")}
    # Nova's own way to say who a host is before it starts. What it writes itself may be lost when the machine crashes.
    files[str(state(plan, host) / "compute_id")] = str(identity(plan, host))

    def hear(kind: bytes, data: bytes) -> None:
        write_all(1 if kind == OUTPUT else 2, data)

    return caller(plan).converse(command, files, 0, hear)


def in_host(plan: Plan, host: str, *command: str | Path, verb: str = "enter") -> list[str | Path]:
    """The words of a program here that runs a command there."""
    return [sys.executable, "-m", "testbed.cloud.emulated_host", verb, plan.directory, host, *command]


def libvirt_uri(plan: Plan, host: str) -> str:
    """How the host's libvirtd is reached from here: through a program, which is all that this kind of URI can name."""
    script = plan.host_directory(host) / "libvirt"
    if not script.exists():
        script.parent.mkdir(parents=True, exist_ok=True)
        words = in_host(plan, host, "socat", "-", "UNIX-CONNECT:/run/libvirt/libvirt-sock")
        quoted = " ".join(f'"{word}"' for word in words)
        script.write_text(f'#!/bin/sh\nPYTHONPATH="{REPOSITORY}" exec {quoted}\n')
        script.chmod(0o755)
    return f"qemu+ext:///system?command={script}"


def identity(plan: Plan, host: str) -> uuid.UUID:
    """Who the host is, to libvirt and to Nova."""
    return uuid.uuid5(uuid.NAMESPACE_DNS, f"{plan.short_name}-{host}")


def libvirtd(plan: Plan, host: str) -> list[str | Path]:
    """libvirtd, in the host."""
    hook = ["hook"] * plan.options.kongming
    command = ["python3", "-m", "testbed.numa_host.compute", str(identity(plan, host)), *hook]
    return in_host(plan, host, *command, verb="start")


def nova_compute(plan: Plan, host: str) -> list[str | Path]:
    """nova-compute, in the host."""
    folders = [state(plan, host) / "lock", plan.directory / "instances"]
    make: list[str | Path] = ["sh", "-c", 'mkdir -p "$1" "$2" && shift 2 && exec "$@"', "nova-compute", *folders]
    conf = configuration_folder(plan, host) / "nova.conf"
    return in_host(plan, host, *make, "python3", PROGRAMS / "nova-compute", "--config-file", conf)


def privsep_helper(plan: Plan, host: str) -> str:
    """The command with which nova-compute gets the rights that it has already."""
    return f"python3 {PROGRAMS / 'privsep-helper'} --config-file {configuration_folder(plan, host) / 'nova.conf'}"


def agent(plan: Plan, host: str) -> list[str | Path]:
    """kongming-agent, in the host."""
    files = configuration_folder(plan, host)
    options: list[str | Path] = ["--config-file", files / "nova.conf", "--config-file", files / "kongming-agent.conf"]
    return in_host(plan, host, "python3", SITE_PROGRAMS / "kongming-agent", *options)


def state(plan: Plan, host: str) -> Path:
    """Where nova-compute keeps what it must not forget."""
    return plan.directory / "nova-compute" / host


def main() -> int:
    """Boot, start or enter."""
    verb, directory, *words = sys.argv[1:]
    plan = load_plan(Path(directory))
    if plan is None:
        sys.exit(f"there is no cloud in {directory}")
    try:
        if verb == "boot":
            boot(plan)
        host, *command = words
        status = {"enter": enter, "start": start}[verb](plan, host, command)
    except LabError as error:
        sys.exit(f"{' '.join(words[:1])}: {error}")
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
