# SPDX-License-Identifier: Apache-2.0
"""Several libvirt daemons of the testbed on one machine mount over the same folders."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")

_DAEMON = """
import sys
from pathlib import Path
from testbed.lab.libvirtd import folders_in_place

own, target, record = map(Path, sys.argv[1:])
with folders_in_place(own, {"lib": target}, record):
    print("mounted", flush=True)
    for _ in sys.stdin:
        print((target / "save").exists(), flush=True)
"""
"""Mounts a folder, and at each line of input says whether it has its file."""


@contextmanager
def daemon(own: Path, target: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with mounts of its own, once these stand. Its record is the test's, for others may run meanwhile."""
    (own / "lib").mkdir(parents=True)
    (own / "lib/save").touch()
    command = ["unshare", "--mount", "--propagation", "private", "--", sys.executable, "-c", _DAEMON]
    arguments = [own, target, own.parent / "record"]
    with subprocess.Popen([*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert "mounted\n" == process.stdout.readline()
        yield process


def has_its_files(process: subprocess.Popen[str]) -> bool:
    """Whether a process sees what it has mounted."""
    assert process.stdin
    assert process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline() == "True\n"


def test_one_ends_before_the_other(tmp_path: Path) -> None:
    """The folder that the first has made stays mounted for the second, and is gone after that."""
    target = tmp_path / "var/lib/libvirt"
    with daemon(tmp_path / "first", target) as first, daemon(tmp_path / "second", target) as second:
        assert first.stdin
        first.stdin.close()
        assert 0 == first.wait(PATIENCE_SECONDS)
        seen = has_its_files(second)

    assert (True, False) == (seen, target.exists())


def test_folder_of_the_machine(tmp_path: Path) -> None:
    """A folder that was there before is there afterwards."""
    target = tmp_path / "libvirt"
    target.mkdir()

    with daemon(tmp_path / "own", target) as process:
        seen = has_its_files(process)

    assert (True, True) == (seen, target.exists())
