# SPDX-License-Identifier: Apache-2.0
"""What the agent logs of a reconcile pass, and what it does not repeat."""

from __future__ import annotations

import logging

import pytest

from kongming_sched.agent.model.actions import Kind
from kongming_sched.agent.model.outcome import Drift, DriftReport, Outcome, PinningResult
from kongming_sched.agent.model.problem import Subject, SubjectKind
from kongming_sched.agent.telemetry.log_report import LogReport

WEB = Subject(SubjectKind.SERVER, "web", "1")
DRIFT = Drift(WEB, Kind.VCPU, "vCPU 0", "CPU 2", "CPU 0-7", "CPU 2")


@pytest.fixture(autouse=True)
def info(caplog: pytest.LogCaptureFixture) -> None:
    """Catch what an operator reads."""
    caplog.set_level(logging.INFO)


def test_drift_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """What something moves before each pass is logged once, and again only when there was a pass without it."""
    reporter = LogReport()

    for found in ((DRIFT,), (DRIFT,), (), (DRIFT,)):
        reporter.report(Outcome(pinning=PinningResult(drift=DriftReport(found))))

    message = "server web (1): vCPU 0 is on CPU 0-7 and should be on CPU 2; it is put back"
    assert [("WARNING", message)] * 2 == [(record.levelname, record.getMessage()) for record in caplog.records]


def test_released_servers_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """The log says when a server is released, and when it is not any more."""
    reporter = LogReport()

    for released in ((WEB,), (WEB,), ()):
        reporter.report(Outcome(pinning=PinningResult(released=released)))

    assert [
        "server web (1) is released: it is left alone until it is adopted or started anew",
        "server web (1) is not released any more",
    ] == [record.getMessage() for record in caplog.records]
