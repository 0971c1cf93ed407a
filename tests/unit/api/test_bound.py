# SPDX-License-Identifier: Apache-2.0
"""The bound on the whole of a request, on real sockets."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from keystoneauth1 import adapter, session, token_endpoint

from kongming_sched import exceptions
from kongming_sched.api.adapter import BoundedAdapter
from kongming_sched.api.bound import Bound, Burst
from kongming_sched.placement.client import PlacementClient
from testbed.no_answer import EndlessServer, Kind, endless_server

SECONDS = 0.5


@pytest.fixture(params=list(Kind))
def server(request: pytest.FixtureRequest) -> Iterator[EndlessServer]:
    """A server that never ends an answer, of each kind."""
    with endless_server(request.param) as server:
        yield server


def client(server: EndlessServer) -> PlacementClient:
    """A client of Placement at that server, whose requests are bounded."""
    service = adapter.Adapter(session.Session(token_endpoint.Token(server.endpoint, "token")), "placement")
    return PlacementClient(BoundedAdapter(service, SECONDS))


def test_a_request_without_an_answer(server: EndlessServer) -> None:
    """It is given up in time, whatever the server sends meanwhile."""
    began = time.monotonic()
    with pytest.raises(exceptions.PlacementUnavailable, match=r"timed out: no whole answer within 0\.5 s"):
        client(server).providers()
    assert SECONDS <= time.monotonic() - began < SECONDS + 5
    assert 1 == server.connections


def test_requests_that_were_given_up_end_with_their_server() -> None:
    """No thread and no connection outlives the server; meanwhile there are only so many."""
    before = set(threading.enumerate())
    bound = Bound(most_given_up=2)
    with endless_server(Kind.DRIPPING_BODY) as server:
        service = adapter.Adapter(session.Session(token_endpoint.Token(server.endpoint, "token")), "placement")
        placement = PlacementClient(BoundedAdapter(service, SECONDS, bound))
        reasons = []
        for _ in range(4):
            with pytest.raises(exceptions.PlacementUnavailable) as caught:
                placement.providers()
            reasons.append(caught.value.reason)
        assert 2 == server.connections
    for _ in range(100):
        if before >= set(threading.enumerate()):
            break
        time.sleep(0.05)
    assert set() == set(threading.enumerate()) - before
    assert ["timed out: no whole answer within 0.5 s"] * 2 + [
        "2 earlier requests still wait for the end of their answer"
    ] * 2 == (reasons)
    assert "back" == bound.run(lambda: "back", SECONDS)


def test_what_a_call_raises() -> None:
    """It is raised where the call was asked for, also if nothing in between may catch it."""

    class Killed(BaseException):
        """Nothing catches it."""

    def fail() -> None:
        raise Killed

    with pytest.raises(Killed):
        Bound().run(fail, SECONDS)


def test_calls_that_follow_one_another_share_a_thread() -> None:
    """To start one for each would cost more than a tenth of a millisecond of every request."""
    bound = Bound()

    used = {bound.run(threading.current_thread, SECONDS) for _ in range(100)}

    assert 1 == len(used)
    assert threading.current_thread() not in used


def test_thread_ends_when_no_call_comes() -> None:
    """A call that comes later has another one."""
    bound = Bound(idle_seconds=0.01)
    first = bound.run(threading.current_thread, SECONDS)
    for _ in range(500):
        if not first.is_alive():
            break
        time.sleep(0.01)

    assert not first.is_alive()
    assert first is not bound.run(threading.current_thread, SECONDS)


def test_thread_of_a_call_that_was_given_up_is_not_waited_for() -> None:
    """The next call is made by another one."""
    bound, over = Bound(), threading.Event()
    with pytest.raises(TimeoutError):
        bound.run(lambda: over.wait(60), 0.01)

    answer = bound.run(lambda: "answer", SECONDS)
    over.set()

    assert "answer" == answer


def test_calls_at_once() -> None:
    """Each has its own answer, also of threads that end while the next call comes."""
    bound = Bound(idle_seconds=0.0)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: bound.run(lambda: number, 60.0), range(2000)))

    assert list(range(2000)) == answers


def test_call_of_a_process_that_was_forked() -> None:
    """It has none of the threads of its parent, and makes its own."""
    bound = Bound()
    bound.run(lambda: None, SECONDS)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = bound.run(lambda: 0, 10.0)
        finally:
            os._exit(code)

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Watch:
    """A clock that calls take time of."""

    def __init__(self) -> None:
        self.now = 100.0

    def call(self, seconds: float, limits: list[float]) -> Callable[[float], None]:
        """A call that takes so long, and notes how long it may last."""

        def make(limit: float) -> None:
            limits.append(limit)
            self.now += seconds

        return make


def test_requests_that_follow_one_another() -> None:
    """They may take together what one may: what is late but in time does not hold up a pass for minutes."""
    watch, limits = Watch(), list[float]()
    burst = Burst(lambda: watch.now)
    for _ in range(3):
        burst.run(watch.call(20.0, limits), 60.0)
    assert [60.0, 40.0, 20.0] == limits
    with pytest.raises(TimeoutError, match="timed out: no whole answer within 60 s"):
        burst.run(watch.call(20.0, limits), 60.0)


def test_a_pause_gives_the_time_back() -> None:
    """After that of the agent between a pass that failed and the next one, all of it; a busy agent is not held up."""
    watch, limits = Watch(), list[float]()
    burst = Burst(lambda: watch.now)
    burst.run(watch.call(60.0, limits), 60.0)
    watch.now += 5.0
    burst.run(watch.call(0.0, limits), 60.0)
    for _ in range(10_000):
        burst.run(watch.call(0.1, limits), 60.0)
        watch.now += 0.01
    assert 60.0 == limits[1]
    assert min(limits[2:]) > 59.0


def test_a_call_of_a_burst_that_fails() -> None:
    """Its time counts, too."""
    watch, limits = Watch(), list[float]()
    burst = Burst(lambda: watch.now)

    def fail(_: float) -> None:
        watch.now += 50.0
        raise OSError("connection reset")

    with pytest.raises(OSError, match="reset"):
        burst.run(fail, 60.0)
    burst.run(watch.call(0.0, limits), 60.0)
    assert [10.0] == limits


def test_a_call_that_is_given_up_in_a_burst() -> None:
    """What is said is the same as after a whole wait, so that it is logged once."""
    watch, limits = Watch(), list[float]()
    burst = Burst(lambda: watch.now)
    burst.run(watch.call(59.5, limits), 60.0)
    with pytest.raises(TimeoutError, match="timed out: no whole answer within 60 s"):
        burst.run(lambda limit: Bound().run(threading.Event().wait, limit), 60.0)
