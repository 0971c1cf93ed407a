# SPDX-License-Identifier: Apache-2.0
"""What a check of the host found, for people and for systemd's journal. Pure."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kongming_sched.compat import StrEnum
from kongming_sched.texts.printable import one_line


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """The agent works, and something is not as it should be."""
    ERROR = "error"
    """The agent does not start, or can do nothing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked.

    :ivar fact: what is there, in plain words
    :ivar remedy: what to do; empty if nothing is to be done, or the fact says it
    """

    level: Level
    subject: str
    fact: str
    remedy: str = ""


_COLOURS = {Level.OK: "\33[32m", Level.WARN: "\33[33m", Level.ERROR: "\33[31m"}
_PLAIN = "\33[0m"

_PRIORITIES = {Level.OK: 6, Level.WARN: 4, Level.ERROR: 3}
"""As syslog counts them: information, warning, error. systemd reads them in front of a line (sd-daemon(3))."""


def is_well(findings: Sequence[Finding]) -> bool:
    """Whether the agent can work: there is no error, however many warnings."""
    return all(finding.level is not Level.ERROR for finding in findings)


def summary(findings: Sequence[Finding]) -> str:
    """As in ``9 ok, 1 warning, 2 errors``."""
    count = Counter(finding.level for finding in findings)
    warnings, errors = count[Level.WARN], count[Level.ERROR]
    return f"{count[Level.OK]} ok, {warnings} warning{'s' * (warnings != 1)}, {errors} error{'s' * (errors != 1)}"


def for_people(findings: Sequence[Finding], width: int | None, *, colour: bool = False) -> str:
    """A paragraph for each finding, with its remedy below it.

    :param width: of the terminal; None for lines as long as they are
    """
    column = max((len(finding.subject) for finding in findings), default=0)
    lines = [line for finding in findings for line in _paragraph(finding, column, width, colour)]
    verdict = "The agent can work here." if is_well(findings) else "The agent cannot work here as it is."
    return "\n".join([*lines, "", f"{summary(findings)}. {verdict}", ""])


def for_systemd(findings: Sequence[Finding]) -> str:
    """A line for whatever is not well, and one for the whole, each with its priority in front."""
    lines: list[tuple[Level, str]] = [
        (finding.level, one_line(f"{finding.subject}: {finding.fact}{'; ' * bool(finding.remedy)}{finding.remedy}"))
        for finding in findings
        if finding.level is not Level.OK
    ]
    worst = max((level for level, _ in lines), key=list(Level).index, default=Level.OK)
    lines.append((worst, f"check of this host: {summary(findings)}"))
    return "".join(f"<{_PRIORITIES[level]}>{text}\n" for level, text in lines)


def _paragraph(finding: Finding, column: int, width: int | None, colour: bool) -> Iterator[str]:
    level = f"{finding.level:<5}"
    if colour:
        level = f"{_COLOURS[finding.level]}{level}{_PLAIN}"
    indent = " " * (column + 9)
    first, *rest = _wrap(finding.fact, width, len(indent))
    yield f"{level}  {finding.subject:<{column}}  {first}"
    yield from (indent + line for line in rest)
    if finding.remedy:
        first, *rest = _wrap(finding.remedy, width, len(indent) + 3)
        yield f"{indent}-> {first}"
        yield from (f"{indent}   {line}" for line in rest)


def _wrap(text: str, width: int | None, indent: int) -> list[str]:
    """The lines of a text behind an indent; words are not broken, for they may be paths and commands."""
    text = one_line(text)
    if width is None:
        return [text]
    room = max(width - indent, 40)
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
