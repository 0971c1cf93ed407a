# SPDX-License-Identifier: Apache-2.0
"""The templates of the servers that Nova's scheduler knows.

Nova's scheduler knows the ids of the servers of each host. It has their flavors only where nova-compute has reported a
change. The others are read from Nova's database, many in one query, each once an hour, and a limited number for one
request. A server that has not been read yet does not count.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects

from kongming_sched.request import TEMPLATE_KEY

_LIFETIME_SECONDS = 3600.0
_READ_AT_ONCE = 500
"""The most servers that are read for one request; so many take a few tenths of a second."""


class ServerTemplates:
    """A cache: server to its template, or None if it has none.

    An entry that is older than the lifetime is used until the server has been read again.

    :param clock: gives the time in seconds
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards the swap of the two below
        self._young: dict[str, str | None] = {}
        self._old: dict[str, str | None] = {}
        self._swapped_at = clock()

    def count(self, host_states: Sequence[Any], template: str, besides: str) -> list[int]:
        """How many servers of a template each host has.

        :param host_states: HostState objects of Nova
        :param besides: a server that is not counted: the one that is being scheduled
        """
        self._expire()
        self._read(host_states)
        return [self._count(host_state.instances, template, besides) for host_state in host_states]

    def _count(self, instances: Any, template: str, besides: str) -> int:
        return sum(self._template(uuid) == template for uuid in list(instances) if uuid != besides)

    def _template(self, uuid: str) -> str | None:
        young = self._young
        return young[uuid] if uuid in young else self._old.get(uuid)

    def _expire(self) -> None:
        """Once a lifetime drop the old generation, and make the young one the old one."""
        with self._lock:
            if self._clock() - self._swapped_at >= _LIFETIME_SECONDS:
                self._old, self._young, self._swapped_at = self._young, {}, self._clock()

    def _read(self, host_states: Iterable[Any]) -> None:
        """Take the flavors that nova-compute has reported, and read some of the others from the database."""
        unknown: dict[str, list[str]] = {}
        count = 0
        for host_state in host_states:
            for uuid, instance in list(host_state.instances.items()):
                if "flavor" in instance:
                    self._young[uuid] = _template_of(instance)
                elif uuid not in self._young and count < _READ_AT_ONCE:
                    unknown.setdefault(host_state.cell_uuid, []).append(uuid)
                    count += 1
        for cell_uuid, uuids in unknown.items():
            self._young.update(_read_cell(cell_uuid, uuids))


def _read_cell(cell_uuid: str, uuids: list[str]) -> dict[str, str | None]:
    """The templates of servers of one of Nova's cells, in one query; deleted servers are left out."""
    context = nova_context.get_admin_context()
    try:
        mapping = objects.CellMapping.get_by_uuid(context, cell_uuid)
    except nova_exception.CellMappingNotFound:
        return {}
    with nova_context.target_cell(context, mapping) as cell_context:
        found = objects.InstanceList.get_by_filters(
            cell_context, {"uuid": uuids, "deleted": False}, expected_attrs=["flavor"]
        )
    return {instance.uuid: _template_of(instance) for instance in found}


def _template_of(instance: Any) -> str | None:
    flavor = instance.flavor
    return flavor.extra_specs.get(TEMPLATE_KEY) if "extra_specs" in flavor else None


SERVER_TEMPLATES = ServerTemplates()
"""The cache that all weighers of a worker share."""
