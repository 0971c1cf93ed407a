# SPDX-License-Identifier: Apache-2.0
"""kongming-agent as a process: how it starts, what it says, and how it ends.

libvirt is its built-in test driver here, whose host has eight CPUs, of which
0, 2 and 4 are online, and one guest without a template.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.waiting import PATIENCE_SECONDS, until

AGENT = [sys.executable, "-c", "import sys; from kongming_sched.agent.commands.agent import main; sys.exit(main())"]
HOST = [sys.executable, "-c", "import sys; from kongming_sched.agent.commands.app import main; sys.exit(main())"]

WORKING = """\
[kongming_agent]
libvirt_uri = test:///default
dedicated_cpu_set = 2-7
interval_seconds = 1
metrics_port = 0
[placement]
auth_type = none
endpoint_override = http://127.0.0.1:9/
"""


def configure(tmp_path: Path, configuration: str) -> None:
    """Write the configuration of an agent that shares nothing with others on this machine."""
    own = f"run_directory = {tmp_path}/run\nlock_name = {tmp_path}\nhistory_file = {tmp_path}/history.jsonl"
    (tmp_path / "agent.conf").write_text(configuration.replace("[kongming_agent]", f"[kongming_agent]\n{own}"))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts agents, with their log in the file ``log``."""
    started = []

    def start(configuration: str, *more: str) -> subprocess.Popen[str]:
        configure(tmp_path, configuration)
        command = [*AGENT, "--config-file", str(tmp_path / "agent.conf"), "--log-file", str(tmp_path / "log"), *more]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for_line(tmp_path: Path, words: str) -> str:
    """The first line of the log with these words."""

    def lines() -> list[str]:
        return (tmp_path / "log").read_text().splitlines() if (tmp_path / "log").exists() else []

    found = until(lambda: [line for line in lines() if words in line], lambda: f"{words!r} in {lines()}")
    return found[0]


def test_waits_for_placement_and_stops(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """Without Placement it says so once, goes on trying, and ends with 0 on SIGTERM."""
    process = start(WORKING)

    line = wait_for_line(tmp_path, "Placement could not list providers")
    time.sleep(2.5)
    process.send_signal(signal.SIGTERM)
    code = process.wait(PATIENCE_SECONDS)

    text = (tmp_path / "log").read_text()
    assert "WARNING" in line
    assert 1 == text.count("Placement could not list providers")
    assert "stopped; the servers keep their pins" in text
    assert 0 == code


def test_reads_the_configuration_again(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """SIGHUP takes a changed file into use; one that is wrong changes nothing and is said."""
    process = start(WORKING)
    wait_for_line(tmp_path, "WARNING")

    configure(tmp_path, WORKING.replace("2-7", "2-70"))
    process.send_signal(signal.SIGHUP)
    refused = wait_for_line(tmp_path, "the configuration stays as it was")
    configure(tmp_path, WORKING.replace("2-7", "2-3"))
    process.send_signal(signal.SIGHUP)
    taken = wait_for_line(tmp_path, "read the configuration again")
    process.send_signal(signal.SIGTERM)

    assert "option dedicated_cpu_set: this host has no CPU 8-70; it has 0-7" in refused
    assert "ERROR" in refused
    assert "INFO" in taken
    assert 0 == process.wait(PATIENCE_SECONDS)


def test_says_which_broker_is_away_and_stops(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """A broker that does not answer stops nothing, neither the passes nor the end; its password is not said."""
    broker = "[DEFAULT]\ntransport_url = rabbit://user:secret@127.0.0.1:1/\n"
    process = start(broker + WORKING.replace("= 1\n", "= 1\ntriggers = timer,notifications\n"))

    line = wait_for_line(tmp_path, "trigger notifications")
    wait_for_line(tmp_path, "Placement could not list providers")
    process.send_signal(signal.SIGTERM)

    assert "the broker does not answer yet at rabbit://127.0.0.1:1/" in line
    assert 0 == process.wait(PATIENCE_SECONDS)
    assert "secret" not in (tmp_path / "log").read_text()


def test_second_agent_refuses(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """An agent that is started beside another one ends with its process's number; once that is gone it may start."""
    first = start(WORKING)
    wait_for_line(tmp_path, "WARNING")

    _, errors = (second := start(WORKING)).communicate(timeout=PATIENCE_SECONDS)
    first.kill()
    first.wait(PATIENCE_SECONDS)
    third = start(WORKING)
    wait_for_line(tmp_path, f" {third.pid} WARNING")
    third.send_signal(signal.SIGTERM)

    assert 1 == second.returncode
    assert f"another agent, process {first.pid}, works on this host; end one of them" in errors
    assert "Traceback" not in errors
    assert 0 == third.wait(PATIENCE_SECONDS)


def test_files_removed_under_a_running_agent(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """The agent says that its socket and its lock were removed, makes them again, and still refuses a second agent."""
    first = start(WORKING)
    wait_for_line(tmp_path, "WARNING")
    (tmp_path / "run" / "agent.sock").unlink()
    (tmp_path / "run" / "agent.lock").unlink()
    (tmp_path / "run").rename(tmp_path / "away")

    _, errors = start(WORKING).communicate(timeout=PATIENCE_SECONDS)
    lines = [
        wait_for_line(tmp_path, f"{what} had been removed or replaced")
        for what in (f"the lock in {tmp_path}/run", f"the socket {tmp_path}/run/agent.sock")
    ]
    with socket.socket(socket.AF_UNIX) as hook:
        hook.connect(str(tmp_path / "run" / "agent.sock"))
    first.send_signal(signal.SIGTERM)

    assert f"another agent, process {first.pid}, works on this host; end one of them" in errors
    assert all("WARNING" in line for line in lines)
    assert 0 == first.wait(PATIENCE_SECONDS)


def test_directory_that_others_may_write_to(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """An agent whose run directory is open to other users does not start, and says what to do."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)

    _, errors = (process := start(WORKING)).communicate(timeout=PATIENCE_SECONDS)

    assert 1 == process.returncode
    assert f"others may write to {tmp_path}/run (mode 0777)" in errors
    assert f"close it with 'chmod 700 {tmp_path}/run'" in errors


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        pytest.param(
            WORKING.replace("2-7", "2-70"),
            "option dedicated_cpu_set: this host has no CPU 8-70; it has 0-7",
            id="CPUs that the host lacks",
        ),
        pytest.param(
            WORKING + "[compute]\ncpu_shared_set = 0-3\n",
            "option [kongming_agent] dedicated_cpu_set: CPU 2-3 is in nova.conf's [compute] cpu_shared_set too;"
            " take it out of one of them",
            id="Nova's CPUs",
        ),
        pytest.param(WORKING.replace("2-7", "7-2"), "the range '7-2' runs backwards", id="no CPU set"),
        pytest.param(WORKING.replace("= 1\n", "= soon\n"), "interval_seconds", id="no number"),
        pytest.param(WORKING.replace("[placement]", "["), "agent.conf", id="no configuration file"),
        pytest.param(
            WORKING.replace("auth_type = none", ""),
            "option [placement] auth_type: is not set",
            id="no credentials",
        ),
        pytest.param(
            WORKING.replace("= 1\n", "= 1\ntriggers = libvirt,lamp\n"),
            "option [kongming_agent] triggers: there is no trigger 'lamp'",
            id="no such trigger",
        ),
        pytest.param(
            WORKING.replace("= 1\n", "= 1\ntriggers = notifications\n"),
            "option [oslo_messaging_notifications] transport_url: is not set",
            id="notifications from nowhere",
        ),
    ],
)
def test_wrong_configuration(start: Callable[..., subprocess.Popen[str]], configuration: str, message: str) -> None:
    """What cannot work ends the agent at its start with one message and exit code 1."""
    process = start(configuration)

    _, errors = process.communicate(timeout=PATIENCE_SECONDS)

    assert 1 == process.returncode
    assert message in errors
    assert errors.startswith("kongming-agent: ")
    assert "Traceback" not in errors


def test_wrong_usage(start: Callable[..., subprocess.Popen[str]]) -> None:
    """An option that does not exist is wrong usage: exit code 2."""
    process = start(WORKING, "--no-such-option")

    process.communicate(timeout=PATIENCE_SECONDS)

    assert 2 == process.returncode


def run_map(tmp_path: Path, configuration: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run kongming-host map."""
    (tmp_path / "agent.conf").write_text(configuration)
    command = [*HOST, "map", "--config-file", str(tmp_path / "agent.conf"), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


def test_map(tmp_path: Path) -> None:
    """The map has a line per online CPU, with its node, its core and its pool."""
    result = run_map(tmp_path, WORKING, "-f", "csv", "--quote", "none")

    lines = result.stdout.splitlines()
    assert (0, "") == (result.returncode, result.stderr)
    assert ["Node,Core,CPU,Pool,Runs", "0,0,0,housekeeping,-", "0,1,2,dedicated,-", "0,2,4,dedicated,-"] == lines


def test_map_of_a_wrong_configuration(tmp_path: Path) -> None:
    """A pool that the host cannot have is one message and exit code 1."""
    result = run_map(tmp_path, WORKING.replace("2-7", "2-70"))

    assert 1 == result.returncode
    assert "option dedicated_cpu_set: this host has no CPU 8-70; it has 0-7\n" == result.stderr


def test_map_without_its_file(tmp_path: Path) -> None:
    """A configuration file that is not there is one message and exit code 1."""
    result = run_map(tmp_path, WORKING, "--config-file", str(tmp_path / "missing.conf"))

    assert 1 == result.returncode
    assert "missing.conf" in result.stderr
    assert "Traceback" not in result.stderr
