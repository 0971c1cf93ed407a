# SPDX-License-Identifier: Apache-2.0
"""Many requests at the same time, by Nova's handlers over a real Placement: how many claims are refused."""

from __future__ import annotations

import functools
import gc
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from nova import objects
from oslo_config import fixture as config_fixture

from kongming_sched.conf import scheduler as conf
from kongming_sched.placement import flavor, names
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.scheduler import under_way, worker
from kongming_sched.scheduler.scheduler_worker import SchedulerWorker
from kongming_sched.scheduler.snapshot import CloudView, NodeSnapshot
from kongming_sched.scheduler.under_way import Others, UnderWay
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


def make_workers(clock: Clock, controllers: int, workers: int) -> list[UnderWay]:
    """The requests of each worker of some controllers."""
    return [
        UnderWay(clock, functools.partial(SchedulerWorker, f"controller{controller}", number, workers))
        for controller in range(controllers)
        for number in range(workers)
    ]


def run_at_once(
    placement: PlacementService, monkeypatch: pytest.MonkeyPatch, workers: Sequence[UnderWay], servers: int = SERVERS
) -> tuple[int, int]:
    """Servers whose hosts are all chosen before the first claim; gives how many were refused, and how many run.

    :param workers: the servers take turns
    """
    schedulers = [Scheduler(placement, make_spec(GOLD)) for _ in range(servers)]
    chosen = []
    for number, scheduler in enumerate(schedulers):
        monkeypatch.setattr(worker, "UNDER_WAY", workers[number % len(workers)])
        chosen.append(scheduler.choose())
    made = [scheduler.claim(hosts) for scheduler, hosts in zip(schedulers, chosen, strict=True)]
    return sum(scheduler.refused for scheduler in schedulers), len([each for each in made if each])


def test_requests_of_one_worker(cloud: PlacementService, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """No claim is refused, and as few nodes are used as one after the other would need."""
    assert (0, SERVERS) == run_at_once(cloud, monkeypatch, make_workers(clock, 1, 1))
    assert Counter({SERVERS_OF_A_NODE: 10, 0: 6}) == taken(cloud)


def test_requests_of_two_workers(cloud: PlacementService, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Those of one controller divide the hosts: only their first servers meet, which know of no other request."""
    count = 4 * SERVERS_OF_A_NODE
    refused, running = run_at_once(cloud, monkeypatch, make_workers(clock, 1, 2), count)

    assert count == running
    assert SERVERS_OF_A_NODE >= refused
    assert 5 >= HOSTS * NODES - taken(cloud)[0]


def test_requests_of_two_controllers(cloud: PlacementService, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Workers that know nothing of each other mostly fill different hosts."""
    count = 4 * SERVERS_OF_A_NODE
    refused, running = run_at_once(cloud, monkeypatch, make_workers(clock, 2, 1), count)

    assert count == running
    assert count // 2 >= refused


def test_a_claim_that_is_under_way(cloud: PlacementService) -> None:
    """Another server goes to an equal host, for the first claim would have its own refused."""
    worker.SNAPSHOT.get()
    first, second = (Scheduler(cloud, make_spec(GOLD)) for _ in range(2))

    assert first.choose()[0].host != second.choose()[0].host


def test_requests_are_asked_for_once(cloud: PlacementService, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """By filter and weigher together, for each server anew."""
    asked = []

    class Asked(UnderWay):
        def others(self, spec: objects.RequestSpec, view: CloudView | None) -> Others:
            asked.append(spec.instance_uuid)
            return super().others(spec, view)

    monkeypatch.setattr(worker, "UNDER_WAY", Asked(clock))
    scheduler = Scheduler(cloud, make_spec(GOLD))
    assert scheduler.schedule()
    assert scheduler.schedule()

    assert 2 == len(asked) == len(set(asked))


def test_requests_one_after_the_other(cloud: PlacementService) -> None:
    """Claims that the snapshot does not show yet are known, and nothing is drawn."""
    schedulers = [Scheduler(cloud, make_spec(GOLD)) for _ in range(SERVERS)]
    for scheduler in schedulers:
        assert scheduler.schedule()

    assert 0 == sum(scheduler.refused for scheduler in schedulers)
    assert Counter({SERVERS_OF_A_NODE: 10, 0: 6}) == taken(cloud)


def claimed_by_others(view: CloudView | None = None) -> int:
    """The CPUs that a new request takes for claimed beyond what the snapshot shows.

    :param view: an earlier one than the snapshot's
    """
    view = view or worker.SNAPSHOT.get()
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
    """Its choice counts as long as it may wait for a busy Placement, but not for ever."""
    scheduler = Scheduler(cloud, make_spec(GOLD))
    scheduler.choose()
    counts = []
    for seconds in (0.0, under_way.LIFETIME_SECONDS + 1.0, under_way.LONGEST_REQUEST_SECONDS):
        clock.now += seconds
        counts.append(claimed_by_others())

    assert [VCPUS, VCPUS, 0] == counts


def test_a_claim_that_no_snapshot_shows(cloud: PlacementService, clock: Clock) -> None:
    """It counts for half a minute: Placement may be unavailable."""
    view = worker.SNAPSHOT.get()
    scheduler = Scheduler(cloud, make_spec(GOLD))
    assert scheduler.schedule()
    before = claimed_by_others(view)
    clock.now += under_way.LIFETIME_SECONDS + 1.0

    assert (VCPUS, 0) == (before, claimed_by_others(view))


def test_servers_of_one_request(cloud: PlacementService) -> None:
    """All of a multi-create count for others, and none for their own request, which counts them itself."""
    scheduler = Scheduler(cloud, make_spec(GOLD))
    assert all(scheduler.schedule() for _ in range(SERVERS_OF_A_NODE + 1))

    assert (SERVERS_OF_A_NODE + 1) * VCPUS == claimed_by_others()
    assert Counter({SERVERS_OF_A_NODE: 1, 1: 1, 0: HOSTS * NODES - 2}) == taken(cloud)
