# SPDX-License-Identifier: Apache-2.0
"""The forms of days of the week and of times of day."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kongming_sched.clauses.clause import Clause
from kongming_sched.clauses.hours import DAYS, describe_time
from kongming_sched.placement.forms.form import Found, OneTraitForm

_LETTERS = 3
"""Of each day."""


class DaysForm(OneTraitForm):
    """Days of the week, as in DAYS_MON_TUE."""

    def write(self, _clause: Clause, value: Any, _owner: Any) -> Iterator[str]:
        """One trait."""
        yield "_".join(DAYS[day][:_LETTERS].upper() for day in value)

    def value(self, _clause: Clause, found: Found) -> object:
        """The days with commas between them."""
        return found.text.lower().replace("_", ",")


class TimeForm(OneTraitForm):
    """A time of day, as in FROM_2200."""

    def write(self, _clause: Clause, value: Any, _owner: Any) -> Iterator[str]:
        """One trait."""
        yield describe_time(value).replace(":", "")

    def value(self, _clause: Clause, found: Found) -> object:
        """Hours and minutes with a colon between them."""
        if not re.fullmatch("[0-9]{4}", found.text):
            raise found.unknown()
        return f"{found.text[:2]}:{found.text[2:]}"
