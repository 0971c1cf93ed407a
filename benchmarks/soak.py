# SPDX-License-Identifier: Apache-2.0
"""Whether the agent grows: 20,000 passes with servers that come and go, failures, restarts of Placement and reloads.

The whole agent runs in this process, with its threads, its socket and its port for metrics, on a simulated host, so
that no guest has to be started. Placement is a process of its own, and Nova's API a small server here that knows the
servers' metadata. Most servers have some, and no server that has ended comes back: what is kept for each server that
was ever seen shows as growth.

Memory, descriptors, threads and Python's objects are counted every so often, once what the passes before have started
has ended. The first half warms up caches; the second half is compared in itself. The exit code is 1 if it grows.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import random
import socket
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from keystoneauth1 import adapter, session, token_endpoint

from benchmarks import report
from benchmarks.soak_parts import DEDICATED, NovaServers, SoakHost
from benchmarks.steady import memory_mb
from kongming_sched import exceptions
from kongming_sched.agent.commands.agent import parse
from kongming_sched.agent.ipc import client, qemu_hook
from kongming_sched.agent.loop.service import Agent
from kongming_sched.agent.own_directory import SOCKET_NAME
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory, PlacementClient
from kongming_sched.placement.flavor import cell_requests, extra_specs
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import PinningTemplate
from testbed.lab.nova_api import placement_section
from testbed.lab.placement_api import TOKEN, PlacementApi
from testbed.simulated_host import domain_xml

PASSES, SAMPLES = 20_000, 40
MAX_SERVERS, SERVER_MB = 8, 16
RELOAD_EVERY, ASK_EVERY, AWAY_EVERY, AWAY_PASSES = 97, 41, 2_500, 3
"""After how many passes the files are read again, a hook and two commands ask, and Placement is away for a few."""
LIMITS = {"memory_mb": 2.0, "objects": 200.0, "descriptors": 1.0, "threads": 1.0}
"""How much more the last quarter may have than the one before, by the medians of their samples."""

TEMPLATES = [
    PinningTemplate.from_mapping({"name": name, "override": "allowed", "cells": [{"vcpus": vcpus, "cpus": cpus}]})
    for name, vcpus, cpus in (("gold", "0", "dedicated"), ("silver", "0-1", "dedicated"), ("bronze", "0", "shared"))
]
CONFIGURATION = """\
[kongming_agent]
dedicated_cpu_set = {dedicated}
shared_cpu_set = 8,12
housekeeping_cpu_set = 0,4
run_directory = {directory}/run
history_file = {directory}/history.jsonl
history_max_mb = 1
metrics_port = {metrics_port}
[kongming_nova]
auth_type = none
endpoint_override = http://127.0.0.1:{nova_port}
"""


class Events:
    """What happens: the same for the same seed.

    :ivar samples: what was counted, by its name
    """

    def __init__(self, passes: int, placement: PlacementApi, nova: NovaServers, host: SoakHost) -> None:
        self._passes = passes
        self._placement = placement
        self._nova = nova
        self._host = host
        self._rng = random.Random(1)
        self._root = str(uuid.UUID(int=1))
        self._servers: dict[str, str] = {}
        self._helper: threading.Thread | None = None
        self._agent: Agent | None = None
        self._hear: Callable[[], None] = lambda: None
        self._metrics_port = free_port()
        self._socket = Path()
        self._away_for = 0
        self._is_due = False
        self.number = 0
        self.seen: Counter[str] = Counter()
        self.samples: dict[str, list[float]] = {name: [] for name in LIMITS}
        auth = token_endpoint.Token(placement.endpoint, TOKEN)
        self._adapter = adapter.Adapter(session.Session(auth), "placement", endpoint_override=placement.endpoint)

    def prepare(self, directory: Path) -> Path:
        """What an operator has made: the compute node, the templates, and the agent's file."""
        client_ = PlacementClient(self._adapter)
        provider = client_.create_provider(self._root, self._host.host_name())
        client_.set_inventories(self._root, provider.generation, {"MEMORY_MB": Inventory(1 << 20)})
        for template in TEMPLATES:
            TemplateStore(client_).create(template)
        conf = directory / "agent.conf"
        options = CONFIGURATION.format(
            dedicated=DEDICATED,
            directory=directory,
            metrics_port=self._metrics_port,
            nova_port=self._nova.server_port,
        )
        conf.write_text(options + placement_section(self._placement.endpoint))
        self._socket = directory / "run" / SOCKET_NAME
        return conf

    def run(self, conf: Path) -> None:
        """Run the agent until there were enough passes."""
        self._agent = Agent(parse(["--config-file", str(conf)]), self._connect, self._host)
        self._host.before_pass = self.happen
        self._host.on_call = self._fail
        self._agent.run()

    def _connect(self, _uri: str, hear: Callable[[], None]) -> SoakHost:
        self._hear = hear
        return self._host

    def happen(self) -> None:
        """All that happens before one pass."""
        assert self._agent is not None
        self.number += 1
        self._host.log.clear()
        self._hear()  # so that the next pass follows at once
        if self._helper is not None and not self._helper.is_alive():
            self._helper = None
        if self.number >= self._passes:
            self._agent.stop()
        if self.number % RELOAD_EVERY == 0:
            self._note("reload")
            self._agent.reload()
        if self.number % ASK_EVERY == 0 and self._helper is None:
            self._helper = threading.Thread(target=self._ask, name="helper")
            self._helper.start()
        self._lose_placement()
        if not self._away_for:
            self._change_servers()
        self._is_due = self._is_due or self.number % max(self._passes // SAMPLES, 1) == 0
        if self._is_due and self._helper is None:
            self._is_due = False
            self._sample()

    def _note(self, what: str) -> None:
        self.seen[what] += 1

    def _lose_placement(self) -> None:
        if self._away_for:
            self._away_for -= 1
            if not self._away_for:
                self._placement.__enter__()
        elif self.number % AWAY_EVERY == 0:
            self._note("Placement away")
            self._placement.__exit__(None, None, None)
            self._away_for = AWAY_PASSES

    def _change_servers(self) -> None:
        drawn, alive = self._rng.random(), sorted(self._servers)
        if drawn < 0.12 and len(alive) < MAX_SERVERS:
            self._boot()
        elif drawn < 0.23 and alive:
            self._end(self._rng.choice(alive))
        elif drawn < 0.26 and alive:
            self._note("reboot")
            self._host.respawn(self._rng.choice(alive))
        elif drawn < 0.3 and alive:
            self._note("drift")
            self._host.set_affinity(self._rng.choice(alive), 0, CpuSet.of([self._rng.choice(sorted(DEDICATED))]))

    def _boot(self) -> None:
        server, template, node = (
            str(uuid.UUID(int=self.number << 64)),
            self._rng.choice(TEMPLATES),
            self._rng.choice((0, 1)),
        )
        cell = cell_requests(template, SERVER_MB, 2)[0]
        if not self._claim(server, {names.node_uuid(self._root, node): dict(cell.resources)}):
            return
        self._note("boot")
        if self._rng.random() < 0.8:
            cpus = self._rng.sample(sorted(DEDICATED), template.vcpus)
            self._nova.metadata[server] = {"kongming:cpus": ",".join(map(str, cpus))}
        else:
            self._nova.metadata[server] = {}
        specs = extra_specs(template, {}, vcpus=template.vcpus, memory_mb=SERVER_MB, threads_per_core=2)
        self._host.spawn(server, template.vcpus, specs)
        self._servers[server] = template.name

    def _end(self, server: str) -> None:
        self._note("end")
        self._host.destroy(server)
        self._nova.metadata.pop(server, None)
        del self._servers[server]
        self._claim(server, {})

    def _claim(self, server: str, amounts: Mapping[str, Mapping[str, int]]) -> bool:
        """What Nova claims and gives back; whether there was room."""
        url, headers = f"/allocations/{server}", {"OpenStack-API-Version": "placement 1.36"}
        if not amounts:
            return bool(self._adapter.delete(url, headers=headers, raise_exc=False).status_code < 300)
        body = {
            "allocations": {provider: {"resources": resources} for provider, resources in amounts.items()},
            "project_id": "project",
            "user_id": "user",
            "consumer_generation": None,
        }
        return bool(self._adapter.put(url, json=body, headers=headers, raise_exc=False).status_code < 300)

    def _fail(self, call: str) -> None:
        """Let libvirt refuse a call now and then."""
        if not call.startswith("after ") and self._rng.random() < 0.02:
            self._note("call refused")
            raise exceptions.HypervisorError(call, "it refuses this call")

    def _ask(self) -> None:
        """A hook, commands and Prometheus, beside the loop."""
        self._note("asked")
        pins = None
        with contextlib.suppress(OSError):
            specs = extra_specs(TEMPLATES[0], {}, vcpus=1, memory_mb=SERVER_MB, threads_per_core=2)
            xml = domain_xml("instance-in", str(uuid.uuid4()), 1, specs).encode()
            pins = qemu_hook.ask(str(self._socket), xml, qemu_hook.Deadline())
        self._note("hook answered" if pins is not None else "hook not answered")
        for order in ({"order": "rebalance"}, {"order": "move", "server": "nobody", "node": 1}):
            with contextlib.suppress(exceptions.AgentError):
                client.send(self._socket, order)
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{self._metrics_port}/metrics", timeout=5).read()

    def _sample(self) -> None:
        gc.collect()
        self.samples["memory_mb"].append(memory_mb(os.getpid()))
        self.samples["objects"].append(len(gc.get_objects()))
        self.samples["descriptors"].append(len(list(Path("/proc/self/fd").iterdir())))
        self.samples["threads"].append(threading.active_count())
        now = {name: round(values[-1], 1) for name, values in self.samples.items()}
        print(f"pass {self.number}: {now}", file=sys.stderr, flush=True)


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def growth(samples: Mapping[str, list[float]]) -> dict[str, float]:
    """How much more the last quarter of the samples has than the one before, by their medians."""
    found = {}
    for name, values in samples.items():
        quarter = max(len(values) // 4, 1)
        found[name] = statistics.median(values[-quarter:]) - statistics.median(
            values[-2 * quarter : -quarter] or values
        )
    return found


def main() -> int:
    """Run, print, and keep."""
    options = report.parser(__doc__)
    options.add_argument("--passes", type=int, default=PASSES, help="how many (default: %(default)s)")
    options.add_argument("--directory", help="where Placement has its database; in /dev/shm it is faster")
    args = options.parse_args()
    logging.getLogger().addHandler(logging.NullHandler())
    host, started_at = SoakHost(), time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="kongming-soak-", dir=args.directory) as directory,
        PlacementApi(Path(directory), "testbed.lab.quick_placement_api") as placement,
    ):
        events = Events(args.passes, placement, NovaServers(), host)
        events.run(events.prepare(Path(directory)))
    grown = growth(events.samples)
    rows = [
        (name, *(events.samples[name][at] for at in (0, len(events.samples[name]) // 2, -1)), grown[name], LIMITS[name])
        for name in LIMITS
    ]
    report.table(
        f"{events.number} passes in {time.monotonic() - started_at:.0f} s: {dict(sorted(events.seen.items()))}",
        ("what", "first", "half", "last", "grown", "at most"),
        rows,
    )
    if args.write:
        report.keep("soak", {"passes": events.number, "seen": events.seen, "samples": events.samples, "grown": grown})
    return int(any(grown[name] > LIMITS[name] for name in LIMITS))


if __name__ == "__main__":
    sys.exit(main())
