# SPDX-License-Identifier: Apache-2.0
"""What a cloud shall be: its options, and the ports and passwords that were picked for it when it was first made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import secrets
import socket
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.lab.process import LabError

LOOPBACK = "127.0.0.1"
REGION = "RegionOne"
APIS = ("keystone", "placement", "glance", "nova", "neutron")
PORTS = (*APIS, "mariadb", "rabbitmq", "rabbitmq-distribution", "epmd", "numa-host")

MAX_DIRECTORY = 60
"""Characters. Sockets lie below it, and the kernel takes no path of a socket that is longer than 107."""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for.

    :ivar fake_hosts: how many nova-compute processes have Nova's fake driver
    :ivar libvirt_hosts: how many have a libvirtd and real guests
    :ivar kongming: whether Nova's scheduler has our filters and weighers, and hosts our agent
    :ivar topology: a file with libvirt's capabilities of each fake host; empty for the usual two nodes
    :ivar numa_host: how many more hosts are in a virtual machine with two NUMA nodes
    """

    fake_hosts: int = 0
    libvirt_hosts: int = 1
    kongming: bool = True
    topology: str = ""
    numa_host: int = 0

    def __str__(self) -> str:
        words = [f"--libvirt-hosts {self.libvirt_hosts}", f"--hosts {self.fake_hosts}"]
        words.append(f"--filters {'kongming' if self.kongming else 'none'}")
        words += [f"--topology {self.topology}"] * bool(self.topology)
        words += [f"--numa-host {self.numa_host}"] * bool(self.numa_host)
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Plan:
    """A cloud that is to be, or is.

    :ivar directory: where everything of it lies
    :ivar virt_type: what guests are, "kvm" or "qemu"
    """

    directory: Path
    options: Options
    ports: Mapping[str, int]
    passwords: Mapping[str, str]
    virt_type: str

    @property
    def logs(self) -> Path:
        """A log for each service."""
        return self.directory / "log"

    @property
    def libvirt_hosts(self) -> tuple[str, ...]:
        """The names of the hosts with a libvirtd."""
        return tuple(f"compute{number}" for number in range(1, self.options.libvirt_hosts + 1))

    @property
    def emulated_hosts(self) -> tuple[str, ...]:
        """The names of the hosts in a virtual machine."""
        return ("numa-host", "numa-host2")[: self.options.numa_host]

    @property
    def fake_hosts(self) -> tuple[str, ...]:
        """The names of the hosts without one."""
        return tuple(f"fake{number:02}" for number in range(1, self.options.fake_hosts + 1))

    def host_directory(self, host: str) -> Path:
        """Where a host with a libvirtd keeps what other machines keep in /etc, /run and /var."""
        return self.directory / "hosts" / host

    def url(self, api: str) -> str:
        """Where an API answers."""
        return f"http://{LOOPBACK}:{self.ports[api]}"

    @property
    def short_name(self) -> str:
        """Names this cloud where its directory cannot, as in control groups."""
        return f"kongming-cloud-{hashlib.sha256(str(self.directory).encode()).hexdigest()[:8]}"


def default_directory(environment: Mapping[str, str]) -> Path:
    """Where the cloud lies unless another place is named."""
    state = environment.get("XDG_STATE_HOME") or f"{environment.get('HOME', '/root')}/.local/state"
    return Path(state) / "kongming-cloud"


def check_directory(directory: Path) -> Path:
    """The directory as an absolute path.

    :raises LabError: if it is too long for the sockets in it
    """
    absolute = directory.absolute()
    if len(str(absolute)) > MAX_DIRECTORY:
        raise LabError(f"{absolute} is too long a path for the sockets in it; name one of at most {MAX_DIRECTORY}")
    return absolute


def free_ports(names: Iterable[str]) -> dict[str, int]:
    """A free port of loopback for each name, no two the same."""
    with ExitStack() as stack:
        ports = {}
        for name in names:
            listener = stack.enter_context(socket.socket())
            listener.bind((LOOPBACK, 0))
            ports[name] = int(listener.getsockname()[1])
        return ports


def make_plan(directory: Path, options: Options, virt_type: str) -> Plan:
    """A new plan, with ports that are free now."""
    who = ("admin", "service", "database", "rabbitmq", "numa-host")
    passwords = {name: secrets.token_hex(12) for name in who}
    return Plan(directory, options, free_ports(PORTS), passwords, virt_type)


def plan_file(directory: Path) -> Path:
    """Where the plan of the cloud in a directory stands."""
    return directory / "plan.json"


def save_plan(plan: Plan) -> None:
    """Write a plan down, at once and for its owner alone."""
    path = plan_file(plan.directory)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(dataclasses.asdict(plan) | {"directory": str(plan.directory)}, indent=1))
    draft.replace(path)


def load_plan(directory: Path) -> Plan | None:
    """The plan of the cloud in a directory; None if there is none."""
    try:
        values: dict[str, Any] = json.loads(plan_file(directory).read_text())
    except FileNotFoundError:
        return None
    options = Options(**values.pop("options"))
    return Plan(**values | {"directory": directory, "options": options})
