# SPDX-License-Identifier: Apache-2.0
"""Whether the agent works: what libvirt's hook asks before a guest starts."""

from __future__ import annotations

import time
from collections.abc import Callable

LONGEST_PASS_SECONDS = 180.0
"""How long a pass may take before the agent counts as stuck; systemd's watchdog ends it after the same time."""


class Liveness:
    """Whether the agent works, as its loop reports. Threads of the listener read it.

    :param clock: seconds since the machine's start
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sees_host = False
        self._busy_since: float | None = None

    def begin(self) -> None:
        """A pass begins."""
        self._busy_since = self._clock()

    def see(self) -> None:
        """The pass has seen the host, and its options fit to it.

        That is enough: libvirt holds the lock of a guest while its hook waits, so that a pass cannot read that guest,
        and would not end before the hook has given up.
        """
        self._sees_host = True

    def fail(self) -> None:
        """The pass has failed."""
        self._sees_host = False

    def rest(self) -> None:
        """The loop waits until something happens."""
        self._busy_since = None

    def is_working(self) -> bool:
        """Whether a guest that starts now will be pinned: the last pass sees the host, and has not taken too long."""
        since = self._busy_since
        return self._sees_host and (since is None or self._clock() - since < LONGEST_PASS_SECONDS)
