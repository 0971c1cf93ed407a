# SPDX-License-Identifier: Apache-2.0
"""One agent for a host: two would undo each other's pins, for each counts on giving CPUs away alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from kongming_sched import exceptions
from kongming_sched.agent.own_directory import OwnDirectory


class HostLock:
    """Holds the run directory as long as the process lives; the kernel releases it, however the process ends."""

    def __init__(self) -> None:
        self._directory: Path | None = None
        self._descriptor = -1

    def claim(self, directory: Path) -> None:
        """Be the only agent that works with this directory, and let the one before go.

        A directory that cannot be made is no error here: hooks and commands do not reach the agent then, but it pins.

        :raises ConfigurationError: if another agent works with it, or another user could have written there
        """
        if directory == self._directory:
            return
        descriptor = -1
        with contextlib.suppress(OSError):  # which the listener reports
            own = OwnDirectory(directory)
            own.prepare()
            descriptor = own.open_lock()
            _lock(descriptor, directory)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._directory, self._descriptor = directory, descriptor


def _lock(descriptor: int, directory: Path) -> None:
    """Lock the file and write this process's id into it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        other = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise exceptions.ConfigurationError(
            "[kongming_agent] run_directory",
            f"another agent, process {other or 'unknown'}, works on this host with {directory}; end one of them",
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
