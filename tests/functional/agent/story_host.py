# SPDX-License-Identifier: Apache-2.0
"""The host of a story, its servers, and what Nova and operators do to them."""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections.abc import Callable
from dataclasses import replace

from hypothesis.stateful import RuleBasedStateMachine
from keystoneauth1 import exceptions as ksa_exceptions

from kongming_sched import exceptions
from kongming_sched.agent.act.mover import Mover
from kongming_sched.agent.loop.orders import ReconcilerAccess
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.flavor import cell_requests, extra_specs
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import PinningTemplate
from kongming_sched.topology import Core, HostTopology
from tests.functional.agent.promises import Expectation
from tests.functional.agent.story_templates import DEDICATED, POOLS, TOPOLOGY, VERSIONS
from tests.functional.agent.world import MEMORY_MB, World
from tests.functional.conftest import PlacementService


class StoryHost(RuleBasedStateMachine):
    """One host, and all that may happen to it beside the agent.

    :ivar servers: server id to what it was promised
    :ivar unmanaged: the id of a guest without a template
    """

    placement: Callable[[], PlacementService]
    numbers = itertools.count(1)

    def __init__(self) -> None:
        super().__init__()
        number = next(self.numbers)
        self.cloud = type(self).placement()
        self.templates = {name: versions[0] for name, versions in VERSIONS.items()}
        store = TemplateStore(self.cloud.client)
        known = store.list().templates
        for name, template in self.templates.items():
            store.update(template) if name in known else store.create(template)
        self.count = 0
        self.world = World(self.cloud, f"host-{number}", number, topology=TOPOLOGY, pools=POOLS)
        self.servers: dict[str, Expectation] = {}
        self.unmanaged = self.new_id()
        self.world.host.spawn(self.unmanaged, 2, {})
        self.unmanaged_is_on = self.world.host.affinities()[self.unmanaged]
        self.world.settle()

    def new_id(self, *, is_low: bool = False) -> str:
        """The id of one more server, which is before or behind all others; so it is too if another one is left out."""
        self.count += 1
        place = 2**16 + (-self.count if is_low else self.count)
        return str(uuid.UUID(int=(place << 64) + self.world.number))

    def pick(self, number: int, template: str = "") -> str | None:
        """One of the servers, of a template if one is named; None if there is none."""
        found = [server for server, one in sorted(self.servers.items()) if template in ("", one.template.name)]
        return found[number % len(found)] if found else None

    def apart(self, node: int, *, by_last: bool) -> list[str]:
        """The servers with vCPUs in the pool of a node: first one of each core, then the others.

        :param by_last: whether of each core the one on the last thread comes first
        """
        firsts: list[str] = []
        others: list[str] = []
        seen = CpuSet()
        pool, here = DEDICATED & TOPOLOGY.nodes[node].cpus, self.world.host.affinities()
        pins = {server: CpuSet.union(cpus for cpus in here[server] if cpus <= pool) for server in self.servers}
        for server, mine in sorted(pins.items(), key=lambda item: [*item[1]][:1], reverse=by_last):
            if mine:
                (others if not mine.isdisjoint(seen) else firsts).append(server)
                seen |= CpuSet.union(core.cpus for core in TOPOLOGY.nodes[node].cores if not core.cpus.isdisjoint(mine))
        return firsts + others

    # What Nova does

    def claim(self, server: str, template: PinningTemplate, nodes: tuple[int, ...]) -> bool:
        """What the scheduler does: claim nodes that offer the template, if Placement has room."""
        client = self.cloud.client
        trait = names.template_trait(template.name)
        if any(trait not in client.traits(self.world.node(node)) for node in nodes):
            return False
        cells = cell_requests(template, MEMORY_MB, 2)
        requests = {self.world.node(node): dict(cell.resources) for node, cell in zip(nodes, cells, strict=True)}
        try:
            self.cloud.allocate(server, requests)
        except (ksa_exceptions.Conflict, ksa_exceptions.BadRequest):
            return False
        return True

    def spawn(self, server: str, template: PinningTemplate, iothreads: int = 0) -> None:
        """What nova-compute does."""
        specs = extra_specs(template, {}, vcpus=template.vcpus, memory_mb=MEMORY_MB, threads_per_core=2)
        self.world.host.spawn(server, template.vcpus, specs, iothreads)

    def drop_claim(self, consumer: str) -> None:
        """What Nova does when a server goes."""
        self.cloud.adapter.delete(f"/allocations/{consumer}")

    def start_server(self, name: str, node: int, iothreads: int = 0, *, is_low: bool = False) -> bool:
        """A server is scheduled here and starts, if there is room."""
        server, template = self.new_id(is_low=is_low), self.templates[name]
        nodes = (0, 1) if len(template.cells) > 1 else (node,)  # of equal cells the first has the lower node
        if not self.claim(server, template, nodes):
            return False
        self.servers[server] = Expectation(template, template, nodes)
        self.spawn(server, template, iothreads)
        return True

    def end_server(self, server: str) -> None:
        """A server goes, and its claim with it."""
        self.world.host.destroy(server)
        self.drop_claim(server)
        del self.servers[server]

    def boot(self, name: str, node: int, iothreads: int, is_low: bool) -> None:
        """A server starts."""
        self.start_server(name, node, iothreads, is_low=is_low)

    def turn_over(self, node: int, count: int, by_last: bool, name: str, is_low: bool) -> None:
        """Some go, each from another core, and two others take their room at once: the rest has to make room.

        :param count: how many go
        :param by_last: whether they are on the last threads of their cores, so that on the first ones others stay
        :param name: the template of those that come
        :param is_low: whether the ids of the new ones are before those of the others
        """
        for server in self.apart(node, by_last=by_last)[:count]:
            self.end_server(server)
        for _ in range(2):
            self.start_server(name, node, is_low=is_low)
        self.fill_up(node)

    def fill_up(self, node: int) -> None:
        """Servers of one vCPU take all that is left of a node."""
        while self.start_server("single", node):
            pass

    def reboot(self, pick: int) -> None:
        """A hard reboot, which writes the guest's XML anew."""
        if server := self.pick(pick):
            self.world.host.migrating.discard(server)
            self.world.host.respawn(server)

    def migrate(self, pick: int, name: str) -> None:
        """A live migration of a server of a template begins, or ends where it began."""
        if server := self.pick(pick, name):
            self.world.host.migrating ^= {server}

    # What operators do

    def edit(self, name: str, version: int) -> None:
        """A template changes."""
        template = VERSIONS[name][version % len(VERSIONS[name])]
        TemplateStore(self.cloud.client).update(template)
        self.templates[name] = template
        for server, expectation in self.servers.items():
            if expectation.template.name == name:
                self.servers[server] = replace(expectation, template=template)

    def retune(self, name: str) -> None:
        """A template changes to the next of those that take as much."""
        alike, now = VERSIONS[name][:3], self.templates[name]
        self.edit(name, (alike.index(now) + 1) % len(alike) if now in alike else 0)

    def move(self, pick: int, node: int) -> None:
        """A server is moved to the other node, or is not."""
        server = self.pick(pick)
        if server is None:
            return
        access = ReconcilerAccess(self.world.agent, self.world.cpus)
        with contextlib.suppress(exceptions.KongMingError):
            Mover(access, self.world.host, PlacementClient(self.world.adapter)).move(server, node)
        claim = self.cloud.client.claim(server)
        if claim is not None and len(self.servers[server].nodes) == 1:
            nodes = tuple(node for node in (0, 1) if self.world.node(node) in claim.resources)
            self.servers[server] = replace(self.servers[server], nodes=nodes)

    def meddle_with_pins(self, pick: int, vcpu: int, cpus: str) -> None:
        """An administrator pins a vCPU by hand, onto CPUs that nobody has."""
        server = self.pick(pick)
        if server is None:
            return
        wanted = CpuSet.parse(cpus) & self.world.topology.cpus
        others = CpuSet.union(
            affinity
            for other, affinities in self.world.host.affinities().items()
            for affinity in affinities
            if other != server and affinity <= DEDICATED
        )
        if wanted and vcpu < self.servers[server].template.vcpus and (wanted & others & DEDICATED != wanted):
            self.world.host.set_affinity(server, vcpu, wanted if not wanted <= DEDICATED else wanted - others)

    def unplug(self, cpus: frozenset[int]) -> None:
        """These CPUs are offline now, and all others online."""
        offline = CpuSet.of(cpus)

        def online(core: Core) -> Core:
            return Core(core.cpus - offline, core.cache)

        nodes = tuple(
            replace(node, cores=tuple(online(core) for core in node.cores if core.cpus - offline))
            for node in TOPOLOGY.nodes
        )
        self.world.topology = HostTopology(nodes, TOPOLOGY.present)
        self.world.host.take_offline(offline, self.world.topology)
        self.unmanaged_is_on = self.world.host.affinities()[self.unmanaged]
