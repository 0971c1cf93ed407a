# SPDX-License-Identifier: Apache-2.0
"""Servers whose own metadata replaces their pins: the agent's passes, on the real Placement and simulated guests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import PinningTemplate
from tests.functional.agent.world import TEMPLATES, World, store_templates
from tests.functional.conftest import PlacementService

OPEN = [
    {"name": "pair", "cells": [{"vcpus": "0-1", "cpus": "dedicated"}], "override": "allowed"},
    {"name": "near", "cells": [{"vcpus": "0-1", "cpus": "dedicated", "threads": "require"}], "override": "allowed"},
    {"name": "range", "cells": [{"vcpus": "0-1", "cpus": "explicit", "pins": "7,15"}], "override": "allowed"},
]


@pytest.fixture
def world(placement: PlacementService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A host with a server of each template that is open, and two of templates that are not."""
    for mapping in OPEN:
        monkeypatch.setitem(TEMPLATES, str(mapping["name"]), PinningTemplate.from_mapping(mapping))
    store_templates(placement.client)
    world = World(placement, "host", metadata_file=tmp_path / "metadata.json")
    world.settle()
    for server, template, node in (("p", "pair", 0), ("r", "range", 1), ("s", "silver", 0), ("g", "gold", 0)):
        world.boot(server, template, node)
    assert () == world.settle().problems
    return world


def ask(world: World, server: str, **keys: str) -> dict[str, str]:
    """Set a server's metadata, as a trigger learns it, and make a pass; gives what the agent says of it."""
    metadata = {f"kongming:{key}": value for key, value in keys.items()}
    world.metadata.learn(world.servers[server], metadata)
    return {problem.subject.name.split("-")[1]: problem.text for problem in world.settle().problems}


def vcpus(world: World, server: str) -> list[str]:
    """Where a server's vCPUs are."""
    return list(world.pins()[server][: len(world.pins()[server]) - 2])


def test_pins_follow_the_metadata(world: World) -> None:
    """There, elsewhere, and back to the template's own, live; nobody shares a CPU on the way."""
    tree = world.tree()
    seen = []
    for cpus in ("7", "0:15;1:7", "7,15"):
        assert {} == ask(world, "r", cpus=cpus)
        seen.append(vcpus(world, "r"))
    assert [["7", "7"], ["15", "7"], ["7,15", "7,15"]] == seen
    assert {} == ask(world, "r")
    assert ["7,15", "7,15"] == vcpus(world, "r")
    assert CpuSet() == world.host.shared_at_any_time
    assert tree == world.tree()


def test_another_template_of_the_same_claim(world: World) -> None:
    """The server moves onto whole cores, and stays there when its guest is started again."""
    assert {} == ask(world, "p", template="near")
    first = vcpus(world, "p")
    world.host.respawn(world.servers["p"])
    assert () == world.settle().problems
    assert {8} == {abs(CpuSet.parse(one).first - CpuSet.parse(two).first) for one, two in (first, vcpus(world, "p"))}


def test_closed_template_stays_closed(world: World) -> None:
    """Tenants may write what they like: nothing moves, and the operator reads why."""
    before = world.pins()
    problems = ask(world, "s", cpus="3,11")
    assert before == world.pins()
    reason = "its metadata 'kongming:cpus': template 'silver' is not open to the metadata of servers (override: denied)"
    assert [reason] == list(problems.values())


def test_wrong_value_keeps_the_old_pins(world: World) -> None:
    """Those that the last right value gave, also through a restart of the agent and of the guest."""
    ask(world, "r", cpus="15")
    assert ask(world, "r", cpus="gold")
    world.start_agent()
    world.host.respawn(world.servers["r"])
    outcome = world.settle()
    assert ["15", "15"] == vcpus(world, "r")
    assert any("'gold' is neither a number nor a range" in problem.text for problem in outcome.problems)


def test_what_is_known_survives_a_crash_at_any_call(world: World) -> None:
    """An agent that is killed anywhere leaves a host that the next one finishes, by the same metadata."""
    world.metadata.learn(world.servers["r"], {"kongming:cpus": "0:15;1:7"})
    world.settle()
    for kill_at in itertools.count():
        world.host.respawn(world.servers["r"])
        world.start_agent()
        calls = itertools.count()

        def kill(_name: str, calls: Iterator[int] = calls, last: int = kill_at) -> None:
            if next(calls) == last:
                raise _Killed

        world.host.on_call = kill
        try:
            world.run_pass()
        except _Killed:
            world.host.on_call = lambda _name: None
            world.start_agent()
        else:
            break
        world.settle()
        assert ["15", "7"] == vcpus(world, "r")
    assert kill_at > 4


class _Killed(BaseException):
    """The agent ends here and now."""


def test_template_that_is_closed_later(world: World) -> None:
    """What was given is taken back when the operator closes the template."""
    ask(world, "r", cpus="15")
    closed = PinningTemplate.from_mapping({**OPEN[2], "override": "denied"})
    TemplateStore(world.placement.client).update(closed)
    outcome = world.settle()
    assert ["7,15", "7,15"] == vcpus(world, "r")
    assert any("is not open" in problem.text for problem in outcome.problems)


def test_a_wish_comes_true_when_the_cpu_is_free(world: World) -> None:
    """The server waits where it is until the other one has gone."""
    wanted = [vcpus(world, "p")[0], vcpus(world, "s")[0]]
    before = vcpus(world, "p")
    problems = ask(world, "p", cpus=f"0:{wanted[1]};1:{wanted[0]}")
    assert before == vcpus(world, "p")
    assert ["has; it stays where it is" in reason for reason in problems.values()] == [True]
    world.host.destroy(world.servers["s"])
    world.placement.adapter.delete(f"/allocations/{world.servers['s']}")
    assert () == world.settle().problems
    assert [wanted[1], wanted[0]] == vcpus(world, "p")
