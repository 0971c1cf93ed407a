# SPDX-License-Identifier: Apache-2.0
"""The cloud as a whole: brings it up, takes it down, and shows how it is."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from testbed.cloud import cgroups
from testbed.cloud.apis import apis
from testbed.cloud.bringup import BringUp
from testbed.cloud.compute_host import cgroup_name
from testbed.cloud.controllers import controllers
from testbed.cloud.hosts import hosts
from testbed.cloud.infrastructure import infrastructure
from testbed.cloud.plan import Options, Plan, load_plan, make_plan, plan_file, save_plan
from testbed.cloud.processes import Process, end, find_owned, kill, pss_kib
from testbed.cloud.service import Part, Service, read_record, record_file
from testbed.lab.hypervisor import kvm_runs_firmware
from testbed.lab.process import LabError

LAST_TO_END = ("mariadb", "rabbitmq", "epmd")
"""What others talk to until they are gone."""

KEPT = "log"
"""What stays when a cloud is taken down."""

Report = Callable[[str], None]


def all_parts(plan: Plan) -> list[Part]:
    """Everything that a cloud is made of, in an order in which it can come up."""
    return [*infrastructure(plan), *apis(plan), *controllers(plan), *hosts(plan)]


def services(plan: Plan) -> list[Service]:
    """What runs in it."""
    return [part for part in all_parts(plan) if isinstance(part, Service)]


def _complete(directory: Path) -> Path:
    """The file that stands when everything has come up once."""
    return directory / "complete"


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Let no other command change this cloud.

    :raises LabError: if another does
    """
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(f"another tools/cloud is at work on {directory}; wait for it") from None
        yield
    finally:
        os.close(descriptor)


def bring_up(directory: Path, options: Options | None, report: Report) -> Plan:
    """Have the cloud run: made anew, or with those services started again that do not run.

    :param options: None for the cloud as it is, or else the usual one
    :raises LabError: if it is there with other options, or does not come up
    """
    if os.geteuid():
        raise LabError("libvirtd and its namespaces need root; run this with sudo")
    with alone(directory):
        plan = load_plan(directory)
        if plan is not None and not _complete(directory).exists():
            report("what is left of an attempt that did not end is cleared away")
            _clear(plan)
            plan = None
        if plan is None:
            _remove_files(directory, keep="")
            plan = make_plan(directory, options or Options(), "kvm" if kvm_runs_firmware() else "qemu")
            save_plan(plan)
        elif options not in (None, plan.options):
            raise LabError(f"the cloud in {directory} was made with {plan.options}; take it down first")
        BringUp(directory, report).run(all_parts(plan))
        _complete(directory).touch()
        return plan


def take_down(directory: Path, report: Report) -> None:
    """End everything of the cloud and remove its files but the logs; does no harm where there is none.

    :raises LabError: if something is left
    """
    if not directory.exists():
        return
    with alone(directory):
        plan = load_plan(directory)
        if plan is not None:
            before = time.monotonic()
            _clear(plan)
            report(f"everything has ended after {time.monotonic() - before:.1f} s; the logs are in {plan.logs}")
        _remove_files(directory, keep=KEPT)


def _clear(plan: Plan) -> None:
    """End the processes of a cloud, whether it was complete or not, and remove its control groups."""
    owned = list(find_owned(plan.directory))
    guests = [item.process for item in owned if not item.service]
    hosts_down = [item.process for item in owned if item.service.endswith(("-libvirtd", "-namespaces", "-machine"))]
    infrastructure_down = [item.process for item in owned if item.service in LAST_TO_END]
    others = {item.process for item in owned} - {*guests, *hosts_down, *infrastructure_down}
    end(others, 10)
    kill(guests)
    end(hosts_down, 10)
    end(infrastructure_down, 10)
    kill([item.process for item in find_owned(plan.directory)])
    for host in plan.libvirt_hosts:
        cgroups.remove(cgroup_name(plan, host))
    if left := [item.process.pid for item in find_owned(plan.directory)]:
        raise LabError(f"processes {left} do not end")


def _remove_files(directory: Path, keep: str) -> None:
    """Remove what is in the directory, the plan last so that nothing is forgotten half way."""
    plan = plan_file(directory)
    for path in sorted(directory.iterdir(), key=lambda path: path == plan):
        if path.name == keep:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    if not any(directory.iterdir()):
        with suppress(OSError):
            directory.rmdir()


@dataclass(frozen=True, slots=True)
class Row:
    """How a service is.

    :ivar memory_mib: with all its children, each paying its part of what it shares; guests do not count
    """

    service: str
    state: str
    pid: int | None
    port: int | None
    uptime_seconds: int | None
    memory_mib: int | None


def service_rows(plan: Plan) -> list[Row]:
    """How each service of a cloud is."""
    by_service: dict[str, list[Process]] = {}
    for item in find_owned(plan.directory):
        by_service.setdefault(item.service, []).append(item.process)
    rows = []
    for service in services(plan):
        process = read_record(record_file(plan.directory, service.name))
        if process is None:
            rows.append(Row(service.name, "stopped", None, service.port, None, None))
            continue
        memory = sum(pss_kib(member.pid) for member in by_service.get(service.name, []))
        uptime = int(process.uptime_seconds)
        rows.append(Row(service.name, "running", process.pid, service.port, uptime, memory // 1024))
    return rows
