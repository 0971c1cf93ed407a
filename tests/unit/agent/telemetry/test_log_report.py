# SPDX-License-Identifier: Apache-2.0
"""What the agent logs of a reconcile pass, and what it does not repeat."""

from __future__ import annotations

import logging

import pytest

from kongming_sched.agent.model.actions import Kind
from kongming_sched.agent.model.guest import Threads
from kongming_sched.agent.model.outcome import Answer, Drift, DriftReport, Outcome, PinningResult
from kongming_sched.agent.model.problem import Problem, Reason, Subject, SubjectKind
from kongming_sched.agent.telemetry.log_report import LogReport
from kongming_sched.cpuset import CpuSet

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


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(
            Answer("web (1)", Threads({0: CpuSet.of([2])}, CpuSet.of([0]), {1: CpuSet.of([0])}), CpuSet.of([0])),
            "server web (1) comes with vCPU 0 on CPU 2, emulator on CPU 0, I/O thread 1 on CPU 0, memory on node 0",
            id="pins",
        ),
        pytest.param(
            Answer("web (1)", Threads({0: CpuSet.of([0])}, CpuSet.of([0])), reason="no room on node 0"),
            "server web (1) comes with vCPU 0 on CPU 0, emulator on CPU 0 (no room on node 0)",
            id="no place",
        ),
        pytest.param(
            Answer("web (1)", None, reason="it runs here already"),
            "server web (1) comes without pins: it runs here already",
            id="no pins",
        ),
        pytest.param(
            Answer("", None, reason="the XML cannot be read"),
            "a guest comes without pins: the XML cannot be read",
            id="broken XML",
        ),
    ],
)
def test_incoming_migrations_in_words(caplog: pytest.LogCaptureFixture, answer: Answer, words: str) -> None:
    """The log says in words what the hook was answered."""
    LogReport().report(Outcome(answers={0: answer}))

    assert [f"incoming migration: {words}"] == [record.getMessage() for record in caplog.records]


def test_problems_come_and_go(caplog: pytest.LogCaptureFixture) -> None:
    """A problem is logged when it comes up or changes, and once more when it is gone."""
    report = LogReport()
    first, second = (Problem(Reason.NO_PLACE, WEB, text) for text in ("no claim", "no room"))

    for problems in ((first,), (first,), (second,), (), ()):
        report.report(Outcome(problems))

    assert [
        ("WARNING", "server web (1): no claim"),
        ("WARNING", "server web (1): no room"),
        ("INFO", "server web (1): no problem any more"),
    ] == [(record.levelname, record.getMessage()) for record in caplog.records]
