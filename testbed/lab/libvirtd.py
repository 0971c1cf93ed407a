# SPDX-License-Identifier: Apache-2.0
"""A libvirtd of the lab's own, which leaves no file, guest or control group on the machine.

``python -m testbed.lab.libvirtd DIRECTORY kvm|qemu`` runs in a mount namespace of its own, in which libvirt's fixed
paths are folders of that directory, all but /run/libvirt: there clients look for the socket and the agent for the
processes. At SIGUSR1 libvirtd is killed and started again; its guests run on.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from testbed.lab.mount_points import RECORD, mount_points
from testbed.lab.process import ChildProcess, ended_by_signals

FOLDERS = {
    "etc": Path("/etc/libvirt"),
    "lib": Path("/var/lib/libvirt"),
    "cache": Path("/var/cache/libvirt"),
    "log": Path("/var/log/libvirt"),
}
RUN = Path("/run/libvirt")

_DAEMON = """\
auth_unix_rw = "none"
log_outputs = "3:stderr"
"""

_QEMU = """\
user = "root"
group = "root"
security_driver = "none"
stdio_handler = "file"
namespaces = [ ]
"""
# As another user QEMU may not open /dev/kvm, and then libvirt probes it anew at every call. Without stdio_handler
# libvirtd needs a virtlogd beside it. In a namespace of its own QEMU would get a /dev in which nothing may be mounted.

DEBIAN_USER = "libvirt-qemu"
"""Debian's libvirtd does not start unless this user exists, which only the package with its services makes."""


def mount_over(source: Path, target: Path) -> None:
    """Let a path be another one, in this mount namespace."""
    subprocess.run(["mount", "--bind", source, target], check=True)


def unmount(target: Path) -> None:
    """Let a path be itself again."""
    subprocess.run(["umount", "--lazy", target], check=True)


@contextmanager
def folders_in_place(directory: Path, folders: Mapping[str, Path] = FOLDERS, record: Path = RECORD) -> Iterator[None]:
    """Put the directory's folders in place of the machine's, in a mount namespace of our own.

    Folders that the machine lacks are made, and removed again after their last use.

    :param record: of those that were made; one for all that share them
    """
    with mount_points(folders.values(), record), ExitStack() as stack:
        for name, target in folders.items():
            (directory / name).mkdir(parents=True, exist_ok=True)
            mount_over(directory / name, target)
            stack.callback(unmount, target)
        yield


def configure(directory: Path, daemon: str = "", qemu: str = "") -> None:
    """Write libvirtd's files into a directory that shall be /etc/libvirt.

    :param daemon: further lines of libvirtd.conf
    :param qemu: further lines of qemu.conf
    """
    controllers = "" if usable_controllers() else "cgroup_controllers = [ ]\n"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "libvirtd.conf").write_text(_DAEMON + daemon)
    (directory / "qemu.conf").write_text(_QEMU + controllers + qemu)


def hide_kvm(directory: Path) -> None:
    """Let /dev/kvm be nothing that libvirtd can open: it would probe a KVM that does not work anew at every call."""
    nothing = directory / "no-kvm"
    nothing.touch()
    mount_over(nothing, Path("/dev/kvm"))
    subprocess.run(["mount", "-o", "remount,bind,ro", "/dev/kvm"], check=True)


def add_debian_user(directory: Path) -> None:
    """Make sure that this mount namespace has the user that libvirtd insists on, even if it then uses another."""
    try:
        pwd.getpwnam(DEBIAN_USER)
    except KeyError:
        lines = {"passwd": f"{DEBIAN_USER}:x:0:0::/:/usr/sbin/nologin\n", "group": f"{DEBIAN_USER}:x:0:\n"}
        for name, line in lines.items():
            mine, system = directory / name, Path("/etc") / name
            mine.write_text(system.read_text() + line)
            mount_over(mine, system)


def usable_controllers(root: Path = Path("/sys/fs/cgroup")) -> frozenset[str]:
    """Those of the controllers cpu and cpuset that libvirt can make groups of; in containers it often can not."""
    if (root / "cgroup.controllers").exists():
        listed = (root / "cgroup.controllers").read_text().split() if os.access(root, os.W_OK) else []
    else:
        listed = [path.name for path in (root / "cpu", root / "cpuset") if os.access(path, os.W_OK)]
    return frozenset(listed) & {"cpu", "cpuset"}


def machine_cgroups() -> set[Path]:
    """The control groups under which libvirt keeps those of its guests."""
    return {path for pattern in ("machine", "*/machine") for path in Path("/sys/fs/cgroup").glob(pattern)}


def remove_cgroups(groups: set[Path], patience_seconds: float = 3) -> None:
    """Remove empty control groups, waiting for the last process in them to be gone."""
    deadline = time.monotonic() + patience_seconds
    while any(group.exists() for group in groups) and time.monotonic() < deadline:
        for group in groups:
            for folder, _, _ in os.walk(group, topdown=False):
                with suppress(OSError):  # busy, until the kernel has seen the guest off
                    Path(folder).rmdir()
        time.sleep(0.05)


def run_files() -> set[Path]:
    """Everything in libvirt's run directory, and the directory itself."""
    return {RUN, *RUN.rglob("*")} if RUN.exists() else set()


def remove_files(files: set[Path]) -> None:
    """Remove files and then the directories that are empty without them."""
    for path in sorted(files, reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


def end_guests(pid_files: set[Path]) -> None:
    """Kill the QEMU processes that libvirtd leaves running when it stops."""
    for path in pid_files:
        with suppress(FileNotFoundError, ProcessLookupError):
            pid = int(path.read_text())
            if f"guest={path.stem}," in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGKILL)


@contextmanager
def machine_as_before() -> Iterator[None]:
    """Take away what libvirtd leaves when it stops, but nothing that was there before."""
    files, groups = run_files(), machine_cgroups()
    try:
        yield
    finally:
        new_files = run_files() - files
        end_guests({path for path in new_files if path.match("qemu/*.pid")})
        remove_cgroups(machine_cgroups() - groups)
        remove_files(new_files)


def main() -> None:
    """Run libvirtd until a signal comes."""
    directory, virt_type = Path(sys.argv[1]), sys.argv[2]
    command = ["libvirtd", "--config", "/etc/libvirt/libvirtd.conf"]
    with ended_by_signals(), folders_in_place(directory), machine_as_before():
        configure(directory / "etc")
        add_debian_user(directory)
        if virt_type != "kvm" and Path("/dev/kvm").exists():
            hide_kvm(directory)
        killed = threading.Event()
        signal.signal(signal.SIGUSR1, lambda *_: killed.set())
        while True:
            with ChildProcess("libvirtd-daemon", command, directory) as daemon:
                while daemon.is_alive:
                    if killed.is_set():
                        daemon.send(signal.SIGKILL)
                    time.sleep(0.2)
                if not killed.is_set():
                    sys.exit(daemon.tail())
                killed.clear()


if __name__ == "__main__":
    main()
