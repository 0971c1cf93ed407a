# SPDX-License-Identifier: Apache-2.0
"""Which version a program says that it is."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kongming_sched import version


@pytest.mark.parametrize(
    ("program", "function"),
    [
        ("kongming-agent", "kongming_sched.agent.start:agent"),
        ("kongming-host", "kongming_sched.agent.start:host"),
        ("kongming-status", "kongming_sched.status.command:main"),
    ],
)
def test_every_program_says_its_version(program: str, function: str) -> None:
    """One line, as other programs do, without files or services."""
    module, _, name = function.partition(":")
    script = f"import sys; sys.argv[0] = {program!r}; from {module} import {name}; sys.exit({name}())"
    done = subprocess.run([sys.executable, "-c", script, "--version"], capture_output=True, text=True, check=False)
    found = importlib.metadata.version("kongming-sched")
    assert (0, f"{program} {found}\n", "") == (done.returncode, done.stdout, done.stderr)


def test_code_that_is_not_installed_has_no_version(tmp_path: Path) -> None:
    """As where an archive was unpacked: it says so, and no program fails for it."""
    shutil.copytree(Path(version.__file__).parent, tmp_path / "kongming_sched")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from kongming_sched import version"
    script += "; print(version.installed())"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True)
    assert "unknown\n" == done.stdout
