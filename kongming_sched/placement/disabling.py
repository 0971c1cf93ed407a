# SPDX-License-Identifier: Apache-2.0
"""Disabled nodes: a trait by which an operator keeps servers of templates away. The host's agent never removes it.

The traits of the templates are removed in the same request, so that from then on Placement offers the node to no server
of a template, whether the agent runs or not. The agent does not set them again until the trait is gone. Inventories and
allocations stay: servers on the node keep their pins.
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
    """The traits of a node once it is enabled, without those of templates, which its agent sets."""
    return frozenset(traits) - {names.DISABLED}


def disable(client: PlacementClient, uuid: str) -> None:
    """Let a node take no more servers. Does nothing to a node that is disabled already."""
    client.ensure_traits([names.DISABLED])
    change_traits(client, uuid, disabled_traits)


def enable(client: PlacementClient, uuid: str) -> None:
    """Let a node's agent offer templates again."""
    change_traits(client, uuid, enabled_traits)


@retry_on_conflict
def change_traits(client: PlacementClient, uuid: str, wanted: Callable[[Collection[str]], frozenset[str]]) -> None:
    """Replace the traits of a node, starting anew if its agent has written meanwhile.

    :raises ProviderNotFound: if the node is gone
    """
    found = client.providers(uuid=uuid)
    if not found:
        raise exceptions.ProviderNotFound(f"find provider {uuid}", "it does not exist any more; run the command again")
    before = client.traits(uuid)
    after = wanted(before)
    if after != before:
        client.set_traits(uuid, found[0].generation, after)
