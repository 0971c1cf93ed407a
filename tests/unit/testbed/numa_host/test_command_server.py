# SPDX-License-Identifier: Apache-2.0
"""The door of the emulated host, on this machine."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.cloud.processes import Process
from testbed.lab.process import REPOSITORY, LabError
from testbed.numa_host.command_client import Caller
from testbed.numa_host.command_server import ERRORS, OUTPUT, Door


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where a door is that asks for the word "sesame"."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    loop = asyncio.new_event_loop()
    serving = loop.create_task(Door("sesame").open(port))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    await_true(lambda: answers(port))
    yield port
    serving.add_done_callback(lambda _: loop.stop())
    loop.call_soon_threadsafe(serving.cancel)
    thread.join()
    loop.close()


def answers(port: int) -> bool:
    try:
        return Caller(port, "sesame").run(["true"]).returncode == 0
    except LabError:
        return False


def await_true(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.05)


def test_a_command_says_how_it_went(port: int) -> None:
    """Its output, its errors and its exit status come apart."""
    done = Caller(port, "sesame").run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert ("out\n", "err\n", 3) == (done.stdout, done.stderr, done.returncode)


def test_a_command_without_input_sees_its_end(port: int) -> None:
    """It does not wait for what never comes."""
    assert "" == Caller(port, "sesame").run(["cat"]).stdout


def test_input_of_any_length_comes_through(port: int, tmp_path: Path) -> None:
    """In both directions at once."""
    data = os.urandom(300_000)
    (tmp_path / "data").write_bytes(data)
    heard = bytearray()
    with (tmp_path / "data").open("rb") as source:
        Caller(port, "sesame").converse(["cat"], {}, source.fileno(), lambda _, part: heard.extend(part))
    assert data == heard


def test_files_are_there_before_the_command(port: int, tmp_path: Path) -> None:
    """For their owner alone, because there are passwords in them."""
    path = tmp_path / "new" / "file"
    said: dict[bytes, bytes] = {}
    Caller(port, "sesame").converse(["stat", "-c", "%a", str(path)], {str(path): "text"}, None, said.__setitem__)
    assert ({OUTPUT: b"600\n"}, "text") == (said, path.read_text())


def test_a_program_that_is_not_there_is_named(port: int) -> None:
    """With the status that a shell would give."""
    said: dict[bytes, bytes] = {}
    status = Caller(port, "sesame").converse(["/no/such/program"], {}, None, said.__setitem__)
    assert (127, True) == (status, b"/no/such/program" in said[ERRORS])


def test_nobody_comes_in_without_the_word(port: int) -> None:
    """The port is open to every user of the machine."""
    with pytest.raises(LabError, match="hung up"):
        Caller(port, "open").run(["true"])


def test_a_killed_caller_takes_the_command_along(port: int, tmp_path: Path) -> None:
    """As a service that is killed must be gone, with all that it started."""
    mark = tmp_path / "pid"
    command = ["sh", "-c", f"echo $$ >{mark}.new && mv {mark}.new {mark} && sleep 600; true"]
    program = f"from testbed.numa_host.command_client import Caller; Caller({port}, 'sesame').run({command!r})"
    with subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY) as calling:
        await_true(mark.exists)
        calling.kill()
    pid = int(mark.read_text())
    await_true(lambda: Process.of(pid) is None)
    assert Process.of(pid) is None
