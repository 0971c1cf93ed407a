# SPDX-License-Identifier: Apache-2.0
"""kongming-host release and adopt as commands. libvirt is its built-in test driver, which runs a domain "test"."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kongming_sched.agent.state.released import Released, load_released
from testbed.waiting import PATIENCE_SECONDS

HOST = [sys.executable, "-c", "import sys; from kongming_sched.agent.commands.app import main; sys.exit(main())"]
ID = "6695eb01-f6a4-8304-79aa-97f2502e193f"


def run(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of kongming-host."""
    (tmp_path / "agent.conf").write_text(
        f"[kongming_agent]\nlibvirt_uri = test:///default\nrun_directory = {tmp_path}/run\n"
    )
    command = [*HOST, *words, "--config-file", str(tmp_path / "agent.conf")]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


def released(tmp_path: Path) -> Released:
    """What the agent reads."""
    return load_released(tmp_path / "run" / "released.json")


@pytest.mark.parametrize("name", ["test", ID])
def test_release_and_adopt(tmp_path: Path, name: str) -> None:
    """A server is named by its id or a name of its; release names its run, adopt takes it out again."""
    first = run(tmp_path, "release", name)
    during = released(tmp_path)
    second = run(tmp_path, "adopt", name)
    third = run(tmp_path, "adopt", name)

    assert [0, 0, 0] == [result.returncode for result in (first, second, third)], first.stderr + second.stderr
    assert f"the agent leaves test ({ID}) alone from its next pass on" in first.stdout
    assert Released({ID: "1"}) == during
    assert Released() == released(tmp_path)
    assert f"test ({ID}) is not released\n" == third.stdout


def test_everybody(tmp_path: Path) -> None:
    """--all is said of guests that start later too, so a single one cannot be taken out of it."""
    first = run(tmp_path, "release", "--all")
    during = released(tmp_path)
    second = run(tmp_path, "adopt", "test")
    third = run(tmp_path, "adopt", "--all")

    assert [0, 1, 0] == [result.returncode for result in (first, second, third)], first.stderr
    assert during.everyone
    assert "is released with all others; use 'adopt --all'" in second.stderr
    assert Released() == released(tmp_path)


def test_wrong_name(tmp_path: Path) -> None:
    """A server that does not run here is one message and exit code 1."""
    result = run(tmp_path, "release", "nobody")

    assert 1 == result.returncode
    assert "server 'nobody' does not run here; see 'virsh list' and 'kongming-host map'\n" == result.stderr


@pytest.mark.parametrize("words", [["release"], ["release", "test", "--all"], ["adopt"]])
def test_wrong_usage(tmp_path: Path, words: list[str]) -> None:
    """Neither a server nor all, or both, is wrong usage: exit code 2."""
    assert 2 == run(tmp_path, *words).returncode


def test_interrupts_are_given_back(tmp_path: Path) -> None:
    """--all takes up what the agent has written down of them; of one that is gone nothing is left to be done."""
    run(tmp_path, "release", "test")  # which makes the directory
    records = tmp_path / "run" / "interrupts.json"
    records.write_text('{"2147483000": {"names": ["gone"], "before": "0-1", "given": "0"}}')
    records.chmod(0o600)

    done = run(tmp_path, "release", "--all")

    assert (0, "{}") == (done.returncode, records.read_text()), done.stderr
