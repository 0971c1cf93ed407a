# SPDX-License-Identifier: Apache-2.0
"""Namespaces in the emulated machine, in which each of its hosts has a libvirt, an agent and disks of its own.

``python -m testbed.numa_host.space start HOST DISKS LINK COMMAND...`` makes those of a host unless they are there,
and becomes a command in them. In there the host has folders of its own in place of /run, of libvirt's, and of DISKS,
where Nova keeps the disks of servers. LINK is made to lead to the host's libvirt from everywhere. Files keep the
namespaces, so that they outlive every process.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from testbed.cloud import cgroups
from testbed.lab.libvirtd import FOLDERS, mount_over

SPACES = Path("/spaces")
_KINDS = ("mount", "uts", "cgroup")


def folder(host: str) -> Path:
    """What is the host's own."""
    return SPACES / host


def entering(host: str, command: Sequence[str | Path]) -> list[str | Path]:
    """A command that runs another one in the namespaces and the control group of a host."""
    join = 'echo $$ >/sys/fs/cgroup/daemons/cgroup.procs && exec "$@"'
    return ["nsenter", *_options(host), "--", "sh", "-c", join, host, *command]


def starting(host: str, disks: Path, link: Path, command: Sequence[str | Path]) -> list[str | Path]:
    """A command that makes the namespaces of a host, unless they are there, and runs another one in them."""
    return ["python3", "-m", "testbed.numa_host.space", "start", host, disks, link, *command]


def _options(host: str) -> list[str]:
    return [f"--{kind}={folder(host) / kind}" for kind in _KINDS]


def start(host: str, disks: Path, link: Path, command: Sequence[str]) -> None:
    """Make the namespaces, and become a command in them."""
    make(host, disks)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(folder(host) / "run/libvirt")
    words = [str(word) for word in entering(host, command)]
    os.execvp(words[0], words)


def make(host: str, disks: Path) -> None:
    """Make the namespaces, and furnish them."""
    keep_private()
    folder(host).mkdir(exist_ok=True)
    if (folder(host) / "mount").is_mount():
        return
    for kind in _KINDS:
        (folder(host) / kind).touch()
    cgroups.make(host)
    # A process of its own joins the control group, which must be empty when it gets groups below it.
    join = f'echo $$ >{cgroups.ROOT / host / "cgroup.procs"} && exec unshare "$@"'
    furnish: list[str | Path] = [sys.executable, "-m", "testbed.numa_host.space", "furnish", host, disks]
    words = [*_options(host), "--propagation", "private", "--", *furnish]
    subprocess.run(["sh", "-c", join, "unshare", *words], check=True)


def keep_private() -> None:
    """Have what keeps a mount namespace not be seen in others.

    Hosts start side by side, and a second mount would hide what is in the first one.
    """
    SPACES.mkdir(exist_ok=True)
    with SPACES.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not SPACES.is_mount():
            mount_over(SPACES, SPACES)
            subprocess.run(["mount", "--make-private", SPACES], check=True)


def furnish(host: str, disks: Path) -> None:
    """Put the host's folders in place, in namespaces that are new."""
    subprocess.run(["hostname", host], check=True)
    cgroups.be_root(host)
    targets = {**FOLDERS, "run": Path("/run"), "disks": disks}
    for name, target in targets.items():
        (folder(host) / name).mkdir(exist_ok=True)
        target.mkdir(parents=True, exist_ok=True)
        mount_over(folder(host) / name, target)
    (folder(host) / "hosts").write_text(f"127.0.0.1 localhost {host}\n")
    mount_over(folder(host) / "hosts", Path("/etc/hosts"))
    for pages in Path("/dev").glob("hugepages*"):
        # All have the machine's pages, but each its own folders, which libvirt calls after domains.
        (pages / host).mkdir(exist_ok=True)
        mount_over(pages / host, pages)
    for name in ("lock", "libvirt"):
        Path("/run", name).mkdir(exist_ok=True)


def main() -> None:
    """Start or furnish."""
    verb, host, disks, *more = sys.argv[1:]
    if verb == "furnish":
        furnish(host, Path(disks))
    else:
        start(host, Path(disks), Path(more[0]), more[1:])


if __name__ == "__main__":
    main()
