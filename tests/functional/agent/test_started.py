# SPDX-License-Identifier: Apache-2.0
"""A guest that starts is pinned at once: nothing that takes long stands between libvirt's event and its pins."""

from __future__ import annotations

import pytest

from kongming_sched import exceptions
from kongming_sched.cpuset import CpuSet
from testbed.adapters import Meddling
from tests.functional.agent.world import World, store_templates
from tests.functional.conftest import PlacementService

FLOATING = ("0-15", "0-15", "emulator 0-15", "memory anywhere")


@pytest.fixture
def world(placement: PlacementService) -> World:
    """A host without guests, whose agent has made a pass."""
    store_templates(placement.client)
    world = World(placement, "host")
    world.settle()
    return world


def pins_at_requests(world: World) -> list[dict[str, tuple[str, ...]]]:
    """Grows by the pins of all servers whenever the agent asks Placement, from now on."""
    found: list[dict[str, tuple[str, ...]]] = []
    meddling = Meddling(world.placement.adapter, lambda *_: found.append(world.pins()))
    world.client.transport.adapter = meddling
    return found


def test_pinned_before_placement_is_asked(world: World) -> None:
    """Whose claim the last pass has read, as that for the guest's definition does, has its pins before any request."""
    specs = world.claim("silver-1", "silver", 0)
    world.run_pass()
    found = pins_at_requests(world)
    world.host.spawn(world.servers["silver-1"], 2, specs)

    outcome = world.run_pass()

    assert [("1", "9", "emulator 1,9", "memory 0")] == list(found[0].values())
    assert found[0] == world.pins()
    assert () == outcome.problems
    assert 4 == len(outcome.pinning.done)


def test_started_anew(world: World) -> None:
    """A hard reboot is no other."""
    world.boot("silver-1", "silver", 0)
    world.settle()
    want = world.pins()
    found = pins_at_requests(world)
    world.host.respawn(world.servers["silver-1"])

    world.run_pass()

    assert want == found[0] == world.pins()


def test_claimed_since_the_last_pass(world: World) -> None:
    """Who has claimed only since then is pinned in the same pass, once Placement has answered."""
    world.run_pass()
    found = pins_at_requests(world)
    world.boot("silver-1", "silver", 0)

    outcome = world.run_pass()

    assert [FLOATING] == list(found[0].values())
    assert [("1", "9", "emulator 1,9", "memory 0")] == list(world.pins().values())
    assert () == outcome.problems


def test_claimed_while_placement_was_asked(world: World) -> None:
    """A guest that appears with its claim after Placement was asked is no guest without a claim: it is asked again."""

    def boot(name: str) -> None:
        if name == "domains":
            world.host.on_call = lambda _name: None
            world.boot("silver-1", "silver", 0)

    world.host.on_call = boot
    outcome = world.run_pass()

    assert () == outcome.problems
    assert [("1", "9", "emulator 1,9", "memory 0")] == list(world.pins().values())


def test_claim_of_a_server_that_has_gone(world: World) -> None:
    """Who has claimed only since then is not pinned by the claim that a server of equal flavor had until then."""
    world.boot("gold-1", "gold", 0)
    world.boot("silver-1", "silver", 0)
    world.settle()
    world.host.destroy(world.servers["gold-1"])
    world.placement.adapter.delete(f"/allocations/{world.servers['gold-1']}")
    found = pins_at_requests(world)
    world.host.respawn(world.servers["silver-1"])
    world.boot("gold-2", "gold", 1)

    world.run_pass()

    assert ("1", "9") == found[0]["silver-1"][:2]
    assert FLOATING[1:] == found[0]["gold-2"]
    assert "memory 1" == world.pins()["gold-2"][-1]


def test_nobody_is_moved_for_it_in_haste(world: World) -> None:
    """A newcomer for whom others must move waits until Placement has been asked, and has its core then."""
    world.boot("silver-1", "silver", 0)
    world.boot("silver-2", "silver", 0)
    for server, cpus in (("silver-1", "1-2"), ("silver-2", "3,10")):
        for vcpu, cpu in enumerate(CpuSet.parse(cpus)):
            world.host.set_affinity(world.servers[server], vcpu, CpuSet.of([cpu]))
    specs = world.claim("gold-1", "gold", 0)
    world.settle()
    found = pins_at_requests(world)
    world.host.spawn(world.servers["gold-1"], 1, specs)

    outcome = world.run_pass()

    assert [("1", "2"), ("3", "10")] == [found[0][name][:2] for name in ("silver-1", "silver-2")]
    assert "0-15" == found[0]["gold-1"][0]
    pins = world.pins()
    others = CpuSet.union(CpuSet.parse(cpu) for name in ("silver-1", "silver-2") for cpu in pins[name][:2])
    core = next(core for core in world.topology.nodes[0].cores if CpuSet.parse(pins["gold-1"][0]) <= core.cpus)
    assert CpuSet() == core.cpus & others
    assert () == outcome.problems


def test_failure_in_haste_is_told_and_waited_for(world: World) -> None:
    """What fails then is undone and reported by the same pass, which does not try it again."""
    specs = world.claim("silver-1", "silver", 0)
    world.run_pass()
    world.host.spawn(world.servers["silver-1"], 2, specs)
    tried = []

    def fail(name: str) -> None:
        if name == "pin_emulator":
            tried.append(name)
            raise exceptions.HypervisorError("pin the emulator", "injected", 38)

    world.host.on_call = fail
    outcome = world.run_pass()

    assert ["pin_emulator", "pin_emulator"] == tried, "once, and once more to undo"
    assert ["injected" in problem.text for problem in outcome.problems] == [True]
    assert outcome.retry_seconds is not None
