# SPDX-License-Identifier: Apache-2.0
"""Which machine the nodes of a host are: a trait that the host's agent sets, so that no other overwrites them."""

from __future__ import annotations

from collections.abc import Collection

from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.disabling import change_traits


def marks(traits: Collection[str]) -> tuple[str, ...]:
    """The marks of the machines that these traits name, which should be one."""
    return tuple(sorted(filter(None, map(names.machine_of, traits))))


def machine_traits(traits: Collection[str]) -> frozenset[str]:
    """Those of these traits that name a machine."""
    return frozenset(trait for trait in traits if names.machine_of(trait) is not None)


def forget_machine(client: PlacementClient, uuid: str) -> None:
    """Leave a node to the machine whose agent writes it next."""
    known: list[str] = []

    def unmarked(traits: Collection[str]) -> frozenset[str]:
        known.extend(machine_traits(traits))
        return frozenset(traits) - machine_traits(traits)

    change_traits(client, uuid, unmarked)
    for trait in known:
        client.forget_trait(trait)
