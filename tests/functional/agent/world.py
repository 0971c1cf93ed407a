# SPDX-License-Identifier: Apache-2.0
"""A host of two NUMA nodes with servers of every kind of template: real Placement, simulated guests."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from kongming_sched import exceptions
from kongming_sched.agent.act.confine import Confinement
from kongming_sched.agent.act.keep_class import ClassKeeper
from kongming_sched.agent.act.unmanaged import UnmanagedGuests
from kongming_sched.agent.ipc.listener import Listener
from kongming_sched.agent.loop.orders import ReconcilerAccess, carry_out, parse_order
from kongming_sched.agent.loop.parts import ReconcilerParts
from kongming_sched.agent.loop.patience import Patience, PatientHypervisor
from kongming_sched.agent.loop.reconcile import Reconciler
from kongming_sched.agent.model.outcome import Outcome
from kongming_sched.agent.state.backoff import Backoff
from kongming_sched.agent.state.released import FILE_NAME, ReleasedFile
from kongming_sched.agent.state.reservations import Reservations
from kongming_sched.agent.state.server_metadata import Metadata
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory, PlacementClient
from kongming_sched.placement.flavor import cell_requests, extra_specs
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.placement.transport import Adapter
from kongming_sched.pools import HostCpus, HostPools
from kongming_sched.template import PinningTemplate
from kongming_sched.topology import HostTopology
from testbed.simulated_host import SimulatedHost
from testbed.topologies import two_nodes_smt2
from tests.functional.conftest import PlacementService

DEDICATED = CpuSet.parse("1-3,9-11,5-7,13-15")
"""Three cores of each node; cores 0,8 and 4,12 are left for the housekeeping."""

POOLS = HostPools(DEDICATED, CpuSet.parse("8,12"), CpuSet.parse("0,4"), 4.0, 1024)

MEMORY_MB = 512

TEMPLATES = {
    template["name"]: PinningTemplate.from_mapping(template)
    for template in (
        {"name": "gold", "cells": [{"vcpus": "0", "cpus": "dedicated", "threads": "isolate"}], "qos": {"shares": 2048}},
        {"name": "silver", "cells": [{"vcpus": "0-1", "cpus": "dedicated"}], "emulator": "cell"},
        {"name": "bronze", "cells": [{"vcpus": "0", "cpus": "shared"}], "qos": {"quota_us": 50000}},
        {"name": "exact", "cells": [{"vcpus": "0-1", "cpus": "explicit", "pins": {0: "5", 1: "13"}}]},
        {
            "name": "twin",
            "cells": [
                {"vcpus": "0", "cpus": "dedicated", "node": 1},
                {"vcpus": "1", "cpus": "dedicated", "node": 0},
            ],
        },
    )
}


def parts(
    host: SimulatedHost, client: PlacementClient, name: str, backoff: Backoff | None = None, **more: Any
) -> ReconcilerParts:
    """What an agent on a simulated host is made of, with further parts by their names."""
    registry, store = NodeRegistry(client, name), TemplateStore(client)
    libvirt = more.pop("hypervisor", host)
    return ReconcilerParts(libvirt, host, registry, store, backoff or Backoff(10), **more)


def store_templates(client: PlacementClient) -> None:
    """Create every template."""
    for template in TEMPLATES.values():
        TemplateStore(client).create(template)


@contextlib.contextmanager
def working_agent(world: World, directory: Path) -> Iterator[Listener]:
    """The socket in this directory, and an agent that carries out the orders that come there."""

    def obey() -> None:
        agent = ReconcilerAccess(world.agent, world.cpus)
        while order := listener.take_order():
            try:
                answer = carry_out(parse_order(order.xml), agent, world.host, PlacementClient(world.adapter))
                order.answer(answer.as_json())
            except exceptions.KongMingError as error:
                order.answer({"error": str(error)})

    listener = Listener(directory, obey, lambda: True, lambda _xml: True)
    listener.open()
    try:
        yield listener
    finally:
        listener.close()


@dataclass
class World:
    """A compute node with a name of its own in Placement.

    :ivar number: of the host in its cloud, for ids that are in the same order on every host
    :ivar metadata_file: what the agent knows of servers' metadata survives it there; by default it does not
    :ivar directory: the agent's run directory; None if it keeps everything in memory
    :ivar confine: its option confine_unmanaged
    :ivar topology: of the host
    :ivar pools: its CPUs
    :ivar moment: what its clock shows, until the test sets it
    :ivar client: by which the agent reaches Placement
    :ivar silent_seconds: the longest time for which the watchdog has heard nothing in the midst of a pass
    :ivar adapter: what the agent reaches Placement by; the test's own hands always use the real one
    """

    placement: PlacementService
    name: str
    number: int = 1
    servers: dict[str, str] = field(default_factory=dict)
    metadata_file: Path | None = None
    directory: Path | None = None
    confine: bool = False
    topology: HostTopology = field(default_factory=two_nodes_smt2)
    pools: HostPools = POOLS
    moment: datetime = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)

    def __post_init__(self) -> None:
        self.root = str(uuid.UUID(int=self.number))
        self.placement.add_host(self.name, self.root)
        self.adapter: Adapter = self.placement.adapter
        self.host = SimulatedHost(self.topology, self.pools.dedicated)
        self.clock = self.silent_seconds = self._shown_at = 0.0
        self.start_agent()

    def start_agent(self) -> None:
        """A new process of the agent, which remembers nothing."""
        backoff = Backoff(10, lambda: self.clock)
        self.reservations = self.reserve()
        self.metadata = Metadata(self.metadata_file)
        released = ReleasedFile(self.directory / FILE_NAME if self.directory else None)
        patience = Patience(lambda: self.clock + self.host.waited_seconds)
        libvirt = PatientHypervisor(self.host, self.host, patience, self.show_progress)
        records = Confinement(libvirt, self.host, self.directory / "confined.json" if self.directory else None)
        unmanaged = UnmanagedGuests(libvirt, self.host, records, self.confine)
        self.client = PlacementClient(self.adapter)
        self.agent = Reconciler(
            parts(
                self.host,
                self.client,
                self.name,
                backoff,
                reservations=self.reservations,
                metadata=self.metadata,
                released=released,
                unmanaged=unmanaged,
                hypervisor=libvirt,
                patience=patience,
                class_keeper=ClassKeeper(self.client, libvirt),
                now=lambda: self.moment,
                hours_delay_seconds=0.0,
            )
        )

    def show_progress(self) -> None:
        """A call of libvirt has ended."""
        self.silent_seconds = max(self.silent_seconds, self.host.waited_seconds - self._shown_at)
        self._shown_at = self.host.waited_seconds

    def reserve(self) -> Reservations:
        """The reservations of a new process of the agent; these are kept in memory."""
        return Reservations()

    @property
    def cpus(self) -> HostCpus:
        """The host's CPUs, with the pools of the agent's options."""
        return HostCpus(self.topology, self.pools, self.host.huge_pages())

    def run_pass(self) -> Outcome:
        """The agent makes a pass, some time later."""
        self.clock += 1000
        return self.agent.run(self.cpus)

    def settle(self) -> Outcome:
        """The agent makes passes until nothing is left to do, however often that fails."""
        for _ in range(10):
            try:
                outcome = self.run_pass()
            except exceptions.KongMingError:
                continue
            if not outcome.pinning.done and not outcome.placement.changes and outcome.is_placement_well:
                return outcome
        raise AssertionError("the agent does not come to rest")

    def node(self, node_id: int) -> str:
        """The id of a node provider."""
        return names.node_uuid(self.root, node_id)

    def claim(self, server: str, template: str, *nodes: int, consumer: str | None = None) -> dict[str, str]:
        """Claim what a server of a template takes on these nodes; gives its flavor's extra specs."""
        layout = TEMPLATES[template]
        cells = cell_requests(layout, MEMORY_MB, 2)
        requests = {self.node(node): dict(cell.resources) for node, cell in zip(nodes, cells, strict=True)}
        self.servers.setdefault(server, str(uuid.UUID(int=(len(self.servers) + 1 << 64) + self.number)))
        self.placement.allocate(consumer or self.servers[server], requests)
        return extra_specs(layout, {}, vcpus=layout.vcpus, memory_mb=MEMORY_MB, threads_per_core=2)

    def boot(self, server: str, template: str, *nodes: int) -> None:
        """Claim for a server and start its guest."""
        specs = self.claim(server, template, *nodes)
        self.host.spawn(self.servers[server], TEMPLATES[template].vcpus, specs)

    def boot_all(self) -> None:
        """Servers of every template."""
        self.boot("gold-1", "gold", 0)
        self.boot("silver-1", "silver", 0)
        self.boot("silver-2", "silver", 1)
        self.boot("bronze-1", "bronze", 1)
        self.boot("exact-1", "exact", 1)
        self.boot("twin-1", "twin", 1, 0)

    def pins(self) -> dict[str, tuple[str, ...]]:
        """The servers' pins, by the servers' names."""
        by_id = self.host.pins()
        return {name: by_id[server] for name, server in sorted(self.servers.items()) if server in by_id}

    def tree(self) -> dict[str, tuple[list[str], list[tuple[str, Inventory]]]]:
        """The node providers as Placement has them, without what differs between two hosts."""
        client = self.placement.client
        return {
            provider.name.removeprefix(self.name): (
                sorted(client.traits(provider.uuid)),
                sorted(client.inventories(provider.uuid).items()),
            )
            for provider in client.providers(in_tree=self.root)
            if provider.uuid != self.root
        }
