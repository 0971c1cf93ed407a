# SPDX-License-Identifier: Apache-2.0
"""The result of a check. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from oslo_upgradecheck.upgradecheck import Code

from kongming_sched.texts.printable import clean_lines
from kongming_sched.texts.sentences import sentence


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem that a check has found.

    :ivar fact: what is wrong
    :ivar remedy: what to do about it
    """

    code: Code
    fact: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """A check's outcome.

    :ivar fine: what the check has found, shown if there is no problem
    """

    fine: str
    problems: tuple[Problem, ...] = ()

    @classmethod
    def of(cls, fine: str, problems: Iterable[Problem]) -> Verdict:
        """A verdict with these problems, the worst first."""
        return cls(fine, tuple(sorted(problems, key=lambda problem: -problem.code)))

    @property
    def code(self) -> Code:
        """The code of the worst problem."""
        return max((problem.code for problem in self.problems), default=Code.SUCCESS)

    @property
    def details(self) -> str:
        """A line for each problem, with what to do about it."""
        lines = [f"{sentence(item.fact)} To do: {sentence(item.remedy)}" for item in self.problems]
        lines = lines or [sentence(self.fine)]
        return "\n".join(map(clean_lines, lines))


def failure(fact: str, remedy: str) -> Problem:
    """A problem by which servers of templates do not get what they were promised."""
    return Problem(Code.FAILURE, fact, remedy)


def warning(fact: str, remedy: str) -> Problem:
    """A problem that needs attention."""
    return Problem(Code.WARNING, fact, remedy)
