# SPDX-License-Identifier: Apache-2.0
"""What ``template show`` says of a template's hours at a moment."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from kongming_sched.cli.template.timetable import fields_of_hours
from kongming_sched.template import PinningTemplate

NIGHT = "every day 22:00-06:00 Europe/Berlin"


def template(*hours: dict[str, Any]) -> PinningTemplate:
    """A template with these periods in Berlin."""
    periods = [{"zone": "Europe/Berlin", **period} for period in hours] or None
    cells = [{"vcpus": "0", "cpus": "dedicated"}]
    return PinningTemplate.from_mapping({"name": "gold", "cells": cells, "hours": periods})


def at(hour: int) -> datetime:
    """An hour of a day in winter, in UTC."""
    return datetime(2026, 1, 1, hour, 30, tzinfo=timezone.utc)


def shown(found: PinningTemplate, moment: datetime) -> dict[str, tuple[str, Any]]:
    """Each field that is not null, as people and as programs read it."""
    fields = fields_of_hours(found, moment)
    return {name: (value.human_readable(), value.machine_readable()) for name, value in fields.items() if value}


def test_the_period_that_holds_and_what_comes_next() -> None:
    """By night the period and its end, by day its begin alone."""
    found = template({"from": "22:00", "to": "06:00", "qos": {"shares": 64}, "emulator": "cell"})
    other = {"qos": {"shares": 64}, "emulator": "cell"}
    words = f"qos shares 64, emulator cell ({NIGHT})"
    assert {
        "hours_next": (
            f"2026-01-01T22:00+01:00: {words}",
            {"at": "2026-01-01T22:00+01:00", "period": NIGHT, "other": other},
        )
    } == shown(found, at(12))
    assert {
        "hours_now": (words, {"period": NIGHT, "other": other}),
        "hours_next": (
            "2026-01-02T06:00+01:00: as usual",
            {"at": "2026-01-02T06:00+01:00", "period": None, "other": {}},
        ),
    } == shown(found, at(23))


def test_nothing_of_a_template_without_hours() -> None:
    """Both fields are null, and what always holds has no next change."""
    assert {"hours_now": None, "hours_next": None} == fields_of_hours(template(), at(12))
    words = "qos none (every day 00:00-24:00 Europe/Berlin)"
    ((name, (human, _)),) = shown(template({"qos": {}}), at(12)).items()
    assert ("hours_now", words) == (name, human)
