# SPDX-License-Identifier: Apache-2.0
"""The agent's sign of life, which it writes into Placement once an hour; kongming-status misses those that give none.

A sign is the inventory of a provider that belongs to the host and to nothing else: its total is the time, in minutes
since 1970. It stands apart from the host's tree. On a node's provider each write would raise the generation by which
servers claim; on the compute node's nova-compute would remove it; and any provider of the tree would be part of every
answer that the scheduler gets. A time in a trait would leave a name behind for each hour.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable

from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory, PlacementClient, Provider

_AGAIN_MINUTES = 5
"""How soon an agent tries again if Placement has not taken it."""


class SignOfLife:
    """The sign of one host's agent.

    Each host has its own minute of the hour, so that 10,000 agents which start together do not write together.

    :param host: name of the compute node's provider
    :param clock: seconds since 1970
    """

    def __init__(self, client: PlacementClient, host: str, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._host = host
        self._clock = clock
        self._offset = zlib.crc32(host.encode()) % names.AGENT_SEEN_EVERY_MINUTES
        self._given: int | None = None
        self._next_try = 0

    def renew(self) -> bool:
        """Give a sign if that was not done in this period; gives whether one was given.

        Any request may be the last one: a provider without a sign gets it the next time.

        :raises PlacementError: if Placement does not take it; further calls do nothing for five minutes
        """
        minute = int(self._clock() // 60)
        is_waiting = 0 <= self._next_try - minute <= _AGAIN_MINUTES  # and not where the clock was set back
        if self._given == self._period(minute) or (is_waiting and minute < self._next_try):
            return False
        self._next_try = minute + _AGAIN_MINUTES
        is_due = self._write(minute)
        self._given = self._period(minute)
        return is_due

    def _write(self, minute: int) -> bool:
        """Write the sign, unless it is there already, as after a restart of the agent."""
        found = self._client.providers(name=names.agent_provider_name(self._host))
        if found:
            inventory = self._client.inventories(found[0].uuid).get(names.AGENT_SEEN)
            if inventory is not None and self._period(inventory.total) == self._period(minute):
                return False
        provider = found[0] if found else self._create()
        self._client.set_inventories(provider.uuid, provider.generation, {names.AGENT_SEEN: Inventory(minute)})
        return True

    def _create(self) -> Provider:
        self._client.ensure_resource_classes([names.AGENT_SEEN])
        return self._client.create_provider(names.agent_uuid(self._host), names.agent_provider_name(self._host))

    def _period(self, minute: int) -> int:
        return (minute + self._offset) // names.AGENT_SEEN_EVERY_MINUTES
