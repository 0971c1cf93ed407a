# SPDX-License-Identifier: Apache-2.0
"""CPU time of guests: their vCPUs one by one, and their emulators."""

from __future__ import annotations

import pytest

from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import PinningTemplate
from tests.functional.agent.world import World, store_templates
from tests.functional.conftest import PlacementService

UNLIMITED = {"vcpu_period": 100_000, "vcpu_quota": -1, "emulator_period": 100_000, "emulator_quota": -1}


@pytest.fixture
def world(placement: PlacementService) -> World:
    """A host with one server of two vCPUs."""
    store_templates(placement.client)
    world = World(placement, "host")
    world.settle()
    world.boot("silver-1", "silver", 0)
    world.settle()
    return world


def set_qos(world: World, **qos: object) -> None:
    """Change the template of the server."""
    cells = [{"vcpus": "0-1", "cpus": "dedicated"}]
    template = {"name": "silver", "cells": cells, "emulator": "cell", "qos": qos}
    TemplateStore(world.placement.client).update(PinningTemplate.from_mapping(template))


def quotas(world: World) -> list[int]:
    """The quota of each of its vCPUs."""
    return world.host.quotas_of(world.servers["silver-1"])


def test_emulator_is_limited_and_let_go(world: World) -> None:
    """QEMU's own threads have a period and a quota of their own, until the template no longer asks for it."""
    uuid = world.servers["silver-1"]

    set_qos(world, emulator_period_us=50_000, emulator_quota_us=20_000)
    world.settle()
    limited = world.host.scheduler_of(uuid)
    set_qos(world)
    world.settle()

    assert {**UNLIMITED, "cpu_shares": 1024, "emulator_period": 50_000, "emulator_quota": 20_000} == limited
    assert {**UNLIMITED, "cpu_shares": 1024} == world.host.scheduler_of(uuid)


def test_each_vcpu_has_its_quota(world: World) -> None:
    """A template's quotas of single vCPUs come, change and go, the others have its common one."""
    seen = []
    for qos in (
        {"vcpus": {0: {"quota_us": 25_000}}},
        {"quota_us": 50_000, "vcpus": {1: {"quota_us": 30_000}}},
        {"quota_us": 50_000},
        {"vcpus": {1: {"quota_us": 30_000}}},
        {},
    ):
        set_qos(world, **qos)
        outcome = world.settle()
        assert () == outcome.problems
        seen.append(quotas(world))

    assert [[25_000, -1], [50_000, 30_000], [50_000, 50_000], [-1, 30_000], [-1, -1]] == seen


def test_lost_quota_is_put_back(world: World) -> None:
    """When one quota is set for all vCPUs by hand each gets its own back, and that is reported."""
    set_qos(world, vcpus={1: {"quota_us": 30_000}})
    world.settle()
    [domain] = world.host.domains()
    world.host.set_scheduler(domain, {"vcpu_quota": 80_000})

    outcome = world.run_pass()

    assert [-1, 30_000] == quotas(world)
    assert ["QoS of vCPU 0", "QoS of vCPU 1"] == [drift.what for drift in outcome.pinning.drift.found]


def test_left_over_quota_is_found_after_a_start(world: World) -> None:
    """An agent that starts finds a quota that only one vCPU has, and takes it off through libvirt."""
    [domain] = world.host.domains()
    world.host.set_vcpu_quota(domain, 1, 30_000)
    world.start_agent()

    world.settle()

    assert [-1, -1] == quotas(world)


def test_rests_with_quotas_of_its_own(world: World) -> None:
    """Nothing is written while all is as it should be."""
    set_qos(world, vcpus={1: {"quota_us": 30_000}})
    world.settle()
    world.host.log.clear()

    world.run_pass()

    assert {"domains", "read", "threads", "vcpu_quotas"} == set(world.host.log)


def test_flavors_own_values_come_back(world: World) -> None:
    """What Nova's quota:cpu_* set is replaced while the template asks for something, and restored when it does not."""
    specs = world.claim("nova-1", "silver", 1)
    uuid = world.servers["nova-1"]
    world.host.spawn(uuid, 2, {**specs, "quota:cpu_quota": "70000", "quota:cpu_shares": "99"})
    seen = []
    for qos in ({}, {"quota_us": 50_000, "vcpus": {1: {"quota_us": 30_000}}}, {"shares": 512}, {}):
        set_qos(world, **qos)
        world.settle()
        seen.append((world.host.scheduler_of(uuid)["cpu_shares"], world.host.quotas_of(uuid)))

    flavors = 99, [70_000, 70_000]
    assert [flavors, (99, [50_000, 30_000]), (512, [70_000, 70_000]), flavors] == seen
