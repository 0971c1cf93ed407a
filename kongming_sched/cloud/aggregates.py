# SPDX-License-Identifier: Apache-2.0
"""Host aggregates by name or UUID, and their members."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from kongming_sched import exceptions
from kongming_sched.cloud.compute import Aggregate, ComputeClient
from kongming_sched.placement.client import PlacementClient


def find_aggregate(compute: ComputeClient, name_or_uuid: str) -> Aggregate:
    """The host aggregate of Nova that has this name or UUID.

    :raises AggregateNotFound: if there is none, or several have the name
    """
    found = [aggregate for aggregate in compute.aggregates() if name_or_uuid in (aggregate.name, aggregate.uuid)]
    if len(found) != 1:
        reason = f"{len(found)} host aggregates are named" if found else "no host aggregate has the name or UUID"
        raise exceptions.AggregateNotFound(name_or_uuid, reason)
    return found[0]


def aggregate_uuid(compute: ComputeClient, name_or_uuid: str) -> str:
    """The UUID of a host aggregate. A UUID is taken as it is: Placement may have aggregates that Nova has not.

    :raises AggregateNotFound: if Nova has no aggregate of this name, or several
    """
    try:
        return str(uuid.UUID(name_or_uuid))
    except ValueError:
        return find_aggregate(compute, name_or_uuid).uuid


def members(client: PlacementClient, compute: ComputeClient, name_or_uuid: str | None) -> frozenset[str] | None:
    """The providers of the hosts in an aggregate; None, which means all hosts, if none is named."""
    if name_or_uuid is None:
        return None
    return members_of(client, [aggregate_uuid(compute, name_or_uuid)])


def members_of(client: PlacementClient, aggregates: Iterable[str]) -> frozenset[str]:
    """The providers of the hosts that are in one of these aggregates."""
    return frozenset(provider.uuid for provider in client.providers(member_of=f"in:{','.join(sorted(aggregates))}"))
