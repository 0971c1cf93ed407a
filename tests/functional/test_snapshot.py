# SPDX-License-Identifier: Apache-2.0
"""The picture of all NUMA nodes: how often Placement is asked for it, and what is served meanwhile."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from keystoneauth1 import exceptions as ksa_exceptions

from kongming_sched.exceptions import PlacementUnavailable
from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory, PlacementClient
from kongming_sched.placement.transport import Adapter, Response
from kongming_sched.scheduler import snapshot
from kongming_sched.scheduler.snapshot import CloudView, NodeSnapshot
from tests.functional.conftest import PlacementService

ROOT = "5a1e0000-0000-4000-8000-000000000001"
TTL = 10.0
REFUSED = ksa_exceptions.ConnectFailure("connection refused")


@dataclass
class Gate:
    """The way to Placement, which can be held up or cut.

    :ivar passed: how many requests have come so far
    :ivar open: cleared, requests wait before the gate
    :ivar cut: what requests fail by; None if they do not
    """

    adapter: Adapter
    passed: int = 0
    open: threading.Event = field(default_factory=threading.Event)
    cut: BaseException | None = None

    def request(self, url: str, method: str, **kwargs: Any) -> Response:
        """Pass a request on."""
        self.passed += 1
        assert self.open.wait(30)
        if self.cut:
            raise self.cut
        return self.adapter.request(url, method, **kwargs)


@dataclass
class Bench:
    """A snapshot on a real Placement, with a clock that is set by hand."""

    placement: PlacementService
    gate: Gate
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.gate.open.set()
        self.snapshot = NodeSnapshot(lambda: PlacementClient(self.gate), lambda: TTL, lambda: self.now)

    def free(self) -> int | None:
        """Free dedicated CPUs of the host in the view that is served now."""
        view = self.snapshot.get()
        return None if view is None else view.free_pcpus[ROOT]

    def settle(self) -> None:
        """Let the refresh that is under way end."""
        self.snapshot.wait(30)


@pytest.fixture
def bench(placement: PlacementService) -> Iterator[Bench]:
    """A host of two nodes with four dedicated CPUs each."""
    placement.add_host("c1", ROOT)
    client = placement.client
    client.ensure_resource_classes([names.NODE, names.PCPU])
    for node in range(2):
        provider = client.create_provider(names.node_uuid(ROOT, node), names.node_name("c1", node), ROOT)
        client.set_inventories(provider.uuid, provider.generation, {names.NODE: Inventory(1), names.PCPU: Inventory(4)})
    bench = Bench(placement, Gate(placement.adapter))
    yield bench
    bench.gate.open.set()
    bench.settle()


def take(placement: PlacementService, consumer: int, count: int) -> None:
    """Claim dedicated CPUs of node 0."""
    placement.allocate(f"00000000-0000-4000-8000-{consumer:012}", {names.node_uuid(ROOT, 0): {names.PCPU: count}})


def test_a_view_holds_all_nodes_by_host(bench: Bench) -> None:
    """Each host with its nodes, and what is free of its dedicated pools together."""
    take(bench.placement, 1, 3)
    view = bench.snapshot.get()
    assert view is not None
    assert {ROOT: {0: {names.NODE: 1, names.PCPU: 1}, 1: {names.NODE: 1, names.PCPU: 4}}} == view.free
    assert {ROOT: 5} == view.free_pcpus


def test_one_request_at_a_cold_start_and_none_while_warm(bench: Bench) -> None:
    """Twenty questions at once wait for one answer, and twenty later ones for none."""
    bench.gate.open.clear()
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(bench.free) for _ in range(20)]
        bench.gate.open.set()
        assert [8] * 20 == [answer.result() for answer in answers]
    bench.now += TTL - 1
    assert [8] * 20 == [bench.free() for _ in range(20)]
    assert 1 == bench.gate.passed


def test_a_stale_view_is_served_while_one_request_renews_it(bench: Bench) -> None:
    """Nobody waits, however slow Placement is, and only one request is under way."""
    assert 8 == bench.free()
    take(bench.placement, 1, 3)
    bench.now += TTL + 1
    bench.gate.open.clear()
    assert [8] * 20 == [bench.free() for _ in range(20)]
    bench.gate.open.set()
    bench.settle()
    assert 5 == bench.free()
    assert 2 == bench.gate.passed


def test_a_view_that_nobody_wanted_for_long_is_not_served(bench: Bench) -> None:
    """Where servers are created once an hour, each sees the one before."""
    assert 8 == bench.free()
    take(bench.placement, 1, 3)
    bench.now += 3600
    assert 5 == bench.free()


def test_an_outage_serves_the_last_view_and_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """One attempt per ttl, a warning with the age of the view every ten minutes, and a line when Placement is back."""
    caplog.set_level(logging.INFO, "kongming_sched")
    assert 8 == bench.free()
    take(bench.placement, 1, 3)
    bench.gate.cut = REFUSED
    for _ in range(7):
        bench.now += 20 * TTL
        bench.free()
        bench.settle()
        assert 8 == bench.free()
    assert 8 == bench.gate.passed
    bench.gate.cut = None
    bench.now += TTL + 1
    bench.free()
    bench.settle()
    assert 5 == bench.free()
    assert [
        *(
            "Placement could not summarise the node providers: connection refused. Servers of templates are scheduled"
            f" by the last known use of NUMA nodes, which is {age} s old, until it answers again."
            for age in (200, 800, 1400)
        ),
        "Placement reports the use of NUMA nodes again.",
    ] == [record.getMessage() for record in caplog.records if record.name == snapshot.__name__]


def test_without_placement_there_is_no_view(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """The first question finds that out, and the next ones neither wait nor ask."""
    bench.gate.cut = REFUSED
    assert [None] * 5 == [bench.free() for _ in range(5)]
    assert 1 == bench.gate.passed
    assert "by Placement's own order of NUMA nodes until it answers again" in caplog.text


def test_a_silent_placement_holds_nobody_up_for_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions at a cold start wait together for a limited time, and later ones not at all."""
    monkeypatch.setattr(snapshot, "_WAIT_SECONDS", 0.2)
    bench.gate.open.clear()
    assert bench.free() is None
    bench.now += 1
    monkeypatch.setattr(threading.Event, "wait", lambda *_: pytest.fail("a question waits again"))
    assert bench.free() is None
    monkeypatch.undo()
    bench.gate.open.set()
    bench.settle()
    assert 8 == bench.free()
    assert 1 == bench.gate.passed


def test_a_client_that_cannot_be_made_is_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    """Wrong credentials are reported like a Placement that is away, and tried again."""
    made: list[float] = []

    def make_client() -> PlacementClient:
        made.append(now)
        raise PlacementUnavailable("be found by [placement] of nova.conf", "no auth plugin")

    now = 0.0
    snapshot_ = NodeSnapshot(make_client, lambda: TTL, lambda: now)
    assert snapshot_.get() is None
    now = TTL + 1
    assert snapshot_.get() is None
    snapshot_.wait(30)
    assert [0.0, TTL + 1] == made
    assert 1 == caplog.text.count("no auth plugin")


def test_whatever_ends_a_refresh_is_logged_and_announced(caplog: pytest.LogCaptureFixture) -> None:
    """An error that nobody foresaw too: once with its origin, while questions are answered and attempts go on."""
    made: list[float] = []
    announced: list[object] = []

    def make_client() -> PlacementClient:
        made.append(now)
        raise TypeError("unexpected keyword argument 'admin'")

    now = 0.0
    snapshot_ = NodeSnapshot(make_client, lambda: TTL, lambda: now, announced.append)
    assert snapshot_.get() is None
    now = TTL + 1
    assert snapshot_.get() is None
    snapshot_.wait(30)
    assert [0.0, TTL + 1] == made
    assert [TypeError, TypeError] == [type(found) for found in announced]
    (record,) = caplog.records
    assert "ERROR" == record.levelname
    assert record.exc_info is not None
    assert (
        "KongMing cannot read the use of NUMA nodes: TypeError(\"unexpected keyword argument 'admin'\"). Servers of"
        " templates are scheduled by Placement's own order of NUMA nodes until that is mended."
    ) == record.getMessage()


def test_making_a_snapshot_starts_nothing(bench: Bench) -> None:
    """nova-scheduler forks its workers after it has built the filters."""
    threads = threading.active_count()
    NodeSnapshot(lambda: PlacementClient(bench.gate), lambda: TTL)
    assert threads == threading.active_count()
    assert 0 == bench.gate.passed


def test_a_cloud_without_nodes_has_an_empty_view(placement: PlacementService) -> None:
    """Before the first agent has started there is nothing to know, and that is no failure."""
    assert CloudView({}, {}) == NodeSnapshot(lambda: placement.client, lambda: TTL).get()


def test_a_refresh_that_is_ended_by_what_is_no_exception(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by eventlet, which ends threads so: the view stays, and the next refresh starts after the ttl."""

    class Ended(BaseException):
        """What eventlet raises in a thread is no Exception."""

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    assert 8 == bench.free()
    take(bench.placement, 1, 3)
    bench.gate.cut = Ended()
    bench.now += TTL + 1
    assert 8 == bench.free()
    bench.settle()
    bench.gate.cut = None
    bench.now += TTL + 1
    assert 8 == bench.free()
    bench.settle()
    assert 5 == bench.free()
