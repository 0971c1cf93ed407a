# SPDX-License-Identifier: Apache-2.0
"""Which processes are the cloud's: read from /proc, so that it holds after any crash and for no other process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

DIRECTORY_VARIABLE = "KONGMING_CLOUD"
"""In the environment of everything that a cloud starts, and of what that starts: the cloud's directory."""

SERVICE_VARIABLE = "KONGMING_CLOUD_SERVICE"
"""Beside it: which service it belongs to."""

_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


@dataclass(frozen=True, slots=True)
class Process:
    """A process that can not be mistaken for a later one of the same number.

    :ivar started: clock ticks from the boot of the machine to its start
    """

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int, proc: Path = Path("/proc")) -> Process | None:
        """The process that has this number now; None if there is none but perhaps a zombie."""
        try:
            fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except _GONE:
            return None
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    @property
    def is_alive(self) -> bool:
        """Whether this very process runs."""
        return Process.of(self.pid) == self

    @property
    def uptime_seconds(self) -> float:
        """For how long it has run."""
        now = float(Path("/proc/uptime").read_text().split()[0])
        return now - self.started / os.sysconf("SC_CLK_TCK")

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it is gone."""
        if self.is_alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


@dataclass(frozen=True, slots=True)
class Owned:
    """A process of a cloud; ``service`` is empty for guests."""

    process: Process
    service: str


def find_owned(directory: Path, proc: Path = Path("/proc")) -> Iterator[Owned]:
    """Every process of the cloud in a directory, but not this one.

    Some overwrite their environment to change their title, but still write to their service's log. What libvirtd starts
    has neither, but a guest's disk lies in the directory.
    """
    mark = f"{DIRECTORY_VARIABLE}={directory}".encode()
    for folder in proc.glob("[0-9]*"):
        if int(folder.name) == os.getpid():
            continue
        with suppress(*_GONE):
            process = Process.of(int(folder.name), proc)
            variables = (folder / "environ").read_bytes().split(b"\0")
            if process and mark in variables:
                yield Owned(process, _value(SERVICE_VARIABLE, variables))
            elif process and (service := _service_of_log(folder, directory)):
                yield Owned(process, service)
            elif process and _is_guest((folder / "cmdline").read_bytes(), directory):
                yield Owned(process, "")


def _value(name: str, variables: Iterable[bytes]) -> str:
    start = f"{name}=".encode()
    return next((item.removeprefix(start).decode() for item in variables if item.startswith(start)), "")


def _service_of_log(folder: Path, directory: Path) -> str:
    """The service to whose log a process writes what it has to say; empty if to none of this cloud's."""
    for descriptor in ("1", "2"):
        with suppress(*_GONE):
            path = (folder / "fd" / descriptor).readlink()
            if path.parent == directory / "log" and (directory / "run" / f"{path.stem}.json").exists():
                return path.stem
    return ""


def _is_guest(command_line: bytes, directory: Path) -> bool:
    words = command_line.split(b"\0")
    return any(word.startswith(b"guest=instance-") for word in words) and f"{directory}/".encode() in command_line


def end(processes: Iterable[Process], patience_seconds: float) -> list[Process]:
    """Ask processes to end, kill those that do not in time, and give these."""
    asked = [process for process in processes if process.is_alive]
    for process in asked:
        process.send(signal.SIGTERM)
    stubborn = wait_until_gone(asked, patience_seconds)
    kill(stubborn)
    return stubborn


def kill(processes: Iterable[Process]) -> None:
    """End processes at once."""
    killed = list(processes)
    for process in killed:
        process.send(signal.SIGKILL)
    wait_until_gone(killed, 10)


def wait_until_gone(processes: Iterable[Process], patience_seconds: float) -> list[Process]:
    """Wait for processes to end; gives those that did not."""
    deadline = time.monotonic() + patience_seconds
    alive = list(processes)
    while alive and time.monotonic() < deadline:
        time.sleep(0.05)
        alive = [process for process in alive if process.is_alive]
    return [process for process in alive if process.is_alive]


def pss_kib(pid: int) -> int:
    """The memory of a process, of which it pays its part of what it shares; 0 if it is gone."""
    with suppress(*_GONE):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
