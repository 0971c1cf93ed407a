# SPDX-License-Identifier: Apache-2.0
"""The programs of a compute node where their packages are not installed."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("program", ["agent", "host"])
def test_what_to_install_is_said(program: str) -> None:
    """One line instead of a traceback, and 1."""
    script = "import sys; sys.modules['libvirt'] = None; from kongming_sched.agent import start"
    script += f"; sys.exit(start.{program}([]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (1, "") == (done.returncode, done.stdout)
    assert (
        f"kongming-{program}: Python does not find libvirt; on compute nodes install the extra too:"
        " pip install 'kongming-sched[agent]'\n"
    ) == done.stderr
