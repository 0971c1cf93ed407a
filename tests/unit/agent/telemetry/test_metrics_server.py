# SPDX-License-Identifier: Apache-2.0
"""The server of the metrics: where it is, and that it goes."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.telemetry.metrics import Metrics
from kongming_sched.agent.telemetry.metrics_server import MetricsServer


@pytest.fixture
def exposition() -> Iterator[MetricsServer]:
    """A server, closed at the end."""
    exposition = MetricsServer(Metrics().registry)
    yield exposition
    exposition.close()


def free_port() -> int:
    """A port of the loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(port: int) -> str:
    """What Prometheus would read."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        return str(answer.read().decode())


def test_serves_and_goes(exposition: MetricsServer) -> None:
    """It can be read while it is open; closed, it leaves neither socket nor thread."""
    port, threads = free_port(), set(threading.enumerate())

    exposition.open("127.0.0.1", port)
    exposition.open("127.0.0.1", port)
    text = fetch(port)
    exposition.close()

    assert "kongming_reconcile_passes_total" in text
    for thread in set(threading.enumerate()) - threads:
        thread.join(20)  # the one that answered us may not have ended yet
    assert set() == set(threading.enumerate()) - threads
    with pytest.raises(urllib.error.URLError):
        fetch(port)


def test_moves(exposition: MetricsServer) -> None:
    """Another port takes the place of the first; 0 is none."""
    first, second = free_port(), free_port()

    exposition.open("127.0.0.1", first)
    exposition.open("127.0.0.1", second)
    text = fetch(second)
    with pytest.raises(urllib.error.URLError):
        fetch(first)
    exposition.open("127.0.0.1", 0)

    assert "kongming_build_info" in text
    assert exposition.place is None


def test_port_is_taken(exposition: MetricsServer) -> None:
    """One error names the option, the place, the reason and the remedy; and when the port is free it goes on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(exceptions.ConfigurationError) as caught:
            exposition.open("127.0.0.1", port)
    exposition.open("127.0.0.1", port)

    assert (
        f"option [kongming_agent] metrics_port: cannot listen at 127.0.0.1:{port}: Address already in use;"
        " choose another port, or 0" == str(caught.value)
    )
    assert ("127.0.0.1", port) == exposition.place


def test_an_address_that_is_none(exposition: MetricsServer) -> None:
    """A name that does not resolve is the same kind of error."""
    with pytest.raises(exceptions.ConfigurationError, match="cannot listen at no such host:9999"):
        exposition.open("no such host", 9999)
