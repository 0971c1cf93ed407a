# SPDX-License-Identifier: Apache-2.0
"""Host aggregates, by name or by id."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from osc_lib import exceptions as osc_exceptions

from kongming_sched.cloud.compute import ComputeClient
from kongming_sched.placement.client import PlacementClient


def aggregate_uuid(compute: ComputeClient, name_or_uuid: str) -> str:
    """The id of a host aggregate; Nova is asked only about names, for Placement has aggregates that Nova has not.

    :raises CommandError: if Nova has no aggregate of this name, or several
    """
    try:
        return str(uuid.UUID(name_or_uuid))
    except ValueError:
        found = [aggregate.uuid for aggregate in compute.aggregates() if aggregate.name == name_or_uuid]
    if len(found) != 1:
        many = f"{len(found)} host aggregates are named" if found else "no host aggregate has the name or UUID"
        raise osc_exceptions.CommandError(f"{many} {name_or_uuid!r}; see 'openstack aggregate list --long'")
    return found[0]


def members(client: PlacementClient, compute: ComputeClient, name_or_uuid: str | None) -> frozenset[str] | None:
    """The providers of the hosts of an aggregate; None, which is all hosts, if none is named."""
    if name_or_uuid is None:
        return None
    return members_of(client, [aggregate_uuid(compute, name_or_uuid)])


def members_of(client: PlacementClient, aggregates: Iterable[str]) -> frozenset[str]:
    """The providers of the hosts that are in one of these aggregates."""
    return frozenset(provider.uuid for provider in client.providers(member_of=f"in:{','.join(sorted(aggregates))}"))
