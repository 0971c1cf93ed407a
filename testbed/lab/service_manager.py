# SPDX-License-Identifier: Apache-2.0
"""A systemd of the lab's own, which runs units as a host's does: with their mounts, capabilities and system calls.

``python -m testbed.lab.service_manager DIRECTORY`` becomes the manager of a user, here root. It needs no machine that
has booted with systemd, and of this one nothing but a control group of its own; a mount namespace has the rest.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from testbed.lab.libvirtd import remove_cgroups
from testbed.lab.mount_points import mount_points
from testbed.lab.process import REPOSITORY, ChildProcess, LabError

PROGRAM = Path("/lib/systemd/systemd")
RUN = Path("/run/systemd")
_CGROUPS = Path("/sys/fs/cgroup")
_NOTHING = "[Unit]\nDefaultDependencies=no\n"
_UNITS = {
    "basic.target": _NOTHING,
    "default.target": _NOTHING,
    "shutdown.target": _NOTHING,
    "exit.target": f"{_NOTHING}Requires=systemd-exit.service\nAfter=systemd-exit.service\n",
    "systemd-exit.service": f"{_NOTHING}Requires=shutdown.target\nAfter=shutdown.target\nSuccessAction=exit-force\n"
    "[Service]\nSlice=-.slice\n",
}
"""Those that every unit and the manager itself ask for, as systemd has them itself."""
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108  # nothing is written there
"""What units may not see, by ProtectHome and PrivateTmp."""


class ServiceManager:
    """A systemd that runs as long as the context lasts.

    :param directory: for its units and sockets; a unit with PrivateTmp sees it only if it is not in /tmp
    """

    def __init__(self, directory: Path) -> None:
        self.units = directory / "units"
        self.runtime = directory / "runtime"
        """What /run is to units: here are their runtime directories."""
        command = ["unshare", "--mount", "--propagation", "private", "--", sys.executable, "-m", __name__]
        self._process = ChildProcess("systemd", [*command, directory], directory, stop_seconds=60)
        self._stack = ExitStack()

    def __enter__(self) -> ServiceManager:
        with ExitStack() as stack:
            self.units.mkdir()
            self.runtime.mkdir(mode=0o700)
            for name, text in _UNITS.items():
                (self.units / name).write_text(text)
            stack.enter_context(mount_points([RUN]))
            stack.callback(self._remove_groups)
            stack.enter_context(self._process)
            self._process.wait_for("an answer", lambda: self._systemctl("list-units").returncode == 0 or None, 30)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, unit: Path, drop_in: str) -> None:
        """Add a unit as it is, with a drop-in that changes it."""
        shutil.copy(unit, self.units)
        (self.units / f"{unit.name}.d").mkdir()
        (self.units / f"{unit.name}.d" / "lab.conf").write_text(drop_in)
        self.systemctl("daemon-reload")

    def systemctl(self, *words: str) -> str:
        """Run systemctl; gives what it prints.

        :raises LabError: if it fails, with the status of the last unit that was named
        """
        done = self._systemctl(*words)
        if done.returncode:
            raise LabError(f"systemctl {' '.join(words)}: {done.stderr}{self._systemctl('status', words[-1]).stdout}")
        return done.stdout

    def _remove_groups(self) -> None:
        """Remove the control groups, once what a manager that was killed has left there is ended too."""
        groups = set(_groups(self._process.pid))
        for file in (file for group in groups for file in group.rglob("cgroup.procs")):
            for process in file.read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(process), signal.SIGKILL)
        remove_cgroups(groups)

    def _systemctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [
            "nsenter",
            "--target",
            str(self._process.pid),
            "--mount",
            "systemctl",
            "--user",
            "--no-pager",
            *words,
        ]
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(self.runtime)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def python_in_sight() -> str:
    """Lines for a drop-in that show a unit this Python and this checkout, where they are in what it may not see."""
    places = {Path(sys.prefix), Path(sys.base_prefix), REPOSITORY}
    hidden = sorted(str(place) for place in places if any(place.is_relative_to(path) for path in _HIDDEN))
    return "".join(f"BindReadOnlyPaths={path}\n" for path in hidden) + ("ProtectHome=tmpfs\n" if hidden else "")


def main(directory: Path) -> None:
    """Be the manager, in a mount namespace of our own."""
    for group in _groups(os.getpid()):
        group.mkdir()
        (group / "cgroup.procs").write_text(str(os.getpid()))
    # On every host /run is a mount of its own; where it is none ProtectKernelTunables, by MountAPIVFS, would put an
    # empty one there.
    _mount("--rbind", "/run", "/run")
    _mount("-t", "tmpfs", "tmpfs", str(RUN))
    (RUN / "system").mkdir()  # the sign that systemd runs
    _make_inaccessible(RUN / "inaccessible")
    environment = {
        **os.environ,
        "XDG_RUNTIME_DIR": str(directory / "runtime"),
        "SYSTEMD_UNIT_PATH": str(directory / "units"),
        "SYSTEMD_GENERATOR_PATH": "/nonexistent",
    }
    environment.pop("DBUS_SESSION_BUS_ADDRESS", None)
    os.execve(PROGRAM, [str(PROGRAM), "--user"], environment)


def _make_inaccessible(directory: Path) -> None:
    """Make the nodes with which systemd covers what a unit may not see; a host's makes them when it starts."""
    directory.mkdir()
    (directory / "dir").mkdir(mode=0)
    (directory / "reg").touch(mode=0)
    os.mkfifo(directory / "fifo", 0)
    os.mknod(directory / "chr", stat.S_IFCHR)
    os.mknod(directory / "blk", stat.S_IFBLK)
    with socket.socket(socket.AF_UNIX) as node:
        node.bind(str(directory / "sock"))


def _groups(pid: int) -> Iterator[Path]:
    """Where the control groups of the manager are that has this process id: in systemd's own hierarchies."""
    unified = _CGROUPS / "unified"
    places = {"name=systemd": _CGROUPS / "systemd", "": unified if unified.is_dir() else _CGROUPS}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in places:
            yield places[controllers] / path.lstrip("/") / f"kongming-lab-{pid}"


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
