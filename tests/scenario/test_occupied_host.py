# SPDX-License-Identifier: Apache-2.0
"""Live migration of a dedicated server onto a host where other dedicated servers run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from openstack import exceptions as sdk_exceptions

from kongming_sched.placement import names
from kongming_sched.template import PinningTemplate
from tests.scenario.actions import Subject
from tests.scenario.cloud import PREFIX, Cloud
from tests.scenario.live_migration import left_at, migrate, watched
from tests.scenario.machines import Kernel

RAM_MB = 64


@dataclass(frozen=True)
class Pair:
    """Two hosts of one kind that offer a template, and a server of it on the first.

    :ivar free: how many more such servers fit on the second
    """

    cloud: Cloud
    template: PinningTemplate
    mover: Subject
    source: str
    target: str
    free: int

    def add(self, count: int) -> list[Any]:
        """Create servers of the same flavor on the second host."""
        return self.cloud.create_server("resident", self.mover.flavor, count=count, host=self.target)

    def right(self, server: str) -> Kernel:
        """What the kernel says of a server once all views are right."""
        kernel = self.cloud.wait_until_right(server, self.template).kernel
        assert kernel
        return kernel


@pytest.fixture(params=[False, True], ids=["this machine", "emulated"])
def pair(cloud: Cloud, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """The hosts with a server, and nothing of it afterwards."""
    hosts = [] if cloud.plan is None else cloud.plan.emulated_hosts if request.param else cloud.plan.libvirt_hosts
    if len(hosts) < 2:
        pytest.skip("the cloud has less than two such hosts; tools/cloud up --libvirt-hosts 2 --numa-host 2 makes them")
    source, target, *_ = hosts
    cpus = cloud.hosts.cpus(target)
    cell = {"vcpus": "0", "cpus": "dedicated", "node": max(cpus.nodes)}
    template = PinningTemplate.from_mapping({"name": "scenario_occupied", "cells": [cell]})
    cloud.make_template(template, [source, target])
    cloud.wait_for("both offer it", lambda: len(cloud.offering(template.name)) == 2)
    flavor = cloud.make_flavor(template, RAM_MB, cpus.threads_per_core)
    (server,) = cloud.create_server("mover", flavor, host=source)
    yield Pair(cloud, template, Subject(cloud, server.id, flavor, flavor), source, target, free_cpus(cloud, target))
    cloud.delete_all()
    cloud.delete_flavor(f"{PREFIX}{template.name}-{RAM_MB}")
    cloud.templates.delete(template.name)
    cloud.wait_for("none offers it any more", lambda: not cloud.offering(template.name))


def free_cpus(cloud: Cloud, host: str) -> int:
    """How many dedicated CPUs the last node of a host has for further servers, by Placement."""
    (root,) = cloud.placement.providers(name=host)
    node = names.node_uuid(root.uuid, max(cloud.hosts.cpus(host).nodes))
    (summary,) = [found for found in cloud.placement.node_summaries() if found.uuid == node]
    return summary.capacity.get(names.PCPU, 0) - summary.used.get(names.PCPU, 0)


def test_cpu_of_the_source_is_taken(cloud: Cloud, pair: Pair) -> None:
    """The server leaves a CPU that another one has on the other host, never runs on that one, and moves nobody."""
    if pair.free < 2:
        pytest.skip("each host gives away one CPU of the node, and the test needs two; tools/cloud up --numa-host 2")
    (resident,) = pair.add(1)
    here, there = pair.right(pair.mover.server), pair.right(resident.id)
    assert here.vcpus == there.vcpus
    cloud.stopwatch.reset(pair.mover.server)

    with watched(pair.mover) as samples:
        migrate(pair.mover, pair.target)

    assert not pair.right(pair.mover.server).vcpus[0] & there.vcpus[0]
    assert there == pair.right(resident.id)
    stood = cloud.stopwatch.begins[pair.mover.server]
    assert [] == [cpus for at, cpus in samples if at >= stood and cpus & there.vcpus[0]]
    cloud.wait_for("nothing is left", lambda: not left_at(pair.mover, pair.source))


def test_no_cpu_is_free(cloud: Cloud, pair: Pair) -> None:
    """Nova refuses, and the server stays as it is; once another one has left it moves."""
    residents = pair.add(pair.free)
    before = pair.right(pair.mover.server)

    with pytest.raises(sdk_exceptions.BadRequestException, match="No valid host"):
        cloud.compute.live_migrate_server(pair.mover.server, host=pair.target, block_migration="auto")

    pair.mover.wait("ACTIVE")
    assert (pair.source, before) == (pair.mover.host, pair.right(pair.mover.server))
    cloud.delete_server(residents[0].id)
    migrate(pair.mover, pair.target)
    pair.right(pair.mover.server)
