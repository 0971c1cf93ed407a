# SPDX-License-Identifier: Apache-2.0
"""What the commands cost beside osc-placement's: the time to start, and a list of all nodes of a large cloud.

A real Placement on SQLite runs as a process of its own, and the real ``openstack`` command asks it, in turns: that of
KongMing and ``openstack resource provider list``, each a process from its start to its end. The ratio of the medians is
what counts; whatever else runs on the machine disturbs both alike.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keystoneauth1 import adapter, session, token_endpoint

from benchmarks import report
from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory, PlacementClient
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import PinningTemplate
from testbed.lab import cloud
from testbed.lab.placement_api import TOKEN, PlacementApi

TRAITS_OF_HOST = 60
"""How many traits nova-compute sets on a provider; most of them name features of the CPU."""

OSC_PLACEMENT = "resource provider list"
TEMPLATES = ("gold", "silver", "bronze")


class Fill:
    """Hosts of two nodes in a Placement, as nova-compute and the agent register them."""

    def __init__(self, client: PlacementClient, raw: adapter.Adapter) -> None:
        self._client = client
        body = raw.get("/traits?name=startswith:HW_", microversion="1.36").json()
        self._host_traits = [*sorted(set(body["traits"]) - {names.HW_NUMA_ROOT})[:TRAITS_OF_HOST], "COMPUTE_NODE"]
        store = TemplateStore(client)
        for name in TEMPLATES:
            store.create(PinningTemplate.from_mapping({"name": name, "cells": [{"vcpus": "0-3", "cpus": "dedicated"}]}))
        client.ensure_resource_classes([names.NODE, names.PCPU, names.MEMORY_MB])
        client.ensure_traits([*map(names.node_trait, range(2)), names.smt_trait(2)])

    def host(self, index: int) -> None:
        """One more host."""
        name = f"compute-{index:04}"
        root = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        resources = {"VCPU": Inventory(128), "MEMORY_MB": Inventory(524288), "DISK_GB": Inventory(2000)}
        self._provider(root, name, None, resources, self._host_traits)
        for node in range(2):
            resources = {names.NODE: Inventory(1), names.PCPU: Inventory(56), names.MEMORY_MB: Inventory(262144)}
            traits = [names.HW_NUMA_ROOT, names.node_trait(node), names.smt_trait(2)]
            traits += map(names.template_trait, TEMPLATES)
            self._provider(names.node_uuid(root, node), names.node_name(name, node), root, resources, traits)

    def _provider(
        self, uuid_: str, name: str, parent: str | None, resources: Mapping[str, Inventory], traits: list[str]
    ) -> None:
        generation = self._client.create_provider(uuid_, name, parent).generation
        generation = self._client.set_inventories(uuid_, generation, resources)
        self._client.set_traits(uuid_, generation, traits)


class Cloud:
    """A Placement, and the ``openstack`` command that asks it.

    :ivar hosts: how many hosts it has
    """

    def __init__(self, directory: Path, endpoint: str) -> None:
        self.hosts = 0
        raw = adapter.Adapter(session.Session(token_endpoint.Token(endpoint, TOKEN)), "placement")
        self._fill = Fill(PlacementClient(raw), raw)
        path = directory / "clouds.yaml"
        cloud.write_clouds_yaml(path, endpoint)
        self._environment = cloud.environment(path)

    def grow(self, hosts: int) -> None:
        """Until there are so many hosts."""
        for index in range(self.hosts, hosts):
            self._fill.host(index)
        self.hosts = hosts

    def run(self, line: str) -> str:
        """What a command prints."""
        words = [sys.executable, "-m", "openstackclient.shell", *line.split()]
        done = subprocess.run(  # noqa: S603  # our own words
            words, env=self._environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    def seconds(self, line: str) -> float:
        """How long a command takes."""
        started_at = time.monotonic()
        self.run(line)
        return time.monotonic() - started_at

    def requests(self, line: str) -> int:
        """How many HTTP requests a command makes, those of its log-in included."""
        return len(re.findall(r"^\| (?:GET|POST|PUT|DELETE) ", self.run(f"--timing {line}"), re.MULTILINE))


def compare(where: Cloud, line: str, repeats: int) -> dict[str, Any]:
    """A command beside osc-placement's list."""
    for warm_up in (line, OSC_PLACEMENT):
        where.run(warm_up)
    pairs = [(where.seconds(line), where.seconds(OSC_PLACEMENT)) for _ in range(repeats)]
    mine, other = (statistics.median(times) for times in zip(*pairs, strict=True))
    return {
        "command": line,
        "hosts": where.hosts,
        "seconds": mine,
        "osc_placement_seconds": other,
        "ratio": mine / other,
        "requests": where.requests(line),
    }


def main() -> None:
    """Measure, print, and keep."""
    options = report.parser(__doc__)
    options.add_argument("--repeats", type=int, default=7)
    options.add_argument("--hosts", type=int, default=1000)
    args = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="kongming-commands.") as folder, PlacementApi(Path(folder)) as placement:
        where = Cloud(Path(folder), placement.endpoint)
        where.grow(1)
        rows = [compare(where, "kongming template list", args.repeats)]
        where.grow(args.hosts)
        rows.append(compare(where, "kongming host list", args.repeats))
        if f"compute-{args.hosts - 1:04}" not in where.run("kongming host list -f value -c host"):
            raise SystemExit("the list does not hold all hosts")
    report.table(
        "openstack kongming beside openstack resource provider list, seconds from start to end",
        ("command", "hosts", "KongMing", "osc-placement", "KongMing / osc-placement", "HTTP requests"),
        [list(row.values()) for row in rows],
    )
    if args.write:
        report.keep("commands", {"rows": rows})


if __name__ == "__main__":
    main()
