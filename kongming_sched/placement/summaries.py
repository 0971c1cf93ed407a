# SPDX-License-Identifier: Apache-2.0
"""The summaries of providers that come with Placement's allocation candidates, read without the candidates."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kongming_sched.placement.quantities import amount, text

ObjectHook = Callable[[dict[str, Any]], Any]
"""Applied to each object of an answer while it is parsed, as in :func:`json.loads`; the result replaces the object."""


@dataclass(frozen=True, slots=True)
class ProviderSummary:
    """A provider with its traits, and its capacity and usage by resource class."""

    uuid: str
    root_uuid: str
    parent_uuid: str | None
    traits: frozenset[str]
    capacity: Mapping[str, int]
    used: Mapping[str, int]

    def free(self, resource_class: str) -> int:
        """What is left of a class."""
        return self.capacity.get(resource_class, 0) - self.used.get(resource_class, 0)


def condense(is_wanted: Callable[[Mapping[str, Any]], bool]) -> ObjectHook:
    """A hook that keeps only the wanted summaries of an answer.

    At 5,000 hosts the answer holds some 10,000 candidates and 300,000 traits of compute nodes. They would take ten
    times the memory of what is wanted.
    """

    def shrink(item: dict[str, Any]) -> Any:
        if "allocations" in item:  # a candidate
            return None
        if "root_provider_uuid" in item:  # a summary
            return _facts(item) if is_wanted(item) else None
        return item

    return shrink


def read_summaries(body: Mapping[str, Any]) -> list[ProviderSummary]:
    """The summaries of an answer that was parsed with :func:`condense`."""
    return [ProviderSummary(uuid, *facts) for uuid, facts in body["provider_summaries"].items() if facts]


def _facts(item: Mapping[str, Any]) -> tuple[Any, ...]:
    """The fields of a :class:`ProviderSummary` after its id."""
    parent = item["parent_provider_uuid"]
    return (
        text(item["root_provider_uuid"]),
        None if parent is None else text(parent),
        frozenset(map(sys.intern, item["traits"])),
        {name: amount(resource["capacity"]) for name, resource in item["resources"].items()},
        {name: amount(resource["used"]) for name, resource in item["resources"].items()},
    )
