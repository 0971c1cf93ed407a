# SPDX-License-Identifier: Apache-2.0
"""Clauses: what a template can say. Each is declared once, beside the field that holds its value.

A clause stands in the metadata of a field of PinningTemplate, TemplateCell, Qos or VcpuQos. Files are read and written
here. The traits (placement/codec.py), the columns of the commands (cli/columns.py), the JSON schemas, the documents'
tables and what the property tests draw are made from the same declarations, or compared with them. See
doc/source/contributor/add-a-template-clause.rst.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kongming_sched import exceptions

T = TypeVar("T")
Schema = dict[str, Any]

REQUIRED = object()
"""Stands for the default of a clause that has none: every file must have it."""


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a template that is read.

    :ivar template: the template's name, or None if it has no valid one
    :ivar path: as in ``cells[0].pins[1]``; empty for the template as a whole
    """

    template: str | None
    path: str = ""

    def key(self, key: object) -> Where:
        """The value of a key of this mapping."""
        return Where(self.template, f"{self.path}.{key}" if self.path else str(key))

    def item(self, item: object) -> Where:
        """An item of this list, or the value of a vCPU."""
        return Where(self.template, f"{self.path}[{item}]")

    def error(self, reason: str) -> exceptions.InvalidTemplate:
        """The error that something is wrong here."""
        return exceptions.InvalidTemplate(self.template, self.path, reason)


class Kind(ABC, Generic[T]):
    """What the value of a clause is, and how a template's file has it."""

    __slots__ = ()

    @abstractmethod
    def read(self, value: object, where: Where, before: Mapping[str, Any], /) -> T:
        """Check and read a value of a file.

        :param value: what YAML or JSON give
        :param where: its place, for the error
        :param before: the values of the clauses that are declared before it in the same class, by attribute
        :raises InvalidTemplate: if it is not of this kind
        """

    def write(self, value: T, _owner: Any, /) -> object:
        """The value as a file has it: texts, numbers, lists and mappings.

        :param _owner: the object whose value it is
        """
        return value

    @abstractmethod
    def schema(self) -> Schema:
        """What a file may have, as JSON schema."""

    def printed_schema(self) -> Schema:
        """What the commands print of it, as JSON schema: wider, so that a new word is no new version of the schema."""
        return {"type": self.schema()["type"]}

    @property
    @abstractmethod
    def notation(self) -> str:
        """How a file may have it, for the documents: reStructuredText without a word that wants to be translated."""


@dataclass(frozen=True, slots=True)
class Only:
    """The cells that have a clause, if not all do.

    :ivar attribute: the field that decides, which is declared before
    :ivar value: what it must be
    :ivar noun: what the other cells do not have, for the error
    :ivar required: True if the cells that have the clause must say it
    """

    attribute: str
    value: object
    noun: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause; make it with :func:`clause`.

    :ivar kind: what its value is
    :ivar meaning: one sentence for the documents and the JSON schema
    :ivar attribute: the field that holds the value
    :ivar default: the value of a template that does not say it, or REQUIRED if every template must
    :ivar name: the key in a file
    :ivar word: the word of its traits
    :ivar only: which cells have it; None for all
    :ivar blank: True if a key without a value stands for the default
    :ivar spelled_out: True if the default is written too, as the clauses of release 0.x are
    """

    kind: Kind[Any]
    meaning: str
    attribute: str = ""
    default: object = REQUIRED
    name: str = ""
    word: str = ""
    only: Only | None = None
    blank: bool = False
    spelled_out: bool = False

    @property
    def is_required(self) -> bool:
        """Whether every file must have it."""
        return self.default is REQUIRED

    def applies_to(self, owner: object) -> bool:
        """Whether this object is one that has the clause."""
        return self.only is None or getattr(owner, self.only.attribute) == self.only.value

    def is_given(self, data: Mapping[str, object], where: Where, before: Mapping[str, Any]) -> bool:
        """Whether there is a value to read.

        :param data: the mapping in which the clause may be
        :param where: the place of its value
        :param before: as in :meth:`Kind.read`
        :raises InvalidTemplate: if it is missing, or must not be there
        """
        if self.only and before[self.only.attribute] != self.only.value:
            if self.name in data:
                other = before[self.only.attribute]
                raise where.error(f"only {self.only.value} cells have {self.only.noun}, this one is {other}")
            return False
        if data.get(self.name) is not None:
            return True
        if self.is_required or (self.only and self.only.required):
            raise where.error("is missing")
        return self.name in data and not self.blank


_KEY = "kongming clause"


def clause(
    kind: Kind[Any],
    meaning: str,
    *,
    name: str = "",
    word: str = "",
    only: Only | None = None,
    blank: bool = False,
    spelled_out: bool = False,
) -> dict[str, Clause]:
    """The metadata of a dataclass field that is a clause; the parameters are those of :class:`Clause`.

    :param name: the attribute's if it is empty
    :param word: the name in capitals if it is empty
    """
    return {_KEY: Clause(kind, meaning, name=name, word=word, only=only, blank=blank, spelled_out=spelled_out)}


_found: dict[type, tuple[Clause, ...]] = {}


def clauses_of(part: type) -> tuple[Clause, ...]:
    """The clauses of a class in the order of its fields.

    :raises TypeError: naming the field that has none, which nothing could read or store
    """
    if part not in _found:  # asked for with every template that is read
        _found[part] = tuple(_clauses_of(part))
    return _found[part]


def _clauses_of(part: type) -> Iterator[Clause]:
    for field in dataclasses.fields(part):
        declared = field.metadata.get(_KEY)
        if not isinstance(declared, Clause):
            raise TypeError(f"{part.__name__}.{field.name} has no clause: give the field metadata=clause(...)")
        default = REQUIRED if field.default is dataclasses.MISSING else field.default
        name = declared.name or field.name
        word = declared.word or name.upper()
        yield dataclasses.replace(declared, attribute=field.name, default=default, name=name, word=word)


def read(part: type[T], data: object, where: Where) -> T:
    """Check and read an object of a class from what a file has for it.

    :raises InvalidTemplate: with the path of the first value that is wrong
    """
    clauses = clauses_of(part)
    names = {item.name for item in clauses}
    if not isinstance(data, Mapping):
        raise where.error(f"must be a mapping with the keys {', '.join(sorted(names))}")
    for key in data:
        if key not in names:
            raise where.key(key).error(f"unknown key; known are {', '.join(sorted(names))}")
    values: dict[str, Any] = {}
    for item in clauses:
        at = where.key(item.name)
        if item.is_given(data, at, values):
            values[item.attribute] = item.kind.read(data[item.name], at, values)
    make: Callable[..., T] = part
    return make(**values)


def written(owner: Any) -> Iterator[tuple[Clause, Any]]:
    """The clauses that a file and the traits have of an object, with their values.

    These are the ones that are not as by default, and those that are always spelled out.
    """
    for item in clauses_of(type(owner)):
        value = getattr(owner, item.attribute)
        if item.applies_to(owner) and (item.spelled_out or value != item.default):
            yield item, value


def write(owner: Any) -> dict[str, object]:
    """An object as a file has it, which :func:`read` reads back."""
    return {item.name: item.kind.write(value, owner) for item, value in written(owner)}
