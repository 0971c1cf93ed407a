# SPDX-License-Identifier: Apache-2.0
"""A server that is migrated live, again and again, between two hosts that hold other servers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import libvirt
import pytest

from kongming_sched.cpuset import CpuSet
from kongming_sched.template import PinningTemplate
from tests.scenario.actions import Subject
from tests.scenario.cloud import PREFIX, Cloud
from tests.scenario.live_migration import left_at, migrate, watched
from tests.scenario.views import is_pinned_for_good

MIGRATIONS = int(os.environ.get("KONGMING_MIGRATIONS", "2"))
"""Few, because each takes some seconds; more by the environment."""

RAM_MB = 64
MOVER = PinningTemplate.from_mapping({"name": "scenario_mover", "cells": [{"vcpus": "0", "cpus": "dedicated"}]})
OTHER = PinningTemplate.from_mapping({"name": "scenario_stays", "cells": [{"vcpus": "0", "cpus": "shared"}]})


@pytest.fixture
def subject(cloud: Cloud) -> Iterator[Subject]:
    """A server of a dedicated CPU; servers that share run beside it on both hosts."""
    if cloud.plan is None or len(cloud.plan.libvirt_hosts) < 2:
        pytest.skip("the cloud has less than two hosts with libvirt; tools/cloud up --libvirt-hosts 2 makes two")
    hosts = cloud.hosts.names(emulated=False)
    for template in (MOVER, OTHER):
        cloud.make_template(template, hosts)
        cloud.wait_for("both offer it", lambda template=template: len(cloud.offering(template.name)) == len(hosts))
    flavor, other = (cloud.make_flavor(template, RAM_MB, 1) for template in (MOVER, OTHER))
    for host in hosts:
        cloud.create_server(f"stays-on-{host}", other, host=host)
    (server,) = cloud.create_server("mover", flavor)
    cloud.wait_until_right(server.id, MOVER)
    yield Subject(cloud, server.id, flavor, flavor)
    cloud.delete_all()
    for template in (MOVER, OTHER):
        cloud.delete_flavor(f"{PREFIX}{template.name}-{RAM_MB}")
        cloud.templates.delete(template.name)
        cloud.wait_for("none offers it any more", lambda template=template: not cloud.offering(template.name))


def other_host(subject: Subject) -> str:
    """The host that the server is not on."""
    return next(host for host in subject.cloud.hosts.names(emulated=False) if host != subject.host)


def misplace(subject: Subject) -> CpuSet:
    """Pin the guest to a CPU that is nobody's of the pool, so that pins which it brought along show; gives it."""
    pinned = subject.guest.vcpus[0]
    wrong = next(cpu for cpu in subject.cloud.hosts.cpus(subject.host).online if cpu not in pinned)
    domain = subject.cloud.hosts.libvirts[subject.host].lookupByUUIDString(subject.server)
    domain.pinVcpuFlags(0, tuple(cpu == wrong for cpu in range(wrong + 1)), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    return CpuSet.of([wrong])


def test_back_and_forth(cloud: Cloud, subject: Subject, capsys: pytest.CaptureFixture[str]) -> None:
    """Each time it is pinned there before its first instruction, and nothing is left where it was."""
    took, samples_before = [], []
    for _ in range(MIGRATIONS):
        source, target = subject.host, other_host(subject)
        with cloud.services.paused(f"{source}-agent"):  # or it would put the pin right again
            wrong = misplace(subject)
            cloud.stopwatch.reset(subject.server)
            with watched(subject) as samples:
                begin = time.monotonic()
                migrate(subject, target)
                took.append(time.monotonic() - begin)
        views = cloud.wait_until_right(subject.server, MOVER)

        stood, ran = (events[subject.server] for events in (cloud.stopwatch.begins, cloud.stopwatch.runs))
        assert {views.pins[0]} == {cpus for at, cpus in samples if at >= stood} != {wrong}
        assert not is_pinned_for_good(cloud.hosts.libvirts[target], subject.server)
        cloud.wait_for("nothing is left", lambda source=source: not left_at(subject, source))
        samples_before.append(sum(stood <= at < ran for at, _ in samples))
    with capsys.disabled():
        print(f"\n{len(took)} live migrations, {min(took):.1f} to {max(took):.1f} s each", end="; ")
        print(f"the kernel was read {min(samples_before)} times or more before the guest ran")

    assert min(samples_before) > 0


def test_agent_of_the_destination_is_dead(cloud: Cloud, subject: Subject) -> None:
    """The server stays where it is with its pins, and Nova calls it ERROR; with its state reset it can move there."""
    source, target = subject.host, other_host(subject)
    before = subject.guest
    cloud.services.kill(f"{target}-agent")
    try:
        cloud.compute.live_migrate_server(subject.server, host=target, block_migration="auto")
        cloud.wait_for("Nova gives up", lambda: "error" in migration_states(subject))
        subject.wait("ERROR")
        assert (source, before) == (subject.host, subject.guest)
    finally:
        cloud.services.restart()
    cloud.compute.reset_server_state(subject.server, "active")
    cloud.wait_until_right(subject.server, MOVER)
    migrate(subject, target)
    assert target == cloud.wait_until_right(subject.server, MOVER).host
    cloud.wait_for("nothing is left", lambda: not left_at(subject, source))


def migration_states(subject: Subject) -> set[str]:
    """The states of all migrations of the server."""
    return {migration.status for migration in subject.cloud.compute.migrations(instance_uuid=subject.server)}
