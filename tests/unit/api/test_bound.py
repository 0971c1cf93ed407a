# SPDX-License-Identifier: Apache-2.0
"""The bound on the whole of a request, on real sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from keystoneauth1 import adapter, session, token_endpoint

from kongming_sched import exceptions
from kongming_sched.api.adapter import BoundedAdapter
from kongming_sched.api.bound import Bound
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
    with pytest.raises(exceptions.PlacementUnavailable):
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
