# SPDX-License-Identifier: Apache-2.0
"""The command tools/cloud."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from testbed.cloud.clients import client_environment, openrc
from testbed.cloud.cloud import Row, bring_up, service_rows, take_down
from testbed.cloud.compute_host import enter
from testbed.cloud.plan import Options, Plan, check_directory, default_directory, load_plan
from testbed.lab.process import LabError, ended_by_signals

NOT_RUNNING = 3
"""The exit status of status if something does not run, as service managers have it."""


def say(line: str) -> None:
    """Say how it goes."""
    sys.stderr.write(f"{line}\n")  # in one piece: several threads have something to say


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="tools/cloud",
        description="A real OpenStack with KongMing on this machine: its processes listen on loopback alone, and all"
        " that they write lies in one directory.",
    )
    top.add_argument(
        "--directory",
        type=Path,
        default=default_directory(os.environ),
        help="where the cloud lies (default: %(default)s)",
    )
    verbs = top.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="bring it up, or start again what does not run")
    up.add_argument("--hosts", type=int, metavar="N", help="hosts with Nova's fake driver (default: 0)")
    up.add_argument("--libvirt-hosts", type=int, metavar="N", help="hosts with a libvirtd and QEMU (default: 1)")
    up.add_argument("--filters", choices=["kongming", "none"], help="none leaves KongMing out")
    up.add_argument(
        "--numa-host",
        nargs="?",
        type=int,
        const=1,
        default=0,
        choices=(1, 2),
        metavar="N",
        help="N more hosts (default: 1), in an emulated machine with two NUMA nodes",
    )
    up.add_argument("--topology", metavar="FILE", help="libvirt's capabilities of each fake host")
    verbs.add_parser("down", help="end it and remove its files but the logs")
    status = verbs.add_parser("status", help=f"show its services; ends with {NOT_RUNNING} if one does not run")
    status.add_argument("-f", "--format", choices=["table", "json"], default="table")
    run = verbs.add_parser("run", help="run a command with the cloud's environment")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    on = verbs.add_parser("on", help="run a command on a host with a libvirtd")
    on.add_argument("host", metavar="HOST")
    on.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    return top


def read_options(arguments: argparse.Namespace) -> Options | None:
    """What shall be brought up; None if nothing was said.

    :raises LabError: if that makes no sense
    """
    given = (arguments.hosts, arguments.libvirt_hosts, arguments.filters, arguments.topology)
    if given == (None,) * 4 and not arguments.numa_host:
        return None
    fake_hosts = arguments.hosts or 0
    libvirt_hosts = 1 if arguments.libvirt_hosts is None else arguments.libvirt_hosts
    if min(fake_hosts, libvirt_hosts) < 0 or not fake_hosts + libvirt_hosts + arguments.numa_host:
        raise LabError("a cloud needs a host: --hosts or --libvirt-hosts must be above 0, or there must be --numa-host")
    topology = str(Path(arguments.topology).absolute()) if arguments.topology else ""
    if topology and not Path(topology).is_file():
        raise LabError(f"there is no file {topology}")
    return Options(fake_hosts, libvirt_hosts, arguments.filters != "none", topology, arguments.numa_host)


def up(directory: Path, options: Options | None) -> None:
    """Bring it up and say how to use it."""
    before = time.monotonic()
    with ended_by_signals():
        plan = bring_up(directory, options, say)
    say(f"up after {time.monotonic() - before:.0f} s. Use it with tools/cloud run COMMAND, or: . {openrc(plan)}")


def existing(directory: Path) -> Plan:
    """The plan of the cloud that is there.

    :raises LabError: if there is none
    """
    plan = load_plan(directory)
    if plan is None:
        raise LabError(f"there is no cloud in {directory}; tools/cloud up makes one")
    return plan


def status(directory: Path, output: str) -> int:
    """Show the services."""
    plan = load_plan(directory)
    rows = service_rows(plan) if plan else []
    print(json.dumps([dataclasses.asdict(row) for row in rows], indent=1) if output == "json" else table(rows))
    return 0 if rows and all(row.state == "running" for row in rows) else NOT_RUNNING


def table(rows: Sequence[Row]) -> str:
    """Rows for people."""
    head = ("service", "state", "pid", "port", "uptime s", "memory MiB")
    body = [tuple("-" if value is None else str(value) for value in dataclasses.astuple(row)) for row in rows]
    total = sum(row.memory_mib or 0 for row in rows)
    lines = [head, *body, ("all", "", "", "", "", str(total))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    aligned = (
        "  ".join(
            word.ljust(width) if column < 2 else word.rjust(width)
            for column, (word, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
    return "\n".join(line.rstrip() for line in aligned)


def run(directory: Path, command: Sequence[str]) -> int:
    """Become a command that uses the cloud.

    :raises LabError: if there is none
    """
    words = list(command[1:] if command[:1] == ["--"] else command)
    if not words:
        raise LabError("run wants a command, as in: tools/cloud run openstack server list")
    environment = client_environment(existing(directory))
    try:
        os.execvpe(words[0], words, environment)
    except FileNotFoundError:
        raise LabError(f"there is no program {words[0]}") from None


def on(directory: Path, host: str, command: Sequence[str]) -> int:
    """Become a command in the namespaces of a host.

    :raises LabError: if there is no such host, or it is not up
    """
    plan = existing(directory)
    if host not in plan.libvirt_hosts:
        raise LabError(f"{host} is none of {', '.join(plan.libvirt_hosts) or 'no hosts'}, which have a libvirtd here")
    if not command:
        raise LabError(f"on wants a command, as in: tools/cloud on {host} virsh list")
    os.environ.update(client_environment(plan))
    enter(plan, host, list(command))
    return 1  # it does not come back


def main() -> int:
    """Do what the command line says."""
    arguments = parser().parse_args()
    try:
        directory = check_directory(arguments.directory)
        if arguments.verb == "up":
            up(directory, read_options(arguments))
        elif arguments.verb == "down":
            take_down(directory, say)
        elif arguments.verb == "status":
            return status(directory, arguments.format)
        elif arguments.verb == "on":
            return on(directory, arguments.host, arguments.command)
        else:
            return run(directory, arguments.command)
    except LabError as error:
        say(f"tools/cloud: {error}")
        return 1
    except KeyboardInterrupt:
        say("tools/cloud: interrupted; what was started is taken down")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
