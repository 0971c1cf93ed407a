# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies that more than one test draws from."""

from __future__ import annotations

import itertools

from hypothesis import strategies as st

from kongming_sched.cpuset import MAX_CPU, CpuSet
from kongming_sched.qos import LIMITS, QUOTA_US, Qos, group_quotas
from kongming_sched.template import (
    MAX_NODE_ID,
    CpuPolicy,
    EmulatorPolicy,
    MemoryPolicy,
    Override,
    PinningTemplate,
    TemplateCell,
    ThreadPolicy,
)

MAX_VCPUS = 24


def names() -> st.SearchStrategy[str]:
    """Names that a template may have."""
    return st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True)


def cpu_sets(max_cpu: int = 300, min_size: int = 0) -> st.SearchStrategy[CpuSet]:
    """Sets of CPU numbers from 0 to ``max_cpu``."""
    return st.sets(st.integers(0, max_cpu), min_size=min_size, max_size=40).map(CpuSet.of)


def qos(vcpus: int) -> st.SearchStrategy[Qos]:
    """QoS with any of its values left out, for a server of so many vCPUs."""

    def within(allowed: range) -> st.SearchStrategy[int]:
        return st.integers(allowed[0], allowed[-1])

    own = st.dictionaries(st.integers(0, vcpus - 1), st.sampled_from([1000, 25000]) | within(QUOTA_US), max_size=vcpus)
    return st.builds(
        Qos,
        **{name: st.none() | within(allowed) for name, allowed in LIMITS.items()},
        vcpu_quotas_us=own.map(lambda quotas: group_quotas((CpuSet.of([vcpu]), quotas[vcpu]) for vcpu in quotas)),
    )


@st.composite
def templates(draw: st.DrawFn) -> PinningTemplate:
    """Templates that break no rule."""
    vcpus = draw(st.permutations(range(draw(st.integers(1, MAX_VCPUS)))))
    cuts = sorted(draw(st.sets(st.integers(1, max(len(vcpus) - 1, 1)), max_size=3)))
    bounds = [0, *[cut for cut in cuts if cut < len(vcpus)], len(vcpus)]
    nodes = draw(st.lists(st.none() | st.integers(0, MAX_NODE_ID), min_size=len(bounds), unique_by=lambda node: node))
    cells = []
    for index, (start, end) in enumerate(itertools.pairwise(bounds)):
        node = nodes[index] if draw(st.booleans()) else None
        cells.append(_cell(draw, CpuSet.of(vcpus[start:end]), index, node))
    return PinningTemplate(
        draw(names()),
        tuple(cells),
        draw(st.sampled_from(EmulatorPolicy)),
        draw(qos(len(vcpus))),
        draw(st.sampled_from(Override)),
    )


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


def _cell(draw: st.DrawFn, vcpus: CpuSet, index: int, node: int | None) -> TemplateCell:
    """One cell; explicit cells draw host CPUs of a hundred of their own, so that cells stay disjoint."""
    policy = draw(st.sampled_from(CpuPolicy))
    threads = draw(st.sampled_from(ThreadPolicy)) if policy is CpuPolicy.DEDICATED else ThreadPolicy.ANY
    pins: tuple[CpuSet, ...] = ()
    if policy is CpuPolicy.EXPLICIT:
        host_cpus = st.sets(st.integers(100 * index, 100 * index + 99), min_size=1, max_size=6).map(CpuSet.of)
        pins = (draw(host_cpus),) * len(vcpus) if draw(st.booleans()) else tuple(draw(host_cpus) for _ in vcpus)
    return TemplateCell(vcpus, policy, threads, draw(st.sampled_from(MemoryPolicy)), pins, node)
