# SPDX-License-Identifier: Apache-2.0
"""What a form is: how values of one kind stand in traits.

A form writes what follows the clause's word and a ``_``, as ISOLATE in C0_THREADS_ISOLATE, and reads it back as a file
would have it. Whether that is a valid value is for the template's own rules to say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kongming_sched import exceptions
from kongming_sched.clauses.clause import Clause


@dataclass(frozen=True, slots=True)
class Found:
    """A trait that has a clause's word.

    :ivar template: the template's name
    :ivar trait: as Placement has it
    :ivar text: what follows the word and a ``_``
    :ivar place: what the clause is of, in words
    """

    template: str
    trait: str
    text: str
    place: str

    def error(self, reason: str) -> exceptions.InvalidTraits:
        """The error that this trait is wrong."""
        return invalid(self.template, self.trait, reason)

    def unknown(self) -> exceptions.InvalidTraits:
        """The error that this trait is none that a template has."""
        return self.error(f"is no clause of {self.place}")


def invalid(template: str, trait: str, reason: str) -> exceptions.InvalidTraits:
    """The error with its remedy: ``trait set`` of osc-placement would replace all the other clauses."""
    remedy = f"write the template anew with 'openstack kongming template set {template} --file FILE'"
    return exceptions.InvalidTraits(template, trait, f"{reason}; {remedy}")


class Form(ABC):
    """How values of one kind stand in traits."""

    @abstractmethod
    def write(self, clause: Clause, value: Any, owner: Any, /) -> Iterator[str]:
        """What follows the clause's word and a ``_``, trait by trait.

        :param owner: the object whose value it is
        """

    @abstractmethod
    def read(self, clause: Clause, found: Sequence[Found], /) -> object:
        """The value as a file has it.

        :param found: all traits that have the clause's word, at least one
        :raises InvalidTraits: naming the trait that is wrong
        """

    def at(self, clause: Clause, _item: str | None, /) -> str:
        """Where an error is: the clause's word, with as much more of its trait as one item of the value says."""
        return clause.word


class OneTraitForm(Form):
    """A value that fits one trait."""

    def read(self, clause: Clause, found: Sequence[Found]) -> object:
        """Take the value, which may be there once."""
        first, *more = found
        value = self.value(clause, first)
        if more:
            raise more[0].error(f"contradicts another clause, which says {value}")
        return value

    @abstractmethod
    def value(self, clause: Clause, found: Found, /) -> object:
        """The value of one trait."""
