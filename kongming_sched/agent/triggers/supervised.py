# SPDX-License-Identifier: Apache-2.0
"""Threads beside the loop that do not end silently: one that fails is a problem, and is begun again after a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from oslo_log import log

LOG = log.getLogger(__name__)

FIRST_SECONDS = 5.0
"""How long after its first failure a thread's work is begun again; twice as long after each further one."""

MOST_SECONDS = 600.0
"""The longest such pause, and how long the work must go well for the next failure to count as a first one."""

_END_SECONDS = 1.0


class SupervisedThread:
    """Does its work in a thread until that returns; begins it again when it has failed.

    :param name: of the thread
    :param work: returns once it shall end; begins as if for the first time when it is called again
    :param wake: starts a pass, which reports the problem
    :ivar problem: how the work failed; empty if it goes well
    """

    def __init__(self, name: str, work: Callable[[], None], wake: Callable[[], None]) -> None:
        self.problem = ""
        self._work = work
        self._wake = wake
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def is_well(self) -> None:
        """Take back the problem, because the work has come as far as it should."""
        self.problem = ""

    def stop(self) -> None:
        """Begin the work no more, and wait a moment for its end, which the caller has asked for."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        pause_seconds = FIRST_SECONDS
        while not self._stopping.is_set():
            began_at = time.monotonic()
            try:
                self._work()
                return
            except Exception as error:  # the thread's outermost loop: nothing else would report it
                if time.monotonic() - began_at >= MOST_SECONDS:
                    pause_seconds = FIRST_SECONDS
                LOG.exception("thread %s failed; its work is begun again in %g s", self._thread.name, pause_seconds)
                self.problem = f"its thread failed and is started again after a while, see the log: {error!r}"
            self._wake()
            self._stopping.wait(pause_seconds)
            pause_seconds = min(2 * pause_seconds, MOST_SECONDS)
