# SPDX-License-Identifier: Apache-2.0
"""The hours of templates in the next day, as a part of the page of a cloud: a picture, and what it shows in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from kongming_sched.cli import columns
from kongming_sched.hours.calendar import Stretch, stretches, wall_time
from kongming_sched.pages.document import escape
from kongming_sched.template import PinningTemplate

_DAY = timedelta(days=1)


def day_panel(templates: Iterable[PinningTemplate], at: datetime) -> Iterator[str]:
    """The panel, if there is a template with hours.

    :param at: when the day begins
    """
    rows = [_row(template, at) for template in templates if template.hours]
    if not rows:
        return
    yield '<section class=panel aria-labelledby=day><h2 id=day>The next 24 hours</h2><div class="wide"><table>'
    yield "<thead><tr><th scope=col>template<th scope=col>from now on<th scope=col>what is other then</thead><tbody>"
    yield from rows
    yield "</tbody></table></div></section>"


def _row(template: PinningTemplate, at: datetime) -> str:
    found = [stretch for stretch in stretches(template, at, at + _DAY) if stretch.period]
    bars = "".join(_bar(stretch, at) for stretch in found)
    words = "<br>".join(escape(_words(template, stretch)) for stretch in found) or "nothing"
    return f"<tr><th scope=row>{escape(template.name)}<td><span class=day>{bars}</span><td>{words}"


def _bar(stretch: Stretch, at: datetime) -> str:
    """Where it is in the day, in hundredths."""
    start, part = (100 * time / _DAY for time in (stretch.start - at, stretch.end - stretch.start))
    return f'<span style="left:{start:.2f}%;width:{part:.2f}%"></span>'


def _words(template: PinningTemplate, stretch: Stretch) -> str:
    """As in ``22:00 to 06:00 Europe/Berlin: qos shares 64``."""
    start, end = (wall_time(template, moment) for moment in (stretch.start, stretch.end))
    other = columns.what_is_other(stretch.period) if stretch.period else ""
    return f"{start:%H:%M} to {end:%H:%M} {template.hours[0].zone}: {other}"
