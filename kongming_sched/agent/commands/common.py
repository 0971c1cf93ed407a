# SPDX-License-Identifier: Apache-2.0
"""What the commands of kongming-host have in common: the agent's configuration files, and help with examples."""

from __future__ import annotations

import argparse

from kongming_sched.help_text import keep_paragraphs
from kongming_sched.texts.printable import clean_lines


def say(text: str) -> None:
    """Print lines, clean, at once."""
    print(clean_lines(text), flush=True)


class Common:
    """Mixed into cliff's command classes, in front of them."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the agent's configuration files."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)  # type: ignore[misc]  # of what it is mixed into
        keep_paragraphs(parser)
        parser.add_argument(
            "--config-file",
            metavar="PATH",
            action="append",
            help="Configuration file of the agent (may be given several times; by default those that the agent finds)",
        )
        return parser
