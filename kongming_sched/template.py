# SPDX-License-Identifier: Apache-2.0
"""PinningTemplate: which host CPUs and which memory the vCPUs of a server shall have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from kongming_sched import exceptions
from kongming_sched.compat import StrEnum
from kongming_sched.cpuset import CpuSet
from kongming_sched.qos import LIMITS, NO_QOS, Qos, group_quotas

NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
"""What a template's name looks like: it becomes part of trait and resource class names."""

MAX_NODE_ID = 255


class CpuPolicy(StrEnum):
    """What the vCPUs of a cell run on."""

    DEDICATED = "dedicated"
    """One host CPU each, of the node's dedicated pool, which nobody else uses."""
    SHARED = "shared"
    """All host CPUs of the node's shared pool, together with other servers."""
    EXPLICIT = "explicit"
    """The host CPUs that the template names."""


class ThreadPolicy(StrEnum):
    """How dedicated vCPUs lie on hardware threads, as Nova's hw:cpu_thread_policy means the words."""

    ANY = "any"
    """On whatever threads are left."""
    PREFER = "prefer"
    """On siblings if that is possible."""
    REQUIRE = "require"
    """On siblings, filling whole cores that nobody else uses; the host must have SMT."""
    ISOLATE = "isolate"
    """Each on a core of its own, whose other threads stay idle."""


class MemoryPolicy(StrEnum):
    """Where the guest's memory may lie."""

    STRICT = "strict"
    """On the NUMA nodes of the guest's vCPUs only."""
    NONE = "none"
    """Anywhere."""


class EmulatorPolicy(StrEnum):
    """Where QEMU's own threads run."""

    SHARED = "shared"
    """On the host's housekeeping CPUs."""
    CELL = "cell"
    """On the CPUs of the vCPUs."""


class Override(StrEnum):
    """Whether a server's own metadata may replace the template's pins."""

    DENIED = "denied"
    ALLOWED = "allowed"


@dataclass(frozen=True, slots=True)
class TemplateCell:
    """The part of a server that lands on one host NUMA node.

    :ivar vcpus: the server's vCPUs in this cell
    :ivar threads: thread policy; only dedicated cells may have another than ``any``
    :ivar pins: for explicit cells, the host CPUs of each vCPU, in the order of ``vcpus``; else empty
    :ivar node: the host NUMA node that this cell must be on, or None for any
    """

    vcpus: CpuSet
    cpus: CpuPolicy
    threads: ThreadPolicy = ThreadPolicy.ANY
    memory: MemoryPolicy = MemoryPolicy.STRICT
    pins: tuple[CpuSet, ...] = ()
    node: int | None = None

    @property
    def host_cpus(self) -> CpuSet:
        """All host CPUs that an explicit cell names."""
        return CpuSet.union(self.pins)

    @property
    def needs_smt_trait(self) -> bool:
        """True if the number of host CPUs depends on the threads per core."""
        return self.threads in (ThreadPolicy.REQUIRE, ThreadPolicy.ISOLATE)

    def dedicated_cpus(self, threads_per_core: int) -> int:
        """How many host CPUs this cell takes from a dedicated pool whose cores have so many threads.

        ``isolate`` counts every thread of its cores and ``require`` rounds up to whole cores, which is what makes
        counting enough: see doc/source/contributor/architecture.rst.
        """
        if self.cpus is not CpuPolicy.DEDICATED:
            return 0
        return count_cpus(len(self.vcpus), self.threads, threads_per_core)


def count_cpus(vcpus: int, threads: ThreadPolicy, threads_per_core: int) -> int:
    """How many hardware threads so many dedicated vCPUs take under a thread policy."""
    if threads is ThreadPolicy.ISOLATE:
        return vcpus * threads_per_core
    if threads is ThreadPolicy.REQUIRE:
        return -(-vcpus // threads_per_core) * threads_per_core
    return vcpus


@dataclass(frozen=True, slots=True)
class PinningTemplate:
    """A named layout. Make one with :meth:`from_mapping`, which checks every rule."""

    name: str
    cells: tuple[TemplateCell, ...]
    emulator: EmulatorPolicy = EmulatorPolicy.SHARED
    qos: Qos = NO_QOS
    override: Override = Override.DENIED

    @property
    def vcpus(self) -> int:
        """How many vCPUs a server of this template has."""
        return sum(len(cell.vcpus) for cell in self.cells)

    @property
    def host_cpus(self) -> CpuSet:
        """All host CPUs that the template names itself; empty if no cell is explicit."""
        return CpuSet.union(cell.host_cpus for cell in self.cells)

    @classmethod
    def from_mapping(cls, data: object) -> PinningTemplate:
        """Check and read a template as YAML or JSON give it.

        :raises InvalidTemplate: with the path of the first field that is wrong
        """
        return _Reader(data).template()

    def to_mapping(self) -> dict[str, object]:
        """The template as plain values that :meth:`from_mapping` reads back, defaults left out."""
        mapping: dict[str, object] = {"name": self.name, "cells": [_cell_to_mapping(cell) for cell in self.cells]}
        mapping["emulator"] = str(self.emulator)
        if qos := self.qos.to_mapping():
            mapping["qos"] = qos
        mapping["override"] = str(self.override)
        return mapping


def _cell_to_mapping(cell: TemplateCell) -> dict[str, object]:
    mapping: dict[str, object] = {"vcpus": str(cell.vcpus), "cpus": str(cell.cpus)}
    if cell.cpus is CpuPolicy.DEDICATED:
        mapping["threads"] = str(cell.threads)
    mapping["memory"] = str(cell.memory)
    if cell.pins:
        pins = dict(zip(cell.vcpus, map(str, cell.pins), strict=True))
        mapping["pins"] = pins if len(set(cell.pins)) > 1 else str(cell.pins[0])
    if cell.node is not None:
        mapping["node"] = cell.node
    return mapping


_Choice = TypeVar("_Choice", bound=StrEnum)


class _Reader:
    """Reads one template, knowing its name for the errors."""

    def __init__(self, data: object) -> None:
        self.data = data
        self.name: str | None = None

    def template(self) -> PinningTemplate:
        data = self.mapping(self.data, "", {"name", "cells", "emulator", "qos", "override"})
        name = self.required(data, "name", "")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise self.error("name", f"{name!r} is not a name of 1 to 32 letters a-z, digits and _, a letter first")
        self.name = name
        cells = self.required(data, "cells", "")
        if not isinstance(cells, list) or not cells:
            raise self.error("cells", "must be a list of at least one cell")
        template = PinningTemplate(
            name,
            tuple(self.cell(cell, f"cells[{index}]") for index, cell in enumerate(cells)),
            self.choice(data, "emulator", "", EmulatorPolicy.SHARED),
            self.qos(data),
            self.choice(data, "override", "", Override.DENIED),
        )
        self.check_cells_together(template)
        return template

    def check_cells_together(self, template: PinningTemplate) -> None:
        """The rules between cells: disjoint vCPUs without a gap, different nodes, disjoint host CPUs."""
        seen = CpuSet()
        hosts = CpuSet()
        nodes: set[int] = set()
        for index, cell in enumerate(template.cells):
            if twice := seen & cell.vcpus:
                raise self.error(f"cells[{index}].vcpus", f"vCPU {twice} is in another cell too")
            if twice := hosts & cell.host_cpus:
                raise self.error(f"cells[{index}].pins", f"host CPU {twice} is in another cell too")
            if cell.node in nodes:
                raise self.error(f"cells[{index}].node", f"node {cell.node} is named by another cell too")
            seen |= cell.vcpus
            hosts |= cell.host_cpus
            if cell.node is not None:
                nodes.add(cell.node)
        if missing := CpuSet.parse(f"0-{max(seen)}") - seen:
            raise self.error("cells", f"vCPU {missing} is in no cell; together the cells must hold 0 to {max(seen)}")
        if unknown := CpuSet.of(template.qos.own_quotas_us) - seen:
            raise self.error("qos.vcpus", f"vCPU {unknown} is in no cell")

    def cell(self, data: object, path: str) -> TemplateCell:
        fields = self.mapping(data, path, {"vcpus", "cpus", "threads", "memory", "pins", "node"})
        vcpus = self.cpu_set(self.required(fields, "vcpus", path), f"{path}.vcpus")
        self.required(fields, "cpus", path)
        cpus = self.choice(fields, "cpus", path, CpuPolicy.DEDICATED)
        threads = self.choice(fields, "threads", path, ThreadPolicy.ANY)
        if "threads" in fields and cpus is not CpuPolicy.DEDICATED:
            raise self.error(f"{path}.threads", f"only dedicated cells have a thread policy, this one is {cpus}")
        if "pins" in fields and cpus is not CpuPolicy.EXPLICIT:
            raise self.error(f"{path}.pins", f"only explicit cells have pins, this one is {cpus}")
        pins = self.pins(self.required(fields, "pins", path), vcpus, path) if cpus is CpuPolicy.EXPLICIT else ()
        node = fields.get("node")
        if node is not None and not _is_int(node, range(MAX_NODE_ID + 1)):
            raise self.error(f"{path}.node", f"{node!r} is not a NUMA node id from 0 to {MAX_NODE_ID}")
        memory = self.choice(fields, "memory", path, MemoryPolicy.STRICT)
        return TemplateCell(vcpus, cpus, threads, memory, pins, node)  # type: ignore[arg-type]  # _is_int has checked

    def pins(self, data: object, vcpus: CpuSet, path: str) -> tuple[CpuSet, ...]:
        """Host CPUs for every vCPU of the cell, from a mapping or from one string for all."""
        path = f"{path}.pins"
        if isinstance(data, str | int):
            return (self.cpu_set(data, path),) * len(vcpus)
        if not isinstance(data, Mapping):
            raise self.error(path, "must be a mapping of vCPU to host CPUs, or one CPU set for all")
        pins: dict[int, object] = {}
        for key, value in data.items():
            vcpu = int(key) if isinstance(key, str) and re.fullmatch("[0-9]{1,5}", key) else key  # JSON has only texts
            if not _is_int(vcpu, range(1 << 16)) or vcpu not in vcpus:
                raise self.error(f"{path}[{key}]", f"{key!r} is no vCPU of this cell, which has {vcpus}")
            if vcpu in pins:
                raise self.error(f"{path}[{key}]", "is given twice")
            pins[vcpu] = value
        if missing := vcpus - CpuSet.of(pins):
            raise self.error(path, f"vCPU {missing} has no host CPUs")
        return tuple(self.cpu_set(pins[vcpu], f"{path}[{vcpu}]") for vcpu in vcpus)

    def qos(self, data: Mapping[str, object]) -> Qos:
        if data.get("qos") is None:
            return Qos()
        fields = dict(self.mapping(data["qos"], "qos", {*LIMITS, "vcpus"}))
        vcpus = self.vcpu_quotas(fields.pop("vcpus", {}))
        for key, value in fields.items():
            self.check_limit(key, value, f"qos.{key}")
        return Qos(**fields, vcpu_quotas_us=vcpus)  # type: ignore[arg-type]  # the loop above has checked every value

    def vcpu_quotas(self, data: object) -> tuple[tuple[CpuSet, int], ...]:
        """The vCPUs with a quota of their own, from a mapping of vCPUs to {quota_us: ...}."""
        if not isinstance(data, Mapping):
            raise self.error("qos.vcpus", "must be a mapping of vCPUs to {quota_us: ...}")
        quotas: list[tuple[CpuSet, int]] = []
        for key, value in data.items():
            path = f"qos.vcpus[{key}]"
            vcpus = self.cpu_set(key, path)
            if twice := vcpus & CpuSet.union(seen for seen, _ in quotas):
                raise self.error(path, f"vCPU {twice} is given twice")
            quota = self.required(self.mapping(value, path, {"quota_us"}), "quota_us", path)
            self.check_limit("quota_us", quota, f"{path}.quota_us")
            quotas.append((vcpus, quota))  # type: ignore[arg-type]  # the line above has checked it
        return group_quotas(quotas)

    def check_limit(self, key: str, value: object, path: str) -> None:
        if not _is_int(value, LIMITS[key]):
            low, high = LIMITS[key][0], LIMITS[key][-1]
            raise self.error(path, f"{value!r} is not a whole number from {low} to {high}")

    def cpu_set(self, value: object, path: str) -> CpuSet:
        """A CPU set that is not empty, from a text or a single number."""
        if not isinstance(value, str) and not _is_int(value, range(1 << 16)):
            raise self.error(path, f"{value!r} is not a CPU set; write it as a string")
        try:
            cpus = CpuSet.parse(str(value))
        except exceptions.InvalidCpuSet as error:
            raise self.error(path, str(error)) from error
        if not cpus:
            raise self.error(path, f"{value!r} leaves no CPU")
        return cpus

    def choice(self, data: Mapping[str, object], key: str, path: str, default: _Choice) -> _Choice:
        kind = type(default)
        value = data.get(key, default)
        try:
            return kind(value)  # a value of another type is refused like a wrong word
        except ValueError:
            where = f"{path}.{key}" if path else key
            raise self.error(where, f"{value!r} is none of {', '.join(kind)}") from None

    def required(self, data: Mapping[str, object], key: str, path: str) -> object:
        if data.get(key) is None:
            raise self.error(f"{path}.{key}" if path else key, "is missing")
        return data[key]

    def mapping(self, data: object, path: str, known: set[str]) -> Mapping[str, object]:
        if not isinstance(data, Mapping):
            raise self.error(path, f"must be a mapping with the keys {', '.join(sorted(known))}")
        for key in data:
            if key not in known:
                where = f"{path}.{key}" if path else str(key)
                raise self.error(where, f"unknown key; known are {', '.join(sorted(known))}")
        return data

    def error(self, path: str, reason: str) -> exceptions.InvalidTemplate:
        return exceptions.InvalidTemplate(self.name, path, reason)


def _is_int(value: object, allowed: range) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value in allowed
