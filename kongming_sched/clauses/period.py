# SPDX-License-Identifier: Apache-2.0
"""A period of a template's hours, in which something of it is other than usual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from kongming_sched.clauses.clause import Where, clause
from kongming_sched.clauses.hours import (
    DAY_MINUTES,
    DAYS,
    EVERY_DAY,
    Days,
    Span,
    TimeOfDay,
    Zone,
    describe_time,
    minute_of_week,
)
from kongming_sched.clauses.kinds import Choice, Part
from kongming_sched.clauses.words import EmulatorPolicy, HourlyEmulator
from kongming_sched.qos import Qos


@dataclass(frozen=True, slots=True)
class Period:
    """When something of a template is other than usual, and what."""

    zone: str = field(
        metadata=clause(
            Zone(), "The time zone whose clocks count, by its IANA name; one for all periods of a template."
        )
    )
    days: tuple[int, ...] = field(
        default=EVERY_DAY,
        metadata=clause(Days(), "The days of the week on which it begins; every day if it is left out."),
    )
    start: int = field(
        default=0,
        metadata=clause(TimeOfDay(is_end=False), "When it begins; at 00:00 if it is left out.", name="from"),
    )
    end: int = field(
        default=DAY_MINUTES,
        metadata=clause(
            TimeOfDay(is_end=True),
            "When it ends, on the next day if that is before its begin; at 24:00 if it is left out.",
            name="to",
        ),
    )
    qos: Qos | None = field(
        default=None,
        metadata=clause(Part(Qos), "CPU time then, in the place of all of the template's ``qos``.", blank=True),
    )
    emulator: HourlyEmulator | None = field(
        default=None,
        metadata=clause(
            Choice(HourlyEmulator),
            "Where QEMU's own threads run then. It cannot be ``own``, and not be there if the template's is.",
            blank=True,
        ),
    )

    @property
    def span(self) -> Span:
        """The part of each week, by the clocks of the time zone."""
        return Span(self.days, self.start, self.end)

    def holds(self, wall: datetime) -> bool:
        """Whether it holds while the clocks of its time zone show this."""
        return self.span.holds(minute_of_week(wall))

    def __str__(self) -> str:
        return f"{self.span} {self.zone}"


def check_periods(periods: Sequence[Period], emulator: EmulatorPolicy, where: Where) -> None:
    """The rules of and between the periods of a template.

    :param emulator: where QEMU's own threads run at other times
    :param where: the place of the periods
    :raises InvalidTemplate: for the first that is wrong
    """
    for index, period in enumerate(periods):
        at = where.item(index)
        if period.start == period.end:
            time = describe_time(period.start)
            raise at.key("to").error(f"the period begins and ends at {time}, which is no time; a whole day has neither")
        if period.qos is None and period.emulator is None:
            raise at.error("says nothing that is other then; write qos or emulator")
        if period.emulator is not None and emulator is EmulatorPolicy.OWN:
            reason = "the template's is own, for which its servers have claimed a CPU at all hours"
            raise at.key("emulator").error(f"cannot be {period.emulator}: {reason}")
        for other, before in enumerate(periods[:index]):
            if period.zone != before.zone:
                reason = f"is {period.zone} and that of hours[{other}] is {before.zone}; a template keeps to one"
                raise at.key("zone").error(reason)
            if (common := period.span.common_minute(before.span)) is not None:
                day, minutes = divmod(common, DAY_MINUTES)
                both = f"{DAYS[day]} {describe_time(minutes)}"
                raise at.error(f"{period.span} overlaps hours[{other}], {before.span}: both hold on {both}")
