# SPDX-License-Identifier: Apache-2.0
"""kongming-host hook: puts the hook where libvirt finds it, beside an operator's own, and takes it away again.

libvirt (6.5 and newer) runs its hook ``qemu`` first and then every executable file of the directory ``qemu.d``, in the
order of their names. Each is handed the XML that the one before printed, or the same again if it printed nothing. So an
operator's ``qemu`` is left alone, and the file in ``qemu.d`` has a name that comes late.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path

from cliff.command import Command
from cliff.show import ShowOne

from kongming_sched import exceptions
from kongming_sched.agent.commands.common import Common, read_files
from kongming_sched.agent.ipc import qemu_hook
from kongming_sched.agent.ipc.listener import SOCKET_NAME

DIRECTORY = Path("/etc/libvirt/hooks")
FILE_NAME = "qemu.d/90-kongming"

_MARK = '"""kongming-qemu-hook:'
_PYTHON = Path("/usr/bin/python3")
_RELOAD = "libvirt finds it once it has read its configuration again: systemctl reload libvirtd (or virtqemud)"


class HookFile:
    """The installed hook.

    :ivar path: where it is
    :ivar socket: where the agent listens

    :param directory: libvirt's directory of hooks
    """

    def __init__(self, directory: Path, socket_path: Path) -> None:
        self.path = directory / FILE_NAME
        self.socket = socket_path

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
            draft.write_text(self._text())
            draft.chmod(0o755)
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
        """The source of the hook, with the interpreter and the socket of this host."""
        lines = Path(qemu_hook.__file__).read_text().splitlines(keepends=True)
        lines[0] = f"#!{_PYTHON if _PYTHON.exists() else sys.executable} -IS\n"
        lines[lines.index(f'SOCKET = "{qemu_hook.SOCKET}"\n')] = f"SOCKET = {str(self.socket)!r}\n"
        return "".join(lines)


class _OnHook(Common):
    """Mixed into the commands, in front of cliff's classes."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the place of libvirt's hooks."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--directory",
            metavar="PATH",
            type=Path,
            default=DIRECTORY,
            help="Where libvirt looks for hooks (default: %(default)s)",
        )
        return parser

    def file(self, arguments: argparse.Namespace) -> HookFile:
        """The hook, wherever it is to be."""
        conf = read_files(arguments.config_file)
        return HookFile(arguments.directory, Path(conf.kongming_agent.run_directory) / SOCKET_NAME)


class InstallHook(_OnHook, Command):
    """Install libvirt's hook that gives guests the pins of this host before they arrive.

    An operator's own hook is left as it is and goes on to run. Run this again after an upgrade.

    Example::

      kongming-host hook install
    """

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Install it, and say what is left to do."""
        file = self.file(parsed_args)
        if file.install():
            print(f"installed {file.path}; {_RELOAD}")
        else:
            print(f"{file.path} is installed already")


class RemoveHook(_OnHook, Command):
    """Remove libvirt's hook. Guests that arrive are then pinned after they began to run.

    Example::

      kongming-host hook remove
    """

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Remove it."""
        file = self.file(parsed_args)
        print(f"removed {file.path}" if file.remove() else f"{file.path} is not installed")


class ShowHook(_OnHook, ShowOne):
    """Show whether libvirt's hook is installed, and what it can reach.

    Example::

      kongming-host hook show
    """

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Look at the files."""
        file = self.file(parsed_args)
        agent = "listens" if file.is_answered() else "does not listen"
        columns = ("path", "state", "other_hooks", "socket", "agent")
        return columns, (str(file.path), file.state(), "\n".join(file.others()) or "-", str(file.socket), agent)
