# SPDX-License-Identifier: Apache-2.0
"""The file of libvirt's hook on a host: what is there, and how it is put there and taken away."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from kongming_sched import exceptions
from kongming_sched.agent.ipc import qemu_hook

DIRECTORY = Path("/etc/libvirt/hooks")
FILE_NAME = "qemu.d/90-kongming"

_MARK = '"""kongming-qemu-hook:'
_PYTHON = Path("/usr/bin/python3")


class HookFile:
    """The installed hook.

    :ivar path: where it is
    :ivar socket: where the agent listens

    :param directory: libvirt's directory of hooks
    :param refuses_starts: whether guests of templates start only while an agent works
    """

    def __init__(self, directory: Path, socket_path: Path, *, refuses_starts: bool = True) -> None:
        self.path = directory / FILE_NAME
        self.socket = socket_path
        self._refuses_starts = refuses_starts

    def state(self) -> str:
        """What is there: "installed", "not installed", "outdated", "not executable", or "not ours".

        :raises ConfigurationError: if it cannot be read
        """
        try:
            text = self.path.read_text(errors="replace")
        except FileNotFoundError:
            return "not installed"
        except OSError as error:
            raise exceptions.ConfigurationError("--directory", f"cannot read {self.path}: {error.strerror}") from error
        if _MARK not in text:
            return "not ours"
        if text != self._text():
            return "outdated"
        return "installed" if os.access(self.path, os.X_OK) else "not executable"

    def install(self) -> bool:
        """Put it there, whole or not at all; gives whether anything had to be done.

        :raises ConfigurationError: if the place is taken or cannot be written
        """
        state = self.state()
        if state == "installed":
            return False
        self._refuse_foreign(state)
        draft = self.path.parent.with_name(".kongming-hook.new")  # nothing that libvirt would run
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            draft.unlink(missing_ok=True)
            with draft.open("x") as file:  # which follows no link and writes to no other file
                file.write(self._text())
                os.fchmod(file.fileno(), 0o755)
            draft.replace(self.path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise exceptions.ConfigurationError("--directory", f"cannot write {self.path}: {error.strerror}") from error
        return True

    def remove(self) -> bool:
        """Take it away; gives whether it was there.

        :raises ConfigurationError: if the file there is another one
        """
        state = self.state()
        if state == "not installed":
            return False
        self._refuse_foreign(state)
        self.path.unlink()
        if not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()
        return True

    def others(self) -> list[str]:
        """The hooks that libvirt runs beside it, in that order."""
        directory = self.path.parent
        others = sorted(directory.iterdir()) if directory.is_dir() else []
        found = [directory.with_suffix(""), *others]
        return [str(path) for path in found if path != self.path and path.is_file() and os.access(path, os.X_OK)]

    def is_answered(self) -> bool:
        """Whether an agent is at the other end of the socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(qemu_hook.PATIENCE_SECONDS)
            return probe.connect_ex(str(self.socket)) == 0

    def _refuse_foreign(self, state: str) -> None:
        if state == "not ours":
            raise exceptions.ConfigurationError(
                "--directory", f"{self.path} is not KongMing's; it stays as it is, move it away to go on"
            )

    def _text(self) -> str:
        """The source of the hook, with the interpreter and the options of this host."""
        lines = Path(qemu_hook.__file__).read_text().splitlines(keepends=True)
        lines[0] = f"#!{_PYTHON if _PYTHON.exists() else sys.executable} -IS\n"
        lines[lines.index(f'SOCKET = "{qemu_hook.SOCKET}"\n')] = f"SOCKET = {str(self.socket)!r}\n"
        lines[lines.index("REFUSE_STARTS = True\n")] = f"REFUSE_STARTS = {self._refuses_starts}\n"
        return "".join(lines)
