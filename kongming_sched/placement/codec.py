# SPDX-License-Identifier: Apache-2.0
"""A template as traits and back: total in one direction, strict in the other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from kongming_sched import exceptions
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.template import CpuPolicy, PinningTemplate, TemplateCell

PREFIX = "CUSTOM_KONGMING_"
_SET = r"\d+(?:TO\d+)?(?:_\d+(?:TO\d+)?)*"
_SET_LENGTH = 100
"""Longer sets are spread over several traits: Placement takes 255 characters, and a pin clause holds two sets."""

_CELL = re.compile(r"C(\d+)_(.+)")
_PIN = re.compile(rf"PIN_({_SET})_ON_({_SET})")
_QOS = {"QOS_SHARES": "shares", "QOS_VCPU_PERIOD": "period_us", "QOS_VCPU_QUOTA": "quota_us"}


def encode(template: PinningTemplate) -> frozenset[str]:
    """The traits of a template's provider, clause by clause."""
    return frozenset({names.TEMPLATE, *(PREFIX + clause for clause in _clauses(template))})


def decode(name: str, traits: Iterable[str]) -> PinningTemplate:
    """The template that these traits of its provider are.

    :param name: the template's name, which stands in the provider's name
    :raises InvalidTraits: if they are not exactly one template, naming the clause that is wrong
    """
    given = frozenset(traits)
    mapping = _Decoder(name).mapping(given)
    try:
        template = PinningTemplate.from_mapping(mapping)
    except exceptions.InvalidTemplate as error:
        raise exceptions.InvalidTraits(name, _clause_of_path(error.path), error.reason) from error
    expected = encode(template)
    if missing := sorted(expected - given):
        raise exceptions.InvalidTraits(name, missing[0], f"is missing; set it with {_set_command(missing[0])}")
    if surplus := sorted(given - expected):
        raise exceptions.InvalidTraits(name, surplus[0], "says again, or in other words, what another clause says")
    return template


def _set_command(trait: str) -> str:
    return f"'openstack resource provider trait set --trait {trait} ...'"


def _clauses(template: PinningTemplate) -> Iterator[str]:
    for index, cell in enumerate(template.cells):
        for clause in _cell_clauses(cell):
            yield f"C{index}_{clause}"
    yield f"EMULATOR_{template.emulator.upper()}"
    yield f"OVERRIDE_{template.override.upper()}"
    for clause, field in _QOS.items():
        if (value := getattr(template.qos, field)) is not None:
            yield f"{clause}_{value}"


def _cell_clauses(cell: TemplateCell) -> Iterator[str]:
    for chunk in _chunks(cell.vcpus):
        yield f"VCPUS_{chunk}"
    yield f"CPUS_{cell.cpus.upper()}"
    yield f"MEMORY_{cell.memory.upper()}"
    if cell.cpus is CpuPolicy.DEDICATED:
        yield f"THREADS_{cell.threads.upper()}"
    if cell.node is not None:
        yield f"NODE_{cell.node}"
    vcpus_by_pin: dict[CpuSet, CpuSet] = {}
    for vcpu, pin in zip(cell.vcpus, cell.pins, strict=False):  # only explicit cells have pins
        vcpus_by_pin[pin] = vcpus_by_pin.get(pin, CpuSet()) | CpuSet.of([vcpu])
    for pin, vcpus in vcpus_by_pin.items():
        for left in _chunks(vcpus):
            for right in _chunks(pin):
                yield f"PIN_{left}_ON_{right}"


def _chunks(cpus: CpuSet) -> Iterator[str]:
    """The set's text as traits allow it ("0TO3_8"), cut where it gets too long."""
    text = ""
    for first, last in cpus.ranges():
        part = f"{first}TO{last}" if last > first else str(first)
        if text and len(text) + 1 + len(part) > _SET_LENGTH:
            yield text
            text = ""
        text = f"{text}_{part}" if text else part
    if text:
        yield text


class _Decoder:
    """Turns clauses into the mapping that PinningTemplate.from_mapping checks."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.top: dict[str, object] = {"name": name}
        self.qos: dict[str, object] = {}
        self.cells: dict[int, dict[str, object]] = {}
        self.vcpus: dict[int, CpuSet] = {}
        self.pins: dict[int, dict[int, CpuSet]] = {}

    def mapping(self, traits: frozenset[str]) -> dict[str, object]:
        for trait in sorted(traits - {names.TEMPLATE}):
            self.read(trait)
        for index, vcpus in self.vcpus.items():
            self.cells.setdefault(index, {})["vcpus"] = str(vcpus)
        for index, pins in self.pins.items():
            self.cells.setdefault(index, {})["pins"] = {vcpu: str(cpus) for vcpu, cpus in pins.items()}
        for index in range(max(self.cells, default=0)):
            if index not in self.cells:
                raise exceptions.InvalidTraits(self.name, f"C{index}", "is missing although a later cell is there")
        self.top["cells"] = [self.cells[index] for index in sorted(self.cells)]
        if self.qos:
            self.top["qos"] = self.qos
        return self.top

    def read(self, trait: str) -> None:
        """One trait."""
        clause = trait.removeprefix(PREFIX)
        if trait.startswith(PREFIX):
            if match := _CELL.fullmatch(clause):
                return self.read_cell(trait, int(match[1]), match[2])
            word, _, value = clause.rpartition("_")
            if word in ("EMULATOR", "OVERRIDE"):
                return self.put(trait, self.top, word.lower(), value.lower())
            if word in _QOS and value.isascii() and value.isdecimal():
                return self.put(trait, self.qos, _QOS[word], int(value))
        raise exceptions.InvalidTraits(
            self.name, trait, "is no clause of a template; take it off with 'openstack resource provider trait set'"
        )

    def read_cell(self, trait: str, index: int, clause: str) -> None:
        """The part of a trait behind ``C<index>_``."""
        word, _, value = clause.partition("_")
        cell = self.cells.setdefault(index, {})
        if word == "VCPUS" and re.fullmatch(_SET, value):
            self.vcpus[index] = self.vcpus.get(index, CpuSet()) | self.cpu_set(trait, value)
        elif match := _PIN.fullmatch(clause):
            pins = self.pins.setdefault(index, {})
            for vcpu in self.cpu_set(trait, match[1]):
                pins[vcpu] = pins.get(vcpu, CpuSet()) | self.cpu_set(trait, match[2])
        elif word in ("CPUS", "THREADS", "MEMORY"):
            self.put(trait, cell, word.lower(), value.lower())
        elif word == "NODE" and value.isascii() and value.isdecimal():
            self.put(trait, cell, "node", int(value))
        else:
            raise exceptions.InvalidTraits(self.name, trait, "is no clause of a template's cell")

    def put(self, trait: str, target: dict[str, object], key: str, value: object) -> None:
        """Set a field that may be set once."""
        if key in target:
            raise exceptions.InvalidTraits(self.name, trait, f"contradicts another clause, which says {target[key]}")
        target[key] = value

    def cpu_set(self, trait: str, text: str) -> CpuSet:
        try:
            return CpuSet.parse(text.replace("TO", "-").replace("_", ","))
        except exceptions.InvalidCpuSet as error:
            raise exceptions.InvalidTraits(self.name, trait, str(error)) from error


def _clause_of_path(path: str) -> str:
    """``cells[0].pins[1]`` is about C0_PINS, ``qos.shares`` about QOS_SHARES."""
    words = re.sub(r"cells\[(\d+)\]", r"C\1", path).split("[")[0]
    return words.replace(".", "_").upper() or "C0"
