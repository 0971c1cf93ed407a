# SPDX-License-Identifier: Apache-2.0
"""The forms of words and numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kongming_sched.clauses.clause import Clause
from kongming_sched.clauses.kinds import Choice
from kongming_sched.placement.forms.form import Found, OneTraitForm
from kongming_sched.texts.whole_number import find_whole_number

_NUMBERS = range(10**18)
"""More than any number of a template, so that one above its limits is refused with these."""


class WordForm(OneTraitForm):
    """A word in capitals, as in THREADS_ISOLATE."""

    def write(self, _clause: Clause, value: Any, _owner: Any) -> Iterator[str]:
        """One trait."""
        yield str(value).upper()

    def value(self, clause: Clause, found: Found) -> object:
        """The word as the enumeration spells it, or in small letters if it has no such word."""
        assert isinstance(clause.kind, Choice)  # noqa: S101  # FORMS says so
        spelled = {str(word).upper(): str(word) for word in clause.kind.words}
        return spelled.get(found.text, found.text.lower())


class NumberForm(OneTraitForm):
    """A number, as in NODE_1."""

    def write(self, _clause: Clause, value: Any, _owner: Any) -> Iterator[str]:
        """One trait."""
        yield str(value)

    def value(self, _clause: Clause, found: Found) -> object:
        """The number."""
        number = find_whole_number(found.text, _NUMBERS)
        if number is None:
            raise found.unknown()
        return number
