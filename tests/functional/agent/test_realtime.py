# SPDX-License-Identifier: Apache-2.0
"""vCPUs in real time, pass by pass."""

from __future__ import annotations

import pytest

from kongming_sched import exceptions
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import PinningTemplate
from tests.functional.agent import world as worlds
from tests.functional.agent.world import World
from tests.functional.conftest import PlacementService


def ran(priority: int) -> PinningTemplate:
    """A template of two vCPUs, of which the second runs in real time."""
    realtime = {"vcpus": "1", "priority": priority}
    cells = [{"vcpus": "0-1", "cpus": "dedicated"}]
    return PinningTemplate.from_mapping({"name": "ran", "cells": cells, "emulator": "cell", "realtime": realtime})


@pytest.fixture
def world(placement: PlacementService, monkeypatch: pytest.MonkeyPatch) -> World:
    """A host that is offered the template."""
    monkeypatch.setitem(worlds.TEMPLATES, "ran", ran(5))
    TemplateStore(placement.client).create(ran(5))
    world = World(placement, "host")
    world.settle()
    return world


def test_priority_of_the_template(world: World) -> None:
    """It holds after each start, which is Nova's with the host's own priority, and follows the template."""
    world.boot("ran-1", "ran", 0)
    uuid, seen = world.servers["ran-1"], []
    outcome = world.run_pass()
    seen.append(world.host.policies_of(uuid))
    world.host.respawn(uuid)
    seen.append(world.host.policies_of(uuid))
    world.settle()
    seen.append(world.host.policies_of(uuid))
    TemplateStore(world.placement.client).update(ran(9))
    world.settle()
    seen.append(world.host.policies_of(uuid))

    assert ["vCPU 1: SCHED_FIFO 1 -> SCHED_FIFO 5"] == [what for _, what in outcome.pinning.cleared]
    assert [["SCHED_OTHER", f"SCHED_FIFO {priority}"] for priority in (5, 1, 5, 9)] == seen
    assert ("1", "9", "emulator 1", "memory 0") == world.pins()["ran-1"]


def test_what_the_kernel_refuses_moves_nothing(world: World) -> None:
    """The pins stay, and the problem names the vCPU."""

    def refuse(call: str) -> None:
        if call == "set_vcpu_policy":
            raise exceptions.KernelError("run vCPU 1 of instance-1 by SCHED_FIFO 5", "Operation not permitted")

    world.boot("ran-1", "ran", 0)
    world.host.on_call = refuse
    outcome = world.settle()

    assert ["the kernel could not run vCPU 1 of instance-1 by SCHED_FIFO 5: Operation not permitted"] == [
        problem.text for problem in outcome.problems
    ]
    assert ("1", "9", "emulator 1", "memory 0") == world.pins()["ran-1"]
