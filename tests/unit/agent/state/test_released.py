# SPDX-License-Identifier: Apache-2.0
"""The file of released guests."""

from __future__ import annotations

from pathlib import Path

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.state.released import Released, ReleasedFile, load_released, save_released


def test_without_a_file_nobody_is_released(tmp_path: Path) -> None:
    """The agent pins all guests until an operator releases one."""
    assert Released() == load_released(tmp_path / "released.json")
    assert not Released().covers("a", "")


def test_survives(tmp_path: Path) -> None:
    """What is written is read back, and nothing else is left in the directory."""
    path = tmp_path / "run" / "released.json"
    released = Released({"a": "3"}, everyone=True)

    save_released(path, released)

    assert released == load_released(path)
    assert [path] == list(path.parent.iterdir())


def test_is_of_one_run() -> None:
    """A guest that started anew is not released any more, and its entry goes with the next change."""
    released = Released({"a": "3", "b": "4"})

    assert (True, False) == (released.covers("a", "3"), released.covers("a", "5"))
    assert Released({"b": "4"}) == released.of([("a", "5"), ("b", "4")])
    assert Released({"a": "3"}) == released.minus("b")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"guests": [], "everyone": false}', '{"guests": {"a": "1"}}'])
def test_broken_file(tmp_path: Path, text: str) -> None:
    """A file that cannot be read is named, with what to do."""
    path = tmp_path / "released.json"
    path.write_text(text)

    with pytest.raises(exceptions.ConfigurationError, match=r"released\.json cannot .*; repair it or remove it"):
        load_released(path)


def test_a_change_keeps_the_others() -> None:
    """One more guest, or its next run, leaves the entries of all others."""
    assert Released({"a": "3", "b": "4"}) == Released({"a": "3"}).plus("b", "4")
    assert Released({"a": "5"}, everyone=True) == Released({"a": "3"}, everyone=True).plus("a", "5")


def test_the_agent_keeps_what_the_file_said_last(tmp_path: Path) -> None:
    """A file that breaks while the agent runs is an error, and releases or adopts no guest."""
    path = tmp_path / "released.json"
    file = ReleasedFile(path)
    save_released(path, Released({"a": "3"}))
    assert Released({"a": "3"}) == file.read()
    path.write_text("{")

    with pytest.raises(exceptions.ConfigurationError):
        file.read()

    assert Released({"a": "3"}) == file.last


def test_no_path_releases_no_guest() -> None:
    """A reconciler without a run directory has nothing to read."""
    assert Released() == ReleasedFile().read()


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """The path stands in the error."""
    blocker = tmp_path / "file"
    blocker.write_text("")

    with pytest.raises(exceptions.ConfigurationError, match=r"cannot write .*released\.json"):
        save_released(blocker / "released.json", Released())
