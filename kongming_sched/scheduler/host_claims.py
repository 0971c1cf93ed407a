# SPDX-License-Identifier: Apache-2.0
"""What the servers of one request have claimed of one host, while Nova's scheduler works on that request.

Nova's scheduler offers the same candidates to every server of a request (a multi-create) and claims the first candidate
of the host that it selects. Its HostState objects live as long as the request and count the servers that the host was
given. So what is known of a host during a request is kept on its HostState.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from kongming_sched.placement.candidates import Mismatch, locate
from kongming_sched.request import PinningRequest
from kongming_sched.scheduler.ordering import Candidate, HostUse, add, merge, stranded
from kongming_sched.scheduler.snapshot import CloudView

_ATTRIBUTE = "kongming_claims"


class HostClaims:
    """The claims of one request on one host, and the NUMA nodes to which its candidates lead.

    :ivar servers: how many servers of the request the host was given so far
    """

    __slots__ = ("_claimed", "_free", "_instances", "_located", "root_uuid", "servers")  # there is one for each host

    def __init__(self, root_uuid: str, instances: int) -> None:
        self.root_uuid = root_uuid
        self.servers = 0
        self._instances = instances
        self._claimed: Mapping[int, Mapping[str, int]] = {}
        self._free: Mapping[int, Mapping[str, int]] | None = None
        self._located: dict[int, tuple[object, tuple[int, ...]]] = {}

    @classmethod
    def of(cls, host_state: Any, request: PinningRequest) -> HostClaims:
        """The claims on a host, including that of the server for which it was selected last."""
        claims: HostClaims | None = getattr(host_state, _ATTRIBUTE, None)
        if claims is None:
            claims = cls(str(host_state.uuid), host_state.num_instances)
            setattr(host_state, _ATTRIBUTE, claims)
        elif host_state.num_instances != claims._instances:
            claims._note_claims(host_state, request)
        return claims

    @staticmethod
    def known(host_state: Any) -> HostClaims | None:
        """What :meth:`of` has noted of a host; None if it was not asked yet."""
        found: HostClaims | None = getattr(host_state, _ATTRIBUTE, None)
        return found

    def has_claimed(self, host_state: Any) -> bool:
        """Whether the request has claimed the host for a server."""
        return self.servers > 0 or host_state.num_instances > self._instances

    def total(self, host_state: Any, request: PinningRequest, servers: int = 0) -> Mapping[int, Mapping[str, int]]:
        """What the request has claimed of the host, by node and resource class. Changes nothing.

        :param servers: so many more servers are about to claim its first candidate
        """
        more = host_state.num_instances - self._instances + servers
        nodes = self.nodes_of((host_state.allocation_candidates or [None])[0], request) if more > 0 else ()
        return self._claimed if isinstance(nodes, Mismatch) or not nodes else add(self._claimed, nodes, request)

    def locate(self, candidate: object, request: PinningRequest) -> tuple[int, ...] | Mismatch:
        """The NUMA node of each cell by a candidate, or why it must not be taken. What is found is kept."""
        found = locate(candidate, self.root_uuid, request)
        if not isinstance(found, Mismatch):
            self._located[id(candidate)] = candidate, found
        return found

    def nodes_of(self, candidate: object, request: PinningRequest) -> tuple[int, ...] | Mismatch:
        """What :meth:`locate` gives, without computing it again for a candidate that was located before."""
        known = self._located.get(id(candidate))
        return known[1] if known is not None and known[0] is candidate else self.locate(candidate, request)

    def use(self, view: CloudView | None, others: Mapping[int, Mapping[str, int]] = MappingProxyType({})) -> HostUse:
        """What is free and what was claimed on the host.

        The first view holds for the whole request: a later one may count servers of this request already.

        :param others: what other requests take of its nodes and the view does not show
        """
        if self._free is None:
            self._free = view.free.get(self.root_uuid, {}) if view else {}
        return HostUse(self._free, merge(self._claimed, others) if others else self._claimed)

    def _note_claims(self, host_state: Any, request: PinningRequest) -> None:
        """Add the claim of the server that the host was given since: Nova claims the first candidate."""
        self._claimed = self.total(host_state, request)
        self.servers += max(0, host_state.num_instances - self._instances)
        self._instances = host_state.num_instances


def stranded_room(
    host_state: Any,
    request: PinningRequest,
    view: CloudView | None,
    others: Mapping[int, Mapping[str, int]] = MappingProxyType({}),
) -> int | None:
    """What stays free on the nodes that a server would take of a host.

    :param others: what other requests take of its nodes and the view does not show
    :returns: None if that is not known; negative if claims of this and other requests leave too little
    """
    claims = HostClaims.of(host_state, request)
    nodes = claims.nodes_of((host_state.allocation_candidates or [None])[0], request)
    return None if isinstance(nodes, Mismatch) else stranded(Candidate(0, nodes), request, claims.use(view, others))
