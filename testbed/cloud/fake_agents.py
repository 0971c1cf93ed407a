# SPDX-License-Identifier: Apache-2.0
"""The agents of hosts without a hypervisor: the agent's own code, over hosts that are simulated.

``python -m testbed.cloud.fake_agents DIRECTORY`` runs one Reconciler per fake host of a cloud until a signal comes.
Each host has the topology of a file, and the guests that Nova believes to run there.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keystoneauth1 import exceptions as ksa_exceptions
from openstack import exceptions as sdk_exceptions

from kongming_sched import exceptions
from kongming_sched.agent.loop.parts import ReconcilerParts
from kongming_sched.agent.loop.reconcile import Reconciler
from kongming_sched.agent.loop.sign_of_life import SignOfLife
from kongming_sched.agent.model.outcome import Outcome
from kongming_sched.agent.model.problem import Problem
from kongming_sched.agent.state.backoff import Backoff
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.pools import HostCpus, HostPools
from kongming_sched.topology import HostTopology
from testbed.cloud.clients import connect
from testbed.cloud.plan import Plan, load_plan
from testbed.simulated_host import SimulatedHost

LOG = logging.getLogger("kongming-fake-agents")

INTERVAL_SECONDS = 2.0
FULL_PASS_SECONDS = 60.0
"""How often a pass is made although nothing seems to have changed."""

RUNNING = 1
"""Nova's power state of a guest that runs."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs on a host, as Nova shows it."""

    uuid: str
    vcpus: int
    extra_specs: Mapping[str, str] = field(hash=False)


def servers_by_host(documents: Iterable[Mapping[str, Any]]) -> dict[str, frozenset[Server]]:
    """The servers that run, from what the API says of all servers."""
    found: dict[str, set[Server]] = {}
    for server in documents:
        host = server.get("OS-EXT-SRV-ATTR:host")
        if host and server.get("OS-EXT-STS:power_state") == RUNNING:
            flavor = server["flavor"]
            found.setdefault(host, set()).add(Server(server["id"], flavor["vcpus"], flavor.get("extra_specs", {})))
    return {host: frozenset(servers) for host, servers in found.items()}


def read_topology(text: str) -> HostTopology:
    """The topology that a document in the form of libvirt's capabilities describes, with all its CPUs online."""
    everything = CpuSet.of(range(4096))
    return HostTopology.from_capabilities(text, everything)


def choose_pools(topology: HostTopology) -> HostPools:
    """The first core of each node for sharing and housekeeping, all others dedicated."""
    shared = CpuSet.union(node.cores[0].cpus for node in topology.nodes if node.cores)
    return HostPools(topology.cpus - shared, shared, shared, vcpu_allocation_ratio=4.0)


class FakeHost:
    """One simulated host and its agent."""

    def __init__(self, name: str, topology: HostTopology, client: PlacementClient) -> None:
        self.name = name
        self._cpus = HostCpus(topology, choose_pools(topology))
        self._machine = SimulatedHost(topology, self._cpus.pools.dedicated)
        self._reconciler = Reconciler(
            ReconcilerParts(
                self._machine,
                self._machine,
                NodeRegistry(client, name),
                TemplateStore(client),
                Backoff(INTERVAL_SECONDS),
            )
        )
        self._sign = SignOfLife(client, name)
        self._servers: frozenset[Server] = frozenset()
        self._next_pass = 0.0
        self._problems: tuple[Problem, ...] = ()

    def follow(self, servers: frozenset[Server], templates_changed: bool) -> None:
        """Let the guests be these, and make a pass over the host if something happened or it is time."""
        changed = servers != self._servers
        for server in self._servers - servers:
            self._machine.destroy(server.uuid)
        for server in servers - self._servers:
            self._machine.spawn(server.uuid, server.vcpus, server.extra_specs)
        self._servers = servers
        if changed or templates_changed or time.monotonic() >= self._next_pass:
            outcome = self._reconciler.run(self._cpus)
            self._next_pass = time.monotonic() + (INTERVAL_SECONDS if outcome.problems else FULL_PASS_SECONDS)
            self._report(outcome)
            if outcome.is_placement_well:
                self._sign.renew()

    def _report(self, outcome: Outcome) -> None:
        for change in outcome.placement.changes:
            LOG.info("%s: Placement: %s", self.name, change)
        for subject, action in outcome.pinning.done:
            LOG.info("%s: %s: %s", self.name, subject, action)
        for problem in outcome.problems:
            if problem not in self._problems:
                LOG.warning("%s: %s", self.name, problem)
        self._problems = outcome.problems
        if shared := self._machine.shared_at_any_time:
            LOG.error("%s: CPUs %s belonged to two guests", self.name, shared)


class FakeAgents:
    """The agents of all fake hosts, which share what they ask Nova."""

    def __init__(self, plan: Plan) -> None:
        self._connection = connect(plan)
        client = PlacementClient(self._connection.placement)
        self._store = TemplateStore(client)
        topology = read_topology(topology_file(plan).read_text())
        self._hosts = [FakeHost(name, topology, client) for name in plan.fake_hosts]
        self._templates: object = None

    def run_pass(self) -> None:
        """One round over all hosts.

        :raises KeystoneauthError, SDKException, PlacementError: if Nova or Placement do not answer
        """
        path = "/servers/detail?all_tenants=1&limit=1000"
        documents: list[Mapping[str, Any]] = []
        while path:
            answer = self._connection.compute.get(path, microversion="2.96")
            answer.raise_for_status()
            page = answer.json()
            documents += page["servers"]
            more = [link["href"] for link in page.get("servers_links", []) if link["rel"] == "next"]
            path = f"/servers/detail?{more[0].partition('?')[2]}" if more else ""
        servers = servers_by_host(documents)
        templates = self._store.list()
        changed, self._templates = templates != self._templates, templates
        for host in self._hosts:
            host.follow(servers.get(host.name, frozenset()), changed)


def topology_file(plan: Plan) -> Path:
    """What each fake host is, as libvirt would describe it."""
    return plan.directory / "fake-topology.xml"


def main() -> None:
    """Run passes until stopped."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    plan = load_plan(Path(sys.argv[1]))
    if plan is None:
        sys.exit(f"there is no cloud in {sys.argv[1]}")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    agents = FakeAgents(plan)
    while not stopped.is_set():
        try:
            agents.run_pass()
        except (
            ksa_exceptions.ClientException,
            sdk_exceptions.SDKException,
            exceptions.KongMingError,
            OSError,
        ) as error:
            LOG.warning("%s", error)
        stopped.wait(INTERVAL_SECONDS)


if __name__ == "__main__":
    main()
