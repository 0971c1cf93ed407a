# SPDX-License-Identifier: Apache-2.0
"""Which guests are left alone for a while because a change of them has failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

_MAX_BACKOFF_SECONDS = 600


class Backoff:
    """When a guest that failed is tried again: after 1, 2, 4... times the interval, ten minutes at most."""

    def __init__(self, interval_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._failures: dict[str, tuple[int, float, str]] = {}

    def waiting(self) -> dict[str, str]:
        """The guests that are not to be changed now, each with the reason of its last failure."""
        now = self._clock()
        return {guest: reason for guest, (_, until, reason) in self._failures.items() if until > now}

    def record(self, failed: Mapping[str, str], fine: Iterable[str]) -> None:
        """Count failures.

        :param failed: guest to the reason why a change of it failed in this pass
        :param fine: guests that are as they should be, whose failures are forgotten
        """
        for guest, reason in failed.items():
            count = self._failures.get(guest, (0, 0.0, ""))[0]
            delay = min(self._interval_seconds * 2**count, _MAX_BACKOFF_SECONDS)
            self._failures[guest] = count + 1, self._clock() + delay, reason
        for guest in fine:
            self._failures.pop(guest, None)

    def forget(self, guest: str) -> None:
        """Reset the back-off of a guest, so that it is tried at once."""
        self._failures.pop(guest, None)

    def keep_only(self, guests: Iterable[str]) -> None:
        """Forget guests that do not run any more."""
        running = set(guests)
        self._failures = {guest: entry for guest, entry in self._failures.items() if guest in running}

    def next_seconds(self) -> float | None:
        """How long until the next guest is due, in seconds; None if no guest has failed."""
        now = self._clock()
        return min((max(until - now, 0.0) for _, until, _ in self._failures.values()), default=None)
