# SPDX-License-Identifier: Apache-2.0
"""When an agent counts as working, by the passes of its loop."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kongming_sched.agent.model.outcome import Outcome
from kongming_sched.agent.model.problem import Problem, Reason, Subject, SubjectKind
from kongming_sched.agent.telemetry.liveness import LONGEST_PASS_SECONDS
from kongming_sched.agent.telemetry.systemd import Systemd
from kongming_sched.agent.telemetry.telemetry import Telemetry

FAULT = Problem(Reason.LIBVIRT, Subject(SubjectKind.LIBVIRT), "is away")


class Clock:
    """A clock that is set.

    :ivar now: seconds since the machine's start
    """

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def begin(telemetry: Telemetry) -> None:
    """A pass begins."""
    telemetry.begin()


def see(telemetry: Telemetry) -> None:
    """It sees the host."""
    telemetry.liveness.see()


def end(telemetry: Telemetry) -> None:
    """It ends."""
    telemetry.end(Outcome())


def fail(telemetry: Telemetry) -> None:
    """It fails."""
    telemetry.fail(FAULT)


def rest(telemetry: Telemetry) -> None:
    """The loop rests."""
    telemetry.liveness.rest()


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([], False, id="before the first pass"),
        pytest.param([begin], False, id="when the first pass begins"),
        pytest.param([begin, see], True, id="in the first pass"),
        pytest.param([begin, fail, rest], False, id="after a pass that did not see the host"),
        pytest.param([begin, see, end], True, id="after a pass"),
        pytest.param([begin, see, end, rest], True, id="at rest"),
        pytest.param([begin, see, end, rest, begin], True, id="in a later pass"),
        pytest.param([begin, see, end, rest, begin, see, fail, rest], False, id="after a later pass that failed"),
        pytest.param([begin, fail, rest, begin, see], True, id="in one that sees it again"),
    ],
)
def test_works(steps: list[Callable[[Telemetry], None]], expected: bool) -> None:
    """An agent works once a pass sees its host, until one fails."""
    telemetry = Telemetry(Systemd({}), Clock())

    for step in steps:
        step(telemetry)

    assert expected == telemetry.liveness.is_working()


def test_rests_for_long() -> None:
    """An agent to which nothing happens works all the same."""
    clock = Clock()
    telemetry = Telemetry(Systemd({}), clock)
    for step in (begin, see, end, rest):
        step(telemetry)

    clock.now += 10 * LONGEST_PASS_SECONDS

    assert telemetry.liveness.is_working()


def test_pass_that_hangs() -> None:
    """An agent works until a pass takes longer than the watchdog allows."""
    clock = Clock()
    telemetry = Telemetry(Systemd({}), clock)
    for step in (begin, see, end, rest, begin):
        step(telemetry)
    found = []

    for seconds in (LONGEST_PASS_SECONDS - 1, 1):
        clock.now += seconds
        found.append(telemetry.liveness.is_working())

    assert [True, False] == found
