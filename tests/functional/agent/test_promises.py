# SPDX-License-Identifier: Apache-2.0
"""Whatever happens to a host in whatever order, what is promised holds.

A machine plays Nova, the scheduler, operators and bad luck on a simulated host: servers come, go, are resized, rebooted
and moved, templates change, CPUs go offline, calls fail or hang, the kernel drops pins, and the agent is killed
anywhere. At each call of libvirt no host CPU belongs to two guests. After each pass a server has what its template
says, or a reason is reported, and once the agent is let alone it comes to rest.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from testbed.compared_placement import Compared
from testbed.memory_placement import MemoryPlacement
from tests.functional.agent.story import Story
from tests.functional.conftest import PlacementService

MORE = os.environ.get("KONGMING_EXAMPLES")
"""How many stories to play to search for bugs, others each time; else the same ten are played, so that they are found
again."""

STORIES, DAYS = int(MORE or "10"), 50


def run_stories(machine: type[Story], stories: int, days: int = DAYS) -> None:
    """Run through some stories; one that fails is made as short as it can be.

    A story is not explained, for which each line would be traced meanwhile, and which would take three times as long.
    """
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=stories,
            derandomize=MORE is None,
            stateful_step_count=days,
            suppress_health_check=list(HealthCheck),
            phases=[phase for phase in settings().phases if phase is not Phase.explain],
        ),
    )


def test_what_is_promised_holds() -> None:
    """No CPU is ever given to two guests, and each server is served or reported."""

    class Machine(Story):
        placement = staticmethod(lambda: PlacementService("", "", MemoryPlacement()))

    run_stories(Machine, STORIES)


def test_the_placement_of_the_stories_answers_as_the_real_one(placement: PlacementService) -> None:
    """Each request of a story gets the same answer from the real Placement."""
    both = Compared(placement.adapter)

    class Machine(Story):
        placement = staticmethod(lambda: PlacementService("", "", both))

    run_stories(Machine, 1, days=8)
    assert both.compared > 100


def test_a_story_goes_on_when_each_server_is_turned_over() -> None:
    """More may be to go than there are; then all of a node go, and others come."""

    class Machine(Story):
        placement = staticmethod(lambda: PlacementService("", "", MemoryPlacement()))

    machine = Machine()
    machine.fill([])
    before = set(machine.servers)
    machine.turn_over(0, 99, by_last=False, name="gold", is_low=False)
    assert (12, 6) == (len(machine.servers), len(before & set(machine.servers)))
    machine.teardown()
