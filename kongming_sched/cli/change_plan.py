# SPDX-License-Identifier: Apache-2.0
"""What a command is about to do: carried out, or with ``--dry-run`` reported line by line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from kongming_sched.compat import StrEnum

COLUMNS = ("effect", "subject", "host", "detail")


class Effect(StrEnum):
    """The kinds of lines of a report."""

    CHANGE = "change"
    """Is written, to Placement or to Nova."""
    MOVE = "move"
    """Threads or memory of a running server get other CPUs or another node."""
    LIMIT = "limit"
    """A running server gets another share of its CPUs."""
    CONFLICT = "conflict"
    """Stands against it: the command refuses, or a host cannot honour it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a report.

    :ivar subject: what it is about, as in ``template gold``
    :ivar host: where it happens; None if that is not on a host
    """

    effect: Effect
    subject: str
    detail: str
    host: str | None = None

    @property
    def row(self) -> tuple[str, str, str | None, str]:
        """By :data:`COLUMNS`."""
        return str(self.effect), self.subject, self.host, self.detail


def _nothing() -> Iterable[Entry]:
    return ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What a command is about to do.

    :ivar subject: what it is about, and ``host`` where that is, if it is on one
    :ivar changes: what is written; if it is empty, nothing is checked or done
    :ivar refusals: errors that forbid it, computed one after the other
    :ivar effects: gives what else happens; called in a dry run only, and only without refusals
    :ivar carry_out: writes
    """

    subject: str
    changes: Sequence[Entry]
    carry_out: Callable[[], object]
    refusals: Iterable[Exception] = ()
    effects: Callable[[], Iterable[Entry]] = _nothing
    host: str | None = None

    def run(self) -> None:
        """Do it.

        :raises Exception: the first refusal, before anything is written
        """
        if not self.changes:
            return
        for refusal in self.refusals:
            raise refusal
        self.carry_out()

    def report(self) -> Iterator[Entry]:
        """All of it, line by line; nothing is written."""
        if not self.changes:
            return
        yield from self.changes
        refused = [Entry(Effect.CONFLICT, self.subject, str(refusal), self.host) for refusal in self.refusals]
        yield from refused or self.effects()


def changed(before: object, after: object) -> str:
    """As in ``5-6 -> 7-8``; a dash stands for nothing."""
    return f"{_word(before)} -> {_word(after)}"


def _word(value: object) -> str:
    return "-" if value is None or value == "" else str(value)
