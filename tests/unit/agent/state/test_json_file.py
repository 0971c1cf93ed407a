# SPDX-License-Identifier: Apache-2.0
"""Files of the run directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kongming_sched.agent.state.json_file import load_state, write_state
from kongming_sched.cpuset import CpuSet


def parse(state: Mapping[str, Any]) -> list[CpuSet]:
    """The values of an object as CPU sets, in their order."""
    return [CpuSet.parse(cpus) for cpus in state.values()]


NOTHING: list[CpuSet] = []


def test_what_is_written_is_loaded(tmp_path: Path) -> None:
    """The directory is made, for its owner alone, and the order is kept."""
    path = tmp_path / "run" / "state.json"

    write_state(path, {"b": "1-2", "a": "3"})

    assert ([CpuSet.parse("1-2"), CpuSet.parse("3")], 0o700) == (
        load_state(path, parse, NOTHING),
        path.parent.stat().st_mode & 0o777,
    )


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="there is none"),
        pytest.param("", id="empty"),
        pytest.param('{"a": ', id="cut off"),
        pytest.param('["1"]', id="another shape"),
        pytest.param('{"a": "x"}', id="another value"),
    ],
)
def test_what_cannot_be_read_is_nothing(tmp_path: Path, text: str | None) -> None:
    """An agent that finds such a file starts without what was in it."""
    path = tmp_path / "state.json"
    if text is not None:
        path.write_text(text)

    assert [] == load_state(path, parse, NOTHING)


def test_nothing_is_kept_without_a_path() -> None:
    """What is held in memory alone begins empty."""
    assert [] == load_state(None, parse, NOTHING)


def test_failed_write_keeps_the_file(tmp_path: Path) -> None:
    """Where a file cannot be replaced the one before is there still."""
    path = tmp_path / "state.json"
    write_state(path, {"a": "1"})
    (tmp_path / "state.new").mkdir()

    with pytest.raises(OSError, match=r"state\.new"):
        write_state(path, {"a": "2"})

    assert [CpuSet.parse("1")] == load_state(path, parse, NOTHING)
