# SPDX-License-Identifier: Apache-2.0
"""Progress: a line on a terminal, nothing anywhere else."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable

import pytest

from kongming_sched.cli import progress


class Terminal(io.StringIO):
    """What looks like a terminal."""

    def isatty(self) -> bool:
        return True


def clock(step_seconds: float) -> Callable[[], float]:
    """A clock that goes on by so much at each reading."""
    times = itertools.count()
    return lambda: next(times) * step_seconds


@pytest.mark.parametrize(
    ("out", "err"),
    [(io.StringIO(), io.StringIO()), (io.StringIO(), Terminal()), (Terminal(), io.StringIO())],
    ids=["in a pipe", "output in a pipe", "errors in a log"],
)
def test_nothing_is_told_in_a_pipe(monkeypatch: pytest.MonkeyPatch, out: io.StringIO, err: io.StringIO) -> None:
    """However long it takes."""
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    assert [0, 1, 2] == list(progress.shown(range(3), "reading node", clock(60)))
    assert ("", "") == (out.getvalue(), err.getvalue())


def test_long_work_is_told_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, which is gone at the end."""
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setattr("sys.stderr", err := Terminal())
    assert ["a", "b"] == list(progress.shown(["a", "b"], "reading node", clock(60)))
    assert err.getvalue() == "\rreading node 1 of 2\rreading node 2 of 2\r" + " " * 19 + "\r"


def test_work_of_unknown_length_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of reading page after page."""
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setattr("sys.stderr", err := Terminal())
    assert ["a", "b"] == list(progress.shown(iter("ab"), "reading server", clock(60)))
    assert err.getvalue() == "\rreading server 1\rreading server 2\r" + " " * 16 + "\r"


def test_short_work_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is over before anybody could read of it."""
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setattr("sys.stderr", err := Terminal())
    assert 5 == len(list(progress.shown(range(5), "reading node", clock(0.01))))
    assert "" == err.getvalue()


def test_an_error_leaves_a_clean_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that its message stands alone."""
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setattr("sys.stderr", err := Terminal())
    shown = progress.shown(range(3), "reading", clock(60))
    next(shown)
    shown.close()  # type: ignore[attr-defined]  # which is what an error in the loop comes to
    assert err.getvalue().endswith("\r" + " " * len("reading 1 of 3") + "\r")
