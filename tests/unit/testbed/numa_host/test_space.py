# SPDX-License-Identifier: Apache-2.0
"""The namespaces of the hosts in the emulated machine."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from testbed.numa_host import space


def test_hosts_that_start_side_by_side_mount_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second mount would hide the files that keep the first host's namespaces.

    The mounts are fakes, since real ones need a machine of their own: what was mounted is seen after a while only.
    """
    mounted: list[Path] = []

    def mount(_source: Path, target: Path) -> None:
        time.sleep(0.05)
        mounted.append(target)

    def run(_command: Sequence[str | Path], **_options: bool) -> None:
        return None

    monkeypatch.setattr(space, "SPACES", tmp_path / "spaces")
    monkeypatch.setattr(space, "mount_over", mount)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(Path, "is_mount", lambda path: path in mounted)

    with ThreadPoolExecutor(2) as pool:
        for started in [pool.submit(space.keep_private) for _ in range(2)]:
            started.result()

    assert [tmp_path / "spaces"] == mounted
