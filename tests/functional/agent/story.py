# SPDX-License-Identifier: Apache-2.0
"""A story of one host: what happens to it, the passes of its agent, what goes wrong in them, and what holds."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from keystoneauth1 import exceptions as ksa_exceptions

from kongming_sched import exceptions
from kongming_sched.agent.model.outcome import Outcome
from kongming_sched.agent.model.problem import Reason
from kongming_sched.cpuset import CpuSet
from tests.functional.agent.promises import Expectation, cpus_of_two, demands, intruders, not_as_promised, not_set_back
from tests.functional.agent.story_events import NAMES, Day, days
from tests.functional.agent.story_faults import NOTHING, Fault, GuestEnds, end, is_one_refusal
from tests.functional.agent.story_host import StoryHost
from tests.functional.agent.story_scene import Scene
from tests.functional.agent.story_templates import TOPOLOGY
from tests.functional.agent.test_faults import Killed


class Story(StoryHost):
    """A host and its agent.

    :ivar wrong: which CPUs belonged to two guests at any time
    :ivar fault: what goes wrong in the passes of this day
    :ivar resizing: server id to what it was promised before a resize that is not confirmed yet
    :ivar excused: server ids of guests of which the kernel has dropped a pin since the host came to rest
    """

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.resizing: dict[str, Expectation] = {}
        self.excused: set[str] = set()
        self.touched: dict[str, set[int]] = {}
        self.before = self.world.host.affinities()
        self.step = NOTHING.begin(self.scene())
        self.fault: Fault = NOTHING
        self.at_failure: tuple[dict[str, list[CpuSet]], set[int]] = {}, set()
        self.failed = ""
        self.world.host.on_call = self.called

    def called(self, name: str) -> None:
        """Check the host after every single pin, then let happen what shall."""
        if name.startswith("after pin_"):
            self.wrong += cpus_of_two(self.world, self.excused)
            self.note_moves(self.world.host.changing)
        elif name == "domains":  # after which the agent plans
            self.before.clear()
            self.before.update(self.world.host.affinities())
            self.touched.clear()
        try:
            self.step(name)
            self.excused |= self.world.host.drops_pins
        except exceptions.HypervisorError:
            if not self.failed:
                self.failed = self.world.host.changing
                self.at_failure = dict(self.before), {*self.touched.get(self.failed, ())}
            raise

    def note_moves(self, guest: str) -> None:
        """Note which threads of a guest are not where they were when the agent planned."""
        threads = zip(self.world.host.affinities().get(guest, ()), self.before.get(guest, ()), strict=False)
        self.touched.setdefault(guest, set()).update(n for n, (now, then) in enumerate(threads) if now != then)

    def run(self, fault: Fault, seconds: float = 15) -> None:
        """The agent makes a pass, and something goes wrong."""
        self.world.clock += seconds
        self.failed = ""
        self.touched.clear()
        self.step = fault.begin(self.scene())
        at_first = self.world.host.affinities()
        outcome = None
        try:
            outcome = self.world.agent.run(self.world.cpus)
        except Killed:
            self.world.start_agent()
        except exceptions.KongMingError:
            assert fault != NOTHING
        self.step = NOTHING.begin(self.scene())
        end(self.world)
        for server in self.servers.keys() - self.world.host.affinities().keys():  # it has died meanwhile
            with contextlib.suppress(ksa_exceptions.NotFound):
                self.drop_claim(server)
            del self.servers[server]
        if outcome is not None:
            self.check(fault, outcome, at_first)

    def scene(self) -> Scene:
        """Where faults happen."""
        return Scene(self.world, sorted(self.servers), self.before, self.touched)

    def check(self, fault: Fault, outcome: Outcome, at_first: Mapping[str, list[CpuSet]]) -> None:
        """Promises 2, 3 and 5, after a pass.

        :param at_first: server id to the affinity of each of its threads before the pass
        """
        reported = {problem.subject.id: problem.text for problem in outcome.problems}
        lost = {
            problem.subject.id for problem in outcome.problems if problem.reason in (Reason.NO_PLACE, Reason.DOMAIN)
        }
        found = [
            line
            for server, expectation in self.servers.items()
            if server not in lost and not self.excused
            for line in intruders(self.world, server, expectation, at_first)
        ]
        assert [] == found
        if outcome.is_placement_well:
            assert [] == self.broken({*reported})
        if is_one_refusal(fault) and "; and" not in reported.get(self.failed, "; and"):
            assert [] == list(not_set_back(self.world, self.failed, *self.at_failure))

    def broken(self, reported: set[str]) -> list[str]:
        """What is not as promised of servers of which nothing is reported."""
        here = self.world.host.affinities()
        return [
            line
            for server, expectation in {**self.servers, **self.resizing}.items()
            if server not in reported and server in here
            for line in not_as_promised(self.world, server, expectation, self.excused)
        ]

    # What happens

    @initialize(names=st.lists(NAMES, max_size=3))
    def fill(self, names: list[str]) -> None:
        """Stories begin on a host on which nothing is free: only there does anybody have to make room."""
        for number, name in enumerate(names):
            self.start_server(name, number % 2, is_low=number % 3 == 0)
        for node in (0, 1):
            self.fill_up(node)
        self.run(NOTHING)

    @rule(day=days())
    def live(self, day: Day) -> None:
        """Some of what may happen happens, and then there is a pass."""
        self.fault = day.fault
        for event in day.happening:
            event.happen(self)
        self.run(day.fault, day.seconds)

    def delete(self, pick: int, claim_first: bool) -> None:
        """A server goes; its claim goes with it, before or after the agent sees that."""
        server = self.pick(pick)
        if server is None:
            return
        del self.servers[server]
        if claim_first:
            self.drop_claim(server)
            self.run(self.fault)
        self.world.host.destroy(server)
        if not claim_first:
            self.run(self.fault)
            self.drop_claim(server)

    def resize(self, pick: int, name: str, node: int) -> None:
        """A resize on the same host: the old claim is the migration's until it is confirmed, or the server is lost."""
        server, template, migration = self.pick(pick), self.templates[name], self.new_id()
        if server is None:
            return
        before = self.cloud.client.claim(server)
        assert before is not None
        nodes = (0, 1) if len(template.cells) > 1 else (node,)  # of equal cells the first has the lower node
        del self.servers[server]  # to which nothing is promised meanwhile
        self.world.host.migrating.discard(server)
        self.drop_claim(server)
        with contextlib.suppress(ksa_exceptions.Conflict):  # if CPUs went offline there is no room for it any more
            self.cloud.allocate(migration, {uuid: dict(had) for uuid, had in before.resources.items()})
        self.run(self.fault)
        fits = self.claim(server, template, nodes)
        self.run(self.fault)
        self.world.host.destroy(server)
        self.run(self.fault)
        if fits:
            self.servers[server] = Expectation(template, template, nodes)
            self.spawn(server, template)
            self.run(self.fault)
        with contextlib.suppress(ksa_exceptions.NotFound):
            self.drop_claim(migration)

    def exchange(self, pick: int, name: str) -> None:
        """Two servers are resized here at once, each to the flavor of the other; until then they stay where they are.

        Not if their old claims cannot be distinguished from each other, or from the one of a guest that ends meanwhile.

        :param name: the template of the larger one, which the smaller one claims on the other node
        """
        large, small = self.pick(pick, name), self.pick(pick, "single")
        single, wider = self.templates["single"], self.templates[name]
        if large is None or small is None or isinstance(self.fault, GuestEnds):
            return
        if demands(single) in (demands(wider), demands(self.servers[large].claimed)):
            return
        there = 1 - self.servers[large].nodes[0]
        for server in [one for one in self.apart(there, by_last=False) if one not in (large, small)][:4]:
            self.end_server(server)
        wanted = {large: single, small: wider}
        migrations = {server: self.begin_resize(server) for server in wanted}
        fits = {server: self.claim(server, template, (there,)) for server, template in wanted.items()}
        self.run(self.fault)
        for server, template in wanted.items():
            del self.resizing[server]
            self.world.host.destroy(server)
            with contextlib.suppress(ksa_exceptions.NotFound):
                self.drop_claim(migrations[server])
            if fits[server]:
                self.servers[server] = Expectation(template, template, (there,))
                self.spawn(server, template)
        self.run(self.fault)

    def begin_resize(self, server: str) -> str:
        """The claim of a server is that of its migration now, the id of which this gives."""
        migration, claim = self.new_id(), self.cloud.client.claim(server)
        assert claim is not None
        self.resizing[server] = self.servers.pop(server)
        self.world.host.migrating.discard(server)
        self.drop_claim(server)
        with contextlib.suppress(ksa_exceptions.Conflict):  # as in resize()
            self.cloud.allocate(migration, {uuid: dict(had) for uuid, had in claim.resources.items()})
        return migration

    # What holds

    @invariant()
    def no_cpu_of_two(self) -> None:
        """Promise 1, at each call and between."""
        assert [] == [*self.wrong, *cpus_of_two(self.world, self.excused)]

    def come_to_rest(self) -> None:
        """Promises 1, 2 and 4, once the agent is let alone."""
        self.world.host.migrating.clear()
        outcome = self.world.settle()
        self.excused.clear()
        self.no_cpu_of_two()
        assert [] == self.broken({problem.subject.id for problem in outcome.problems})
        if self.world.topology == TOPOLOGY and all(each.is_honoured for each in self.servers.values()):
            assert () == outcome.problems
        assert self.unmanaged_is_on == self.world.host.affinities()[self.unmanaged]
        self.world.start_agent()
        again = self.world.run_pass()
        assert ((), ()) == (again.placement.changes, again.pinning.done)

    def teardown(self) -> None:
        """At the end of every story."""
        self.come_to_rest()
        for server in [*self.servers]:
            self.end_server(server)
