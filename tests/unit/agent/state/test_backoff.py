# SPDX-License-Identifier: Apache-2.0
"""When a guest that failed is tried again."""

from __future__ import annotations

from dataclasses import dataclass

from kongming_sched.agent.state.backoff import Backoff


@dataclass
class Clock:
    """A clock that the test sets."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_waits_longer_each_time() -> None:
    """The time doubles with each failure, up to ten minutes."""
    clock = Clock()
    backoff = Backoff(30, clock)
    waits = []

    for _ in range(7):
        backoff.record({"a": "it failed"}, [])
        waits.append(backoff.next_seconds())
        clock.now += waits[-1] or 0

    assert [30, 60, 120, 240, 480, 600, 600] == waits


def test_tells_why_it_waits() -> None:
    """Until its time comes a guest is waiting, with the reason of its last failure."""
    clock = Clock()
    backoff = Backoff(30, clock)
    backoff.record({"a": "it failed"}, [])
    before = backoff.waiting()
    clock.now = 30

    assert ({"a": "it failed"}, {}) == (before, backoff.waiting())


def test_success_ends_it() -> None:
    """A guest that is fine starts anew, and one that is gone is forgotten."""
    clock = Clock()
    backoff = Backoff(30, clock)
    backoff.record({"a": "it failed", "b": "it failed", "c": "it failed"}, ["a"])
    backoff.keep_only(["a", "b"])

    assert {"b": "it failed"} == backoff.waiting()
