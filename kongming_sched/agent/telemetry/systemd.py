# SPDX-License-Identifier: Apache-2.0
"""What the agent reports to systemd (sd_notify): that it is ready, what it does, and that it is not stuck.

The protocol is a datagram of lines to a Unix socket. systemd ignores a datagram of more than 4,096 bytes
(NOTIFY_BUFFER_MAX of its source), so what it must hear stands alone, and the status is cut.

The libraries for it are not kept up or need a compiler, and oslo.service can only say READY.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping

from kongming_sched.texts.printable import cut, one_line
from kongming_sched.texts.whole_number import find_whole_number

_SEND_SECONDS = 1.0
"""systemd takes messages at once unless it is in trouble, and then the guests come first."""

_MAX_STATUS_BYTES = 1024
"""systemctl prints the status on one line; the log has all of it."""


_PROGRESS_SECONDS = 10.0
"""systemd hears no more often than this that a pass goes on."""

_STEP_SECONDS = 180
"""How long systemd waits for the next step while the agent starts: as long as the unit's watchdog does afterwards."""


class Systemd:
    """The service manager, if there is one that wants to know.

    :param environment: with NOTIFY_SOCKET and WATCHDOG_USEC, as systemd sets them
    :param clock: seconds since the machine's start
    """

    def __init__(
        self, environment: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._shown_at = clock()
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._alive_seconds = _watchdog_seconds(environment) / 3
        self._is_ready = False

    def ready(self, status: str) -> None:
        """The agent works; said until it was heard once, and again after reloading.

        :param status: of any length; systemd gets its beginning
        """
        self._is_ready = self._is_ready or self._send("READY=1")
        self._send("WATCHDOG=1")
        self._send(f"STATUS={cut(one_line(status), _MAX_STATUS_BYTES)}")

    def reloading(self) -> None:
        """The configuration is being read again; ready() ends that."""
        self._is_ready = False
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The agent ends."""
        self._send("STOPPING=1")

    def progress(self) -> None:
        """A step of the loop's work is done. The watchdog hears so, or systemd goes on waiting for the start.

        No other thread says so than the one that works, so that a step which never ends is noticed.
        """
        now = self._clock()
        if now - self._shown_at < min(self._alive_seconds or _PROGRESS_SECONDS, _PROGRESS_SECONDS):
            return
        self._shown_at = now
        if self._alive_seconds:
            self._send("WATCHDOG=1")
        if not self._is_ready:
            self._send(f"EXTEND_TIMEOUT_USEC={_STEP_SECONDS * 1_000_000}")

    def rest(self, wake: threading.Event, seconds: float) -> None:
        """Wait until something happens or the time is over, and show the watchdog that the loop goes round.

        The loop itself says so and no other thread, so that a pass that hangs is noticed.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if wake.wait(min(left, self._alive_seconds) if self._alive_seconds else left):
                return
            if self._alive_seconds:
                self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> bool:
        """Send a datagram; whether it was taken, which it always is where nobody listens."""
        if not self._address:
            return True
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(_SEND_SECONDS)
            channel.sendto("\n".join(lines).encode(), self._address)
            return True
        return False


def _address(name: str) -> str:
    """The socket's address: a path, or with @ in front one in the abstract namespace; others are none of ours."""
    return name if name.startswith("/") else "\0" + name[1:] if name.startswith("@") else ""


def _watchdog_seconds(environment: Mapping[str, str]) -> float:
    """How often systemd wants to hear of this process; 0 for never."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    period = environment.get("WATCHDOG_USEC", "")
    return (find_whole_number(period, range(2**63)) or 0) / 1e6
