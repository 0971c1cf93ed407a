# SPDX-License-Identifier: Apache-2.0
"""The history of a host: what stands in its file, and why a change was made."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.model.actions import Action, Kind
from kongming_sched.agent.model.outcome import Basis, Drift, DriftReport, Outcome, PinningResult, Pins, UnmanagedResult
from kongming_sched.agent.model.problem import Subject, SubjectKind
from kongming_sched.agent.telemetry import change_log
from kongming_sched.agent.telemetry.change_log import Change, ChangeLog
from kongming_sched.cpuset import CpuSet
from kongming_sched.template import PinningTemplate

WEB = Subject(SubjectKind.SERVER, "web", "1")
GOLD = PinningTemplate.from_mapping({"name": "gold", "cells": [{"vcpus": "0", "cpus": "dedicated"}]})
BASIS = Basis("7", "gold", GOLD, 3, {})
PIN = Action("1", Kind.VCPU, 0, CpuSet.of([2]), CpuSet.of([5]))
DRIFT = Drift(WEB, Kind.VCPU, "vCPU 0", "CPU 2", "CPU 5", "CPU 2")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file."""
    return tmp_path / "history.jsonl"


@pytest.fixture
def changes(path: Path) -> Iterator[ChangeLog]:
    """A history of an agent that has started long ago, at noon of a day, and has seen no server yet."""
    history = ChangeLog(lambda: datetime(2026, 11, 29, 12, tzinfo=timezone.utc).timestamp())
    history.write_to(path, 1)
    history.record(pass_of(None))
    yield history
    history.close()


def pass_of(basis: Basis | None, *done: Action, drift: tuple[Drift, ...] = ()) -> Outcome:
    """A pass that has done this to the server."""
    bases = {} if basis is None else {WEB.id: basis}
    pinned = tuple((WEB, action) for action in done)
    return Outcome(pinning=PinningResult(pinned, Pins(), DriftReport(drift), bases=bases))


def reasons(path: Path) -> list[str]:
    """Why each change was made."""
    return [change.why for change in change_log.read(path)]


def test_a_line(changes: ChangeLog, path: Path) -> None:
    """What was changed of whom, from where, to where, when and why."""
    changes.record(pass_of(BASIS, PIN))

    assert {
        "time": "2026-11-29T12:00:00.000+00:00",
        "server": "1",
        "name": "web",
        "what": "vCPU 0",
        "from": "CPU 5",
        "to": "CPU 2",
        "why": "it started; template gold, version 3",
    } == json.loads(path.read_text())


@pytest.mark.parametrize(
    ("action", "values"),
    [
        (Action("1", Kind.EMULATOR, 0, CpuSet.of([0]), CpuSet.of([0, 1])), [("emulator", "CPU 0-1", "CPU 0")]),
        (Action("1", Kind.MEMORY, 0, CpuSet.of([1]), CpuSet.of([0])), [("memory", "node 0", "node 1")]),
        (Action("1", Kind.MEMORY, 0, CpuSet.of([1])), [("memory", "", "node 1")]),
        (
            Action(
                "1", Kind.SCHEDULER, parameters={"cpu_shares": 9, "vcpu_quota": -1}, parameters_before={"cpu_shares": 1}
            ),
            [("cpu_shares", "1", "9"), ("vcpu_quota", "", "-1")],
        ),
        (
            Action("1", Kind.QUOTA, 3, parameters={"quota_us": 500}, parameters_before={"quota_us": -1}),
            [("vCPU 3: quota_us", "-1", "500")],
        ),
    ],
    ids=["emulator", "memory", "memory-not-bound", "scheduler", "quota"],
)
def test_kinds(changes: ChangeLog, path: Path, action: Action, values: list[tuple[str, str, str]]) -> None:
    """Each kind of change has its name and its values; one call that sets several values is several changes."""
    changes.record(pass_of(BASIS, action))

    assert values == [(change.what, change.before, change.after) for change in change_log.read(path)]


@pytest.mark.parametrize(
    ("before", "now", "why"),
    [
        (None, BASIS, "it started; template gold, version 3"),
        (BASIS, replace(BASIS, start="8"), "it started; template gold, version 3"),
        (BASIS, replace(BASIS, name="silver"), "it has template silver, version 3, instead of gold"),
        (
            BASIS,
            replace(BASIS, name="silver", request="req-1a2b3c4d"),
            "it has template silver, version 3, instead of gold, by request req-1a2b3c4d",
        ),
        (
            replace(BASIS, request="req-1a2b3c4d"),
            replace(BASIS, request="req-2a2b3c4d"),
            "its claim was changed; template gold, version 3, by request req-2a2b3c4d",
        ),
        (BASIS, replace(BASIS, template=None, version=4), "template gold was changed: version 4 after 3"),
        (BASIS, replace(BASIS, version=4), "other servers came or went; template gold, version 4"),
        (
            BASIS,
            replace(BASIS, metadata={"kongming:cpus": "2"}),
            "its metadata was changed; template gold, version 3, metadata kongming:cpus=2",
        ),
        (BASIS, replace(BASIS, template=None, period="NIGHT"), "hours of template gold: NIGHT began"),
        (replace(BASIS, period="NIGHT"), BASIS, "hours of template gold: NIGHT ended"),
        (
            replace(BASIS, period="NIGHT"),
            replace(BASIS, period="DAY"),
            "hours of template gold: NIGHT ended, DAY began",
        ),
        (
            BASIS,
            replace(BASIS, template=None, period="NIGHT", version=4),
            "template gold was changed: version 4 after 3",
        ),
        (None, replace(BASIS, period="NIGHT"), "it started; template gold, version 3, hours NIGHT"),
        (BASIS, BASIS, "other servers came or went; template gold, version 3"),
        (BASIS, None, "it has ended"),
    ],
    ids=[
        "new",
        "restarted",
        "other-template",
        "other-template-by-a-command",
        "other-claim-by-a-command",
        "changed",
        "same-of-other-version",
        "metadata",
        "hours-begin",
        "hours-end",
        "hours-follow-hours",
        "changed-in-hours",
        "new-in-hours",
        "others",
        "ended",
    ],
)
def test_why(changes: ChangeLog, path: Path, before: Basis | None, now: Basis | None, why: str) -> None:
    """The reason is what is other than in the pass before."""
    changes.record(pass_of(before))
    changes.record(pass_of(now, PIN))

    assert [why] == reasons(path)


def test_drift_is_a_reason(changes: ChangeLog, path: Path) -> None:
    """A server that something else had moved goes back for that."""
    changes.record(pass_of(BASIS))
    changes.record(pass_of(BASIS, PIN, drift=(DRIFT,)))

    assert ["something else had changed it; template gold, version 3"] == reasons(path)


def test_order_is_a_reason(changes: ChangeLog, path: Path) -> None:
    """What is done for an operator says so, of the claim, too."""
    changes.record_claim(WEB, "node 0", "node 1", "ordered: move server web to node 1")
    changes.record(pass_of(BASIS, PIN), "ordered: move server web to node 1")

    assert [("claim", "node 0", "node 1"), ("vCPU 0", "CPU 5", "CPU 2")] == [
        (change.what, change.before, change.after) for change in change_log.read(path)
    ]
    assert ["ordered: move server web to node 1"] * 2 == reasons(path)


def test_first_pass_of_an_agent(path: Path) -> None:
    """An agent that has just started does not know what the host was before."""
    history = ChangeLog()
    history.write_to(path, 1)

    history.record(pass_of(BASIS, PIN))

    assert ["the agent started; template gold, version 3"] == reasons(path)


def test_pass_without_pins_is_no_past(changes: ChangeLog, path: Path) -> None:
    """Servers of which nothing could be decided for a while have not started anew after it."""
    changes.record(pass_of(BASIS))
    changes.record(Outcome())
    changes.record(pass_of(BASIS, PIN))

    assert ["other servers came or went; template gold, version 3"] == reasons(path)


def test_guests_without_a_template(changes: ChangeLog, path: Path) -> None:
    """What is pinned of them stands there as well."""
    changes.record(Outcome(unmanaged=UnmanagedResult(1, ((WEB, "vCPU 0 is kept on CPU 0-1"),))))

    assert [("vCPU 0 is kept on CPU 0-1", "it has no template")] == [
        (change.what, change.why) for change in change_log.read(path)
    ]


def test_rotation(changes: ChangeLog, path: Path) -> None:
    """Files of the given size, of which four older ones are kept, are read in the order of their lines."""
    long = "x" * 100_000
    for number in range(80):
        changes.record_claim(WEB, str(number), "", long)

    found = [int(change.before) for change in change_log.read(path)]

    assert ["history.jsonl", *(f"history.jsonl.{number}" for number in range(1, 5))] == sorted(
        file.name for file in path.parent.iterdir()
    )
    assert list(range(found[0], 80)) == found
    assert all(file.stat().st_size <= 1024 * 1024 for file in path.parent.iterdir())


def test_filters(changes: ChangeLog, path: Path) -> None:
    """By time, and by a server's id or name."""
    other = Subject(SubjectKind.SERVER, "db", "2")
    for server in (WEB, other):
        changes.record_claim(server, "node 0", "node 1", "ordered")
    noon = datetime(2026, 11, 29, 12, tzinfo=timezone.utc)

    assert ["web"] == [change.server.name for change in change_log.read(path, server="1")]
    assert ["db"] == [change.server.name for change in change_log.read(path, server="db")]
    assert ["web", "db"] == [change.server.name for change in change_log.read(path, noon)]
    assert [] == list(change_log.read(path, noon.replace(minute=1)))


@pytest.mark.parametrize("line", ["", "{", "[]", '{"time": "now"}', "[" * 100_000, '{"time": "x", "server": 1}'])
def test_broken_lines_are_left_out(changes: ChangeLog, path: Path, line: str) -> None:
    """The last line of an agent that was killed may be cut off."""
    changes.record_claim(WEB, "node 0", "node 1", "ordered")
    with path.open("a") as file:
        file.write(f"{line}\n")

    assert ["claim"] == [change.what for change in change_log.read(path)]


def test_line_is_read_as_it_was_written() -> None:
    """Whatever characters are in it."""
    change = Change(datetime(2026, 11, 29, tzinfo=timezone.utc), WEB, "vCPU 0", "", "CPU 2", 'a "quote"\n孔明\x1b')

    assert change == Change.from_json(change.as_json())
    assert "\n" not in change.as_json()


def test_no_directory() -> None:
    """The error names the option, the directory and the reason."""
    with pytest.raises(exceptions.ConfigurationError) as error:
        list(change_log.read(Path("/no/such")))

    assert "option [kongming_agent] history_file: there is no directory /no" == str(error.value)


def test_no_change_yet(path: Path) -> None:
    """The agent makes the file with the first change."""
    assert [] == list(change_log.read(path))


def test_directory_that_is_not_there(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is written, and one line says why and what to do."""
    history = ChangeLog()

    for _ in range(2):
        history.write_to(path.parent / "none" / "history.jsonl", 1)
    history.record(pass_of(BASIS, PIN))

    assert [] == list(path.parent.iterdir())
    assert [
        f"no history of changes is written: {path.parent / 'none'}: No such file or directory; make it, with mode"
        " 750, or set [kongming_agent] history_file to nothing"
    ] == caplog.messages


def test_directory_of_others(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another user could put a link there, by which root would write to any file."""
    path.parent.chmod(0o777)
    history = ChangeLog()

    history.write_to(path, 1)
    history.record(pass_of(BASIS, PIN))

    assert [] == list(path.parent.iterdir())
    assert [True] == ["chmod 750" in message for message in caplog.messages]


def test_file_that_cannot_be_written(
    path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is logged once, and the agent goes on."""
    path.mkdir()
    history = ChangeLog()
    history.write_to(path, 1)

    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            history.record(pass_of(BASIS, PIN))

    assert [f"the history of changes is not written: [Errno 21] Is a directory: '{path}'"] == caplog.messages
    assert ("", "") == capfd.readouterr()
