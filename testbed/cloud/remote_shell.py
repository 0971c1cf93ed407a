# SPDX-License-Identifier: Apache-2.0
"""Stands for ssh and scp between the hosts of a cloud on one machine: runs what is asked in the other's namespaces.

``python -m testbed.cloud.remote_shell DIRECTORY ssh|scp ARGUMENT...`` takes what Nova hands to the two programs.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from testbed.cloud.compute_host import address, holder
from testbed.cloud.plan import Plan, load_plan
from testbed.cloud.service import read_record, record_file
from testbed.lab.process import LabError

_WITH_VALUE = ("-o", "-i", "-p", "-P", "-l")


def operands(arguments: Sequence[str]) -> list[str]:
    """What is left without the options, up to the first word of a remote command."""
    words = list(arguments)
    while words and words[0].startswith("-"):
        del words[: 2 if words[0] in _WITH_VALUE else 1]
    return words


def split_remote(place: str) -> tuple[str, str]:
    """The address and the path of ADDRESS:PATH; no address for a path here."""
    host, colon, path = place.partition(":")
    return (host, path) if colon and "/" not in host else ("", place)


def inside(plan: Plan, host_address: str) -> list[str]:
    """The words before a command that runs on another host.

    :raises LabError: if no host has the address or it is down
    """
    host = next((host for host in plan.libvirt_hosts if address(plan, host) == host_address), None)
    process = None if host is None else read_record(record_file(plan.directory, holder(host)))
    if process is None:
        raise LabError(f"no host is up at {host_address}")
    return ["nsenter", "--target", str(process.pid), "--mount", "--"]


def run_there(plan: Plan, arguments: Sequence[str]) -> int:
    """Ssh: run a command on another host."""
    host, *command = operands(arguments)
    return subprocess.run([*inside(plan, host), *command], check=False).returncode


def copy(plan: Plan, arguments: Sequence[str]) -> int:
    """Scp: copy a file or folder from or to another host, here or there."""
    source, target = operands(arguments)
    source_host, source_path = split_remote(source)
    target_host, target_path = split_remote(target)
    folder, name = str(Path(source_path).parent), Path(source_path).name
    goal = Path(target_path)
    reader = [*(inside(plan, source_host) if source_host else []), "tar", "-C", folder, "-cSf", "-", name]
    # Like cp: into a folder that exists, else under the new name.
    script = 'if [ -d "$1" ]; then exec tar -C "$1" -xSf -; fi; tar -C "$2" -xSf - --transform "s,^$3,$4,"'
    words = ["sh", "-c", script, "copy", str(goal), str(goal.parent), name, goal.name]
    writer = [*(inside(plan, target_host) if target_host else []), *words]
    with subprocess.Popen(reader, stdout=subprocess.PIPE) as sending:
        status = subprocess.run(writer, stdin=sending.stdout, check=False).returncode
    return status or sending.returncode


def main() -> int:
    """Do as the program whose name comes after the directory."""
    directory, program, *arguments = sys.argv[1:]
    plan = load_plan(Path(directory))
    if plan is None:
        raise LabError(f"there is no cloud in {directory}")
    return {"ssh": run_there, "scp": copy}[program](plan, arguments)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(str(error))
