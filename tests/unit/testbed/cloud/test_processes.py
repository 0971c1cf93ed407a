# SPDX-License-Identifier: Apache-2.0
"""Which processes are a cloud's, tried on real ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.cloud.processes import Process, end, find_owned, pss_kib
from testbed.cloud.service import Daemon, read_record, record_file

SLEEP = ["sleep", "300"]
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(300)"


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """The directory of a cloud, whose processes are ended."""
    yield tmp_path
    end([owned.process for owned in find_owned(tmp_path)], 0)


def start(directory: Path, name: str, command: list[str]) -> Process:
    """A service of a cloud."""
    daemon = Daemon(name, command, directory)
    daemon.start()
    assert daemon.process
    return daemon.process


def test_a_process_that_runs_is_itself() -> None:
    """Number and start say which."""
    own = Process.of(os.getpid())
    assert own is not None
    assert own.is_alive


def test_a_later_process_of_the_same_number_is_another() -> None:
    """Whatever is asked to end must be what was started."""
    own = Process.of(os.getpid())
    assert own is not None
    assert not Process(own.pid, own.started - 1).is_alive


def test_a_signal_does_not_reach_a_later_process_of_the_same_number() -> None:
    """It would end another program."""
    with subprocess.Popen(SLEEP) as other:
        process = Process.of(other.pid)
        assert process is not None
        Process(process.pid, process.started - 1).send(signal.SIGKILL)
        time.sleep(0.2)
        survived = other.poll() is None
        other.kill()
    assert survived


def test_a_zombie_does_not_run() -> None:
    """Its parent has only not noticed yet."""
    with subprocess.Popen(["true"]) as child:
        deadline = time.monotonic() + 30
        while Process.of(child.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert Process.of(child.pid) is None


def test_a_service_and_its_children_are_found(directory: Path) -> None:
    """By the mark in their environment."""
    start(directory, "parent", ["sh", "-c", "sleep 300 & sleep 300"])
    deadline = time.monotonic() + 30
    while len(found := list(find_owned(directory))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ["parent"] * 3 == [owned.service for owned in found]


def test_a_process_without_its_environment_is_found_by_its_log(directory: Path) -> None:
    """A process that changes its title overwrites its environment."""
    process = start(directory, "titled", ["env", "-i", "sleep", "300"])
    deadline = time.monotonic() + 30
    while b"env" in Path(f"/proc/{process.pid}/cmdline").read_bytes() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [("titled", process)] == [(owned.service, owned.process) for owned in find_owned(directory)]


def test_processes_of_another_cloud_are_not_found(directory: Path) -> None:
    """Two clouds may run side by side, one's directory beginning with the other's name."""
    start(directory, "service", SLEEP)
    assert [] == list(find_owned(Path(str(directory)[:-1])))


def test_what_does_not_end_is_killed(directory: Path) -> None:
    """And is named."""
    process = start(directory, "stubborn", [sys.executable, "-c", STUBBORN])
    log = directory / "log/stubborn.log"
    deadline = time.monotonic() + 30
    while "deaf" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [process] == end([process], 0.3)
    assert not process.is_alive


def test_a_record_of_a_process_that_is_gone_names_nobody(directory: Path) -> None:
    """As after a restart of the machine."""
    path = record_file(directory, "gone")
    path.parent.mkdir()
    own = Process.of(os.getpid())
    assert own is not None
    path.write_text(json.dumps({"pid": own.pid, "started": own.started - 1}))
    assert read_record(path) is None


def test_a_record_that_was_cut_short_names_nobody(directory: Path) -> None:
    """As after a crash while it was written."""
    path = record_file(directory, "broken")
    path.parent.mkdir()
    path.write_text('{"pid": 1')
    assert read_record(path) is None


def test_memory_is_counted() -> None:
    """A Python has more than a MiB of its own."""
    assert pss_kib(os.getpid()) > 1024
