# SPDX-License-Identifier: Apache-2.0
"""What a template says at a moment, and when that changes next.

All moments have a time zone. What holds is a function of the template and the moment, whatever held before: an agent
that was down, or whose clock has jumped, finds the same as one that has seen every change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

from kongming_sched.template import EmulatorPolicy, Period, PinningTemplate

_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
_SECOND = timedelta(seconds=1)
_HORIZON = 15 * _DAY
"""Longer than two weeks: a clock that is put forward can leave out a period of a week, but not that of the next one."""


@dataclass(frozen=True, slots=True)
class Change:
    """A moment at which another period begins to hold.

    :ivar at: the moment, in UTC
    :ivar period: what holds from then on; None if that is what the template says outside of its hours
    """

    at: datetime
    period: Period | None


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time in which a template says the same.

    :ivar period: the one of its hours that holds; None if none does
    """

    start: datetime
    end: datetime
    period: Period | None


def period_at(template: PinningTemplate, moment: datetime) -> Period | None:
    """The period of a template that holds at a moment; None if none does. No two of them hold at the same time."""
    if not template.hours:
        return None
    wall = wall_time(template, moment)
    return next((period for period in template.hours if period.holds(wall)), None)


def in_force(template: PinningTemplate, moment: datetime) -> PinningTemplate:
    """What a template says at a moment, all of its hours included."""
    period = period_at(template, moment)
    return template if period is None else during(template, period)


def during(template: PinningTemplate, period: Period) -> PinningTemplate:
    """What a template says in one of its periods."""
    return replace(
        template,
        qos=template.qos if period.qos is None else period.qos,
        emulator=template.emulator if period.emulator is None else EmulatorPolicy(period.emulator),
    )


def changes(template: PinningTemplate, since: datetime, until: datetime) -> Iterator[Change]:
    """The changes of a template after one moment, up to another and at that, in their order."""
    if not template.hours:
        return
    holds, day = period_at(template, since), since.astimezone(timezone.utc)
    while day < until:
        for moment in _candidates(template, day, min(day + _DAY, until)):
            period = period_at(template, moment)
            if period is not holds:
                holds = period
                yield Change(moment, period)
        day += _DAY


def stretches(template: PinningTemplate, since: datetime, until: datetime) -> list[Stretch]:
    """The time from one moment to another, cut where a template begins to say something else."""
    begins = [Change(since, period_at(template, since)), *changes(template, since, until)]
    ends = [*(change.at for change in begins[1:]), until]
    found = (Stretch(change.at, end, change.period) for change, end in zip(begins, ends, strict=True))
    return [stretch for stretch in found if stretch.start < stretch.end]


def next_change(template: PinningTemplate, moment: datetime) -> Change | None:
    """The first change of a template after a moment; None if it has no hours, or one of them holds for ever."""
    return next(changes(template, moment, moment + _HORIZON), None)


def wall_time(template: PinningTemplate, moment: datetime) -> datetime:
    """A moment as clocks show it in the time zone of a template's hours, of which there are some."""
    return moment.astimezone(_zone(template))


def _zone(template: PinningTemplate) -> ZoneInfo:
    """That of all periods."""
    return ZoneInfo(template.hours[0].zone)


def _candidates(template: PinningTemplate, since: datetime, until: datetime) -> list[datetime]:
    """The moments after one and up to another at which something can change: no other one can."""
    zone = _zone(template)
    found = {*_ends(template, since, until, zone), *_shifts(since, until, zone)}
    return sorted(moment for moment in found if since < moment <= until)


def _ends(template: PinningTemplate, since: datetime, until: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """When clocks show the begin or the end of a period: twice, where they show an hour for a second time."""
    from dateutil import rrule  # not above: few templates have hours, and no other command loads it

    first = datetime.combine(since.astimezone(zone).date() - _DAY, time())
    last = datetime.combine(until.astimezone(zone).date() + _DAY, time())
    minutes = {minute for period in template.hours for minute in (period.start, period.end)}
    for minute in minutes:
        hour, rest = divmod(minute % (24 * 60), 60)
        for wall in rrule.rrule(rrule.DAILY, dtstart=first, until=last, byhour=hour, byminute=rest, bysecond=0):
            for fold in (0, 1):
                yield wall.replace(tzinfo=zone, fold=fold).astimezone(timezone.utc)


def _shifts(since: datetime, until: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """When clocks are put forward or back, to the second."""
    start = since.replace(microsecond=0)
    while start < until:
        before, after = start, start + _HOUR
        if _offset(before, zone) != _offset(after, zone):
            while after - before > _SECOND:
                middle = before + (after - before) // 2 // _SECOND * _SECOND
                before, after = (before, middle) if _offset(middle, zone) != _offset(before, zone) else (middle, after)
            yield after
        start += _HOUR


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta | None:
    return moment.astimezone(zone).utcoffset()
