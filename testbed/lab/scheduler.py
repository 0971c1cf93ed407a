# SPDX-License-Identifier: Apache-2.0
"""Nova's real scheduler as a process, on the databases of the lab's Nova API."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests

from testbed.lab.process import ChildProcess, LabError

PROJECT = "1ab00000000000000000000000000002"
USER = "1ab00000000000000000000000000001"

_CONFIGURATION = """\
[DEFAULT]
debug = True
default_log_levels = amqp=WARN,oslo_concurrency=WARN,oslo_policy=WARN,stevedore=WARN,urllib3=WARN
[filter_scheduler]
available_filters = nova.scheduler.filters.all_filters
available_filters = kongming_sched.filters.all_filters
enabled_filters = {filters}
weight_classes = nova.scheduler.weights.all_weighers,kongming_sched.weighers.all_weighers
track_instance_changes = False
"""
FILTERS = (
    "ComputeFilter",
    "ComputeCapabilitiesFilter",
    "ImagePropertiesFilter",
    "ServerGroupAntiAffinityFilter",
    "ServerGroupAffinityFilter",
    "KongmingTemplateFilter",
    "KongmingNumaFilter",
)
"""Nova's default filters and then KongMing's."""


@dataclass(frozen=True)
class Flavor:
    """A flavor as the scheduler read it from Nova's database."""

    name: str
    flavorid: str
    vcpus: int
    memory_mb: int
    root_gb: int
    ephemeral_gb: int
    swap: int
    extra_specs: Mapping[str, str]


@dataclass(frozen=True)
class Scheduled:
    """A server that has a place, claimed in Placement.

    :ivar allocations: provider to resource class to amount
    """

    uuid: str
    host: str
    flavor: Flavor
    allocations: Mapping[str, Mapping[str, int]]


class NoValidHostError(Exception):
    """The scheduler found no place.

    :ivar said: what it logged about the request
    """

    def __init__(self, reason: str, said: list[str]) -> None:
        self.said = said
        super().__init__(reason)


class Scheduler(ChildProcess):
    """Nova's scheduler with KongMing's filters and weighers.

    :param directory: that of a NovaApi which runs or has run, because it makes the databases
    """

    endpoint: str

    def __init__(self, directory: Path) -> None:
        self._port_file = directory / "scheduler.port"
        self._port_file.unlink(missing_ok=True)
        configuration = _CONFIGURATION.format(filters=",".join(FILTERS))
        (directory / "scheduler.conf").write_text(configuration)
        super().__init__(
            "nova-scheduler",
            [sys.executable, "-m", "testbed.lab.wsgi_server", "testbed.lab.scheduler_wsgi", self._port_file],
            directory,
            {"OS_NOVA_CONFIG_DIR": str(directory)},
        )

    def __enter__(self) -> Scheduler:
        super().__enter__()
        port = self.wait_for_port(self._port_file)
        self.endpoint = f"http://127.0.0.1:{port}"
        return self

    def register_host(self, name: str, uuid: str, vcpus: int, memory_mb: int, disk_gb: int = 10) -> None:
        """Let Nova know a host, as its nova-compute would."""
        host = {"name": name, "uuid": uuid, "vcpus": vcpus, "memory_mb": memory_mb, "disk_gb": disk_gb}
        self._ask("PUT", "/hosts", host)

    def schedule(self, flavor: str, count: int = 1) -> list[Scheduled]:
        """Schedule servers in one request.

        :raises NoValidHostError: if not all have a place; then none is claimed
        """
        request = {"flavor": flavor, "count": count, "project_id": PROJECT, "user_id": USER}
        answer = self._ask("POST", "/servers", request)
        read = Flavor(**answer["flavor"])
        return [
            Scheduled(
                server["uuid"],
                server["host"],
                read,
                {provider: claimed["resources"] for provider, claimed in server["allocations"].items()},
            )
            for server in answer["servers"]
        ]

    def release(self, server: str) -> None:
        """Give back what a server has in Placement."""
        self._ask("DELETE", f"/servers/{server}", None)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        answer = requests.request(method, f"{self.endpoint}{path}", json=body, timeout=120)
        if answer.status_code == HTTPStatus.CONFLICT:
            raise NoValidHostError(**answer.json())
        if answer.status_code != HTTPStatus.OK:
            raise LabError(f"{self.name} answered {answer.status_code} to {method} {path}; see {self.log}")
        return answer.json()
