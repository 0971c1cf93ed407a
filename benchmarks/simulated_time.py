# SPDX-License-Identifier: Apache-2.0
"""Simulated time: what happens when, among things that wait for each other."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

Step = Generator["Slots | float", None, None]


class Slots:
    """So many requests are served at a time, the others wait in turn."""

    def __init__(self, number: int) -> None:
        self.free = number
        self.waiting: deque[Step] = deque()


@dataclass
class Clock:
    """Simulated time, and what happens when.

    :ivar now: seconds
    """

    now: float = 0.0
    _events: list[tuple[float, int, Step]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def __call__(self) -> float:
        """The time, in seconds."""
        return self.now

    def add(self, step: Step, after: float = 0.0) -> None:
        """Let something begin after so many seconds."""
        heapq.heappush(self._events, (self.now + after, next(self._numbers), step))

    def run(self) -> None:
        """Until nothing is left to happen."""
        while self._events:
            self.now, _, step = heapq.heappop(self._events)
            self._resume(step)

    def release(self, slots: Slots) -> None:
        """Let the next one have a slot."""
        slots.free += 1
        if slots.waiting:
            slots.free -= 1
            self.add(slots.waiting.popleft())

    def _resume(self, step: Step) -> None:
        for wanted in step:
            if not isinstance(wanted, Slots):
                self.add(step, wanted)
                return
            if not wanted.free:
                wanted.waiting.append(step)
                return
            wanted.free -= 1
