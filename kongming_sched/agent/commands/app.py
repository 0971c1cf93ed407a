# SPDX-License-Identifier: Apache-2.0
"""kongming-host: shows this host as the agent sees it. Its commands are the entry points kongming_sched.host."""

from __future__ import annotations

import sys

from cliff.app import App
from cliff.commandmanager import CommandManager

from kongming_sched import version
from kongming_sched.texts.records import clean_log


class HostApp(App):
    """The command kongming-host."""

    def __init__(self) -> None:
        super().__init__(
            description="What the KongMing agent sees on this host.",
            version=version.installed(),
            command_manager=CommandManager("kongming_sched.host"),
            deferred_help=True,
        )

    def configure_logging(self) -> None:
        """Log as cliff does, errors among it, in clean lines."""
        super().configure_logging()
        clean_log()


def main(args: list[str] | None = None) -> int:
    """Run a command; 0 if it succeeded, 1 if it failed, 2 for wrong usage."""
    return int(HostApp().run(sys.argv[1:] if args is None else args))
