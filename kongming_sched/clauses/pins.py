# SPDX-License-Identifier: Apache-2.0
"""The kind of values that say which host CPUs each vCPU of a cell has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kongming_sched.clauses.clause import Kind, Schema, Where
from kongming_sched.clauses.kinds import CPU_SET_SCHEMA, read_cpus
from kongming_sched.cpuset import CpuSet
from kongming_sched.texts.printable import quote
from kongming_sched.texts.whole_number import is_whole_number


@dataclass(frozen=True, slots=True)
class Pins(Kind[tuple[CpuSet, ...]]):
    """The host CPUs of each vCPU of a cell, in the order of its vCPUs."""

    def read(self, value: object, where: Where, before: Mapping[str, Any]) -> tuple[CpuSet, ...]:
        """Take a mapping from each vCPU to its host CPUs, or one CPU set for all."""
        vcpus: CpuSet = before["vcpus"]
        if isinstance(value, str | int):
            return (read_cpus(value, where),) * len(vcpus)
        if not isinstance(value, Mapping):
            raise where.error("must be a mapping of vCPU to host CPUs, or one CPU set for all")
        pins: dict[int, object] = {}
        for key, cpus in value.items():
            vcpu = int(key) if isinstance(key, str) and re.fullmatch("[0-9]{1,5}", key) else key  # JSON has only texts
            if not is_whole_number(vcpu, range(1 << 16)) or vcpu not in vcpus:
                raise where.item(key).error(f"{quote(key)} is no vCPU of this cell, which has {vcpus}")
            if vcpu in pins:
                raise where.item(key).error("is given twice")
            pins[vcpu] = cpus
        if missing := vcpus - CpuSet.of(pins):
            raise where.error(f"vCPU {missing} has no host CPUs")
        return tuple(read_cpus(pins[vcpu], where.item(vcpu)) for vcpu in vcpus)

    def write(self, value: tuple[CpuSet, ...], owner: Any) -> object:
        """A mapping, or one text if all vCPUs have the same host CPUs."""
        if len(set(value)) == 1:
            return str(value[0])
        return dict(zip(owner.vcpus, map(str, value), strict=True))

    def schema(self) -> Schema:
        """A CPU set, or an object of them."""
        by_vcpu = {
            "type": "object",
            "minProperties": 1,
            "patternProperties": {r"^[0-9]{1,5}(?![\s\S])": CPU_SET_SCHEMA},
            "additionalProperties": False,
        }
        return {"anyOf": [CPU_SET_SCHEMA, by_vcpu]}

    def printed_schema(self) -> Schema:
        """A text, or an object of texts."""
        return {"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}]}

    @property
    def notation(self) -> str:
        """Examples."""
        return '``{0: "5", 1: "6-7"}``, ``"5-7"``'
