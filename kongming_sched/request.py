# SPDX-License-Identifier: Apache-2.0
"""PinningRequest: what a flavor's extra specs ask of KongMing, parsed once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kongming_sched import exceptions
from kongming_sched.compat import StrEnum
from kongming_sched.template import NAME
from kongming_sched.texts.printable import quote
from kongming_sched.texts.whole_number import AMOUNTS, find_whole_number

TEMPLATE_KEY = "kongming:template"
STRATEGY_KEY = "kongming:numa_strategy"
GROUP = "_KONGMING"
"""The request group of cell *i* has the suffix ``_KONGMING<i>``; Placement's mappings use it as key."""

_GROUP_KEY = re.compile(rf"(resources|trait)({GROUP}[0-9]+):(.+)")
_CLASHES = re.compile(
    r"hw:(cpu_policy|cpu_thread_policy|cpu_dedicated_mask|numa_.*|mem_page_size|cpu_realtime.*|emulator_threads_policy)"
    r"|resources[0-9]*:PCPU"
)


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


@dataclass(frozen=True, slots=True)
class PinningRequest:
    """A flavor that names a template.

    :ivar template: name of the template
    :ivar cells: one request group per cell, ordered by its number
    :ivar strategy: the flavor's own NUMA strategy, or None for the configured one
    """

    template: str
    cells: tuple[CellRequest, ...]
    strategy: NumaStrategy | None = None

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
            raise exceptions.InvalidRequest(clash, f"cannot be combined with {TEMPLATE_KEY}; unset one of them")
        strategy = extra_specs.get(STRATEGY_KEY)
        if strategy is not None and strategy not in list(NumaStrategy):
            raise exceptions.InvalidRequest(STRATEGY_KEY, f"{quote(strategy)} is none of {', '.join(NumaStrategy)}")
        return cls(template, _read_groups(extra_specs), NumaStrategy(strategy) if strategy else None)


def find_clash(extra_specs: Mapping[str, str]) -> str | None:
    """The first key by which Nova would pin CPUs itself, if there is one."""
    return next((key for key in sorted(extra_specs) if _CLASHES.fullmatch(key)), None)


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
