# SPDX-License-Identifier: Apache-2.0
"""Many requests at the same time, by Nova's handlers over a real Placement: how many claims are refused."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping

import pytest
from oslo_config import fixture as config_fixture

from kongming_sched.conf import scheduler as conf
from kongming_sched.placement import flavor, names
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.scheduler import under_way, worker
from kongming_sched.scheduler.snapshot import NodeSnapshot
from kongming_sched.scheduler.under_way import UnderWay
from kongming_sched.template import PinningTemplate
from testbed import topologies
from testbed.nova_objects import make_spec
from tests.functional.conftest import PlacementService
from tests.functional.nova.scheduler import Scheduler, register_host

HOSTS, NODES, SERVERS_OF_A_NODE = 8, 2, 3
SERVERS = 30
VCPUS = 2
TEMPLATE = PinningTemplate.from_mapping(
    {"name": "gold", "cells": [{"vcpus": "0-1", "cpus": "dedicated", "memory": "none"}]}
)
GOLD = flavor.extra_specs(TEMPLATE, {}, vcpus=VCPUS, memory_mb=256)


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The time of snapshot and requests."""
    return Clock()


@pytest.fixture
def cloud(placement: PlacementService, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[PlacementService]:
    """Equal hosts, on each of whose nodes three servers fit, and a worker that has just started."""
    TemplateStore(placement.client).create(TEMPLATE)
    for number in range(HOSTS):
        topology = topologies.make_topology(NODES, SERVERS_OF_A_NODE * VCPUS + 1)
        register_host(placement, f"host{number}", topology, [TEMPLATE])
    conf.register_opts(worker.CONF)
    monkeypatch.setattr(worker, "SNAPSHOT", NodeSnapshot(lambda: placement.client, lambda: 5.0, clock))
    monkeypatch.setattr(worker, "UNDER_WAY", UnderWay(clock))
    with config_fixture.Config(worker.CONF):
        yield placement


def taken(placement: PlacementService) -> Counter[int]:
    """How many nodes have which number of servers."""
    return Counter(node.used.get(names.PCPU, 0) // VCPUS for node in placement.client.node_summaries())


def run_at_once(
    placement: PlacementService, monkeypatch: pytest.MonkeyPatch, workers: Mapping[str, UnderWay]
) -> tuple[int, int]:
    """Servers whose hosts are all chosen before the first claim; gives how many were refused, and how many run.

    :param workers: process to its requests; the servers take turns
    """
    schedulers = [Scheduler(placement, make_spec(GOLD)) for _ in range(SERVERS)]
    turns = [list(workers)[number % len(workers)] for number in range(SERVERS)]
    chosen = []
    for scheduler, process in zip(schedulers, turns, strict=True):
        monkeypatch.setattr(worker, "UNDER_WAY", workers[process])
        monkeypatch.setattr(under_way, "process_name", lambda process=process: process)
        chosen.append(scheduler.choose())
    made = [scheduler.claim(hosts) for scheduler, hosts in zip(schedulers, chosen, strict=True)]
    return sum(scheduler.refused for scheduler in schedulers), len([each for each in made if each])


def test_requests_of_one_worker(cloud: PlacementService, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """No claim is refused, and as few nodes are used as one after the other would need."""
    assert (0, SERVERS) == run_at_once(cloud, monkeypatch, {"1": UnderWay(clock)})
    assert Counter({SERVERS_OF_A_NODE: 10, 0: 6}) == taken(cloud)


def test_requests_of_two_workers(cloud: PlacementService, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Workers that know nothing of each other mostly fill different hosts."""
    refused, running = run_at_once(cloud, monkeypatch, {"1": UnderWay(clock), "2": UnderWay(clock)})

    assert SERVERS == running
    assert SERVERS // 2 >= refused


def test_requests_one_after_the_other(cloud: PlacementService) -> None:
    """Claims that the snapshot does not show yet are known, and nothing is drawn."""
    schedulers = [Scheduler(cloud, make_spec(GOLD)) for _ in range(SERVERS)]
    for scheduler in schedulers:
        assert scheduler.schedule()

    assert 0 == sum(scheduler.refused for scheduler in schedulers)
    assert Counter({SERVERS_OF_A_NODE: 10, 0: 6}) == taken(cloud)


def claimed_by_others() -> int:
    """The CPUs that a new request takes for claimed beyond what the snapshot shows."""
    view = worker.SNAPSHOT.get()
    assert view
    others = worker.UNDER_WAY.others(make_spec(GOLD), view)
    return sum(amounts[names.PCPU] for root in view.free for amounts in others.of(root).values())


def renew(clock: Clock) -> None:
    """Let the snapshot be read again."""
    clock.now += 6.0
    worker.SNAPSHOT.get()
    worker.SNAPSHOT.wait(60.0)


def test_a_claim_counts_until_the_snapshot_shows_it(cloud: PlacementService, clock: Clock) -> None:
    """Also after its request has ended."""
    worker.SNAPSHOT.get()
    scheduler = Scheduler(cloud, make_spec(GOLD))
    assert scheduler.schedule()
    claimed = [claimed_by_others()]
    del scheduler
    gc.collect()
    claimed.append(claimed_by_others())
    renew(clock)
    claimed.append(claimed_by_others())

    assert [VCPUS, VCPUS, 0] == claimed


def test_a_request_that_ends_without_a_claim(cloud: PlacementService) -> None:
    """What it was about to take counts no longer, and the objects of all its hosts are let go of."""
    scheduler = Scheduler(cloud, make_spec(GOLD))
    hosts = [weakref.ref(host) for host in scheduler.choose()]
    before = claimed_by_others()
    del scheduler
    gc.collect()

    assert [None] * HOSTS == [host() for host in hosts]
    assert (VCPUS, 0) == (before, claimed_by_others())


def test_a_request_that_takes_very_long(cloud: PlacementService, clock: Clock) -> None:
    """Its choice counts for half a minute: it may wait for a Placement that does not answer."""
    scheduler = Scheduler(cloud, make_spec(GOLD))
    scheduler.choose()
    before = claimed_by_others()
    clock.now += under_way.LIFETIME_SECONDS + 1.0

    assert (VCPUS, 0) == (before, claimed_by_others())


def test_servers_of_one_request(cloud: PlacementService) -> None:
    """All of a multi-create count for others, and none for their own request, which counts them itself."""
    scheduler = Scheduler(cloud, make_spec(GOLD))
    assert all(scheduler.schedule() for _ in range(SERVERS_OF_A_NODE + 1))

    assert (SERVERS_OF_A_NODE + 1) * VCPUS == claimed_by_others()
    assert Counter({SERVERS_OF_A_NODE: 1, 1: 1, 0: HOSTS * NODES - 2}) == taken(cloud)
