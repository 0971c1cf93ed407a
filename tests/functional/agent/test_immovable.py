# SPDX-License-Identifier: Apache-2.0
"""A guest that cannot be moved is left where it is, and the others find their places round it in the same pass."""

from __future__ import annotations

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.model.problem import Subject, SubjectKind
from kongming_sched.cpuset import CpuSet
from tests.functional.agent.world import World, store_templates
from tests.functional.conftest import PlacementService


@pytest.fixture
def world(placement: PlacementService) -> World:
    """Two servers of two threads each, of which one lies on two cores, and one that needs a whole core."""
    store_templates(placement.client)
    world = World(placement, "host")
    world.settle()
    world.boot("spread", "silver", 0)
    world.boot("compact", "silver", 0)
    world.settle()
    for server, cpus in {"spread": ("1", "2"), "compact": ("3", "11")}.items():
        for vcpu, cpu in enumerate(cpus):
            world.host.set_affinity(world.servers[server], vcpu, CpuSet.parse(cpu))
    world.start_agent()  # which takes them to be where they belong
    world.settle()
    world.boot("newcomer", "gold", 0)
    return world


def vcpus(world: World) -> dict[str, tuple[str, ...]]:
    """Where the servers' vCPUs are."""
    return {name: pins[:-2] for name, pins in world.pins().items()}


def subject(world: World, server: str) -> Subject:
    """A server as a problem names it."""
    uuid = world.servers[server]
    return Subject(SubjectKind.SERVER, f"server-instance-{uuid[-8:]}", uuid)


def fail_for(world: World, server: str) -> None:
    """Refuse every pin of a server from now on."""
    pin_vcpu = world.host.pin_vcpu

    def pin(domain: object, vcpu: int, cpus: CpuSet) -> None:
        if domain.uuid == world.servers[server]:  # type: ignore[attr-defined]  # a Domain
            raise exceptions.HypervisorError("pin it", "injected", 38)
        pin_vcpu(domain, vcpu, cpus)  # type: ignore[arg-type]  # a Domain

    world.host.pin_vcpu = pin  # type: ignore[method-assign]  # for this one host


def test_nobody_is_in_the_way(world: World) -> None:
    """The server that lies on two cores makes room."""
    world.settle()

    assert {"spread": ("10", "2"), "compact": ("3", "11"), "newcomer": ("1",)} == vcpus(world)


def test_move_that_fails(world: World) -> None:
    """If that one cannot be moved, another one makes room in the same pass."""
    fail_for(world, "spread")

    outcome = world.run_pass()

    assert {"spread": ("1", "2"), "compact": ("9", "10"), "newcomer": ("3",)} == vcpus(world)
    reason = "libvirt could not pin it: injected; and then, libvirt could not pin it: injected"
    assert [(subject(world, "spread"), reason)] == [(item.subject, item.text) for item in outcome.problems]


def test_migration(world: World) -> None:
    """So it is while that one migrates, and nothing is asked of it."""
    world.host.migrating.add(world.servers["spread"])

    outcome = world.run_pass()

    assert {"spread": ("1", "2"), "compact": ("9", "10"), "newcomer": ("3",)} == vcpus(world)
    assert [subject(world, "spread")] == [problem.subject for problem in outcome.problems]


def test_back_off(world: World) -> None:
    """While a server is left alone after a failure the others are not kept waiting for it."""
    fail_for(world, "spread")
    world.host.migrating.add(world.servers["compact"])
    outcome = world.run_pass()
    waiting = dict(vcpus(world))
    world.host.migrating.clear()

    later = world.agent.run(world.cpus)

    assert {subject(world, server) for server in ("spread", "compact", "newcomer")} == {
        item.subject for item in outcome.problems
    }
    assert {"spread": ("1", "2"), "compact": ("3", "11"), "newcomer": ("0,4",)} == waiting
    assert {"spread": ("1", "2"), "compact": ("9", "10"), "newcomer": ("3",)} == vcpus(world)
    assert [subject(world, "spread")] == [problem.subject for problem in later.problems]


def test_whatever_happens_no_cpu_has_two_guests(world: World) -> None:
    """Also while plans are made anew no CPU of the pool belongs to two guests."""
    fail_for(world, "spread")
    world.run_pass()
    world.boot("another", "gold", 1)
    world.settle()

    assert CpuSet() == world.host.shared_at_any_time
