# SPDX-License-Identifier: Apache-2.0
"""The periods of a template's hours: on which days and from when to when, by a clock on the wall of which time zone.

What a clock on the wall shows alone decides whether a period holds. So it needs no rule for the days on which clocks
are changed: what lies in an hour that is left out does not come, and an hour that comes twice counts twice.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kongming_sched.clauses.clause import Kind, Schema, Where
from kongming_sched.texts.printable import quote

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
"""In the order of ``datetime.weekday()``."""
EVERY_DAY = tuple(range(len(DAYS)))
DAY_MINUTES = 24 * 60
WEEK_MINUTES = len(DAYS) * DAY_MINUTES

_DAY = "|".join(f"{day[:3]}(?:{day[3:]})?" for day in DAYS)
_RANGE = rf"(?:{_DAY})(?:-(?:{_DAY}))?"
_ZONE = r"[A-Z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*"


@dataclass(frozen=True, slots=True)
class Days(Kind[tuple[int, ...]]):
    """Days of the week, as numbers from 0 for Monday on, in their order."""

    _PATTERN = rf"^{_RANGE}(?:, *{_RANGE})*(?![\s\S])"

    def read(self, value: object, where: Where, _before: Mapping[str, Any]) -> tuple[int, ...]:
        """Take days and ranges of days, in full or by three letters; a range may go on over the end of the week."""
        if not isinstance(value, str) or not re.match(self._PATTERN, value):
            raise where.error(f"{quote(value)} is not a text of days as in monday-friday or sat,sun")
        found: set[int] = set()
        for part in value.split(","):
            first, _, last = part.strip().partition("-")
            start, end = _day(first), _day(last or first)
            found.update(day % len(DAYS) for day in range(start, end + (end < start) * len(DAYS) + 1))
        return tuple(sorted(found))

    def write(self, value: tuple[int, ...], _owner: Any) -> object:
        """Ranges of at least three days, and the others one by one."""
        return describe_days(value)

    def schema(self) -> Schema:
        """A text of this pattern."""
        return {"type": "string", "pattern": self._PATTERN}

    @property
    def notation(self) -> str:
        """Examples."""
        return "``monday-friday``, ``sat,sun``"


@dataclass(frozen=True, slots=True)
class TimeOfDay(Kind[int]):
    """A time that a clock shows, in minutes after midnight.

    :ivar is_end: whether it ends something, and so may be 24:00
    """

    is_end: bool

    def read(self, value: object, where: Where, _before: Mapping[str, Any]) -> int:
        """Take hours and minutes with a colon between them."""
        if not isinstance(value, str) or not re.match(self._pattern, value):
            last = "24:00" if self.is_end else "23:59"
            raise where.error(f"{quote(value)} is not a time of day from 00:00 to {last}, as in 06:30")
        hours, minutes = value.split(":")
        return int(hours) * 60 + int(minutes)

    def write(self, value: int, _owner: Any) -> object:
        """Four digits with a colon."""
        return describe_time(value)

    def schema(self) -> Schema:
        """A text of this pattern."""
        return {"type": "string", "pattern": self._pattern}

    @property
    def _pattern(self) -> str:
        return rf"^(?:(?:[01]?[0-9]|2[0-3]):[0-5][0-9]{'|24:00' * self.is_end})(?![\s\S])"

    @property
    def notation(self) -> str:
        """The bounds."""
        return '``"00:00".."24:00"``' if self.is_end else '``"00:00".."23:59"``'


@dataclass(frozen=True, slots=True)
class Zone(Kind[str]):
    """The name of a time zone in the IANA database, as the machine has it."""

    def read(self, value: object, where: Where, _before: Mapping[str, Any]) -> str:
        """Take a name for which there are rules."""
        if not isinstance(value, str) or not re.fullmatch(_ZONE, value) or not _is_known(value):
            raise where.error(
                f"this machine knows no time zone {quote(value)}; write an IANA name, as in Europe/Berlin or UTC"
            )
        return value

    def schema(self) -> Schema:
        """A text of this pattern; which names there are changes several times a year."""
        return {"type": "string", "pattern": rf"^{_ZONE}(?![\s\S])"}

    def printed_schema(self) -> Schema:
        """Any text."""
        return {"type": "string"}

    @property
    def notation(self) -> str:
        """An example."""
        return "``Europe/Berlin``"


def _is_known(zone: str) -> bool:
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # a directory, as Europe is one, gives an OSError
        return False
    return True


def _day(word: str) -> int:
    return next(number for number, day in enumerate(DAYS) if day.startswith(word))


def describe_days(days: Sequence[int]) -> str:
    """Days as a template's file has them; three or more in a row, also over the week's end, are a range."""
    wraps = days[0] == EVERY_DAY[0] and days[-1] == EVERY_DAY[-1]
    if wraps and len(days) < len(DAYS):
        start = next(index for index in range(len(days) - 1, 0, -1) if days[index - 1] + 1 != days[index])
        days = [*days[start:], *days[:start]]
    return ",".join(_runs(days))


def _runs(days: Sequence[int]) -> Iterator[str]:
    start = 0
    for index, day in enumerate(days):
        if index + 1 < len(days) and days[index + 1] == (day + 1) % len(DAYS):
            continue
        run, start = days[start : index + 1], index + 1
        if len(run) > 2:
            yield f"{DAYS[run[0]]}-{DAYS[run[-1]]}"
        else:
            yield from (DAYS[one] for one in run)


def describe_time(minutes: int) -> str:
    """Minutes after midnight as a clock shows them."""
    return f"{minutes // 60:02}:{minutes % 60:02}"


def minute_of_week(wall: datetime) -> int:
    """How many minutes the week is old that began on Monday at 00:00, by what clocks show."""
    return wall.weekday() * DAY_MINUTES + wall.hour * 60 + wall.minute


@dataclass(frozen=True, slots=True)
class Span:
    """A part of each week.

    :ivar days: on which it begins
    :ivar start: when, in minutes after midnight
    :ivar end: likewise; on the next day if it is not after ``start``
    """

    days: tuple[int, ...]
    start: int
    end: int

    @property
    def minutes(self) -> int:
        """How long it is each time, if no clock is changed meanwhile."""
        return self.end - self.start + DAY_MINUTES * (self.end <= self.start)

    def holds(self, minute: int) -> bool:
        """Whether a minute of the week, as :func:`minute_of_week` gives it, is in it."""
        return any((minute - begin) % WEEK_MINUTES < self.minutes for begin in self.begins())

    def begins(self) -> list[int]:
        """The minutes of the week at which it begins."""
        return [day * DAY_MINUTES + self.start for day in self.days]

    def common_minute(self, other: Span) -> int | None:
        """The first minute of the week at which one begins and the other holds; None if they have none in common."""
        common = [minute for minute in self.begins() if other.holds(minute)]
        return min(common + [minute for minute in other.begins() if self.holds(minute)], default=None)

    def __str__(self) -> str:
        days = "every day" if self.days == EVERY_DAY else describe_days(self.days)
        return f"{days} {describe_time(self.start)}-{describe_time(self.end)}"
