# SPDX-License-Identifier: Apache-2.0
"""The periods of a template: how they are read and written, and what is refused with which message."""

from __future__ import annotations

from typing import Any

import pytest

from kongming_sched.clauses.hours import DAYS, describe_days
from kongming_sched.exceptions import InvalidTemplate, InvalidTraits
from kongming_sched.placement import codec
from kongming_sched.template import MOST_PERIODS, PinningTemplate

BERLIN = "Europe/Berlin"


def template(*hours: object, **more: object) -> PinningTemplate:
    """A template of two vCPUs with these periods."""
    cells = [{"vcpus": "0-1", "cpus": "dedicated"}]
    return PinningTemplate.from_mapping({"name": "gold", "cells": cells, "hours": list(hours), **more})


def period(**more: object) -> dict[str, Any]:
    """A period in Berlin in which there are no limits."""
    return {"zone": BERLIN, "qos": {}, **more}


@pytest.mark.parametrize(
    ("words", "days"),
    [
        ("monday-friday", "monday-friday"),
        ("mon-fri", "monday-friday"),
        ("sun,sat", "saturday,sunday"),
        ("fri-mon", "friday-monday"),
        ("sun-mon", "sunday,monday"),
        ("mon,wed,sat-sun", "saturday-monday,wednesday"),
        ("wednesday, mon-tue", "monday-wednesday"),
        ("sunday-sunday", "sunday"),
        ("tue,tue-wed", "tuesday,wednesday"),
    ],
)
def test_days(words: str, days: str) -> None:
    """Days and ranges, in full or by three letters, are written in one way."""
    assert days == template(period(days=words)).to_mapping()["hours"][0]["days"]  # type: ignore[index]


def test_every_day_is_the_default() -> None:
    """Days are not written then, and neither are the times of a whole day."""
    expected = [{"zone": BERLIN, "qos": {}}]
    assert expected == template(period(days="mon-sun", **{"from": "0:00"}, to="24:00")).to_mapping()["hours"]
    assert "monday-sunday" == describe_days(range(len(DAYS)))


@pytest.mark.parametrize(
    ("hours", "message"),
    [
        pytest.param(
            [period(**{"from": "25:00"})],
            "at hours[0].from: '25:00' is not a time of day from 00:00 to 23:59, as in 06:30",
            id="hours of 25:00",
        ),
        pytest.param(
            [period(to="24:01")],
            "at hours[0].to: '24:01' is not a time of day from 00:00 to 24:00, as in 06:30",
            id="an end after midnight of the next day",
        ),
        pytest.param(
            [period(to=1320)],
            "at hours[0].to: 1320 is not a time of day from 00:00 to 24:00, as in 06:30",
            id="what other YAML makes of 22:00",
        ),
        pytest.param(
            [period(**{"from": "08:00"}, to="08:00")],
            "at hours[0].to: the period begins and ends at 08:00, which is no time; a whole day has neither",
            id="no time",
        ),
        pytest.param(
            [period(zone="Europe/Berln")],
            "at hours[0].zone: this machine knows no time zone 'Europe/Berln'; write an IANA name, as in Europe/Berlin"
            " or UTC",
            id="a zone that does not exist",
        ),
        pytest.param(
            [period(zone="Europe")],
            "at hours[0].zone: this machine knows no time zone 'Europe'; write an IANA name, as in Europe/Berlin or"
            " UTC",
            id="a part of the world",
        ),
        pytest.param(
            [period(zone="../etc/passwd")],
            "at hours[0].zone: this machine knows no time zone '../etc/passwd'; write an IANA name, as in Europe/Berlin"
            " or UTC",
            id="a file",
        ),
        pytest.param([{"qos": {}}], "at hours[0].zone: is missing", id="no zone"),
        pytest.param(
            [period(days="weekend")],
            "at hours[0].days: 'weekend' is not a text of days as in monday-friday or sat,sun",
            id="unknown days",
        ),
        pytest.param(
            [period(**{"from": "22:00"}, to="06:00"), period(days="sat", **{"from": "05:30"}, to="09:00")],
            "at hours[1]: saturday 05:30-09:00 overlaps hours[0], every day 22:00-06:00: both hold on saturday 05:30",
            id="two that overlap",
        ),
        pytest.param(
            [period(days="mon", to="06:00"), period(days="sun", **{"from": "23:00"}, to="00:01")],
            "at hours[1]: sunday 23:00-00:01 overlaps hours[0], monday 00:00-06:00: both hold on monday 00:00",
            id="two that overlap over the end of the week",
        ),
        pytest.param(
            [period(days="mon"), period(days="tue", zone="UTC")],
            "at hours[1].zone: is UTC and that of hours[0] is Europe/Berlin; a template keeps to one",
            id="two zones",
        ),
        pytest.param(
            [{"zone": BERLIN}], "at hours[0]: says nothing that is other then; write qos or emulator", id="nothing"
        ),
        pytest.param(
            [period(qos={"vcpus": {"1-2": {"quota_us": 5000}}})],
            "at hours[0].qos.vcpus: vCPU 2 is in no cell",
            id="a quota of a vCPU that there is not",
        ),
        pytest.param(
            [period(emulator="own")], "at hours[0].emulator: 'own' is none of shared, cell", id="a claim of CPUs"
        ),
        pytest.param(
            [period(lend="always")],
            "at hours[0].lend: unknown key; known are days, emulator, from, qos, to, zone",
            id="an unknown key",
        ),
        pytest.param([], "at hours: must be a list of at least one period", id="no period"),
        pytest.param(
            [period()] * (MOST_PERIODS + 1), "at hours: has 51 periods, and a template has 50 at most", id="too many"
        ),
    ],
)
def test_what_is_refused(hours: list[object], message: str) -> None:
    """With one message, which says what is wrong and where."""
    with pytest.raises(InvalidTemplate) as error:
        template(*hours)
    assert f"template 'gold' {message}" == str(error.value)


def test_an_own_cpu_of_the_emulator_is_for_all_hours() -> None:
    """It is claimed when a server starts."""
    with pytest.raises(InvalidTemplate, match="cannot be shared: the template's is own, for which its servers have"):
        template({"zone": BERLIN, "emulator": "shared"}, emulator="own")


def test_periods_that_meet_do_not_overlap() -> None:
    """One ends when the other begins."""
    found = template(period(**{"from": "22:00"}, to="06:00"), period(**{"from": "06:00"}, to="22:00"))
    assert ["every day 22:00-06:00 Europe/Berlin", "every day 06:00-22:00 Europe/Berlin"] == [*map(str, found.hours)]


def test_a_blank_list_is_none() -> None:
    """As every other clause that may be left blank."""
    cells = [{"vcpus": "0", "cpus": "dedicated"}]
    assert () == PinningTemplate.from_mapping({"name": "gold", "cells": cells, "hours": None}).hours


@pytest.mark.parametrize(
    ("lost", "more", "message"),
    [
        ("H0_ZONE", (), "clause CUSTOM_KONGMING_H0_ZONE: is missing"),
        ("H0_", (), "clause CUSTOM_KONGMING_H0_ZONE: is missing although a later period is there"),
        ("", ("H1_FROM_2500",), "clause CUSTOM_KONGMING_H1_FROM: '25:00' is not a time of day from 00:00 to 23:59"),
        ("", ("H1_FROM_9",), "clause CUSTOM_KONGMING_H1_FROM_9: is no clause of a template's period"),
        ("H1_DAYS", ("H1_DAYS_MO",), "clause CUSTOM_KONGMING_H1_DAYS: 'mo' is not a text of days"),
        ("H1_DAYS", ("H1_DAYS_SUN_SAT",), "clause CUSTOM_KONGMING_H1_DAYS_SUN_SAT: is not in the one way of writing"),
        ("", ("H0_QOS_NONE", "H0_QOS_SHARES_5"), "clause CUSTOM_KONGMING_H0_QOS_NONE: is no clause of a template"),
    ],
)
def test_wrong_traits_are_named(lost: str, more: tuple[str, ...], message: str) -> None:
    """The clause that is wrong, with what is wrong with it."""
    found = codec.encode(template(period(days="mon"), {"zone": BERLIN, "days": "sat,sun", "emulator": "cell"}))
    kept = {trait for trait in found if not lost or not trait.startswith(f"{codec.PREFIX}{lost}")}
    with pytest.raises(InvalidTraits) as error:
        codec.decode("gold", {*kept, *(f"{codec.PREFIX}{trait}" for trait in more)})
    assert f"template provider of 'gold', {message}" in str(error.value)
