# SPDX-License-Identifier: Apache-2.0
"""Which control group hierarchies a host gets a root of its own in."""

from __future__ import annotations

from pathlib import Path

from testbed.cloud import cgroups


def write_table(tmp_path: Path, *lines: str) -> Path:
    """A table of mounts as the kernel shows it."""
    table = tmp_path / "mounts"
    table.write_text("".join(f"{line}\n" for line in lines))
    return table


def test_each_hierarchy_counts_once(tmp_path: Path) -> None:
    """Two controllers may share one, under two names of which one is a link."""
    root = tmp_path / "cgroup"
    both = root / "cpu,cpuset"
    both.mkdir(parents=True)
    for name in ("cpu", "cpuset"):
        (root / name).symlink_to(both)
    table = write_table(tmp_path, f"cgroup {both} cgroup rw,cpu,cpuset 0 0", "proc /proc proc rw 0 0")
    assert [both] == cgroups.mounts(root, table)


def test_hierarchies_elsewhere_are_left_alone(tmp_path: Path) -> None:
    """A container runtime may have its own."""
    root = tmp_path / "cgroup"
    (root / "cpu").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    table = write_table(tmp_path, f"cgroup {root}/cpu cgroup rw 0 0", f"cgroup {tmp_path}/other cgroup rw 0 0")
    assert [root / "cpu"] == cgroups.mounts(root, table)


def test_without_the_controllers_there_is_nothing_to_do(tmp_path: Path) -> None:
    """libvirt then does without control groups too."""
    assert [] == cgroups.mounts(tmp_path, write_table(tmp_path, "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0"))
