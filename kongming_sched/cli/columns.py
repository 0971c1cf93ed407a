# SPDX-License-Identifier: Apache-2.0
"""Values that a table shows as people read them, and JSON and YAML as programs do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cliff import columns

from kongming_sched import compat
from kongming_sched.clauses.clause import Clause, clauses_of, write
from kongming_sched.clauses.kinds import Parts
from kongming_sched.clauses.pins import Pins
from kongming_sched.cpuset import CpuSet
from kongming_sched.template import Period, PinningTemplate, TemplateCell

if TYPE_CHECKING:
    from cliff.columns import FormattableColumn
else:
    FormattableColumn = compat.subscriptable(columns.FormattableColumn)


class Nothing(FormattableColumn[None]):
    """What is not there: a dash for people, who would take None for a name; before everything else when sorted."""

    def __lt__(self, other: object) -> bool:
        return not isinstance(other, Nothing)

    def __gt__(self, other: object) -> bool:
        return False

    def human_readable(self) -> str:
        """A dash."""
        return "-"


class Names(FormattableColumn[Sequence[str]]):
    """Names: with commas, or as a list."""

    def human_readable(self) -> str:
        """One line."""
        return ", ".join(self._value)


class Numbers(FormattableColumn[Sequence[int]]):
    """A few numbers: with commas, or as a list."""

    def human_readable(self) -> str:
        """One line; a dash stands for none."""
        return ", ".join(map(str, self._value)) or "-"


class CountedNames(FormattableColumn[Sequence[str]]):
    """Names that may be many: their number first."""

    def human_readable(self) -> str:
        """As in ``2: c1, c2``."""
        return f"{len(self._value)}: {', '.join(self._value)}" if self._value else "0"


class Fields(FormattableColumn[Mapping[str, Any]]):
    """A few named values: as ``shares 1024, quota_us 50000``, or as an object."""

    def __lt__(self, other: object) -> bool:
        return str(self) < str(other)

    def human_readable(self) -> str:
        """One line."""
        return ", ".join(_words(self._value))


def _words(fields: Mapping[str, Any]) -> Iterator[str]:
    """The fields one by one, those of an inner object behind its name."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from (f"{name} {word}" for word in _words(value))
        else:
            yield f"{name} {value}"


class Usage(FormattableColumn[Mapping[str, int] | None]):
    """How much of a resource is left: ``6 free of 16``, or an object with total, used, free; None if there is none."""

    @classmethod
    def of(cls, total: int, used: int) -> Usage:
        """A resource that a node has, or does not give any more if its total is 0 while some of it is used."""
        return cls({"total": total, "used": used, "free": max(total - used, 0)} if total or used else None)

    def __lt__(self, other: object) -> bool:
        """By what is free; what is not there at all comes first."""
        return isinstance(other, Usage) and self._order < other._order

    @property
    def _order(self) -> tuple[int, int]:
        return (self._value["free"], self._value["total"]) if self._value else (-1, 0)

    def human_readable(self) -> str:
        """What is free comes first, because that is what one looks for."""
        return f"{self._value['free']} free of {self._value['total']}" if self._value else "-"


class Lines(FormattableColumn[Sequence[Mapping[str, Any]]]):
    """Objects: a line for each, which the maker of the column words.

    :param lines: the words, one for each object
    """

    def __init__(self, value: Sequence[Mapping[str, Any]], lines: Sequence[str]) -> None:
        super().__init__(value)
        self._lines = lines

    def __lt__(self, other: object) -> bool:
        return str(self) < str(other)

    def human_readable(self) -> str:
        """One line for each object."""
        return "\n".join(self._lines)


def of_clause(clause: Clause, template: PinningTemplate) -> object:
    """The value of a template's clause; as JSON and YAML it is as a file has it, or null if there is none."""
    value = getattr(template, clause.attribute)
    if isinstance(clause.kind, Parts):
        return periods(value) if clause.kind.part is Period else cells(template)
    if value is None:
        return Nothing(None)
    plain = clause.kind.write(value, template)
    return Fields(plain) if isinstance(plain, Mapping) else plain


def cells(template: PinningTemplate) -> Lines:
    """The cells of a template, a line for each; as JSON and YAML they are as a template's file has them."""
    value: Any = template.to_mapping()["cells"]
    return Lines(value, [_cell(cell) for cell in template.cells])


def periods(hours: Sequence[Period]) -> Lines:
    """Periods, a line for each; as JSON and YAML they are as a template's file has them."""
    lines = [f"{period}: {what_is_other(period)}" for period in hours]
    return Lines([write(period) for period in hours], lines or [Nothing(None).human_readable()])


def other_of(period: Period | None) -> dict[str, object]:
    """What is other in a period, as a template's file has it."""
    return {name: value for name, value in write(period).items() if name in ("qos", "emulator")} if period else {}


def what_is_other(period: Period) -> str:
    """As in ``qos shares 64, emulator shared``."""
    other = other_of(period)
    return ", ".join(_words(other | ({"qos": "none"} if other.get("qos") == {} else {})))


def _cell(cell: TemplateCell) -> str:
    """As in ``vCPU 0-3: dedicated, threads isolate, node 1``: what only some cells have, and what is not as usual."""
    words = [str(cell.cpus)]
    pins = ""
    for clause in clauses_of(type(cell)):
        value = getattr(cell, clause.attribute)
        is_shown = value != clause.default or (clause.only and clause.spelled_out)
        if isinstance(clause.kind, Pins):
            pins = "".join(f"; {pin}" for pin in _pins(cell))
        elif not clause.is_required and clause.applies_to(cell) and is_shown:
            words.append(f"{clause.name} {clause.kind.write(value, cell)}")
    return f"vCPU {cell.vcpus}: {', '.join(words)}{pins}"


def _pins(cell: TemplateCell) -> Iterator[str]:
    """As in ``vCPU 0-1 on CPU 5-6``, once for all vCPUs of the cell that have the same host CPUs."""
    vcpus_by_pin: dict[CpuSet, CpuSet] = {}
    for vcpu, pin in zip(cell.vcpus, cell.pins, strict=False):  # only explicit cells have pins
        vcpus_by_pin[pin] = vcpus_by_pin.get(pin, CpuSet()) | CpuSet.of([vcpu])
    for pin, vcpus in vcpus_by_pin.items():
        yield f"vCPU {vcpus} on CPU {pin}"
