# SPDX-License-Identifier: Apache-2.0
"""PinningRequest: what a flavor's extra specs ask of KongMing, parsed once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kongming_sched import exceptions
from kongming_sched.compat import StrEnum
from kongming_sched.nova_numa.keys import (
    DEVICES_KEY,
    LOCAL,
    PAGE_SIZE_KEY,
    PCI_POLICY_KEY,
    NovaNuma,
    contradicts_local_devices,
    following_keys,
    read_nova_numa,
)
from kongming_sched.page_sizes import page_size_of
from kongming_sched.template import NAME
from kongming_sched.texts.printable import quote
from kongming_sched.texts.whole_number import AMOUNTS, find_whole_number

MEMORY_CLASS = "CUSTOM_KONGMING_MEMORY_MB"
"""The resource class of a NUMA node's memory in pages of the usual size."""

VCPU_CLASS = "CUSTOM_KONGMING_VCPU"
"""The resource class of a NUMA node's shared pool."""

TEMPLATE_KEY = "kongming:template"
STRATEGY_KEY = "kongming:numa_strategy"
GROUP = "_KONGMING"
"""The request group of cell *i* has the suffix ``_KONGMING<i>``; Placement's mappings use it as key."""

_GROUP_KEY = re.compile(rf"(resources|trait)({GROUP}[0-9]+):(.+)")
_CLASHES = re.compile(
    r"hw:(cpu_policy|cpu_thread_policy|cpu_dedicated_mask|numa_.*|mem_page_size|cpu_realtime.*|emulator_threads_policy)"
    r"|resources[0-9]*:PCPU"
)


SIZES_OF_NOVAS_CHOICE = ("large", "any")
"""Values of ``hw:mem_page_size`` that leave the size to Nova."""


class NumaStrategy(StrEnum):
    """Which NUMA node of a host a server takes when several fit."""

    PACK = "pack"
    """The fullest that fits."""
    SPREAD = "spread"
    """The emptiest."""
    SCATTER = "scatter"
    """One that a hash of the server's id picks, so that many schedulers rarely pick the same."""


@dataclass(frozen=True, slots=True)
class CellRequest:
    """One granular request group ``_KONGMING<i>``.

    :ivar group: the suffix, as Placement's mappings have it
    :ivar resources: resource class to amount
    :ivar required: traits that the provider must have
    """

    group: str
    resources: Mapping[str, int]
    required: frozenset[str]

    @property
    def page_kib(self) -> int | None:
        """The size in KiB of the huge pages that it takes; None if it takes none."""
        return next(filter(None, map(page_size_of, self.resources)), None)

    @property
    def memory_mb(self) -> int:
        """The memory in MiB that it takes of its node, in pages of whatever size."""
        pages_kib = sum(amount * (page_size_of(name) or 0) for name, amount in self.resources.items())
        return self.resources.get(MEMORY_CLASS, 0) + pages_kib // 1024


@dataclass(frozen=True, slots=True)
class PinningRequest:
    """A flavor that names a template.

    :ivar template: name of the template
    :ivar cells: one request group per cell, ordered by its number
    :ivar strategy: the flavor's own NUMA strategy, or None for the configured one
    :ivar nova_numa: the NUMA topology that Nova makes of the flavor; None if it makes none
    """

    template: str
    cells: tuple[CellRequest, ...]
    strategy: NumaStrategy | None = None
    nova_numa: NovaNuma | None = None

    @classmethod
    def from_extra_specs(cls, extra_specs: Mapping[str, str]) -> PinningRequest | None:
        """Read a flavor's extra specs; None if they do not name a template.

        :raises InvalidRequest: naming the key that is wrong: a malformed name, strategy, amount or trait, a template
            without groups, groups with a gap, a key that clashes with pinning by templates
        """
        template = extra_specs.get(TEMPLATE_KEY)
        if template is None:
            return None
        if not NAME.fullmatch(template):
            raise exceptions.InvalidRequest(TEMPLATE_KEY, f"{quote(template)} is not a template's name")
        if clash := find_clash(extra_specs):
            raise exceptions.InvalidRequest(clash, why_clash(clash, extra_specs))
        strategy = extra_specs.get(STRATEGY_KEY)
        if strategy is not None and strategy not in list(NumaStrategy):
            raise exceptions.InvalidRequest(STRATEGY_KEY, f"{quote(strategy)} is none of {', '.join(NumaStrategy)}")
        cells = _read_groups(extra_specs)
        numa = read_nova_numa(extra_specs, [cell.memory_mb for cell in cells], _page_kib(cells))
        return cls(template, cells, NumaStrategy(strategy) if strategy else None, numa)


def find_clash(extra_specs: Mapping[str, str]) -> str | None:
    """The first key by which Nova would place vCPUs or memory otherwise than the template says, if there is one."""
    if contradicts_local_devices(extra_specs):
        return PCI_POLICY_KEY
    found = [key for key in sorted(extra_specs) if _CLASHES.fullmatch(key)]
    following = find_following(extra_specs) if found else ()
    return next((key for key in found if key not in following), None)


def find_following(extra_specs: Mapping[str, str]) -> frozenset[str]:
    """The keys of Nova's that follow from a flavor's request groups, and that ``flavor set`` writes with them."""
    groups: dict[str, set[str]] = {}
    for key in extra_specs:
        if (match := _GROUP_KEY.fullmatch(key)) and match[1] == "resources":
            groups.setdefault(match[2], set()).add(match[3])
    sizes = {size for names in groups.values() for size in map(page_size_of, names) if size}
    floats = any(VCPU_CLASS in names for names in groups.values())
    return following_keys(extra_specs, len(groups), min(sizes, default=None), floats=floats)


def why_clash(key: str, extra_specs: Mapping[str, str]) -> str:
    """Why a key that clashes does so, and what to do."""
    if key == PAGE_SIZE_KEY and extra_specs[key] in SIZES_OF_NOVAS_CHOICE:
        return (
            f"is {extra_specs[key]}, which sticks to the size that Nova tries first; unset it, and name the size in the"
            " template's cells, as in pages: 2MiB"
        )
    if key == PCI_POLICY_KEY:
        return (
            f"is {extra_specs[key]}, by which Nova takes devices of other nodes, and {DEVICES_KEY} is {LOCAL}; unset"
            " it, and write the flavor's keys with 'openstack kongming flavor set'"
        )
    return f"cannot be combined with {TEMPLATE_KEY}; unset one of them"


def _page_kib(cells: Sequence[CellRequest]) -> int | None:
    """The size in KiB of the huge pages that all cells take; None if they take none.

    :raises InvalidRequest: if they differ, for Nova gives a server pages of one size
    """
    size = cells[0].page_kib
    for cell in cells:
        if cell.page_kib != size or (size and MEMORY_CLASS in cell.resources):
            raise exceptions.InvalidRequest(f"resources{cell.group}:*", "takes memory in pages of another size")
    return size


def _read_groups(extra_specs: Mapping[str, str]) -> tuple[CellRequest, ...]:
    resources: dict[str, dict[str, int]] = {}
    required: dict[str, set[str]] = {}
    for key, value in extra_specs.items():
        match = _GROUP_KEY.fullmatch(key)
        if match is None:
            continue
        kind, group, name = match.groups()
        if kind == "resources":
            amount = find_whole_number(value, AMOUNTS)
            if not amount:
                raise exceptions.InvalidRequest(key, f"{quote(value)} is not an amount from 1 to {AMOUNTS[-1]}")
            resources.setdefault(group, {})[name] = amount
        elif value == "required":
            required.setdefault(group, set()).add(name)
    count = len(resources)
    groups = [f"{GROUP}{index}" for index in range(max(count, 1))]
    for group in [*groups, *required]:
        if group not in resources:
            raise exceptions.InvalidRequest(
                f"resources{group}:*",
                "the flavor names a template but lacks this group;"
                " write its keys with 'openstack kongming flavor set FLAVOR --template TEMPLATE'",
            )
    return tuple(CellRequest(group, resources[group], frozenset(required.get(group, ()))) for group in groups)
