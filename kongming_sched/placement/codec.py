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
_SET = r"[0-9]+(?:TO[0-9]+)?(?:_[0-9]+(?:TO[0-9]+)?)*"
_SET_LENGTH = 100
"""Longer sets are spread over several traits: Placement takes 255 characters, and a pin clause holds two sets."""

_CELL = re.compile(r"C([0-9]+)_(.+)")
_PIN = re.compile(rf"PIN_({_SET})_ON_({_SET})")
_QOS = {
    "QOS_SHARES": "shares",
    "QOS_VCPU_PERIOD": "period_us",
    "QOS_VCPU_QUOTA": "quota_us",
    "QOS_EMULATOR_PERIOD": "emulator_period_us",
    "QOS_EMULATOR_QUOTA": "emulator_quota_us",
}
_OWN_QUOTA = re.compile(rf"QOS_VCPU_({_SET})_QUOTA_([0-9]+)")


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
        raise _invalid(name, _clause_of_path(error.path), error.reason) from error
    expected = encode(template)
    surplus, missing = sorted(given - expected), sorted(expected - given)
    if surplus and missing:
        raise _invalid(name, surplus[0], f"is not in the one way of writing; expected {', '.join(missing)}")
    if surplus:
        raise _invalid(name, surplus[0], "says again what another clause says")
    if missing:
        raise _invalid(name, missing[0], "is missing")
    return template


def _invalid(name: str, clause: str, reason: str) -> exceptions.InvalidTraits:
    """The error with its remedy: ``trait set`` of osc-placement would replace all the other clauses."""
    remedy = f"write the template anew with 'openstack kongming template set {name} --file FILE'"
    return exceptions.InvalidTraits(name, clause, f"{reason}; {remedy}")


def _clauses(template: PinningTemplate) -> Iterator[str]:
    for index, cell in enumerate(template.cells):
        for clause in _cell_clauses(cell):
            yield f"C{index}_{clause}"
    yield f"EMULATOR_{template.emulator.upper()}"
    yield f"OVERRIDE_{template.override.upper()}"
    for clause, field in _QOS.items():
        if (value := getattr(template.qos, field)) is not None:
            yield f"{clause}_{value}"
    for vcpus, quota_us in template.qos.vcpu_quotas_us:
        for chunk in _chunks(vcpus):
            yield f"QOS_VCPU_{chunk}_QUOTA_{quota_us}"


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
        self.quotas: dict[int, int] = {}

    def mapping(self, traits: frozenset[str]) -> dict[str, object]:
        for trait in sorted(traits - {names.TEMPLATE}):
            self.read(trait)
        for index, vcpus in self.vcpus.items():
            self.cells.setdefault(index, {})["vcpus"] = str(vcpus)
        for index, pins in self.pins.items():
            self.cells.setdefault(index, {})["pins"] = {vcpu: str(cpus) for vcpu, cpus in pins.items()}
        for index in range(max(self.cells, default=0) + 1):
            if index not in self.cells:
                reason = "is missing although a later cell is there" if self.cells else "is missing"
                raise _invalid(self.name, f"{PREFIX}C{index}_VCPUS", reason)
        if self.quotas:
            self.qos["vcpus"] = {vcpu: {"quota_us": quota} for vcpu, quota in self.quotas.items()}
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
            if match := _OWN_QUOTA.fullmatch(clause):
                return self.read_own_quota(trait, match[1], int(match[2]))
            word, _, value = clause.rpartition("_")
            if word in ("EMULATOR", "OVERRIDE"):
                return self.put(trait, self.top, word.lower(), value.lower())
            if word in _QOS and value.isascii() and value.isdecimal():
                return self.put(trait, self.qos, _QOS[word], int(value))
        raise _invalid(self.name, trait, "is no clause of a template")

    def read_cell(self, trait: str, index: int, clause: str) -> None:
        """The part of a trait behind ``C<index>_``."""
        word, _, value = clause.partition("_")
        cell = self.cells.setdefault(index, {})
        if word == "VCPUS":
            self.vcpus[index] = self.vcpus.get(index, CpuSet()) | self.cpu_set(trait, value)
        elif match := _PIN.fullmatch(clause):
            pins = self.pins.setdefault(index, {})
            for vcpu in self.cpu_set(trait, match[1]):
                pins[vcpu] = pins.get(vcpu, CpuSet()) | self.cpu_set(trait, match[2])
        elif word == "PIN":
            raise _invalid(self.name, trait, "is not two CPU sets as in PIN_0TO3_ON_8_10TO11")
        elif word in ("CPUS", "THREADS", "MEMORY"):
            self.put(trait, cell, word.lower(), value.lower())
        elif word == "NODE" and value.isascii() and value.isdecimal():
            self.put(trait, cell, "node", int(value))
        else:
            raise _invalid(self.name, trait, "is no clause of a template's cell")

    def read_own_quota(self, trait: str, vcpus: str, quota_us: int) -> None:
        """The quota of some vCPUs."""
        for vcpu in self.cpu_set(trait, vcpus):
            if self.quotas.setdefault(vcpu, quota_us) != quota_us:
                raise _invalid(self.name, trait, f"contradicts another clause, which says {self.quotas[vcpu]}")

    def put(self, trait: str, target: dict[str, object], key: str, value: object) -> None:
        """Set a field that may be set once."""
        if key in target:
            raise _invalid(self.name, trait, f"contradicts another clause, which says {target[key]}")
        target[key] = value

    def cpu_set(self, trait: str, text: str) -> CpuSet:
        if not re.fullmatch(_SET, text):
            raise _invalid(self.name, trait, f"{text!r} is not a CPU set as in 0TO3_8")
        try:
            return CpuSet.parse(text.replace("TO", "-").replace("_", ","))
        except exceptions.InvalidCpuSet as error:
            raise _invalid(self.name, trait, error.reason) from error


def _clause_of_path(path: str) -> str:
    """The clauses that a field of the mapping comes from: ``cells[0].pins[1]`` is C0_PIN_1, ``cells`` C*_VCPUS."""
    if match := re.fullmatch(r"cells\[([0-9]+)\]\.([a-z]+)(?:\[([0-9]+)\])?", path):
        index, field, vcpu = match.groups()
        word = "PIN" if field == "pins" else field.upper()
        return f"{PREFIX}C{index}_{word}" + (f"_{vcpu}" if vcpu else "")
    if path == "cells":  # which lack some vCPU
        return f"{PREFIX}C*_VCPUS"
    if match := re.fullmatch(r"qos\.vcpus(?:\[([0-9]+)\].*)?", path):
        return f"{PREFIX}QOS_VCPU_{match[1] or '*'}_QUOTA"
    qos = {f"qos.{field}": clause for clause, field in _QOS.items()}
    return PREFIX + qos.get(path, path.upper())
