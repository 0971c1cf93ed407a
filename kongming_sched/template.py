# SPDX-License-Identifier: Apache-2.0
"""PinningTemplate: which host CPUs and which memory the vCPUs of a server shall have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kongming_sched.clauses.cell import TemplateCell as TemplateCell
from kongming_sched.clauses.cell import count_cpus as count_cpus
from kongming_sched.clauses.clause import Kind, Schema, Where, clause, read, write
from kongming_sched.clauses.kinds import Choice, Part, Parts
from kongming_sched.clauses.period import Period as Period
from kongming_sched.clauses.period import check_periods
from kongming_sched.clauses.realtime import Realtime as Realtime
from kongming_sched.clauses.realtime import find_contention
from kongming_sched.clauses.text import Text
from kongming_sched.clauses.words import CachePolicy as CachePolicy
from kongming_sched.clauses.words import CpuPolicy as CpuPolicy
from kongming_sched.clauses.words import DevicePolicy as DevicePolicy
from kongming_sched.clauses.words import EmulatorPolicy as EmulatorPolicy
from kongming_sched.clauses.words import GuestNuma as GuestNuma
from kongming_sched.clauses.words import MemoryPolicy as MemoryPolicy
from kongming_sched.clauses.words import Override as Override
from kongming_sched.clauses.words import ThreadPolicy as ThreadPolicy
from kongming_sched.cpuset import CpuSet
from kongming_sched.page_sizes import PageSize
from kongming_sched.qos import NO_QOS, Qos
from kongming_sched.texts.printable import quote
from kongming_sched.texts.whole_number import NODE_IDS

_Template = TypeVar("_Template", bound="PinningTemplate")

NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
"""What a template's name looks like: it becomes part of trait and resource class names."""


MOST_PERIODS = 50
"""How many periods a template may have, each of which is several traits of its provider."""


@dataclass(frozen=True, slots=True)
class Name(Kind[str]):
    """The name of a template, which stands in its provider's name and in no trait of it."""

    def read(self, value: object, where: Where, _before: Mapping[str, Any]) -> str:
        """Take a text that can become a part of trait and resource class names."""
        if not isinstance(value, str) or not NAME.fullmatch(value):
            raise where.error(f"{quote(value)} is not a name of 1 to 32 letters a-z, digits and _, a letter first")
        return value

    def schema(self) -> Schema:
        """A text of this pattern."""
        return {"type": "string", "pattern": rf"^{NAME.pattern}(?![\s\S])"}

    @property
    def notation(self) -> str:
        """The pattern."""
        return f"``{NAME.pattern}``"


@dataclass(frozen=True, slots=True)
class PinningTemplate:
    """A named layout. Make one with :meth:`from_mapping`, which checks every rule."""

    name: str = field(
        metadata=clause(
            Name(), "1 to 32 letters a-z, digits and _, a letter first, for it becomes a part of names in Placement."
        )
    )
    cells: tuple[TemplateCell, ...] = field(
        metadata=clause(Parts(TemplateCell, "cell"), "The parts of the server, each on a NUMA node of its own.")
    )
    emulator: EmulatorPolicy = field(
        default=EmulatorPolicy.SHARED,
        metadata=clause(
            Choice(EmulatorPolicy),
            "Where QEMU's own threads run: on the host's housekeeping CPUs, on those of the vCPUs, or on its own.",
            spelled_out=True,
        ),
    )
    qos: Qos = field(
        default=NO_QOS,
        metadata=clause(Part(Qos), "CPU time; what is left out stays as Nova set it.", blank=True),
    )
    override: Override = field(
        default=Override.DENIED,
        metadata=clause(
            Choice(Override),
            "What a server's own metadata may replace: nothing, the pins, or the template too.",
            spelled_out=True,
        ),
    )
    description: str | None = field(
        default=None,
        metadata=clause(Text(120), "What the template is for, in 1 to 120 characters on one line.", blank=True),
    )
    guest_numa: GuestNuma = field(
        default=GuestNuma.HIDDEN,
        metadata=clause(
            Choice(GuestNuma),
            "What the guest sees of NUMA: one node, or one for each cell, with its vCPUs and its share of the memory.",
        ),
    )
    realtime: Realtime | None = field(
        default=None,
        metadata=clause(
            Part(Realtime),
            "The vCPUs that run in real time, with the server's memory locked; without it none do.",
            blank=True,
        ),
    )
    hours: tuple[Period, ...] = field(
        default=(),
        metadata=clause(
            Parts(Period, "period", "H", MOST_PERIODS, f"a template has {MOST_PERIODS} at most"),
            "The periods in which something is other than what stands here.",
            blank=True,
        ),
    )

    @property
    def vcpus(self) -> int:
        """How many vCPUs a server of this template has."""
        return sum(len(cell.vcpus) for cell in self.cells)

    @property
    def host_cpus(self) -> CpuSet:
        """All host CPUs that the template names itself; empty if no cell is explicit."""
        return CpuSet.union(cell.host_cpus for cell in self.cells)

    @property
    def emulator_threads(self) -> ThreadPolicy | None:
        """The thread policy by which QEMU's own threads get a dedicated CPU; None if they have none of their own.

        It is ``isolate`` where the first cell takes whole cores, so that no vCPU runs on the same core.
        """
        if self.emulator is not EmulatorPolicy.OWN:
            return None
        return ThreadPolicy.ISOLATE if self.cells[0].needs_smt_trait else ThreadPolicy.ANY

    def dedicated_cpus(self, cell: int, threads_per_core: int) -> int:
        """How many host CPUs a cell takes from a dedicated pool, those for QEMU's own threads included.

        :param cell: its number; the first has QEMU's own threads
        """
        count = self.cells[cell].dedicated_cpus(threads_per_core)
        if cell == 0 and self.emulator_threads is not None:
            count += count_cpus(1, self.emulator_threads, threads_per_core)
        return count

    @property
    def pages(self) -> PageSize | None:
        """The size of the huge pages of all cells; None for pages of the usual size."""
        return self.cells[0].pages

    @property
    def floating_vcpus(self) -> CpuSet:
        """The vCPUs that run on the shared pools of their nodes."""
        return CpuSet.union(cell.floating_vcpus for cell in self.cells)

    @property
    def pinned_vcpus(self) -> CpuSet:
        """The vCPUs that have host CPUs which the agent chooses or the template names."""
        return CpuSet.union(cell.pinned_vcpus for cell in self.cells)

    @property
    def realtime_vcpus(self) -> CpuSet:
        """The vCPUs that run in real time."""
        return self.realtime.vcpus if self.realtime else CpuSet()

    @property
    def has_local_devices(self) -> bool:
        """Whether the server's devices are on the nodes of its cells only."""
        return self.cells[0].devices is DevicePolicy.LOCAL

    @property
    def needs_nova_numa(self) -> bool:
        """Whether Nova must know of the nodes: for huge pages, real time, devices, and a guest that sees its nodes."""
        is_visible = self.guest_numa is GuestNuma.VISIBLE
        return self.pages is not None or is_visible or self.realtime is not None or self.has_local_devices

    @classmethod
    def from_mapping(cls: type[_Template], data: object) -> _Template:
        """Check and read a template as YAML or JSON give it.

        :raises InvalidTemplate: with the path of the first value that is wrong
        """
        name = data.get("name") if isinstance(data, Mapping) else None
        where = Where(name if isinstance(name, str) and NAME.fullmatch(name) else None)
        template = read(cls, data, where)
        _check_cells_together(template, where)
        _check_nova_numa(template, where)
        _check_realtime(template, where)
        _check_hours(template, where)
        return template

    def to_mapping(self) -> dict[str, object]:
        """The template as plain values that :meth:`from_mapping` reads back."""
        return write(self)


def _check_cells_together(template: PinningTemplate, where: Where) -> None:
    """The rules of and between cells: disjoint vCPUs without a gap, nodes and host CPUs, whole cores for one cache."""
    seen = CpuSet()
    hosts = CpuSet()
    nodes: set[int] = set()
    for index, cell in enumerate(template.cells):
        at = where.key("cells").item(index)
        if twice := seen & cell.vcpus:
            raise at.key("vcpus").error(f"vCPU {twice} is in another cell too")
        if unknown := cell.shared_vcpus - cell.vcpus:
            raise at.key("shared_vcpus").error(f"vCPU {unknown} is none of this cell, which has {cell.vcpus}")
        if not cell.pinned_vcpus and cell.cpus is CpuPolicy.DEDICATED:
            raise at.key("shared_vcpus").error("leaves no dedicated vCPU; write cpus: shared")
        if twice := hosts & cell.host_cpus:
            raise at.key("pins").error(f"host CPU {twice} is in another cell too")
        if cell.node in nodes:
            raise at.key("node").error(f"node {cell.node} is named by another cell too")
        if cell.caches is CachePolicy.ONE and not cell.needs_smt_trait:
            reason = (
                f"one needs threads: require or isolate, for whole cores alone can be counted; it is {cell.threads}"
            )
            raise at.key("caches").error(reason)
        seen |= cell.vcpus
        hosts |= cell.host_cpus
        if cell.node is not None:
            nodes.add(cell.node)
    if missing := CpuSet.parse(f"0-{max(seen)}") - seen:
        reason = f"vCPU {missing} is in no cell; together the cells must hold 0 to {max(seen)}"
        raise where.key("cells").error(reason)
    if unknown := CpuSet.of(template.qos.own_quotas_us) - seen:
        raise where.key("qos").key("vcpus").error(f"vCPU {unknown} is in no cell")


def _check_nova_numa(template: PinningTemplate, where: Where) -> None:
    """The rules of what Nova lays out in memory: one size of pages, and guest nodes in the order of host nodes."""
    for index, cell in enumerate(template.cells):
        at = where.key("cells").item(index)
        if cell.pages is not template.pages:
            first, other = template.pages or "missing", cell.pages or "missing"
            raise at.key("pages").error(f"is {other} and that of cell 0 is {first}; Nova gives a server one size")
        if cell.devices is not template.cells[0].devices:
            reason = f"is {cell.devices} and that of cell 0 is {template.cells[0].devices}"
            raise at.key("devices").error(f"{reason}; Nova takes devices of the nodes of all cells alike")
        if cell.memory is not MemoryPolicy.STRICT and template.needs_nova_numa:
            words = "must be strict with pages, realtime, devices: local and guest_numa: visible, for Nova binds it"
            raise at.key("memory").error(words)
    if template.guest_numa is GuestNuma.HIDDEN:
        if template.needs_nova_numa and len(template.cells) > 1:
            what = "pages in" if template.pages else "realtime with" if template.realtime else "devices: local with"
            reason = f"must be visible for {what} several cells: Nova puts what the guest sees as one node on one node"
            raise where.key("guest_numa").error(reason)
        return
    last = -1
    for index, cell in enumerate(template.cells):
        # Nova tries host nodes in ascending order and takes the first that fit, whatever the template says.
        last = last + 1 if cell.node is None else cell.node if cell.node > last else NODE_IDS.stop
        if last not in NODE_IDS:
            at = where.key("cells").item(index).key("node")
            raise at.error("with guest_numa: visible cells stand in ascending order of their nodes; exchange the cells")


def _check_realtime(template: PinningTemplate, where: Where) -> None:
    """The rules of real time: vCPUs with a CPU of their own, and one that is left for QEMU's own threads."""
    if template.realtime is None:
        return
    for index, cell in enumerate(template.cells):
        if cell.cpus is CpuPolicy.SHARED:
            reason = "cannot be shared with realtime, for Nova then gives every vCPU a host CPU of its own"
            raise where.key("cells").item(index).key("cpus").error(reason)
        pins = dict(zip(cell.vcpus, cell.pins, strict=False))  # of explicit cells only
        if reason := find_contention(template.realtime.vcpus, pins) or "":
            raise where.key("cells").item(index).key("pins").error(reason)
    at = where.key("realtime").key("vcpus")
    pinned = template.pinned_vcpus
    if unknown := template.realtime.vcpus - pinned - template.floating_vcpus:
        raise at.error(f"vCPU {unknown} is in no cell")
    if template.floating_vcpus and template.realtime.vcpus != pinned:
        raise at.error(f"must be {pinned}, all that are not shared, for where some are Nova has one mask for both")
    if template.emulator is not EmulatorPolicy.OWN and not pinned - template.realtime.vcpus:
        raise at.error(
            "leaves no dedicated vCPU on whose CPU QEMU's own threads can start, which would never run beside one that"
            " runs in real time; leave vCPU 0 out, or write emulator: own"
        )


def _check_hours(template: PinningTemplate, where: Where) -> None:
    """The rules of periods, and that what is other in them fits the cells."""
    at = where.key("hours")
    check_periods(template.hours, template.emulator, at)
    for index, period in enumerate(template.hours):
        quotas = period.qos.own_quotas_us if period.qos else ()
        if unknown := CpuSet.of(quotas) - CpuSet.of(range(template.vcpus)):
            raise at.item(index).key("qos").key("vcpus").error(f"vCPU {unknown} is in no cell")
