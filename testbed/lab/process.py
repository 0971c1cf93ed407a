# SPDX-License-Identifier: Apache-2.0
"""Child processes of the lab: each has a log in the lab's directory, and none outlives the lab."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn, TypeVar

REPOSITORY = Path(__file__).resolve().parents[2]
"""The checkout, from which child processes import this package."""

TAIL_LINES = 25

_T = TypeVar("_T")
_Child = TypeVar("_Child", bound="ChildProcess")


class LabError(Exception):
    """A part of the lab does not come up or does not do what it is asked."""


class Program:
    """A program with a log, which is waited for until it can be used.

    It is a session of its own, so that Ctrl-C on the terminal does not reach it.

    :param name: names the program in errors, and its log ``<name>.log``
    :param directory: where the log is written
    :param environment: variables on top of our own
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        directory: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.command = [str(word) for word in command]
        self.log = directory / f"{name}.log"
        import_path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        self._environment = os.environ | {"PYTHONPATH": import_path} | dict(environment or {})

    def launch(self, wrapper: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start it.

        :param wrapper: the words of a program that runs it
        """
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*wrapper, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=REPOSITORY,
                start_new_session=True,
            )

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs."""
        raise NotImplementedError

    def wait_for(self, what: str, probe: Callable[[], _T | None], timeout_seconds: float = 180) -> _T:
        """Wait until a probe finds something.

        :raises LabError: with the end of the log, if the process ends before or the time is over
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            found = probe()
            if found is not None:
                return found
            if not self.is_alive:
                self.fail(f"{self.name} ended{self._how_it_ended()} before there was {what}")
            if time.monotonic() > deadline:
                self.fail(f"{self.name} did not come to {what} within {timeout_seconds:g} s")
            time.sleep(0.05)

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def fail(self, text: str) -> NoReturn:
        """Give up.

        :raises LabError: always, with the end of the log
        """
        raise LabError(f"{text}; {self.log} ends with:\n{self.tail()}")

    def _how_it_ended(self) -> str:
        """What is known of that, for an error."""
        return ""


class ChildProcess(Program):
    """A program that runs as long as the context lasts; the kernel ends it if the lab is killed and cannot.

    :param stop_seconds: how long it may take to stop before it is killed
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        directory: Path,
        environment: Mapping[str, str] | None = None,
        stop_seconds: float = 10,
    ) -> None:
        super().__init__(name, command, directory, environment)
        self._stop_seconds = stop_seconds
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self: _Child) -> _Child:
        self._process = self.launch(["setpriv", "--pdeathsig", "TERM", "--"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def wait_for_port(self, path: Path) -> str:
        """Wait until the process has written the port at which it answers, and stop it if that is broken off.

        :raises LabError: with the end of the log, if the process ends before or takes too long
        """
        try:
            return self.wait_for("an answer", lambda: read_when_written(path))
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The process id."""
        return self._running().pid

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self._running().poll() is None

    def stop(self) -> None:
        """End the process; one that does not stop in time is killed."""
        process = self._running()
        if process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(self._stop_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def send(self, signal_number: signal.Signals) -> None:
        """Send a signal to the process."""
        self._running().send_signal(signal_number)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise LabError(f"{self.name} was never started")
        return self._process

    def _how_it_ended(self) -> str:
        return f" with {self._running().returncode}"


def read_when_written(path: Path) -> str | None:
    """The text of a file that another process writes when it is ready; None before."""
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into SystemExit, so that every context closes as it does on Ctrl-C.

    SIGINT is set as well because a shell starts programs in the background with it ignored.
    """

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
