# SPDX-License-Identifier: Apache-2.0
"""The forms of what has CPU sets in it, which are written as 0TO3_8."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from kongming_sched import exceptions
from kongming_sched.clauses.clause import Clause
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.forms.form import Form, Found

_SET = r"[0-9]+(?:TO[0-9]+)?(?:_[0-9]+(?:TO[0-9]+)?)*"
_SET_LENGTH = 100
"""Longer sets are spread over several traits: Placement takes 255 characters, and a pin clause holds two sets."""


class CpusForm(Form):
    """A set of CPUs, as in VCPUS_0TO3_8; a long one is spread over several traits."""

    def write(self, _clause: Clause, value: Any, _owner: Any) -> Iterator[str]:
        """A trait for each piece."""
        return _pieces(value)

    def read(self, _clause: Clause, found: Sequence[Found]) -> object:
        """All pieces together."""
        return str(CpuSet.union(_cpus(one, one.text) for one in found))


class PinsForm(Form):
    """The host CPUs of vCPUs, as in PIN_0TO1_ON_8_10TO11, once for all vCPUs of the cell that have the same ones."""

    _PATTERN = re.compile(rf"({_SET})_ON_({_SET})")

    def write(self, _clause: Clause, value: Any, owner: Any) -> Iterator[str]:
        """A trait for each pair of pieces."""
        vcpus_by_pin: dict[CpuSet, CpuSet] = {}
        for vcpu, pin in zip(owner.vcpus, value, strict=True):
            vcpus_by_pin[pin] = vcpus_by_pin.get(pin, CpuSet()) | CpuSet.of([vcpu])
        for pin, vcpus in vcpus_by_pin.items():
            for left in _pieces(vcpus):
                for right in _pieces(pin):
                    yield f"{left}_ON_{right}"

    def read(self, _clause: Clause, found: Sequence[Found]) -> object:
        """Each vCPU with all pieces of its host CPUs."""
        pins: dict[int, CpuSet] = {}
        for one in found:
            match = self._PATTERN.fullmatch(one.text)
            if not match:
                raise one.error("is not two CPU sets as in PIN_0TO3_ON_8_10TO11")
            for vcpu in _cpus(one, match[1]):
                pins[vcpu] = pins.get(vcpu, CpuSet()) | _cpus(one, match[2])
        return {vcpu: str(cpus) for vcpu, cpus in pins.items()}

    def at(self, clause: Clause, item: str | None) -> str:
        """The vCPU, if the error is one of its host CPUs."""
        return f"{clause.word}_{item}" if item else clause.word


class VcpuQuotasForm(Form):
    """Quotas of single vCPUs, as in QOS_VCPU_0_2TO3_QUOTA_5000."""

    _PATTERN = re.compile(rf"({_SET})_QUOTA_([0-9]{{1,18}})")

    def write(self, _clause: Clause, value: Any, _owner: Any) -> Iterator[str]:
        """A trait for each piece of the vCPUs of each quota."""
        for vcpus, quota_us in value:
            for piece in _pieces(vcpus):
                yield f"{piece}_QUOTA_{quota_us}"

    def read(self, _clause: Clause, found: Sequence[Found]) -> object:
        """Each vCPU with its quota."""
        quotas: dict[int, int] = {}
        for one in found:
            match = self._PATTERN.fullmatch(one.text)
            if not match:
                raise one.unknown()
            quota_us = int(match[2])
            for vcpu in _cpus(one, match[1]):
                if quotas.setdefault(vcpu, quota_us) != quota_us:
                    raise one.error(f"contradicts another clause, which says {quotas[vcpu]}")
        return {vcpu: {"quota_us": quota_us} for vcpu, quota_us in quotas.items()}

    def at(self, clause: Clause, item: str | None) -> str:
        """The vCPU, if the error is its quota."""
        return f"{clause.word}_{item or '*'}_QUOTA"


def _pieces(cpus: CpuSet) -> Iterator[str]:
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


def _cpus(found: Found, text: str) -> CpuSet:
    """The set of a text that stands in a trait.

    :raises InvalidTraits: if it is none
    """
    if not re.fullmatch(_SET, text):
        raise found.error(f"{text!r} is not a CPU set as in 0TO3_8")
    try:
        return CpuSet.parse(text.replace("TO", "-").replace("_", ","))
    except exceptions.InvalidCpuSet as error:
        raise found.error(error.reason) from error
