# SPDX-License-Identifier: Apache-2.0
"""Bringing parts up, tried on small services that really run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.cloud.bringup import BringUp, check_order, next_parts
from testbed.cloud.processes import Process, end, find_owned, kill
from testbed.cloud.service import Part, Service, Task, read_record, record_file
from testbed.lab.process import LabError

SLEEP = ["sleep", "300"]


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """The directory of a cloud, whose processes are ended."""
    yield tmp_path
    end([owned.process for owned in find_owned(tmp_path)], 0)


def nothing() -> None:
    """A task's work."""


def ready() -> bool:
    """A service's answer."""
    return True


def run(directory: Path, *parts: Part) -> list[str]:
    """Bring parts up; gives the names of those that did not stand before."""
    lines: list[str] = []
    BringUp(directory, lines.append).run(parts)
    return [line.split()[0] for line in lines]


def process_of(directory: Path, name: str) -> Process | None:
    """The process of a service."""
    return read_record(record_file(directory, name))


def test_a_part_has_its_turn_when_all_that_it_needs_stands() -> None:
    """Not before, and once."""
    parts = [Task("a", nothing), Task("b", nothing), Task("c", nothing, ("a", "b"))]
    turns = [next_parts(parts, done, begun) for done, begun in ((set(), set()), ({"a"}, {"a", "b"}), ({"a", "b"},) * 2)]
    assert [["a", "b"], [], ["c"]] == [[part.name for part in turn] for turn in turns]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([Task("b", nothing, ("a",)), Task("a", nothing)], "b comes before a"),
        ([Task("a", nothing), Task("a", nothing)], "two parts a"),
    ],
)
def test_an_order_that_never_ends_is_refused(parts: list[Part], message: str) -> None:
    """Before anything is started."""
    with pytest.raises(LabError, match=message):
        check_order(parts)


def test_what_is_needed_comes_first(directory: Path) -> None:
    """Whatever order the machine would like."""
    parts: list[Part] = [Task("a", nothing), Service("b", SLEEP, ready, ("a",)), Task("c", nothing, ("b",))]
    assert ["a", "b", "c"] == run(directory, *parts)


def test_again_there_is_nothing_to_do(directory: Path) -> None:
    """Up twice is up."""
    parts: list[Part] = [Task("a", nothing), Service("b", SLEEP, ready)]
    run(directory, *parts)
    process = process_of(directory, "b")
    assert ([], process) == (run(directory, *parts), process_of(directory, "b"))


def test_a_service_that_ended_is_started_again(directory: Path) -> None:
    """And only that."""
    parts: list[Part] = [Task("a", nothing), Service("b", SLEEP, ready), Service("c", SLEEP, ready)]
    run(directory, *parts)
    process = process_of(directory, "b")
    assert process is not None
    kill([process])
    assert ["b"] == run(directory, *parts)


def test_a_service_is_started_again_with_what_it_is_bound_to(directory: Path) -> None:
    """It would stay in namespaces that nobody else can enter any more."""
    parts = [
        Service("namespaces", SLEEP, ready),
        Service("daemon", SLEEP, ready, ("namespaces",), bound_to=("namespaces",)),
    ]
    run(directory, *parts)
    process = process_of(directory, "namespaces")
    assert process is not None
    kill([process])
    assert ["namespaces", "daemon"] == run(directory, *parts)


def test_children_that_a_service_left_are_ended_before_it_is_started_again(directory: Path) -> None:
    """They may hold its port."""
    service = Service("b", ["sh", "-c", "sleep 300 & sleep 300"], ready)
    run(directory, service)
    process = process_of(directory, "b")
    assert process is not None
    kill([process])
    left = {owned.process for owned in find_owned(directory)}
    run(directory, service)
    assert not any(old.is_alive for old in left)


def test_a_service_that_ends_at_once_says_what_it_said(directory: Path) -> None:
    """The end of its log is in the error."""
    with pytest.raises(LabError, match=r"(?s)b ended.*no such thing"):
        run(directory, Service("b", ["sh", "-c", "echo no such thing; exit 3"], lambda: False))


def test_when_a_part_fails_what_was_started_is_stopped(directory: Path) -> None:
    """No half cloud is left to wonder about."""
    parts: list[Part] = [Service("a", SLEEP, ready), Service("b", ["false"], lambda: False, ("a",))]
    with pytest.raises(LabError):
        run(directory, *parts)
    assert [] == list(find_owned(directory))


def test_when_a_part_fails_what_ran_before_goes_on(directory: Path) -> None:
    """A repair that fails makes nothing worse."""
    service = Service("a", SLEEP, ready)
    run(directory, service)
    process = process_of(directory, "a")
    with pytest.raises(LabError):
        run(directory, service, Service("b", ["false"], lambda: False, ("a",)))
    assert process is not None
    assert process == process_of(directory, "a")


def test_a_task_that_failed_is_done_again(directory: Path) -> None:
    """Only what came to its end counts."""
    calls = []

    def fail_once() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise LabError("not yet")

    with pytest.raises(LabError):
        run(directory, Task("a", fail_once))
    assert ["a"] == run(directory, Task("a", fail_once))
