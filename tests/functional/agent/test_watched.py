# SPDX-License-Identifier: Apache-2.0
"""What those who watch an agent see of it: Prometheus, systemd and the log.

The agents that run as processes have libvirt's built-in test driver; the others have the real Placement and simulated
guests.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.ipc import client
from kongming_sched.agent.model.problem import Problem, Reason, Subject, SubjectKind
from kongming_sched.agent.telemetry.log_report import LogReport
from kongming_sched.agent.telemetry.systemd import Systemd
from kongming_sched.agent.telemetry.telemetry import Telemetry
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import PinningTemplate
from testbed.waiting import PATIENCE_SECONDS, until
from tests.functional.agent.test_service import AGENT, WORKING, wait_for_line
from tests.functional.agent.world import World, store_templates
from tests.functional.conftest import PlacementService


@pytest.fixture
def world(placement: PlacementService) -> World:
    """A host with servers of every template, not pinned yet."""
    store_templates(placement.client)
    world = World(placement, "host")
    world.settle()
    world.boot_all()
    return world


class Watched:
    """The telemetry and the log of the passes over a world, with a clock of their own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.now = 0.0
        self.watch = Telemetry(Systemd({}), lambda: self.now)
        self.log = LogReport()

    def run_pass(self, seconds: float = 0.5) -> None:
        """A pass that takes some time."""
        self.watch.begin()
        outcome = self.world.run_pass()
        self.now += seconds
        self.log.report(outcome)
        self.watch.end(outcome)

    def value(self, family: str, /, **labels: str) -> float | None:
        """A sample."""
        return self.watch.metrics.registry.get_sample_value(family, labels)


def test_pins_and_latency(world: World) -> None:
    """From the event to the end of the pass that pinned; then all that is wanted is there."""
    watched = Watched(world)
    twin = {"server": world.servers["twin-1"], "name": f"server-instance-{world.servers['twin-1'][-8:]}"}

    watched.watch.hear()
    watched.now += 2
    watched.watch.hear()
    watched.run_pass()
    watched.run_pass()

    assert 2.5 == watched.value("kongming_event_to_pin_seconds_sum")
    assert 1 == watched.value("kongming_event_to_pin_seconds_count")
    assert (3, 3) == (
        watched.value("kongming_guest_pins_wanted", **twin),
        watched.value("kongming_guest_pins_actual", **twin),
    )
    assert (3, 1) == (
        watched.value("kongming_node_cpus_used", node="1", pool="dedicated"),
        watched.value("kongming_node_cpus_free", node="1", pool="dedicated"),
    )


def test_an_event_outlives_a_pass_that_came_to_nothing(world: World) -> None:
    """The time counts from the event, not from when libvirt was there again."""
    watched = Watched(world)

    watched.watch.hear()
    watched.watch.begin()
    watched.now += 7
    watched.watch.fail(Problem(Reason.LIBVIRT, Subject(SubjectKind.LIBVIRT), "it went away"))
    watched.run_pass(1)

    assert 8 == watched.value("kongming_event_to_pin_seconds_sum")


def test_drift_is_counted(world: World) -> None:
    """A pin that is set by hand is counted once, and counted again when it is repaired."""
    watched = Watched(world)
    watched.run_pass()

    world.host.set_affinity(world.servers["gold-1"], 0, CpuSet.parse("0-15"))
    watched.run_pass()
    watched.run_pass()

    assert (1, 1) == (watched.value("kongming_drift_found_total"), watched.value("kongming_drift_repaired_total"))


def test_drift_of_a_thread_that_its_template_moves_too(
    placement: PlacementService, caplog: pytest.LogCaptureFixture
) -> None:
    """A vCPU pinned on one CPU, moved to a second by hand, while its template asks for a third: counted and logged."""
    store_templates(placement.client)
    world = World(placement, "host")
    world.settle()
    world.boot("exact-1", "exact", 1)
    watched = Watched(world)
    watched.run_pass()
    moved = {"name": "exact", "cells": [{"vcpus": "0-1", "cpus": "explicit", "pins": {0: "7", 1: "13"}}]}
    TemplateStore(placement.client).update(PinningTemplate.from_mapping(moved))
    world.host.set_affinity(world.servers["exact-1"], 0, CpuSet.parse("6"))

    watched.run_pass()

    assert (1, 1) == (watched.value("kongming_drift_found_total"), watched.value("kongming_drift_repaired_total"))
    name = f"server-instance-{world.servers['exact-1'][-8:]} ({world.servers['exact-1']})"
    line = f"server {name}: vCPU 0 was moved from CPU 5 to CPU 6 and should be on CPU 7 now; it is put there"
    assert [line] == [record.getMessage() for record in caplog.records if "vCPU 0 was" in record.getMessage()]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts agents as systemd would, with their log in the file ``log``."""
    started = []

    def start(configuration: str, **environment: str) -> subprocess.Popen[str]:
        own = f"run_directory = {tmp_path}/run\nlock_name = {tmp_path}\nhistory_file = {tmp_path}/history.jsonl"
        configuration = configuration.replace("[kongming_agent]", f"[kongming_agent]\n{own}")
        (tmp_path / "agent.conf").write_text(configuration)
        command = [*AGENT, "--config-file", str(tmp_path / "agent.conf"), "--log-file", str(tmp_path / "log")]
        started.append(subprocess.Popen(command, text=True, env={**os.environ, **environment}))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket on which systemd hears the service, named ``notify``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(PATIENCE_SECONDS)
        yield listening


def await_message(manager: socket.socket, words: str) -> str:
    """The first message with these words, and whatever came before it is left out."""
    while words not in (message := manager.recv(4096).decode()):
        pass
    return message


def free_port() -> int:
    """A port of the loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(port: int) -> str:
    """The metrics, as soon as they are served."""

    def answer() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_SECONDS) as response:
                return str(response.read().decode())
        except (OSError, http.client.HTTPException):
            return ""

    return until(answer, lambda: "metrics")


def test_systemd_follows_an_agent(
    start: Callable[..., subprocess.Popen[str]], manager: socket.socket, tmp_path: Path
) -> None:
    """Ready after the first pass with what is wrong as its status, alive at rest, reloading, ready again, stopping."""
    configuration = WORKING.replace("interval_seconds = 1\n", "interval_seconds = 3600\n")
    process = start(configuration, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="500000")

    await_message(manager, "READY=1")
    first = await_message(manager, "STATUS=")
    at_rest = [await_message(manager, "WATCHDOG=1"), await_message(manager, "WATCHDOG=1")]
    process.send_signal(signal.SIGHUP)
    reloading = await_message(manager, "RELOADING=1")
    await_message(manager, "READY=1")
    again = await_message(manager, "WATCHDOG=1")
    process.send_signal(signal.SIGTERM)
    await_message(manager, "STOPPING=1")

    assert "STATUS=Placement could not list providers" in first
    assert ["WATCHDOG=1", "WATCHDOG=1"] == at_rest
    assert "MONOTONIC_USEC=" in reloading
    assert "WATCHDOG=1" == again
    assert 0 == process.wait(PATIENCE_SECONDS)


def test_systemd_hears_nothing_of_an_agent_that_hangs(
    start: Callable[..., subprocess.Popen[str]], manager: socket.socket, tmp_path: Path
) -> None:
    """A pass that does not end, here because Placement takes a request and never answers, is no sign of life."""
    with socket.socket() as placement:
        placement.bind(("127.0.0.1", 0))
        placement.listen()
        placement.settimeout(PATIENCE_SECONDS)
        endpoint = f"http://127.0.0.1:{placement.getsockname()[1]}/"
        configuration = WORKING.replace("http://127.0.0.1:9/", endpoint)
        process = start(configuration, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="300000")
        connection, _ = placement.accept()
        time.sleep(2)
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(4096)
        still_there = process.poll() is None
        connection.close()

    assert still_there


def test_prometheus_reads_an_agent(start: Callable[..., subprocess.Popen[str]]) -> None:
    """The metrics are served on loopback after the first pass, and gone with the agent."""
    port = free_port()
    process = start(WORKING.replace("metrics_port = 0", f"metrics_port = {port}"))

    text = fetch(port)
    process.send_signal(signal.SIGTERM)

    assert 'kongming_placement_requests_total{method="GET",status="none"}' in text
    assert 'kongming_problems{reason="placement"} 1.0' in text
    assert "kongming_guests_without_template 1.0" in text
    assert 0 == process.wait(PATIENCE_SECONDS)


def status(port: int, token: str) -> int | None:
    """The status of an answer to a request with this token; None if there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None


def await_status(port: int, token: str, expected: int | None) -> None:
    """Wait until a request with this token is answered so."""
    until(lambda: status(port, token) == expected, lambda: f"{expected}, but {status(port, token)},")


def test_metrics_behind_a_token(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """A new token in the file takes the place of the one before; without its file no metrics are served."""
    port, file = free_port(), tmp_path / "token"
    file.write_text("first")
    file.chmod(0o600)
    start(WORKING.replace("metrics_port = 0", f"metrics_port = {port}\nmetrics_token_file = {file}"))

    await_status(port, "first", 200)
    without = until(lambda: status(port, ""))
    file.write_text("second")
    await_status(port, "second", 200)
    with_first = until(lambda: status(port, "first"))
    file.unlink()
    wait_for_line(tmp_path, f"metrics_token_file: cannot read {file}")
    await_status(port, "second", None)

    assert (401, 401) == (without, with_first)


def test_hooks_are_heard_between_two_orders(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """Orders that wait are carried out one by one, and before each the agent makes a pass, which answers the hooks."""
    port = free_port()
    with socket.socket() as placement:
        placement.bind(("127.0.0.1", 0))
        placement.listen()
        placement.settimeout(PATIENCE_SECONDS)
        endpoint = f"http://127.0.0.1:{placement.getsockname()[1]}/"
        configuration = WORKING.replace("interval_seconds = 1\n", "interval_seconds = 3600\n")
        process = start(
            configuration.replace("http://127.0.0.1:9/", endpoint).replace("metrics_port = 0", f"metrics_port = {port}")
        )
        connection, _ = placement.accept()  # the first pass waits for an answer
        with ThreadPoolExecutor(6) as commands:
            answers = [commands.submit(refusal, tmp_path / "run" / "agent.sock") for _ in range(6)]
            time.sleep(1)
            connection.close()
            placement.close()
    metrics = fetch(port)
    process.send_signal(signal.SIGTERM)

    count = re.search(r'^kongming_reconcile_passes_total\{result="failure"\} (\S+)$', metrics, re.MULTILINE)
    assert count is not None
    assert ["Placement could not"] * 6 == [answer.result()[:19] for answer in answers]
    assert 6 <= float(count[1])
    assert 0 == process.wait(PATIENCE_SECONDS)


def refusal(path: Path) -> str:
    """Why an order is not carried out."""
    with pytest.raises(exceptions.AgentError) as caught:
        client.send(path, {"order": "rebalance"})
    return str(caught.value)


def test_port_is_taken(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """The agent says so once and goes on with its work; once the port is free the metrics are there."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        process = start(WORKING.replace("metrics_port = 0", f"metrics_port = {port}"))
        wait_for_line(tmp_path, "metrics_port")
        time.sleep(2.5)
        text = (tmp_path / "log").read_text()
    metrics = fetch(port)
    process.send_signal(signal.SIGTERM)

    assert 1 == text.count(f"option [kongming_agent] metrics_port: cannot listen at 127.0.0.1:{port}")
    assert "kongming_reconcile_passes_total" in metrics
    assert 0 == process.wait(PATIENCE_SECONDS)
