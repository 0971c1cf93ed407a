# SPDX-License-Identifier: Apache-2.0
"""The signs of life that agents have given, as Placement has them."""

from __future__ import annotations

from dataclasses import dataclass

from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient


@dataclass(frozen=True, slots=True)
class Sign:
    """What is known of a host's agent.

    :ivar uuid: of the provider that holds it
    :ivar minute: when the agent was seen last, in minutes since 1970
    """

    uuid: str
    minute: int


def read_signs(client: PlacementClient) -> dict[str, Sign]:
    """The last sign of each agent that has ever given one, by host, in two requests.

    :raises PlacementError: if Placement does not answer
    """
    summaries = client.summaries(names.AGENT_SEEN)
    if not summaries:
        return {}
    hosts = {item.uuid: names.agent_host(item.name) for item in client.providers(resources=f"{names.AGENT_SEEN}:1")}
    signs = ((hosts.get(item.uuid), Sign(item.uuid, item.capacity[names.AGENT_SEEN])) for item in summaries)
    return {host: sign for host, sign in signs if host is not None}
