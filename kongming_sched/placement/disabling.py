# SPDX-License-Identifier: Apache-2.0
"""Nodes that an operator keeps servers of templates away from: one trait, which the host's agent leaves where it is.

The traits of the templates go in the same request, so that Placement offers the node to nobody from that moment on,
whether the agent runs or not. The agent withholds them as long as the trait is there, and gives them back when it is
gone. Inventories and allocations stay: servers that are there keep their pins.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from kongming_sched import exceptions
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.conflict import retry_on_conflict


def disabled_traits(traits: Collection[str]) -> frozenset[str]:
    """The traits of a node once it is disabled."""
    return frozenset(trait for trait in traits if names.offered_template(trait) is None) | {names.DISABLED}


def enabled_traits(traits: Collection[str]) -> frozenset[str]:
    """The traits of a node once it is enabled; those of templates are for its agent to give."""
    return frozenset(traits) - {names.DISABLED}


def disable(client: PlacementClient, uuid: str) -> None:
    """Let a node take no more servers. A node that is disabled stays so."""
    client.ensure_traits([names.DISABLED])
    _change(client, uuid, disabled_traits)


def enable(client: PlacementClient, uuid: str) -> None:
    """Let a node's agent offer templates again."""
    _change(client, uuid, enabled_traits)


@retry_on_conflict
def _change(client: PlacementClient, uuid: str, wanted: Callable[[Collection[str]], frozenset[str]]) -> None:
    """Again from the start if the agent wrote in between.

    :raises ProviderNotFound: if the node is gone
    """
    found = client.providers(uuid=uuid)
    if not found:
        raise exceptions.ProviderNotFound(f"find provider {uuid}", "it has gone; look again")
    before = client.traits(uuid)
    after = wanted(before)
    if after != before:
        client.set_traits(uuid, found[0].generation, after)
