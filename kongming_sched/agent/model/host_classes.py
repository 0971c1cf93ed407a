# SPDX-License-Identifier: Apache-2.0
"""Which template each guest has of those that its flavor, its class and its claim name. Pure.

A server that has a class may still have claimed what its flavor says: Nova claims by the flavor whenever it moves a
server. Until its claim is that of its class, a guest has the template of its flavor.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kongming_sched import exceptions
from kongming_sched.agent.model.guest import Guest, Identity, RunningGuest
from kongming_sched.placement import names
from kongming_sched.placement.classes.claimed_cells import match_cells
from kongming_sched.placement.classes.claims import (
    Cells,
    Place,
    claim_on,
    claimed_nodes,
    claimed_way,
    find_place,
    ways_to_count,
    why_not_live,
)
from kongming_sched.placement.classes.records import ServerClass
from kongming_sched.placement.tree import NodeState
from kongming_sched.request import GROUP, CellRequest, PinningRequest
from kongming_sched.template import PinningTemplate


@dataclass(frozen=True, slots=True)
class Return:
    """How a server that has claimed something else gets back to its class.

    :ivar place: None if it finds none here
    :ivar reason: why not
    """

    server_class: ServerClass
    place: Place | None
    reason: str


@dataclass(frozen=True, slots=True)
class HostClasses:
    """What Placement says of classes, for the guests of one host.

    :ivar records: of all servers, by the consumer that records the class
    :ivar templates: those that are offered to the host, by name
    :ivar states: the host's node providers by NUMA node
    """

    records: Mapping[str, ServerClass] = field(default_factory=dict)
    templates: Mapping[str, PinningTemplate] = field(default_factory=dict)
    states: Mapping[int, NodeState] = field(default_factory=dict)

    def apply(self, uuid: str, identity: Identity, running: Collection[str]) -> Identity:
        """A guest with what it asks for by its class, where that is what it has claimed.

        :param uuid: the server's id
        :param identity: as the XML says, or as this has made it before
        :param running: ids of the servers that run here; what others have claimed may be a guest's that is being moved
        """
        if identity.server_class:
            identity = replace(identity, request=identity.flavor_request, flavor_request=None, server_class="")
        server_class = self.records.get(names.class_consumer(uuid)) if self.records else None
        if server_class is None or identity.flavor is None or server_class.flavor_mark != identity.flavor.mark:
            return identity
        template = self.templates.get(server_class.template)
        request = self._request(uuid, identity, server_class.template, template, running)
        return replace(identity, request=request, flavor_request=identity.request, server_class=server_class.template)

    def of_guest(self, guest: Guest, running: Collection[str]) -> Guest:
        """As :meth:`apply`, for a guest of a template; one that has none any more stays as it is until it is read."""
        identity = self.apply(guest.uuid, guest.identity, running)
        if identity.request is None or identity == guest.identity:
            return guest
        return replace(guest, identity=identity, request=identity.request)

    def find_return(self, guest: RunningGuest, running: Collection[str]) -> Return | None:
        """How a guest for which Nova has claimed by the flavor gets what its class takes; None if that is not so.

        It is not so either while Nova resizes it on this host: what its class takes is the migration's then, and its
        own claim is of another flavor.

        :param guest: as :meth:`apply` has made it
        :param running: as there
        """
        identity = guest.identity
        if not identity.server_class or identity.flavor is None:
            return None
        ways, own = self.ways(identity.server_class, identity.flavor.memory_mb), claim_on(self.states, guest.uuid)
        of_flavor = [identity.flavor_request.cells] if identity.flavor_request else []
        present = claimed_nodes(of_flavor, own)
        if len(present) != len(own) or bool(of_flavor) != bool(own):
            return None
        if claimed_way(ways, own) or self._claimed_by_another(ways, running):
            return None
        server_class = ServerClass(identity.server_class, identity.flavor.mark)
        template = self.templates.get(identity.server_class)
        if template is None or not ways:
            return Return(server_class, None, "it does not exist or is not offered to this host")
        if template.vcpus != identity.vcpus:
            return Return(server_class, None, f"it has {identity.vcpus} vCPUs and the template has {template.vcpus}")
        if reason := why_not_live(template):
            return Return(server_class, None, reason)
        place, reason = find_place(ways, self.states, guest.uuid, present)
        return Return(server_class, place, reason)

    def ways(self, template: str, memory_mb: int) -> list[Cells]:
        """What the cells of a server of a class may take here; empty if its template is not offered here."""
        found = self.templates.get(template)
        try:
            return ways_to_count(found, memory_mb, self.states.values()) if found else []
        except exceptions.InvalidRequest:  # its memory makes no whole pages, which the template takes by now
            return []

    def _request(
        self,
        uuid: str,
        identity: Identity,
        name: str,
        template: PinningTemplate | None,
        running: Collection[str],
    ) -> PinningRequest | None:
        ways = self.ways(name, identity.flavor.memory_mb if identity.flavor else 0) if template else []
        of_flavor = identity.request
        own = claim_on(self.states, uuid)
        if cells := claimed_way(ways, own):
            return PinningRequest(name, cells)
        if own and of_flavor is not None and match_cells(of_flavor.cells, own) is not None:
            return of_flavor
        # While Nova moves a server, what it has claimed here is another consumer's.
        if cells := self._claimed_by_another(ways, running):
            return PinningRequest(name, cells)
        if not own:
            return of_flavor
        # By what it has claimed the layout finds out what is wrong, for its template has changed, or is gone.
        groups = [own[node] for node in sorted(own)]
        claimed = (CellRequest(f"{GROUP}{index}", amounts, frozenset()) for index, amounts in enumerate(groups))
        return PinningRequest(name, tuple(claimed))

    def _claimed_by_another(self, ways: Sequence[Cells], running: Collection[str]) -> Cells | None:
        """What a class takes, if a consumer that is no running guest has claimed just that; None if none has."""
        others = {consumer for state in self.states.values() for consumer in state.allocations} - set(running)
        found = (claimed_way(ways, claim_on(self.states, consumer)) for consumer in sorted(others))
        return next(filter(None, found), None)
