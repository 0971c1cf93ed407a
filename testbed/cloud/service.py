# SPDX-License-Identifier: Apache-2.0
"""The parts of a cloud: what is done once, and what runs. Services outlive the command that starts them."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testbed.cloud.processes import DIRECTORY_VARIABLE, SERVICE_VARIABLE, Process
from testbed.lab.process import LabError, Program

PATIENCE_SECONDS = 300.0
"""How long a part may take: a machine may be busy with other things."""


class Daemon(Program):
    """A program of the cloud that runs on its own, known by a file with its process id.

    :param directory: the cloud's
    :param interrupted: when set, waiting ends
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        directory: Path,
        environment: Mapping[str, str] | None = None,
        interrupted: threading.Event | None = None,
    ) -> None:
        marks = {DIRECTORY_VARIABLE: str(directory), SERVICE_VARIABLE: name}
        super().__init__(name, command, directory / "log", dict(environment or {}) | marks)
        self._record = record_file(directory, name)
        self._interrupted = interrupted or threading.Event()
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> Process | None:
        """The process that was started last, if it still runs."""
        return read_record(self._record)

    @property
    def is_alive(self) -> bool:
        """Whether it runs.

        :raises LabError: if nobody wants to know any more
        """
        if self._interrupted.is_set():
            raise LabError(f"{self.name}: interrupted")
        if self._child is not None and self._child.poll() is not None:
            return False
        return self.process is not None

    def start(self) -> None:
        """Start it and write down which process it is."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._record.parent.mkdir(parents=True, exist_ok=True)
        self._child = self.launch()
        process = Process.of(self._child.pid)
        if process is not None:
            self._record.write_text(json.dumps({"pid": process.pid, "started": process.started}))

    def finish(self) -> None:
        """Run to the end.

        :raises LabError: if it does not end well
        """
        self.start()
        assert self._child is not None
        while self._child.poll() is None:
            self._interrupted.wait(0.1)
            if self._interrupted.is_set():
                self.fail(f"{self.name} was interrupted")
        if self._child.returncode:
            self.fail(f"{self.name} ended with {self._child.returncode}")


def record_file(directory: Path, name: str) -> Path:
    """Where stands which process a service is."""
    return directory / "run" / f"{name}.json"


def read_record(path: Path) -> Process | None:
    """The process that a file names, if it still runs and is that very one."""
    try:
        process = Process(**json.loads(path.read_text()))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return process if process.is_alive else None


@dataclass(frozen=True, slots=True)
class Task:
    """Something that is done once for a cloud.

    :ivar after: the parts that must stand before
    """

    name: str
    do: Callable[[], None]
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """Something that runs as long as the cloud.

    :ivar is_ready: whether it can be used
    :ivar after: the parts that must stand before
    :ivar bound_to: the services with which it must be started again: it lives in their namespaces, or it would take
        minutes to get over their loss
    :ivar port: where it listens, if it does
    :ivar patience_seconds: how long it may take until it can be used
    """

    name: str
    command: Sequence[str | Path]
    is_ready: Callable[[], bool]
    after: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    bound_to: tuple[str, ...] = ()
    port: int | None = None
    patience_seconds: float = PATIENCE_SECONDS


Part = Task | Service
