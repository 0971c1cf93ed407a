# SPDX-License-Identifier: Apache-2.0
"""What a thread of the listener puts before the agent's loop, and waits for the answer."""

from __future__ import annotations

import threading
from collections.abc import Mapping


class Question:
    """A hook or a command that waits.

    :ivar xml: of the guest; of a command, the order
    :ivar is_abandoned: whether the one who asked has stopped waiting
    """

    def __init__(self, xml: str) -> None:
        self.xml = xml
        self._done = threading.Event()
        self._pins: Mapping[str, object] | None = None
        self.is_abandoned = False

    def answer(self, pins: Mapping[str, object] | None) -> None:
        """Give the answer, or none; only the first call counts."""
        if not self._done.is_set():
            self._pins = pins
            self._done.set()

    def wait(self, seconds: float) -> Mapping[str, object] | None:
        """The answer; None if there is none in time, and then the question is abandoned."""
        if not self._done.wait(max(seconds, 0)):
            self.is_abandoned = True
            return None
        return self._pins
