# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming timetable``, and what ``template show`` says of hours."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from kongming_sched import compat
from kongming_sched.cli import columns
from kongming_sched.cli.command import Lister
from kongming_sched.hours.calendar import during, next_change, period_at, stretches, wall_time
from kongming_sched.template import Period, PinningTemplate
from kongming_sched.texts.printable import clean_lines

_DAY = timedelta(days=1)


class ShowTimetable(Lister):
    """Show what templates say hour by hour, for a day: a line for each stretch of time in which nothing changes.

    Only templates with hours are listed. Times are those of the template's time zone, with its distance from UTC. What
    a line has for qos and emulator is all that holds then, be it the template's own or that of one of its hours.

    Example::

        openstack kongming timetable
        openstack kongming timetable --template gold --since 2026-12-24T00:00 -f json
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take a template and a time."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--template", metavar="<name>", help="Only this template (default: all that have hours)")
        parser.add_argument(
            "--since",
            metavar="<time>",
            type=_moment,
            help="The day from then on, as in 2026-11-29T08:00, in this machine's zone if it has none (default: now)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Read the templates; what cannot be read is warned of."""
        if parsed_args.template:
            templates = [self.templates.get(parsed_args.template).template]
        else:
            found = self.templates.list()
            for error in found.broken:
                self.log.warning("%s", clean_lines(str(error)))
            templates = [stored.template for stored in found.templates.values()]
        since = parsed_args.since or now()
        rows = [row for template in templates if template.hours for row in _rows(template, since)]
        return ("template", "from", "to", "hours", "qos", "emulator"), rows


def now() -> datetime:
    """The time of this machine's clock."""
    return datetime.now(timezone.utc)


def _moment(text: str) -> datetime:
    """A moment with a time zone.

    :raises ArgumentTypeError: if the text is none, for the parser, which names the option
    """
    try:
        moment = compat.parse_time(text).astimezone()
        _ = moment - _DAY, moment + 3 * _DAY  # the calendar ends somewhere
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write one as 2026-11-29T08:00") from error
    return moment


def _rows(template: PinningTemplate, since: datetime) -> Iterator[list[Any]]:
    """The stretches of the day after a moment."""
    for stretch in stretches(template, since, since + _DAY):
        said = during(template, stretch.period) if stretch.period else template
        times = [_time(template, stretch.start), _time(template, stretch.end)]
        hours = str(stretch.period.span) if stretch.period else None
        yield [template.name, *times, hours, columns.Fields(said.qos.to_mapping()), str(said.emulator)]


def _time(template: PinningTemplate, moment: datetime) -> str:
    """As in 2026-11-29T22:00+01:00."""
    return wall_time(template, moment).isoformat(timespec="minutes")


def fields_of_hours(template: PinningTemplate, moment: datetime) -> dict[str, Any]:
    """What of a template's hours holds at a moment, and what comes next; null each if that is nothing."""
    period, change = period_at(template, moment), next_change(template, moment)
    return {
        "hours_now": None if period is None else _Said(_said(period), _words(period)),
        "hours_next": None
        if change is None
        else _Said(
            {"at": _time(template, change.at), **_said(change.period)},
            f"{_time(template, change.at)}: {_words(change.period)}",
        ),
    }


class _Said(columns.Fields):
    """An object with words of its own.

    :param words: for people
    """

    def __init__(self, value: Mapping[str, Any], words: str) -> None:
        super().__init__(value)
        self._words = words

    def human_readable(self) -> str:
        """The words."""
        return self._words


def _said(period: Period | None) -> dict[str, Any]:
    return {"period": None if period is None else str(period), "other": columns.other_of(period)}


def _words(period: Period | None) -> str:
    return "as usual" if period is None else f"{columns.what_is_other(period)} ({period})"
