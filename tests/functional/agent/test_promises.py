# SPDX-License-Identifier: Apache-2.0
"""Whatever happens to a host in whatever order, what is promised holds.

A machine plays Nova, the scheduler, operators and bad luck on a simulated host with the real Placement: servers come,
go, are resized, rebooted and moved, templates change, CPUs go offline, calls fail, and the agent is killed anywhere. At
each call of libvirt no host CPU belongs to two guests. Once the agent is let alone it comes to rest, and then each
server has what its template says, or a reason is reported.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import uuid
from collections.abc import Callable
from dataclasses import replace

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from keystoneauth1 import exceptions as ksa_exceptions

from kongming_sched import exceptions
from kongming_sched.agent.act.mover import Mover
from kongming_sched.agent.loop.orders import ReconcilerAccess
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.flavor import cell_requests, extra_specs
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.pools import HostPools
from kongming_sched.template import PinningTemplate
from kongming_sched.topology import Core, HostTopology
from testbed.adapters import Failing, Failure
from testbed.compared_placement import Compared
from testbed.memory_placement import MemoryPlacement
from testbed.topologies import make_topology
from tests.functional.agent.promises import Expectation, cpus_of_two, not_as_promised
from tests.functional.agent.test_faults import Countdown, Interrupted, Killed
from tests.functional.agent.world import MEMORY_MB, World
from tests.functional.conftest import PlacementService

MAX_EXAMPLES, STEPS = int(os.environ.get("KONGMING_EXAMPLES", "5")), 30
"""Few, because each example is a host of its own in the real Placement; more by the environment, to search for bugs."""

CORES = 8
"""Of each of two nodes; a thread of a core has the number of the other plus 16."""

DEDICATED = CpuSet.parse("1-7,9-15,17-23,25-31")
POOLS = HostPools(DEDICATED, CpuSet.parse("16,24"), CpuSet.parse("0,8"), 4.0, 1024)

ONE, TWO = "0", "0-1"


def _dedicated(name: str, vcpus: str, threads: str, **more: object) -> PinningTemplate:
    cell = {"vcpus": vcpus, "cpus": "dedicated", "threads": threads}
    return PinningTemplate.from_mapping({"name": name, "cells": [cell], **more})


def _explicit(name: str, first: str, second: str) -> PinningTemplate:
    cell = {"vcpus": TWO, "cpus": "explicit", "pins": {0: first, 1: second}}
    return PinningTemplate.from_mapping({"name": name, "cells": [cell]})


VERSIONS: dict[str, list[PinningTemplate]] = {
    "gold": [
        _dedicated("gold", ONE, "isolate", qos={"shares": 2048}),
        _dedicated("gold", ONE, "isolate", emulator="cell"),
        _dedicated("gold", ONE, "isolate", qos={"quota_us": 80_000}),
        _dedicated("gold", ONE, "any"),
    ],
    "silver": [
        _dedicated("silver", TWO, "any", emulator="cell"),
        _dedicated("silver", TWO, "prefer"),
        _dedicated("silver", TWO, "require"),
        _dedicated("silver", TWO, "isolate"),
    ],
    "single": [_dedicated("single", ONE, "any"), _dedicated("single", ONE, "prefer", qos={"quota_us": 50_000})],
    "exact": [_explicit("exact", "9", "25"), _explicit("exact", "10", "26"), _explicit("exact", "1", "17")],
    "bronze": [
        PinningTemplate.from_mapping({"name": "bronze", "cells": [{"vcpus": ONE, "cpus": "shared"}]}),
    ],
    "twin": [
        PinningTemplate.from_mapping(
            {"name": "twin", "cells": [{"vcpus": "0", "cpus": "dedicated"}, {"vcpus": "1", "cpus": "dedicated"}]}
        ),
    ],
}
"""What each template is at first, and what it may become; the last of four takes something else than the others."""


class Host(RuleBasedStateMachine):
    """One host and everything that may happen to it."""

    placement: PlacementService
    numbers = itertools.count(1)

    def __init__(self) -> None:
        super().__init__()
        number = next(self.numbers)
        self.templates = {name: versions[0] for name, versions in VERSIONS.items()}
        store = TemplateStore(self.placement.client)
        known = store.list().templates
        for name, template in self.templates.items():
            store.update(template) if name in known else store.create(template)
        self.world = World(self.placement, f"host-{number}", number, topology=make_topology(2, CORES, 2), pools=POOLS)
        self.whole = self.world.topology
        self.servers: dict[str, Expectation] = {}
        self.wrong: list[str] = []
        self.meddle: Callable[[str], None] = lambda _: None
        self.world.host.on_call = self.called
        self.stranger = self.new_id()
        self.world.host.spawn(self.stranger, 2, {})
        self.stranger_is_on = self.world.host.affinities()[self.stranger]
        self.world.settle()

    def new_id(self) -> str:
        """The id of one more server: in no order, as ids are, but the same in each run of a story."""
        self.count = getattr(self, "count", 0) + 1
        scattered = self.count * 0x9E3779B1 % 2**32
        return str(uuid.UUID(int=(scattered << 64) + self.world.number))

    def called(self, name: str) -> None:
        """Check the host after every single pin, then let happen what shall."""
        if name.startswith("after pin_"):
            self.wrong += cpus_of_two(self.world)
        self.meddle(name)

    # What Nova does

    def claim(self, server: str, template: PinningTemplate, nodes: tuple[int, ...]) -> bool:
        """What the scheduler does: claim nodes that offer the template, if Placement has room."""
        client = self.placement.client
        trait = names.template_trait(template.name)
        if any(trait not in client.traits(self.world.node(node)) for node in nodes):
            return False
        cells = cell_requests(template, MEMORY_MB, 2)
        requests = {self.world.node(node): dict(cell.resources) for node, cell in zip(nodes, cells, strict=True)}
        try:
            self.placement.allocate(server, requests)
        except (ksa_exceptions.Conflict, ksa_exceptions.BadRequest):
            return False
        return True

    def spawn(self, server: str, template: PinningTemplate, iothreads: int = 0) -> None:
        specs = extra_specs(template, {}, vcpus=template.vcpus, memory_mb=MEMORY_MB, threads_per_core=2)
        self.world.host.spawn(server, template.vcpus, specs, iothreads)

    def drop_claim(self, consumer: str) -> None:
        self.placement.adapter.delete(f"/allocations/{consumer}")

    @rule(name=st.sampled_from(sorted(VERSIONS)), node=st.integers(0, 1), iothreads=st.integers(0, 1))
    def boot(self, name: str, node: int, iothreads: int) -> None:
        """A server is scheduled here and starts, if there is room."""
        server, template = self.new_id(), self.templates[name]
        nodes = (0, 1) if len(template.cells) > 1 else (node,)  # of equal cells the first has the lower node
        if self.claim(server, template, nodes):
            self.servers[server] = Expectation(template, template, nodes)
            self.spawn(server, template, iothreads)

    @initialize(
        names=st.lists(
            st.sampled_from(["single", "single", "single", "silver", "gold", "bronze"]), min_size=12, max_size=30
        )
    )
    def fill(self, names: list[str]) -> None:
        """Stories begin on a host on which little is free: only there does anybody have to make room."""
        for number, name in enumerate(names):
            self.boot(name, number % 2, 0)
        self.run_pass(0)

    @precondition(lambda self: self.servers)
    @rule(pick=st.integers(0, 99), claim_first=st.booleans())
    def delete(self, pick: int, claim_first: bool) -> None:
        """A server goes; its claim goes with it, before or after the agent sees that."""
        server = self.pick(pick)
        if claim_first:
            self.drop_claim(server)
            self.run_pass(0)
        self.world.host.destroy(server)
        self.world.host.migrating.discard(server)
        if not claim_first:
            self.run_pass(0)
            self.drop_claim(server)
        del self.servers[server]

    @precondition(lambda self: len(self.servers) > 3)
    @rule(picks=st.lists(st.integers(0, 99), min_size=3, max_size=6), name=st.sampled_from(["gold", "silver"]))
    def turn_over(self, picks: list[int], name: str) -> None:
        """Some go, and their room, wherever it is, is filled by others at once: the rest has to make room."""
        for pick in picks[: len(self.servers)]:
            server = self.pick(pick)
            self.world.host.destroy(server)
            self.world.host.migrating.discard(server)
            self.drop_claim(server)
            del self.servers[server]
        for node in (0, 1, 0, 1):
            self.boot(name, node, 0)
        self.run_pass(0)

    @precondition(lambda self: self.servers)
    @rule(pick=st.integers(0, 99))
    def reboot(self, pick: int) -> None:
        """A hard reboot, which writes the guest's XML anew."""
        server = self.pick(pick)
        self.world.host.migrating.discard(server)
        self.world.host.respawn(server)

    @precondition(lambda self: self.servers)
    @rule(pick=st.integers(0, 99), name=st.sampled_from(sorted(VERSIONS)), node=st.integers(0, 1))
    def resize(self, pick: int, name: str, node: int) -> None:
        """A resize on the same host: the old claim is the migration's until it is confirmed, or the server is lost."""
        server, template, migration = self.pick(pick), self.templates[name], self.new_id()
        before = self.placement.client.claim(server)
        assert before is not None
        nodes = (0, 1) if len(template.cells) > 1 else (node,)  # of equal cells the first has the lower node
        self.world.host.migrating.discard(server)
        self.drop_claim(server)
        with contextlib.suppress(ksa_exceptions.Conflict):  # if CPUs went offline there is no room for it any more
            self.placement.allocate(migration, {uuid: dict(had) for uuid, had in before.resources.items()})
        self.run_pass(0)
        fits = self.claim(server, template, nodes)
        self.run_pass(0)
        self.world.host.destroy(server)
        self.run_pass(0)
        if fits:
            self.servers[server] = Expectation(template, template, nodes)
            self.spawn(server, template)
            self.run_pass(0)
        else:
            del self.servers[server]
        with contextlib.suppress(ksa_exceptions.NotFound):
            self.drop_claim(migration)

    @precondition(lambda self: self.servers)
    @rule(pick=st.integers(0, 99))
    def migrate(self, pick: int) -> None:
        """A live migration begins, or ends where it began."""
        self.world.host.migrating ^= {self.pick(pick)}

    # What operators do

    @rule(name=st.sampled_from(sorted(VERSIONS)), version=st.sampled_from([0, 1, 2] * 3 + [3]))
    def edit(self, name: str, version: int) -> None:
        """A template changes."""
        template = VERSIONS[name][version % len(VERSIONS[name])]
        TemplateStore(self.placement.client).update(template)
        self.templates[name] = template
        for server, expectation in self.servers.items():
            if expectation.template.name == name:
                self.servers[server] = replace(expectation, template=template)

    @precondition(lambda self: self.servers)
    @rule(pick=st.integers(0, 99), node=st.integers(0, 1))
    def move(self, pick: int, node: int) -> None:
        """A server is moved to the other node, or is not."""
        server = self.pick(pick)
        access = ReconcilerAccess(self.world.agent, self.world.cpus)
        with contextlib.suppress(exceptions.KongMingError):
            Mover(access, self.world.host, PlacementClient(self.world.adapter)).move(server, node)
        self.read_node(server)

    @precondition(lambda self: self.servers)
    @rule(pick=st.integers(0, 99), vcpu=st.integers(0, 1), cpus=st.sampled_from(["0", "8,24", "0-31", "1", "10", "31"]))
    def meddle_with_pins(self, pick: int, vcpu: int, cpus: str) -> None:
        """An administrator pins a vCPU by hand, onto CPUs that nobody has."""
        server = self.pick(pick)
        wanted = CpuSet.parse(cpus) & self.world.topology.cpus
        others = CpuSet.union(
            affinity
            for other, affinities in self.world.host.affinities().items()
            for affinity in affinities
            if other != server and affinity <= DEDICATED
        )
        if wanted and vcpu < self.servers[server].template.vcpus and (wanted & others & DEDICATED != wanted):
            self.world.host.set_affinity(server, vcpu, wanted if not wanted <= DEDICATED else wanted - others)

    @rule(cpus=st.sets(st.sampled_from(list(DEDICATED)), max_size=3))
    def unplug(self, cpus: set[int]) -> None:
        """These CPUs are offline now, and all others online."""
        offline = CpuSet.of(cpus)
        topology = HostTopology(
            tuple(
                replace(
                    node,
                    cores=tuple(Core(core.cpus - offline, core.cache) for core in node.cores if core.cpus - offline),
                )
                for node in self.whole.nodes
            ),
            self.whole.present,
        )
        self.world.topology = topology
        self.world.host.take_offline(offline, topology)
        self.stranger_is_on = self.world.host.affinities()[self.stranger]

    # What the agent does, and what happens to it

    @rule(seconds=st.sampled_from([0, 15, 1000]))
    def run_pass(self, seconds: int) -> None:
        """The agent makes a pass."""
        self.world.clock += seconds
        with contextlib.suppress(exceptions.KongMingError):
            self.world.agent.run(self.world.cpus)

    @rule(
        step=st.integers(0, 60),
        error=st.sampled_from(
            [
                exceptions.HypervisorError("do it", "injected", 38),
                exceptions.HypervisorUnavailable("do it", "connection reset", 38),
                Killed(),
            ]
        ),
        times=st.integers(1, 4),
    )
    def run_pass_with_bad_luck(self, step: int, error: BaseException, times: int) -> None:
        """A call of libvirt fails, or several, or the agent dies there."""
        steps = itertools.count()

        def fail(_name: str) -> None:
            if step <= next(steps) < step + times:
                raise error

        self.meddle = fail
        try:
            self.run_pass(15)
        except Killed:
            self.world.start_agent()
        self.meddle = lambda _: None

    @rule(step=st.integers(0, 12), failure=st.sampled_from(Failure))
    def run_pass_without_a_request(self, step: int, failure: Failure) -> None:
        """A request to Placement fails."""
        client = self.world.client
        real, client.transport.adapter = client.transport.adapter, Failing(self.placement.adapter, step, failure)
        self.run_pass(15)
        client.transport.adapter = real

    @rule(step=st.integers(0, 12))
    def killed_at_a_request(self, step: int) -> None:
        """The agent dies before or after a request to Placement."""
        client = self.world.client
        client.transport.adapter = Interrupted(self.placement.adapter, Countdown(step, Killed()))
        with contextlib.suppress(Killed):
            self.run_pass(15)
        self.world.start_agent()

    @precondition(lambda self: self.servers)
    @rule(pick=st.integers(0, 99), step=st.integers(0, 40))
    def guest_ends_meanwhile(self, pick: int, step: int) -> None:
        """A guest dies during a pass."""
        server, steps = self.pick(pick), itertools.count()

        def end(_name: str) -> None:
            if next(steps) == step:
                self.world.host.destroy(server)

        self.meddle = end
        self.run_pass(15)
        self.meddle = lambda _: None
        if server in self.world.host.pins():
            self.world.host.destroy(server)
        self.world.host.migrating.discard(server)
        self.drop_claim(server)
        del self.servers[server]

    # What holds

    @invariant()
    def no_cpu_of_two(self) -> None:
        """Promise 1, at each call and between."""
        assert [] == [*self.wrong, *cpus_of_two(self.world)]

    @rule()
    def come_to_rest(self) -> None:
        """Promises 2 to 4, once the agent is let alone."""
        self.world.host.migrating.clear()
        outcome = self.world.settle()
        reported = {problem.subject.id for problem in outcome.problems}
        wrong = [
            line
            for server, expectation in self.servers.items()
            if server not in reported
            for line in not_as_promised(self.world, server, expectation)
        ]
        assert [] == wrong
        if self.world.topology == self.whole and all(each.is_honoured for each in self.servers.values()):
            assert () == outcome.problems
        assert self.stranger_is_on == self.world.host.affinities()[self.stranger]
        self.world.start_agent()
        again = self.world.run_pass()
        assert ((), ()) == (again.placement.changes, again.pinning.done)

    def teardown(self) -> None:
        """At the end of every story."""
        self.come_to_rest()
        self.no_cpu_of_two()
        for server in self.servers:
            self.drop_claim(server)

    # Plumbing

    def pick(self, number: int) -> str:
        """One of the servers."""
        return sorted(self.servers)[number % len(self.servers)]

    def read_node(self, server: str) -> None:
        """Where a server of one cell has its claim now."""
        claim = self.placement.client.claim(server)
        if claim is not None and len(self.servers[server].nodes) == 1:
            nodes = tuple(node for node in (0, 1) if self.world.node(node) in claim.resources)
            self.servers[server] = replace(self.servers[server], nodes=nodes)


def test_a_story_goes_on_when_each_server_is_turned_over(placement: PlacementService) -> None:
    """More may be picked than there are; then all go, and others come."""

    class Machine(Host):
        pass

    Machine.placement = placement
    machine = Machine()
    machine.fill(["single"] * 4)
    before = set(machine.servers)
    machine.turn_over([0] * 6, "gold")
    assert (4, set()) == (len(machine.servers), before & set(machine.servers))
    machine.teardown()


def test_what_is_promised_holds() -> None:
    """No CPU is ever given to two guests, and once the agent comes to rest each server is served or reported."""

    class Machine(Host):
        pass

    Machine.placement = PlacementService("", "", MemoryPlacement())
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=MAX_EXAMPLES,
            stateful_step_count=STEPS,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_placement_of_the_stories_answers_as_the_real_one(placement: PlacementService) -> None:
    """Each request of a story gets the same answer from the real Placement."""

    class Machine(Host):
        pass

    both = Compared(placement.adapter)
    Machine.placement = PlacementService("", "", both)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=1, stateful_step_count=60, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
        ),
    )
    assert both.compared > 100
