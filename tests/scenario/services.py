# SPDX-License-Identifier: Apache-2.0
"""The services of a cloud of tools/cloud: scenarios kill them, pause them, and start them again."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from testbed.cloud.plan import Plan
from testbed.cloud.processes import Process
from testbed.cloud.service import read_record, record_file
from testbed.lab.process import REPOSITORY


class Services:
    """The services of a cloud.

    :param plan: of the cloud; without one no method can be used
    :param wait_for: waits for a condition, which it names if that does not come true
    """

    def __init__(self, plan: Plan | None, wait_for: Callable[[str, Callable[[], bool]], object]) -> None:
        self._plan = plan
        self._wait_for = wait_for

    def process(self, name: str) -> Process:
        """The process of a service.

        :raises AssertionError: if it does not run
        """
        assert self._plan
        process = read_record(record_file(self._plan.directory, name))
        assert process, f"{name} does not run"
        return process

    def is_running(self, name: str) -> bool:
        """Whether a service runs."""
        return bool(self._plan and read_record(record_file(self._plan.directory, name)))

    def kill(self, *names: str) -> None:
        """Kill services as the kernel kills what uses too much memory."""
        killed = [self.process(name) for name in names]
        for process in killed:
            process.send(signal.SIGKILL)
        self._wait_for(f"{', '.join(names)}: gone", lambda: not any(process.is_alive for process in killed))

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Let a service do nothing for a while."""
        process = self.process(name)
        process.send(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send(signal.SIGCONT)

    def restart(self) -> None:
        """Start again what does not run.

        :raises CalledProcessError: if a service does not come up
        """
        assert self._plan
        command: list[str | Path] = [REPOSITORY / "tools/cloud", "--directory", self._plan.directory, "up"]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=1800, env=_outer_environment())


def _outer_environment() -> Mapping[str, str]:
    """Without what tools/cloud run has set."""
    return {key: value for key, value in os.environ.items() if not key.startswith("OS_")}
