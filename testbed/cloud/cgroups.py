# SPDX-License-Identifier: Apache-2.0
"""A control group for each host of a cloud, which in that host's namespaces is the root of all control groups.

Two libvirt daemons name the groups of their guests alike, so that without this a guest would meet itself when it
migrates. And one folder is all that there is to remove.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from testbed.lab.libvirtd import mount_over, remove_cgroups, usable_controllers

ROOT = Path("/sys/fs/cgroup")
_NEEDED = ("cpu", "cpuset")
_DAEMONS = "daemons"
"""cgroup v2 lets a group have either processes or controllers for the groups below it, the root apart."""


def is_unified(root: Path = ROOT) -> bool:
    """Whether there is one hierarchy for all controllers (cgroup v2)."""
    return (root / "cgroup.controllers").exists()


def mounts(root: Path = ROOT, table: Path = Path("/proc/self/mounts")) -> list[Path]:
    """Every hierarchy, once; none where libvirt may not use the controllers that it needs."""
    if not usable_controllers(root):
        return []
    lines = [line.split() for line in table.read_text().splitlines()]
    found = {Path(line[1]) for line in lines if line[2] in ("cgroup", "cgroup2")}
    return sorted(path for path in found if path.is_relative_to(root) and os.access(path, os.W_OK))


def make(name: str) -> None:
    """Make the group of a host in every hierarchy."""
    for mount in mounts():
        group = mount / name
        if is_unified():
            _hand_down(mount)
            (group / _DAEMONS).mkdir(parents=True, exist_ok=True)
        else:
            group.mkdir(exist_ok=True)
            for file in ("cpuset.cpus", "cpuset.mems"):  # empty in a new group, which then takes no process
                if (mount / file).exists():
                    (group / file).write_text((mount / file).read_text())


def _hand_down(group: Path) -> None:
    """Let the groups below have the controllers."""
    for controller in _NEEDED:
        with suppress(OSError):  # it may not be ours: libvirt then goes without
            (group / "cgroup.subtree_control").write_text(f"+{controller}")


def join(name: str) -> None:
    """Move this process into the group of a host, so far as it is there."""
    for group in groups(name):
        (group / "cgroup.procs").write_text(str(os.getpid()))


def groups(name: str) -> Iterator[Path]:
    """The group of a host in each hierarchy."""
    for mount in mounts():
        if (mount / name).is_dir():
            yield mount / name


def be_root(name: str) -> None:
    """In a mount and cgroup namespace of our own: let the host's group be the root."""
    own = list(groups(name))
    if is_unified():
        for group in own:
            (group / _DAEMONS / "cgroup.procs").write_text(str(os.getpid()))
            _hand_down(group)
    for group in own:
        mount_over(group, group.parent)


def remove(name: str) -> None:
    """Remove the groups of a host, of which no process may be left."""
    remove_cgroups(set(groups(name)))
