# SPDX-License-Identifier: Apache-2.0
"""Whatever fails, and wherever the agent is killed, the host ends in the same state."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from keystoneauth1 import exceptions as ksa_exceptions

from kongming_sched import exceptions
from kongming_sched.agent.model.problem import PLACEMENT
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.client import Inventory
from kongming_sched.placement.transport import Adapter, Response
from testbed.adapters import CONFLICT, Answer, Canned, Failing, Failure
from tests.functional.agent.world import DEDICATED, World, store_templates
from tests.functional.conftest import PlacementService, running_placement


class Killed(BaseException):
    """SIGKILL: nothing in the agent can catch it."""


class Countdown:
    """Raises an error at the n-th step, counted from 0, and never again.

    Who is killed after a call has left just what he leaves who is killed before the next one, so that is one step.

    :ivar has_happened: whether it did
    """

    def __init__(self, steps: int, error: BaseException) -> None:
        self.left = steps
        self.error = error
        self.has_happened = False

    def step(self, name: str = "") -> None:
        if isinstance(self.error, Killed) and name.startswith("after "):
            return
        self.left -= 1
        if self.left == -1:
            self.has_happened = True
            raise self.error

    def stop(self) -> None:
        """Let everything pass from now on."""
        self.left = -1


class Interrupted:
    """The real Placement; each request is a step before it is sent."""

    def __init__(self, adapter: Adapter, countdown: Countdown) -> None:
        self.adapter = adapter
        self.countdown = countdown

    def request(self, url: str, method: str, **kwargs: Any) -> Response:
        self.countdown.step()
        return self.adapter.request(url, method, **kwargs)


State: TypeAlias = tuple[dict[str, tuple[list[str], list[tuple[str, Inventory]]]], dict[str, list[str]]]


@pytest.fixture
def world(placement: PlacementService) -> World:
    """A registered host with servers of every template that have just been spawned."""
    store_templates(placement.client)
    world = World(placement, "host")
    world.settle()
    world.boot_all()
    return world


def state(world: World) -> State:
    """What a host has come to: all but which of several CPUs that are as good a dedicated vCPU has."""
    return world.tree(), {name: describe(world, name) for name in world.servers}


def describe(world: World, name: str) -> list[str]:
    """Where a server is, with what its thread policy promises."""
    *vcpus, emulator, memory = world.pins()[name]
    if name.startswith(("bronze", "exact")):
        return [*vcpus, emulator, memory]
    mine = CpuSet.union(map(CpuSet.parse, vcpus))
    others = CpuSet.union(
        CpuSet.parse(cpu) for other, pins in world.pins().items() if other != name for cpu in pins[:-2]
    )
    cores = CpuSet.union(core.cpus for node in world.topology.nodes for core in node.cores if core.cpus & mine)
    where = [node.id for cpu in mine for node in world.topology.nodes if cpu in node.cpus]
    return [
        f"{len(mine)} CPUs of the pool for {len(vcpus)} vCPUs" if mine <= DEDICATED else f"misplaced on {mine}",
        f"nodes {where}",
        f"shared with others: {mine & others}",
        f"whole cores: {cores.isdisjoint(others) if name.startswith('gold') else 'not asked for'}",
        "emulator with the vCPUs" if emulator == f"emulator {mine}" else emulator,
        memory,
    ]


def expected(world: World) -> State:
    """What the host comes to if nothing fails."""
    world.settle()
    return state(world)


def respawned(world: World, at_least: int) -> Iterator[tuple[int, Callable[[bool], None]]]:
    """The number of each step that can fail, with all guests spawned anew, until a run had fewer steps than that.

    :param at_least: how many steps there must be for the test to say something
    """
    over = False

    def report(has_happened: bool) -> None:
        nonlocal over
        over = not has_happened

    for step in itertools.count():
        for server in world.servers.values():
            world.host.respawn(server)
        world.start_agent()
        yield step, report
        if over:
            assert step > at_least
            return


def test_started_twice(world: World) -> None:
    """A second agent that starts on a host that is as it should be changes nothing."""
    world.settle()
    before = state(world)
    world.start_agent()

    outcome = world.run_pass()

    assert ((), ()) == (outcome.placement.changes, outcome.pinning.done)
    assert before == state(world)


def test_killed_at_any_step(world: World) -> None:
    """Killed between any two calls of Placement or libvirt, it ends in the same state after its next start."""
    want = expected(world)

    for step, report in respawned(world, at_least=30):
        countdown = Countdown(step, Killed())
        world.adapter = Interrupted(world.placement.adapter, countdown)
        world.host.on_call = countdown.step
        world.start_agent()
        with contextlib.suppress(Killed):
            world.settle()
        countdown.stop()
        world.start_agent()
        world.settle()
        assert want == state(world)
        assert CpuSet() == world.host.shared_at_any_time
        report(countdown.has_happened)


def test_killed_at_any_step_of_the_registration(placement: PlacementService) -> None:
    """Killed while it registers a new host, the next start of the agent ends in the same state."""
    store_templates(placement.client)
    reference = World(placement, "host")
    reference.settle()
    want = reference.tree()

    for step in itertools.count():
        with running_placement() as other:
            store_templates(other.client)
            world = World(other, "host")
            countdown = Countdown(step, Killed())
            world.adapter = Interrupted(other.adapter, countdown)
            world.start_agent()
            with contextlib.suppress(Killed):
                world.settle()
            countdown.stop()
            world.start_agent()
            world.settle()
            assert want == world.tree()
        if not countdown.has_happened:
            break
    assert step > 10


@pytest.mark.parametrize("failure", list(Failure))
def test_any_request_fails(world: World, failure: Failure) -> None:
    """Each request to Placement in turn gets lost, or is answered 409 or 500: the host ends in the same state."""
    want = expected(world)

    for step, report in respawned(world, at_least=6):
        world.adapter = failing = Failing(world.placement.adapter, step, failure)
        world.start_agent()
        world.settle()
        assert want == state(world)
        report(failing.count > step)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.HypervisorError("do it", "injected", 38),
        exceptions.HypervisorUnavailable("do it", "connection reset", 38),
    ],
    ids=["refused", "connection lost"],
)
def test_any_libvirt_call_fails(world: World, error: exceptions.HypervisorError) -> None:
    """Each call of libvirt in turn fails, before or after it had its effect: the host ends in the same state."""
    want = expected(world)

    for step, report in respawned(world, at_least=40):
        countdown = Countdown(step, error)
        world.host.on_call = countdown.step
        world.settle()
        assert want == state(world)
        assert CpuSet() == world.host.shared_at_any_time
        report(countdown.has_happened)


@pytest.mark.parametrize(
    "answer",
    [
        CONFLICT,
        Answer(500, "the database is away"),
        Answer(404, "<html>nginx</html>"),
        Answer(200, "{}"),
        Answer(200, '{"resource_providers": [{"uuid": 1, "name": null, "generation": 1}]}'),
        Answer(200, "[" * 100_000),
        ksa_exceptions.ConnectFailure("connection refused"),
        OSError("Could not find a suitable TLS CA certificate bundle, invalid path: /etc/ssl/ca.pem"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ],
    ids=["409", "500", "404 of a proxy", "nonsense", "other JSON", "brackets", "refused", "no CA file", "no UTF-8"],
)
def test_placement_away(world: World, answer: Answer | Exception) -> None:
    """Without Placement the guests keep their pins, restarted ones get them again, and all is said once it is back."""
    world.settle()
    want, pins = state(world), world.pins()
    real, world.client.transport.adapter = world.placement.adapter, Canned(answer)
    world.host.respawn(world.servers["gold-1"])

    outcome = world.run_pass()
    during = world.pins()
    world.client.transport.adapter = real
    world.settle()

    assert [PLACEMENT] == [problem.subject for problem in outcome.problems]
    assert pins == during
    assert want == state(world)


def test_a_guest_that_ends_while_others_are_planned_anew(world: World) -> None:
    """A guest that ends after the change of another one has failed is no matter to the rest of the pass."""
    failing, ending = world.servers["silver-1"], world.servers["bronze-1"]

    def fail(name: str) -> None:
        if name == "pin_emulator" and world.host.pins()[failing][:2] == ("2", "10"):
            if ending in world.host.pins():
                world.host.destroy(ending)
            raise exceptions.HypervisorError("pin the emulator", "injected", 38)

    world.host.on_call = fail
    outcome = world.run_pass()

    assert [failing] == [problem.subject.id for problem in outcome.problems]
    assert outcome.pinning.pins is not None
    assert ending not in outcome.pinning.pins.servers


def test_guest_that_fails_does_not_keep_others(world: World) -> None:
    """What fails for one guest is undone and reported for that guest; the others get their pins in the same pass."""
    failing = world.servers["silver-1"]

    def fail(name: str) -> None:
        if name == "pin_emulator" and world.host.pins()[failing][:2] == ("2", "10"):
            raise exceptions.HypervisorError("pin the emulator", "injected", 38)

    world.host.on_call = fail
    outcome = world.run_pass()

    assert [f"server server-instance-{failing[-8:]} ({failing})"] == [
        str(problem.subject) for problem in outcome.problems
    ]
    assert "1" == world.pins()["gold-1"][0]
    assert ("6", "14") == world.pins()["silver-2"][:2]
    assert outcome.retry_seconds is not None


def test_a_change_that_has_failed_is_not_tried_again_in_the_same_pass(world: World) -> None:
    """The guest is set back once, and the rounds that follow for the others leave it alone."""
    failing = world.servers["silver-1"]
    calls: list[str] = []

    def fail(name: str) -> None:
        if name.startswith("pin_") and world.host.changing == failing:
            calls.append(name)
            if calls == ["pin_vcpu", "pin_vcpu", "pin_emulator"]:
                raise exceptions.HypervisorError("pin the emulator", "injected", 38)

    world.host.on_call = fail
    world.run_pass()

    assert ["pin_vcpu", "pin_vcpu", "pin_emulator", "pin_emulator", "pin_vcpu", "pin_vcpu"] == calls
