# SPDX-License-Identifier: Apache-2.0
"""The server of the metrics: where it is, and that it goes."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.telemetry.metrics import Metrics
from kongming_sched.agent.telemetry.metrics_server import MAX_CONNECTIONS, MetricsServer, read_token


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


def test_ipv6(exposition: MetricsServer) -> None:
    """An address of the other family is one like any."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError as error:
            pytest.skip(f"this host has no IPv6: {error}")
        port = probe.getsockname()[1]
    exposition.open("::1", port)

    with urllib.request.urlopen(f"http://[::1]:{port}/metrics", timeout=20) as answer:
        assert b"kongming_build_info" in answer.read()


def test_more_connections_than_a_process_could_hold(exposition: MetricsServer) -> None:
    """Whatever is connected and silent takes a few threads and descriptors, and Prometheus is answered all the same."""
    port, threads = free_port(), threading.active_count()
    exposition.open("127.0.0.1", port)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # only their number counts
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
        started = time.monotonic()
        text = fetch(port)
        seconds = time.monotonic() - started
        taken = len(os.listdir("/proc/self/fd")) - before - 300  # noqa: PTH208  # as above
        working = threading.active_count() - threads

    assert "kongming_build_info" in text
    assert seconds < 4  # which is less than what a silent connection has
    assert taken <= MAX_CONNECTIONS
    assert working <= MAX_CONNECTIONS + 1


@pytest.mark.parametrize("beginning", [b"", b"GET /metrics HTTP/1.1\r\nX: "], ids=["silent", "drop by drop"])
def test_a_request_that_does_not_end(beginning: bytes) -> None:
    """It is ended after its time, also if something comes all the while."""
    exposition, port = MetricsServer(Metrics().registry, 0.3), free_port()
    exposition.open("127.0.0.1", port)
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=0.1) as slow:
        is_open = True
        while is_open and time.monotonic() - started < 10:
            try:
                if beginning:
                    slow.sendall(beginning)
                is_open = slow.recv(1) != b""
            except TimeoutError:
                continue
            except OSError:
                is_open = False
    exposition.close()

    assert not is_open
    assert 0.3 <= time.monotonic() - started < 5


def ask(port: int, authorization: str = "") -> int:
    """The status of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics", headers={"Authorization": authorization} if authorization else {})
        return connection.getresponse().status


def test_token(exposition: MetricsServer, tmp_path: Path) -> None:
    """Only a request that shows it is answered with the metrics, and another one takes the place of the first."""
    port, file = free_port(), tmp_path / "token"
    file.touch(mode=0o600)

    file.write_text("secret")
    exposition.open("127.0.0.1", port, file)
    first = [
        ask(port),
        ask(port, "Bearer other"),
        ask(port, "Bearer "),
        ask(port, "Basic secret"),
        ask(port, "Bearer secret"),
    ]
    file.write_text("another")
    exposition.open("127.0.0.1", port, file)
    second = [ask(port, "Bearer secret"), ask(port, "bearer another")]

    assert [401, 401, 401, 401, 200] == first
    assert [401, 200] == second


def test_a_token_that_is_gone(exposition: MetricsServer, tmp_path: Path) -> None:
    """Nothing is served then; and where no metrics are wanted it is no fault."""
    port, file = free_port(), tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text("secret")
    exposition.open("127.0.0.1", port, file)
    file.unlink()

    with pytest.raises(exceptions.ConfigurationError, match="cannot read"):
        exposition.open("127.0.0.1", port, file)
    with pytest.raises(ConnectionRefusedError):
        ask(port)
    exposition.open("127.0.0.1", 0, file)

    assert exposition.place is None


def test_token_file(tmp_path: Path) -> None:
    """It holds the token, with a line end or without; and no file is no token."""
    file = tmp_path / "token"
    file.write_text("s3cret-\u0041\n")
    file.chmod(0o640)

    assert ("s3cret-A", "") == (read_token(file), read_token(None))


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        pytest.param(None, 0, "cannot read", id="not there"),
        pytest.param(b"\xff", 0o600, "cannot read", id="not text"),
        pytest.param(b"secret", 0o644, "every user has access", id="readable by all"),
        pytest.param(b"\n", 0o600, "does not hold a token", id="empty"),
        pytest.param(b"two words", 0o600, "does not hold a token", id="two words"),
        pytest.param(b"x" * 5000, 0o600, "does not hold a token", id="too long"),
        pytest.param("孔明".encode(), 0o600, "does not hold a token", id="what no header can hold"),
    ],
)
def test_what_is_no_token(tmp_path: Path, content: bytes | None, mode: int, reason: str) -> None:
    """One error names the option, the file and the reason."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)

    with pytest.raises(exceptions.ConfigurationError) as caught:
        read_token(file)

    assert str(caught.value).startswith("option [kongming_agent] metrics_token_file: ")
    assert reason in str(caught.value)
    assert str(file) in str(caught.value)
