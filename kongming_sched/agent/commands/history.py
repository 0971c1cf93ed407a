# SPDX-License-Identifier: Apache-2.0
"""kongming-host history: what the agent has changed on this host, and why."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cliff.lister import Lister

from kongming_sched import exceptions
from kongming_sched.agent.commands.common import Common
from kongming_sched.agent.settings import read_files
from kongming_sched.agent.telemetry import change_log
from kongming_sched.compat import parse_time
from kongming_sched.pages.table import printable_row

_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days"}
_AGO = re.compile(rf"([0-9]{{1,6}}) ?({'|'.join(_UNITS)})")


def _since(text: str) -> datetime:
    """A time, or how long ago one was.

    :raises ArgumentTypeError: if it is neither
    """
    if ago := _AGO.fullmatch(text):
        return datetime.now(timezone.utc) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        return parse_time(text).astimezone()  # one without a zone is of this machine's
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; write one as 2026-11-29T08:00, or how long ago it was as 90min, 12h or 7d"
        ) from error


class History(Common, Lister):
    """Show what the agent has changed on this host, and why, the oldest change first.

    These are the CPUs of threads, the nodes of memory, shares and quotas, and claims that the agent has moved. The file
    is [kongming_agent] history_file, one JSON object a line.

    Example::

      kongming-host history web-1 --since 12h
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take a server and a time."""
        parser = super().get_parser(prog_name)
        parser.add_argument("server", nargs="?", default="", metavar="SERVER", help="Only changes of this id or name")
        parser.add_argument(
            "--since",
            type=_since,
            metavar="TIME",
            help="Only changes since then: 2026-11-29T08:00, in this machine's zone if it has none, or 90min, 12h, 7d",
        )
        parser.add_argument("--long", action="store_true", help="Show the ids of the servers as well")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[list[object]]]:
        """Read the file and those before it."""
        file = read_files(parsed_args.config_file).kongming_agent.history_file
        if not file:
            raise exceptions.ConfigurationError("[kongming_agent] history_file", "is empty, so that no history is kept")
        changes = change_log.read(Path(file), parsed_args.since, parsed_args.server)
        columns: tuple[str, ...] = ("Time", "Server", "Server ID", "Change", "From", "To", "Reason")
        rows: Iterable[tuple[object, ...]] = (
            (
                change.time.isoformat(timespec="seconds"),
                change.server.name,
                change.server.id,
                change.what,
                change.before,
                change.after,
                change.why,
            )
            for change in changes
        )
        if not parsed_args.long:
            columns, rows = columns[:2] + columns[3:], (row[:2] + row[3:] for row in rows)
        return columns, [printable_row(row, parsed_args.formatter) for row in rows]
