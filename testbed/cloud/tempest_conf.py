# SPDX-License-Identifier: Apache-2.0
"""tempest.conf of a cloud, and the command tools/tempest, which becomes ``tempest run`` with it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from kongming_sched.cpuset import CpuSet
from testbed.cloud.__main__ import existing, say
from testbed.cloud.clients import PROGRAMS, client_environment, connect
from testbed.cloud.fake_agents import read_topology, topology_file
from testbed.cloud.ini import Sections, write
from testbed.cloud.nova_conf import FILTERS
from testbed.cloud.plan import REGION, Plan, check_directory, default_directory
from testbed.lab.process import LabError

PREFIX = "kongming-tempest-"
IMAGE = f"{PREFIX}blank"
RAM_MB = (64, 96)
"""Memory of the flavors that Tempest gets: one to begin with, and one to resize to."""

ONLINE = Path("/sys/devices/system/cpu/online")


def workspace(plan: Plan) -> Path:
    """Where Tempest works."""
    return plan.directory / "tempest"


def sections(plan: Plan, image: str, flavors: tuple[str, str], explicit_cpus: str) -> Sections:
    """What Tempest must know of the cloud.

    :param image: an image's id, and so with flavors
    :param explicit_cpus: CPUs of the hosts that a template may name
    """
    hosts = hosts_of_one_kind(plan)
    return {
        "DEFAULT": {"log_dir": plan.logs, "log_file": "tempest.log", "debug": True},
        "oslo_concurrency": {"lock_path": workspace(plan) / "lock"},
        "auth": {
            "use_dynamic_credentials": True,
            "create_isolated_networks": False,
            "admin_username": "admin",
            "admin_password": plan.passwords["admin"],
            "admin_project_name": "admin",
            "admin_domain_name": "Default",
        },
        "identity": {
            "auth_version": "v3",
            "uri_v3": f"{plan.url('keystone')}/v3",
            "v3_endpoint_type": "public",
            "region": REGION,
        },
        "service_available": {
            **dict.fromkeys(("nova", "glance"), True),
            **dict.fromkeys(("neutron", "cinder", "swift", "horizon"), False),
            "kongming": plan.options.kongming,
        },
        "compute": {
            "image_ref": image,
            "image_ref_alt": image,
            "flavor_ref": flavors[0],
            "flavor_ref_alt": flavors[1],
            "min_compute_nodes": hosts,
            "build_timeout": 1200 if plan.emulated_hosts else 300,
            "max_microversion": "latest",
        },
        "compute-feature-enabled": {
            "resize": hosts > 1,  # Nova is not set to resize to the same host
            "cold_migration": hosts > 1,
            "live_migration": hosts > 1,
            "block_migration_for_live_migration": True,
            "scheduler_enabled_filters": ",".join(FILTERS),
            **dict.fromkeys(("console_output", "vnc_console", "interface_attach", "metadata_service"), False),
        },
        "validation": {"run_validation": False},
        "kongming": {"explicit_cpus": explicit_cpus, "settle_seconds": 240 if plan.emulated_hosts else 60},
    }


def hosts_of_one_kind(plan: Plan) -> int:
    """Between how many hosts every server can move; 1 where hosts are of several kinds, which do not trade servers."""
    kinds = [len(hosts) for hosts in (plan.libvirt_hosts, plan.emulated_hosts, plan.fake_hosts) if hosts]
    return kinds[0] if len(kinds) == 1 else 1


def last_cpu(plan: Plan) -> str:
    """The last CPU of a host, which is in the dedicated pool; empty if only the host itself knows."""
    if plan.libvirt_hosts:
        return str(max(CpuSet.parse(ONLINE.read_text())))
    if plan.fake_hosts:
        return str(max(read_topology(topology_file(plan).read_text()).cpus))
    return ""


def prepare(plan: Plan) -> Path:
    """Make what Tempest needs, and tempest.conf, as often as one likes; gives the file."""
    connection = connect(plan)
    try:
        image = _image(connection)
        first, second = (_flavor(connection, ram_mb) for ram_mb in RAM_MB)
    finally:
        connection.close()
    workspace(plan).mkdir(exist_ok=True)
    if not (workspace(plan) / ".stestr").exists():  # tempest run would make it, but not to list tests
        subprocess.run([PROGRAMS / "stestr", "init"], cwd=workspace(plan), check=True)
    path = workspace(plan) / "tempest.conf"
    write(path, sections(plan, image, (first, second), last_cpu(plan)))
    return path


def _image(connection: Any) -> str:
    """A blank image for everybody: a guest that sits in its firmware is enough."""
    found = next(iter(connection.image.images(name=IMAGE, status="active")), None)
    if found is None:
        facts = {"disk_format": "raw", "container_format": "bare", "visibility": "public", "allow_duplicates": True}
        found = connection.image.create_image(name=IMAGE, data=bytes(1 << 20), **facts)
    return str(found.id)


def _flavor(connection: Any, ram_mb: int) -> str:
    name = f"{PREFIX}{ram_mb}"
    found = connection.compute.find_flavor(name)
    return str((found or connection.compute.create_flavor(name=name, ram=ram_mb, vcpus=1, disk=1)).id)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="tools/tempest")
    top.add_argument("--directory", type=Path, default=default_directory(os.environ))
    top.add_argument("--regex", default="kongming")
    top.add_argument("options", nargs="*", metavar="OPTION")
    return top


def run(directory: Path, regex: str, options: Sequence[str]) -> NoReturn:
    """Become ``tempest run``.

    :raises LabError: if there is no cloud
    """
    plan = existing(directory)
    conf = prepare(plan)
    os.chdir(workspace(plan))
    command = ["tempest", "run", "--config-file", str(conf), "--regex", regex, "--serial", *options]
    os.execvpe("tempest", command, client_environment(plan))


def main() -> int:
    """Do what the command line says."""
    arguments = parser().parse_args()
    try:
        run(check_directory(arguments.directory), arguments.regex, arguments.options)
    except LabError as error:
        say(f"tools/tempest: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
