# SPDX-License-Identifier: Apache-2.0
"""What a template says at a moment, by the clocks of its time zone."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.hours.calendar import Change, Stretch, changes, in_force, next_change, period_at, stretches
from kongming_sched.qos import NO_QOS, Qos
from kongming_sched.template import EmulatorPolicy, Period, PinningTemplate
from tests.unit.strategies import periods

BERLIN = ZoneInfo("Europe/Berlin")
SPRING = "2026-03-29"
"""Clocks in Berlin go from 02:00 to 03:00, at 01:00 UTC."""
AUTUMN = "2026-10-25"
"""Clocks in Berlin go from 03:00 back to 02:00, at 01:00 UTC."""


def template(*hours: dict[str, Any]) -> PinningTemplate:
    """A template with these periods in Berlin, whose shares are 1024 outside of them."""
    cells = [{"vcpus": "0-1", "cpus": "dedicated"}]
    periods = [{"zone": "Europe/Berlin", **period} for period in hours] or None
    return PinningTemplate.from_mapping({"name": "gold", "cells": cells, "qos": {"shares": 1024}, "hours": periods})


def at(text: str) -> datetime:
    """A moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def shares(found: PinningTemplate, texts: list[str]) -> list[int | None]:
    """What the template says at moments in UTC."""
    return [in_force(found, at(text)).qos.shares for text in texts]


def list_changes(found: PinningTemplate, day: str) -> list[str]:
    """The moments of a day of UTC at which something changes, and whether a period holds from then on."""
    listed = changes(found, at(day), at(day) + timedelta(days=1))
    return [f"{change.at:%H:%M} {'begins' if change.period else 'ends'}" for change in listed]


NIGHT = template({"from": "22:00", "to": "06:00", "qos": {"shares": 2048}})
WEEKDAYS = template({"days": "monday-friday", "from": "22:00", "to": "06:00", "qos": {"shares": 2048}})
SMALL_HOURS = template({"from": "02:00", "to": "03:00", "qos": {"shares": 2048}})


def test_without_hours_nothing_changes() -> None:
    """The template is what holds, for ever."""
    plain = template()
    assert plain is in_force(plain, at("2026-01-01"))
    assert None is next_change(plain, at("2026-01-01"))


def test_a_period_holds_from_its_begin_to_before_its_end() -> None:
    """To the minute, by the clocks of its time zone, over midnight too."""
    moments = ["2026-01-01 20:59:59", "2026-01-01 21:00", "2026-01-01 23:30", "2026-01-02 04:59:59", "2026-01-02 05:00"]
    assert [1024, 2048, 2048, 2048, 1024] == shares(NIGHT, moments)


def test_days_are_those_on_which_a_period_begins() -> None:
    """That of Friday goes on until Saturday morning, and none begins on Saturday and Sunday evening."""
    moments = ["2026-01-03 04:00", "2026-01-03 22:00", "2026-01-04 22:00", "2026-01-05 04:00", "2026-01-05 22:00"]
    assert [2048, 1024, 1024, 1024, 2048] == shares(WEEKDAYS, moments)


def test_a_period_replaces_the_whole_qos() -> None:
    """What its own leaves out is as Nova set it then, and without one the template's stays."""
    both = template(
        {"days": "monday", "qos": {}, "emulator": "cell"},
        {"days": "tuesday", "emulator": "cell"},
        {"days": "wednesday", "qos": {"quota_us": 5000}},
    )
    found = [in_force(both, at(f"2026-01-0{day} 12:00")) for day in (5, 6, 7, 8)]
    usual = Qos(shares=1024)
    expected = [
        (NO_QOS, EmulatorPolicy.CELL),
        (usual, EmulatorPolicy.CELL),
        (Qos(quota_us=5000), EmulatorPolicy.SHARED),
        (usual, EmulatorPolicy.SHARED),
    ]
    assert expected == [(each.qos, each.emulator) for each in found]
    assert [EmulatorPolicy] * 4 == [type(each.emulator) for each in found]


def test_the_next_change_has_its_moment_and_what_holds_then() -> None:
    """From the begin of a period its end is the next, days later if it is of few days."""
    (night,) = WEEKDAYS.hours
    assert Change(at("2026-01-01 21:00"), night) == next_change(WEEKDAYS, at("2026-01-01 12:00"))
    assert Change(at("2026-01-02 05:00"), None) == next_change(WEEKDAYS, at("2026-01-01 21:00"))
    assert Change(at("2026-01-05 21:00"), night) == next_change(WEEKDAYS, at("2026-01-03 05:00"))


def test_periods_that_meet_change_once() -> None:
    """At the minute at which one ends and the other begins."""
    two = template({"to": "06:00", "qos": {"shares": 2}}, {"from": "06:00", "to": "12:00", "qos": {"shares": 3}})
    assert [2, 3, 1024] == shares(two, ["2026-01-01 04:59", "2026-01-01 05:00", "2026-01-01 11:00"])
    assert ["05:00 begins", "11:00 ends", "23:00 begins"] == list_changes(two, "2026-01-01")


def test_a_period_that_always_holds_never_changes() -> None:
    """Neither at midnight nor when clocks are changed."""
    always = template({"qos": {"shares": 2}})
    assert [2, 2] == shares(always, ["2026-01-01 23:00", "2026-07-01 00:00"])
    assert None is next_change(always, at(SPRING))


@pytest.mark.parametrize(
    ("found", "spring", "autumn"),
    [
        pytest.param(NIGHT, ["04:00 ends", "20:00 begins"], ["05:00 ends", "21:00 begins"], id="over the change"),
        pytest.param(SMALL_HOURS, [], ["00:00 begins", "02:00 ends"], id="the hour itself"),
        pytest.param(
            template({"from": "02:30", "to": "05:00", "qos": {"shares": 2}}),
            ["01:00 begins", "03:00 ends"],
            ["00:30 begins", "01:00 ends", "01:30 begins", "04:00 ends"],
            id="a begin in it",
        ),
        pytest.param(
            template({"from": "01:00", "to": "02:30", "qos": {"shares": 2}}),
            ["00:00 begins", "01:00 ends", "23:00 begins"],
            ["00:30 ends", "01:00 begins", "01:30 ends"],
            id="an end in it",
        ),
    ],
)
def test_days_on_which_clocks_are_changed(found: PinningTemplate, spring: list[str], autumn: list[str]) -> None:
    """What clocks show decides: an hour that is left out does not come, and one that comes twice counts twice.

    The day begins at 00:00 UTC, which is 01:00 in spring and 02:00 in autumn; what began before is not listed.
    """
    since = [at(day) - timedelta(seconds=1) for day in (SPRING, AUTUMN)]
    listed = [changes(found, begin, begin + timedelta(days=1)) for begin in since]
    words = [[f"{each.at:%H:%M} {'begins' if each.period else 'ends'}" for each in day] for day in listed]
    assert [spring, autumn] == words


def test_a_zone_with_odd_clocks() -> None:
    """On Lord Howe Island clocks are changed by half an hour, at 15:30 UTC when summer begins."""
    island = template({"zone": "Australia/Lord_Howe", "from": "02:15", "to": "08:00", "qos": {"shares": 2}})
    moments = ["2026-10-03 15:29:59", "2026-10-03 15:30", "2026-10-03 20:59", "2026-10-03 21:00"]
    assert [1024, 2, 2, 1024] == shares(island, moments)
    change = next_change(island, at("2026-10-03 12:00"))
    assert change is not None
    assert at("2026-10-03 15:30") == change.at


def test_stretches_cover_the_time_without_a_gap() -> None:
    """Each ends where the next one begins, and one that would begin at the end is left out."""
    (night,) = NIGHT.hours
    since, begin, end = at("2026-01-01 12:00"), at("2026-01-01 21:00"), at("2026-01-02 05:00")
    assert [Stretch(since, begin, None), Stretch(begin, end, night)] == stretches(NIGHT, since, end)
    assert [Stretch(begin, end, night)] == stretches(NIGHT, begin, end)


@given(st.data())
def test_the_changes_are_all_there_are(data: st.DataObject) -> None:
    """Minute by minute over two days, in any time zone, the period that holds is that of the last change."""
    zone = data.draw(st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "UTC"]))
    drawn: tuple[Period, ...] = data.draw(periods(1, EmulatorPolicy.SHARED, zone))
    found = replace(template(), hours=drawn)
    day = data.draw(st.sampled_from(["2026-03-28", "2026-10-24", "2026-04-04", "2026-03-07", "2026-06-30"]))
    start = at(day) + timedelta(minutes=data.draw(st.integers(0, 1439)))
    holds = period_at(found, start)
    listed = {change.at: change.period for change in changes(found, start, start + timedelta(days=2))}
    for minute in range(1, 2 * 24 * 60 + 1):
        moment = start + timedelta(minutes=minute)
        holds = listed.pop(moment, holds)
        assert holds is period_at(found, moment)
    assert {} == listed
