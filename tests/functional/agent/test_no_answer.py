# SPDX-License-Identifier: Apache-2.0
"""The agent beside a Placement that takes requests and never ends an answer, on real sockets."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from oslo_config import cfg

from kongming_sched import exceptions
from kongming_sched.agent.model.problem import PLACEMENT
from kongming_sched.agent.settings import nova_adapter, placement_adapter
from kongming_sched.api.bound import DEFAULT_SECONDS
from kongming_sched.conf import agent as agent_conf
from kongming_sched.placement.client import PlacementClient
from testbed.no_answer import EndlessServer, Kind, endless_server
from testbed.waiting import PATIENCE_SECONDS, until
from tests.functional.agent.test_service import AGENT, wait_for_line
from tests.functional.agent.world import World, store_templates
from tests.functional.conftest import PlacementService

CONFIGURATION = """\
[kongming_agent]
run_directory = {directory}/run
history_file = {directory}/history.jsonl
lock_name = {directory}
libvirt_uri = test:///default
dedicated_cpu_set = 2-7
interval_seconds = 1
metrics_port = 0
[placement]
auth_type = none
endpoint_override = {endpoint}
timeout = 1
"""


@pytest.fixture(params=list(Kind))
def server(request: pytest.FixtureRequest) -> Iterator[EndlessServer]:
    """A server that never ends an answer, of each kind."""
    with endless_server(request.param) as server:
        yield server


def options(directory: Path, endpoint: str, timeout: str = "timeout = 1") -> cfg.ConfigOpts:
    """The agent's options with this Placement."""
    path = directory / "agent.conf"
    path.write_text(CONFIGURATION.format(directory=directory, endpoint=endpoint).replace("timeout = 1", timeout))
    conf = cfg.ConfigOpts()
    agent_conf.register_opts(conf)
    conf([], default_config_files=[str(path)])
    return conf


def test_pins_are_kept(placement: PlacementService, server: EndlessServer, tmp_path: Path) -> None:
    """A pass ends in time, restarted guests get their pins by what was known last, and the problem is reported."""
    store_templates(placement.client)
    world = World(placement, "host")
    world.settle()
    world.boot_all()
    world.settle()
    pins = world.pins()
    world.client.transport.adapter = placement_adapter(options(tmp_path, server.endpoint))
    world.host.respawn(world.servers["gold-1"])

    began = time.monotonic()
    outcome = world.run_pass()

    assert time.monotonic() - began < DEFAULT_SECONDS
    assert [PLACEMENT] == [problem.subject for problem in outcome.problems]
    assert pins == world.pins()


LATE_SECONDS = 0.4


class Late(BaseHTTPRequestHandler):
    """Answers each request right, and late."""

    requests: ClassVar[list[str]] = []

    def do_GET(self) -> None:  # the name is http.server's
        self.requests.append(self.path)
        time.sleep(LATE_SECONDS)
        body = b'{"resource_providers": []}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


def ask(client: PlacementClient, times: int) -> None:
    """One request after the other."""
    for _ in range(times):
        client.providers()


def is_answered(client: PlacementClient) -> bool:
    """Whether a request is, after a pause."""
    time.sleep(0.2)
    try:
        return [] == client.providers()
    except exceptions.PlacementUnavailable:
        return False


def test_a_placement_that_answers_each_request_late(tmp_path: Path) -> None:
    """Requests that follow one another take no longer than one may, so that a pass of many of them ends."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Late) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        client = PlacementClient(placement_adapter(options(tmp_path, f"http://127.0.0.1:{server.server_port}")))
        with pytest.raises(exceptions.PlacementUnavailable, match="timed out"):
            ask(client, times=10)
        begun = len(Late.requests)
        until(lambda: is_answered(client), lambda: "an answer after a pause")
        server.shutdown()
        thread.join()
    assert 1 <= begun <= 1 / LATE_SECONDS + 1


def test_a_bound_without_an_option(tmp_path: Path) -> None:
    """Where ``timeout`` is not set a request is given up after a minute, and its thread ends soon after that."""
    adapter = placement_adapter(options(tmp_path, "http://127.0.0.1:9/", timeout=""))
    assert 61.0 == adapter.session.timeout


def test_the_same_bound_for_nova(tmp_path: Path) -> None:
    """Requests to Nova's API are bounded as those to Placement are."""
    conf = options(tmp_path, "http://127.0.0.1:9/", timeout="[kongming_nova]\nauth_section = placement")
    adapter = nova_adapter(conf)
    assert adapter is not None
    assert 61.0 == adapter.session.timeout


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str, str], subprocess.Popen[str]]]:
    """Starts an agent with this Placement, which reports to this service manager."""
    started = []

    def start_agent(endpoint: str, notify: str) -> subprocess.Popen[str]:
        options(tmp_path, endpoint)
        command = [*AGENT, "--config-file", str(tmp_path / "agent.conf"), "--log-file", str(tmp_path / "log")]
        started.append(subprocess.Popen(command, text=True, env={**os.environ, "NOTIFY_SOCKET": notify}))
        return started[-1]

    yield start_agent
    for process in started:
        process.kill()
        process.wait()


def test_the_agent_becomes_ready(
    start: Callable[[str, str], subprocess.Popen[str]], server: EndlessServer, tmp_path: Path
) -> None:
    """It says READY and what is wrong, goes on trying, and ends on SIGTERM."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_SECONDS)
        process = start(server.endpoint, str(tmp_path / "notify"))
        messages = ""
        while "Placement could not" not in messages:
            messages += manager.recv(65536).decode() + "\n"
        while server.connections < 2:
            messages += manager.recv(65536).decode() + "\n"
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(PATIENCE_SECONDS)

    assert messages.startswith("READY=1\n")
    words = "timed out: no whole answer within 1 s"
    assert "WARNING" in wait_for_line(tmp_path, words)
    assert 1 == (tmp_path / "log").read_text().count(words)
