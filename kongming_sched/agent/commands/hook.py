# SPDX-License-Identifier: Apache-2.0
"""kongming-host hook: puts the hook where libvirt finds it, beside an operator's own, and takes it away again.

libvirt (6.5 and newer) runs its hook ``qemu`` first and then every executable file of the directory ``qemu.d``, in the
order of their names. Each is handed the XML that the one before printed, or the same again if it printed nothing. So an
operator's ``qemu`` is left alone, and the file in ``qemu.d`` has a name that comes late.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cliff.command import Command
from cliff.show import ShowOne

from kongming_sched.agent.commands.common import Common
from kongming_sched.agent.ipc.hook_file import DIRECTORY, HookFile
from kongming_sched.agent.own_directory import SOCKET_NAME
from kongming_sched.agent.settings import read_files

_RELOAD = "libvirt finds it once it has read its configuration again: systemctl reload libvirtd (or virtqemud)"


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
        options = read_files(arguments.config_file).kongming_agent
        return HookFile(
            arguments.directory,
            Path(options.run_directory) / SOCKET_NAME,
            refuses_starts=options.refuse_starts_without_agent,
        )


class InstallHook(_OnHook, Command):
    """Install libvirt's hook that gives guests the pins of this host before they arrive.

    It also refuses to start servers of templates while no agent works here, unless the option
    refuse_starts_without_agent says otherwise. An operator's own hook is left as it is and goes on to run.

    Run this again after an upgrade, and after a change of that option or of run_directory.

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
