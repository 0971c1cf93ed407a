# SPDX-License-Identifier: Apache-2.0
"""Guests for which libvirt waits 30 seconds and fails, as it does while their QEMU hangs: the others come first."""

from __future__ import annotations

import uuid

import pytest

from kongming_sched.agent.model.outcome import Outcome
from kongming_sched.agent.model.problem import Reason
from kongming_sched.cpuset import CpuSet
from tests.functional.agent.world import World, store_templates
from tests.functional.conftest import PlacementService

LOCK_SECONDS = 30


@pytest.fixture
def world(placement: PlacementService) -> World:
    """A registered host of eight servers, of which those of the names that begin with s will hang."""
    store_templates(placement.client)
    world = World(placement, "host")
    world.settle()
    for number in range(1, 5):
        world.boot(f"s{number}", "bronze", 1)
        world.boot(f"well{number}", "bronze", 0)
    world.settle()
    return world


def hang(world: World) -> None:
    """Let the guests hang that are to."""
    world.host.slow |= {uuid for name, uuid in world.servers.items() if name.startswith("s")}


def run_pass(world: World, seconds_later: float) -> tuple[Outcome, float]:
    """A pass, and how long it has waited for libvirt's lock."""
    world.clock += seconds_later
    before = world.host.waited_seconds
    outcome = world.agent.run(world.cpus)
    return outcome, world.host.waited_seconds - before


def test_time_of_a_pass_is_bounded(world: World) -> None:
    """Four guests that hang take no pass longer than two waits for a lock, and soon none waits for them."""
    hang(world)

    waits = [run_pass(world, 1)[1] for _ in range(5)]

    assert [2 * LOCK_SECONDS, 2 * LOCK_SECONDS, 0, 0, 0] == waits


def test_all_are_pinned_that_can_be(world: World) -> None:
    """A server that starts beside guests that hang has its pins after one pass, also after a start of the agent."""
    hang(world)
    pins = []
    for name in ("new", "newer"):
        world.boot(name, "silver", 0)
        run_pass(world, 1)
        pins.append(world.pins()[name][:2])
        world.start_agent()
        for _ in range(3):
            run_pass(world, 1)

    assert [("1", "9"), ("2", "10")] == pins


def test_problem_of_each_that_hangs(world: World) -> None:
    """It says how long libvirt took and that it will be tried again, and it stays the same until then."""
    hang(world)
    texts = []
    for _ in range(4):
        outcome, _ = run_pass(world, 1)
        texts.append({problem.subject.id: problem.text for problem in outcome.problems})

    slow = {uuid for name, uuid in world.servers.items() if name.startswith("s")}
    assert [slow, slow] == [set(found) for found in texts[2:]]
    assert texts[2] == texts[3]
    assert all("after 30 s; it is tried again after a while" in text for text in texts[2].values())
    assert {Reason.DOMAIN} == {problem.reason for problem in outcome.problems}


def test_guests_left_to_the_next_pass(world: World) -> None:
    """That one is due at once; later ones as soon as a guest is due that was left alone."""
    hang(world)

    due = [run_pass(world, 1)[0].retry_seconds for _ in range(3)]

    assert due[0] == 1
    assert due[2] is not None
    assert 0 < due[2] <= 120


def test_one_is_tried_again_in_a_pass(world: World) -> None:
    """When guests that hang are due again a pass waits for one of them alone."""
    hang(world)
    for _ in range(3):
        run_pass(world, 1)

    waits = [run_pass(world, 600 if number == 0 else 1)[1] for number in range(5)]

    assert [LOCK_SECONDS] * 4 == waits[:4]
    assert 0 == waits[4]


def test_all_is_well_once_they_answer(world: World) -> None:
    """Their problems go, and what should have been done is done."""
    hang(world)
    for _ in range(3):
        run_pass(world, 1)
    world.host.set_affinity(world.servers["s1"], 0, CpuSet.parse("0"))
    world.host.slow.clear()

    outcome, _ = run_pass(world, 600)

    assert () == outcome.problems
    assert "12" == world.pins()["s1"][0]


def test_watchdog_hears_between_the_calls(world: World) -> None:
    """However many guests hang, it hears after each call; of a call that never ends it would hear nothing."""
    hang(world)

    for _ in range(3):
        run_pass(world, 1)

    assert LOCK_SECONDS == world.silent_seconds


def test_guest_that_hangs_while_it_is_changed(world: World) -> None:
    """No further call is made for it, be it to undo what was done; what its threads may have counts as its own."""
    world.boot("silver", "silver", 0)
    silver = world.servers["silver"]

    def fail(name: str) -> None:
        if name == "after pin_vcpu":
            world.host.slow.add(silver)

    world.host.on_call = fail
    outcome, waited = run_pass(world, 1)
    world.host.on_call = lambda _name: None
    world.boot("other", "silver", 0)
    run_pass(world, 1)

    assert 2 * LOCK_SECONDS == waited  # for the change, and when it is read again
    assert [Reason.REFUSED, Reason.DEFINITION] == [problem.reason for problem in outcome.problems]
    assert CpuSet() == world.host.shared_at_any_time
    assert [("1", "0-15"), ("9", "2")] == [world.pins()[name][:2] for name in ("silver", "other")]


def test_guest_without_a_template_that_hangs(world: World) -> None:
    """Nor is one that cannot be confined waited for again and again."""
    plain = str(uuid.uuid4())
    world.confine = True
    world.start_agent()
    world.settle()
    world.host.spawn(plain, 2, {})

    def fail(name: str) -> None:
        if name == "threads":
            world.host.slow.add(plain)

    world.host.on_call = fail
    waits = [run_pass(world, 1)[1] for _ in range(3)]

    assert [LOCK_SECONDS, LOCK_SECONDS, 0] == waits
