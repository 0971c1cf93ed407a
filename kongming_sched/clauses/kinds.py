# SPDX-License-Identifier: Apache-2.0
"""The kinds of values that clauses have: words, numbers, sets of CPUs, and objects with clauses of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from kongming_sched import exceptions
from kongming_sched.clauses.clause import Clause, Kind, Schema, Where, clauses_of, read, write
from kongming_sched.compat import StrEnum
from kongming_sched.cpuset import MAX_CPU, CpuSet
from kongming_sched.texts.printable import quote
from kongming_sched.texts.whole_number import NODE_IDS, is_whole_number

T = TypeVar("T")
_Word = TypeVar("_Word", bound=StrEnum)

CPU_SET_SCHEMA: Schema = {"$ref": "#/$defs/cpu_set"}
"""A set of CPUs in a JSON schema, which has to define ``cpu_set``."""


def read_cpus(value: object, where: Where) -> CpuSet:
    """A CPU set that is not empty, from a text or a single number.

    :raises InvalidTemplate: if it is none
    """
    if not isinstance(value, str) and not is_whole_number(value, range(1 << 16)):
        raise where.error(f"{quote(value)} is not a CPU set; write it as a string")
    try:
        cpus = CpuSet.parse(str(value))
    except exceptions.InvalidCpuSet as error:
        raise where.error(str(error)) from error
    if not cpus:
        raise where.error(f"{quote(value)} leaves no CPU")
    return cpus


@dataclass(frozen=True, slots=True)
class Choice(Kind[_Word]):
    """One of the words of an enumeration."""

    words: type[_Word]

    def read(self, value: object, where: Where, _before: Mapping[str, Any]) -> _Word:
        """Take a word of the enumeration and nothing else."""
        try:
            return self.words(value)
        except ValueError:
            raise where.error(f"{quote(value)} is none of {', '.join(self.words)}") from None

    def write(self, value: _Word, _owner: Any) -> object:
        """The word as a plain text, for YAML knows no enumeration."""
        return str(value)

    def schema(self) -> Schema:
        """The words."""
        return {"enum": [str(word) for word in self.words]}

    def printed_schema(self) -> Schema:
        """Any word."""
        return {"type": "string"}

    @property
    def notation(self) -> str:
        """The words."""
        return ", ".join(f"``{word}``" for word in self.words)


@dataclass(frozen=True, slots=True)
class Number(Kind[int]):
    """A whole number.

    :ivar noun: what it is, for the error
    """

    allowed: range
    noun: str = "whole number"

    def read(self, value: object, where: Where, _before: Mapping[str, Any]) -> int:
        """Take a number within the bounds."""
        if not is_whole_number(value, self.allowed):
            low, high = self.allowed[0], self.allowed[-1]
            raise where.error(f"{quote(value)} is not a {self.noun} from {low} to {high}")
        assert isinstance(value, int)  # noqa: S101  # the line above has checked
        return value

    def schema(self) -> Schema:
        """The bounds."""
        return {"type": "integer", "minimum": self.allowed[0], "maximum": self.allowed[-1]}

    def printed_schema(self) -> Schema:
        """A number that is not negative."""
        return {"type": "integer", "minimum": 0}

    @property
    def notation(self) -> str:
        """The bounds."""
        return f"``{self.allowed[0]}..{self.allowed[-1]}``"


@dataclass(frozen=True, slots=True)
class Cpus(Kind[CpuSet]):
    """A set of CPUs that is not empty."""

    def read(self, value: object, where: Where, _before: Mapping[str, Any]) -> CpuSet:
        """Take a text such as ``0-3,8``, or a single number."""
        return read_cpus(value, where)

    def write(self, value: CpuSet, _owner: Any) -> object:
        """The one text of the set."""
        return str(value)

    def schema(self) -> Schema:
        """A CPU set."""
        return CPU_SET_SCHEMA

    def printed_schema(self) -> Schema:
        """A text."""
        return {"type": "string"}

    @property
    def notation(self) -> str:
        """An example."""
        return '``"0-3,8"``'


@dataclass(frozen=True, slots=True)
class Part(Kind[T]):
    """An object with clauses of its own, which is a mapping in a file."""

    part: type[T]

    def read(self, value: object, where: Where, _before: Mapping[str, Any]) -> T:
        """Take a mapping."""
        return read(self.part, value, where)

    def write(self, value: T, _owner: Any) -> object:
        """A mapping."""
        return write(value)

    def schema(self) -> Schema:
        """An object with these keys alone."""
        return object_schema(self.part)

    @property
    def notation(self) -> str:
        """Braces."""
        return "``{...}``"


@dataclass(frozen=True, slots=True)
class Parts(Kind[tuple[T, ...]]):
    """Objects with clauses of their own, at least one, which are a list in a file.

    :ivar noun: what one of them is, for the error
    :ivar letter: with which their traits begin, before the number
    :ivar most: how many there may be
    :ivar reason: why not more
    """

    part: type[T]
    noun: str
    letter: str = "C"
    most: int = len(NODE_IDS)  # a cell is on a NUMA node of its own
    reason: str = f"a host has {len(NODE_IDS)} NUMA nodes at most"

    def read(self, value: object, where: Where, _before: Mapping[str, Any]) -> tuple[T, ...]:
        """Take a list of mappings."""
        if not isinstance(value, list) or not value:
            raise where.error(f"must be a list of at least one {self.noun}")
        if len(value) > self.most:
            raise where.error(f"has {len(value)} {self.noun}s, and {self.reason}")
        return tuple(read(self.part, item, where.item(index)) for index, item in enumerate(value))

    def write(self, value: tuple[T, ...], _owner: Any) -> object:
        """A list of mappings."""
        return [write(item) for item in value]

    def schema(self) -> Schema:
        """An array of objects."""
        return {"type": "array", "minItems": 1, "items": object_schema(self.part)}

    def printed_schema(self) -> Schema:
        """An array of objects."""
        return {"type": "array", "items": _printed_object_schema(self.part)}

    @property
    def notation(self) -> str:
        """Brackets."""
        return "``[{...}, ...]``"


def object_schema(part: type) -> Schema:
    """What a file may have for an object of this class, as JSON schema."""
    clauses = clauses_of(part)
    schema: Schema = {
        "type": "object",
        "description": (part.__doc__ or "").partition("\n")[0],
        "properties": {item.name: _value_schema(item) for item in clauses},
        "required": [item.name for item in clauses if item.is_required],
        "additionalProperties": False,
        "allOf": [_only_schema(item, part) for item in clauses if item.only],
    }
    return {key: value for key, value in schema.items() if value or key == "additionalProperties"}


def _printed_object_schema(part: type) -> Schema:
    """What the commands print of an object of this class; clauses that are as by default may be left out."""
    clauses = clauses_of(part)
    return {
        "type": "object",
        "properties": {item.name: item.kind.printed_schema() for item in clauses},
        "required": [item.name for item in clauses if item.is_required or (item.spelled_out and not item.only)],
        "additionalProperties": False,
    }


def _value_schema(item: Clause) -> Schema:
    schema = item.kind.schema()
    return (or_null(schema) if item.blank else schema) | {"description": item.meaning}


def or_null(schema: Schema) -> Schema:
    """A schema that takes null too."""
    if "type" in schema:
        return schema | {"type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _only_schema(item: Clause, part: type) -> Schema:
    """Some objects must have a clause, if it is required of them, and the others must not."""
    assert item.only  # noqa: S101  # the caller chooses those that have it
    (decides,) = (other.name for other in clauses_of(part) if other.attribute == item.only.attribute)
    schema: Schema = {"if": {"properties": {decides: {"const": str(item.only.value)}}}}
    if item.only.required:
        schema["then"] = {"required": [item.name]}
    return schema | {"else": {"properties": {item.name: False}}}


_CPU = "(?:[0-9]{1,3}|[0-7][0-9]{3}|80[0-9]{2}|81[0-8][0-9]|819[01])"
_RANGE = rf"\s*\^?\s*{_CPU}\s*(?:-\s*{_CPU}\s*)?"
CPU_SET_PATTERN = rf"^{_RANGE}(?:,{_RANGE})*(?![\s\S])"
"""The texts of CPU sets with numbers up to MAX_CPU, as a regular expression of JSON schema."""

CPU_SET_DEFINITION: Schema = {
    "description": "CPU numbers: ranges, lists, and ^ to leave out, applied left to right, as in 5-6,9-11,^10.",
    "anyOf": [
        {"type": "string", "pattern": CPU_SET_PATTERN},
        {"type": "integer", "minimum": 0, "maximum": MAX_CPU},
    ],
}
"""What :data:`CPU_SET_SCHEMA` refers to."""
