# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies that more than one test draws from."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from hypothesis import strategies as st

from kongming_sched.clauses.clause import Clause, clauses_of
from kongming_sched.clauses.hours import DAY_MINUTES, Days, TimeOfDay, Zone
from kongming_sched.clauses.kinds import Choice, Cpus, Number, Part, Parts
from kongming_sched.clauses.text import Text
from kongming_sched.cpuset import MAX_CPU, CpuSet
from kongming_sched.page_sizes import PageSize
from kongming_sched.qos import QUOTA_US, Qos, VcpuQos, group_quotas
from kongming_sched.template import (
    CachePolicy,
    CpuPolicy,
    DevicePolicy,
    EmulatorPolicy,
    GuestNuma,
    MemoryPolicy,
    Period,
    PinningTemplate,
    Realtime,
    TemplateCell,
)
from kongming_sched.texts.whole_number import NODE_IDS

T = TypeVar("T")
MAX_VCPUS = 24
SMALL_PAGES = (PageSize.KIB_64, PageSize.MIB_1, PageSize.MIB_2)
"""Sizes of which the memory of the tests' flavors makes whole pages for every cell."""


def names() -> st.SearchStrategy[str]:
    """Names that a template may have."""
    return st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True)


def cpu_sets(max_cpu: int = 300, min_size: int = 0) -> st.SearchStrategy[CpuSet]:
    """Sets of CPU numbers from 0 to ``max_cpu``."""
    return st.sets(st.integers(0, max_cpu), min_size=min_size, max_size=40).map(CpuSet.of)


def keys() -> list[str]:
    """The keys that a file can have."""
    return sorted(
        {
            clause.name
            for part in (PinningTemplate, TemplateCell, Qos, VcpuQos, Realtime, Period)
            for clause in clauses_of(part)
        }
    )


def values(clause: Clause) -> st.SearchStrategy[Any]:
    """Values that a clause may have, whatever the others are.

    :raises TypeError: for a kind of values that nobody has taught to this function
    """
    match clause.kind:
        case Choice(words):
            return st.sampled_from(words)
        case Number(allowed):
            return st.integers(allowed[0], allowed[-1])
        case Cpus():
            return cpu_sets(min_size=1)
        case Text(longest):
            characters = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
            texts = st.text(characters, min_size=1, max_size=longest).map(lambda text: text.strip(" "))
            return texts.filter(bool)
        case Days():
            return st.sets(st.integers(0, 6), min_size=1).map(lambda days: tuple(sorted(days)))
        case TimeOfDay(is_end):
            return st.integers(is_end * 1, DAY_MINUTES - (not is_end))
        case Zone():
            return st.sampled_from(["Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+9", "UTC"])
        case Part(part):
            return st.composite(objects)(part)
    raise TypeError(f"tests/unit/strategies.py draws no {type(clause.kind).__name__}, as {clause.name} is one")


def objects(draw: st.DrawFn, /, part: type[T], **drawn: Any) -> T:
    """An object of a class of clauses.

    :param drawn: the attributes that depend on each other, which the caller has drawn
    """
    for clause in clauses_of(part):
        if clause.attribute in drawn or (clause.only and drawn[clause.only.attribute] != clause.only.value):
            continue
        given = values(clause)
        drawn[clause.attribute] = draw(given if clause.is_required else st.just(clause.default) | given)
    return part(**drawn)


@st.composite
def qos(draw: st.DrawFn, vcpus: int) -> Qos:
    """QoS with any of its values left out, for a server of so many vCPUs."""
    quotas = st.sampled_from([1000, 25000]) | st.integers(QUOTA_US[0], QUOTA_US[-1])
    own = draw(st.dictionaries(st.integers(0, vcpus - 1), quotas, max_size=vcpus))
    return objects(draw, Qos, vcpu_quotas_us=group_quotas((CpuSet.of([vcpu]), own[vcpu]) for vcpu in own))


@st.composite
def periods(draw: st.DrawFn, vcpus: int, emulator: EmulatorPolicy, zone: str | None = None) -> tuple[Period, ...]:
    """Periods of a template that do not overlap.

    :param vcpus: of the template
    :param emulator: the template's
    :param zone: that of all periods; None for any
    """
    zone = zone or draw(values(clauses_of(Period)[0]))
    found: list[Period] = []
    for _ in range(draw(st.integers(0, 3))):
        given: dict[str, Any] = {"zone": zone, "qos": draw(st.none() | qos(vcpus))}
        if emulator is EmulatorPolicy.OWN:
            given["emulator"] = None
        period = objects(draw, Period, **given)
        says_something = period.qos is not None or period.emulator is not None
        is_apart = all(period.span.common_minute(other.span) is None for other in found)
        if says_something and is_apart and period.start != period.end:
            found.append(period)
    return tuple(found)


@st.composite
def templates(draw: st.DrawFn, template: type[PinningTemplate] = PinningTemplate) -> PinningTemplate:
    """Templates that break no rule.

    :param template: the class of the templates, which may have more clauses than PinningTemplate
    """
    vcpus = draw(st.permutations(range(draw(st.integers(1, MAX_VCPUS)))))
    cuts = sorted(draw(st.sets(st.integers(1, max(len(vcpus) - 1, 1)), max_size=3)))
    bounds = [0, *[cut for cut in cuts if cut < len(vcpus)], len(vcpus)]
    nodes = draw(st.lists(st.none() | st.sampled_from(NODE_IDS), min_size=len(bounds), unique_by=lambda node: node))
    numa = draw(_nova_numa(len(bounds) - 1))
    if numa["guest_numa"] is GuestNuma.VISIBLE:
        nodes = _ascending(nodes)
    cells = []
    for index, (start, end) in enumerate(itertools.pairwise(bounds)):
        node = nodes[index] if draw(st.booleans()) else None
        given = {"pages": numa["pages"], "devices": numa["devices"] or DevicePolicy.ANY}
        given |= {"memory": MemoryPolicy.STRICT} if any(numa.values()) else {}
        cells.append(_cell(draw, cell_class(template), CpuSet.of(vcpus[start:end]), index, node, given))
    guest_numa = numa["guest_numa"] or GuestNuma.HIDDEN
    drawn = {"qos": draw(qos(len(vcpus))), "guest_numa": guest_numa, **_realtime(draw, cells, guest_numa)}
    emulator = drawn.setdefault("emulator", draw(st.sampled_from(EmulatorPolicy)))
    drawn["hours"] = draw(periods(len(vcpus), emulator)) if draw(st.booleans()) else ()
    return objects(draw, template, name=draw(names()), cells=tuple(cells), **drawn)


def _realtime(draw: st.DrawFn, cells: Sequence[TemplateCell], guest_numa: GuestNuma) -> dict[str, Any]:
    """Which vCPUs run in real time, if the cells admit that; QEMU's own threads have a CPU if no vCPU is left."""
    pinned = CpuSet.union(cell.dedicated_vcpus for cell in cells)
    has_explicit = any(cell.cpus is CpuPolicy.EXPLICIT for cell in cells)
    is_mixed = any(cell.shared_vcpus for cell in cells)
    is_alone = len(cells) == 1 or guest_numa is GuestNuma.VISIBLE
    is_strict = all(cell.cpus is not CpuPolicy.SHARED and cell.memory is MemoryPolicy.STRICT for cell in cells)
    if not (pinned and is_alone and is_strict and draw(st.booleans())) or (is_mixed and has_explicit):
        return {"realtime": None}
    vcpus = pinned if is_mixed else CpuSet.of(draw(st.sets(st.sampled_from(list(pinned)), min_size=1)))
    is_all = vcpus == CpuSet.union(cell.pinned_vcpus for cell in cells)
    emulator = {"emulator": EmulatorPolicy.OWN} if is_all else {}
    return {"realtime": objects(draw, Realtime, vcpus=vcpus), **emulator}


@st.composite
def _nova_numa(draw: st.DrawFn, cells: int) -> dict[str, Any]:
    """The pages and the devices of all cells, and whether the guest sees its nodes, each None if as by default."""
    size = draw(st.none() | st.sampled_from(SMALL_PAGES))
    is_visible = (size is not None and cells > 1) or draw(st.booleans())
    is_local = (cells == 1 or is_visible) and draw(st.booleans())
    return {
        "pages": size,
        "guest_numa": GuestNuma.VISIBLE if is_visible else None,
        "devices": DevicePolicy.LOCAL if is_local else None,
    }


def _ascending(nodes: list[int | None]) -> list[int | None]:
    """Node ids in ascending order with room for the cells between them that name none."""
    within = NODE_IDS[len(nodes) : -len(nodes)]  # so that cells without a node find one before and behind
    named = iter(sorted(node for node in nodes if node is not None and node in within))
    found = [None if node is None else next(named, None) for node in nodes]
    numbers = [node for node in found if node is not None]
    spaced = all(after - before > len(nodes) for before, after in itertools.pairwise(numbers))
    return found if spaced else [None] * len(nodes)


@st.composite
def large_templates(draw: st.DrawFn) -> PinningTemplate:
    """Templates of one explicit cell of up to 512 vCPUs on host CPUs far apart, so that the texts of sets get long."""
    count = draw(st.integers(100, 512))
    evens = CpuSet.of(range(0, count, 2))
    numbers = st.integers(0, MAX_CPU)
    pin = st.sets(numbers, min_size=1, max_size=120).map(CpuSet.of)
    wide, odd = draw(pin), draw(pin)
    pins = tuple(wide if vcpu in evens else odd for vcpu in range(count))
    return PinningTemplate(draw(names()), (TemplateCell(CpuSet.of(range(count)), CpuPolicy.EXPLICIT, pins=pins),))


def cell_class(template: type[PinningTemplate]) -> type[TemplateCell]:
    """The class of a template's cells."""
    kinds = (clause.kind for clause in clauses_of(template) if clause.attribute == "cells")
    (part,) = (kind.part for kind in kinds if isinstance(kind, Parts))
    assert issubclass(part, TemplateCell)
    return part


def _cell(
    draw: st.DrawFn,
    cell: type[TemplateCell],
    vcpus: CpuSet,
    index: int,
    node: int | None,
    given: Mapping[str, Any],
) -> TemplateCell:
    """One cell; explicit cells draw host CPUs of a hundred of their own, so that cells stay disjoint."""
    policy = draw(st.sampled_from(CpuPolicy))
    pins: tuple[CpuSet, ...] = ()
    if policy is CpuPolicy.EXPLICIT:
        host_cpus = st.sets(st.integers(100 * index, 100 * index + 99), min_size=1, max_size=6).map(CpuSet.of)
        pins = (draw(host_cpus),) * len(vcpus) if draw(st.booleans()) else tuple(draw(host_cpus) for _ in vcpus)
    shared = CpuSet()
    if policy is CpuPolicy.DEDICATED and len(vcpus) > 1 and draw(st.booleans()):
        shared = CpuSet.of(draw(st.sets(st.sampled_from(list(vcpus)), max_size=len(vcpus) - 1)))
    drawn = objects(draw, cell, vcpus=vcpus, cpus=policy, pins=pins, node=node, shared_vcpus=shared, **given)
    return drawn if drawn.needs_smt_trait else replace(drawn, caches=CachePolicy.ANY)
