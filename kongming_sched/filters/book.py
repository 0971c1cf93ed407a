# SPDX-License-Identifier: Apache-2.0
"""What the servers of one request have taken from one host so far.

Nova's scheduler claims the first candidate of a host and offers the same candidates to the next server of the request.
Its HostState objects live as long as the request and count the servers that they were given, and so the book of a host
is kept on its HostState.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kongming_sched.ordering import Candidate, HostRoom, add, stranded
from kongming_sched.placement.candidates import Mismatch, locate, node_id
from kongming_sched.placement.snapshot import CloudView
from kongming_sched.request import PinningRequest

_ATTRIBUTE = "kongming_book"


class Book:
    """The book of one host: who opens it first in a pass writes down what the pass before has claimed."""

    def __init__(self, root_uuid: str, servers: int) -> None:
        self.root_uuid = root_uuid
        self._servers = servers
        self._booked: Mapping[int, Mapping[str, int]] = {}
        self._free: Mapping[int, Mapping[str, int]] | None = None

    @classmethod
    def of(cls, host_state: Any, request: PinningRequest) -> Book:
        """The book of a host, brought up to date."""
        book: Book | None = getattr(host_state, _ATTRIBUTE, None)
        if book is None:
            book = cls(str(host_state.uuid), host_state.num_instances)
            setattr(host_state, _ATTRIBUTE, book)
        book._note_claims(host_state, request)
        return book

    def room(self, view: CloudView | None) -> HostRoom:
        """The room on the host. The first view holds for the whole request: later ones may count its own servers."""
        if self._free is None:
            self._free = {}
            for summary in view.nodes.get(self.root_uuid, ()) if view else ():
                if (node := node_id(self.root_uuid, summary.uuid)) is not None:
                    self._free[node] = {name: summary.free(name) for name in summary.capacity}
        return HostRoom(self._free, self._booked)

    def _note_claims(self, host_state: Any, request: PinningRequest) -> None:
        if host_state.num_instances > self._servers and host_state.allocation_candidates:
            nodes = locate(host_state.allocation_candidates[0], self.root_uuid, request)
            if not isinstance(nodes, Mismatch):
                self._booked = add(self._booked, nodes, request)
        self._servers = host_state.num_instances


def stranded_room(host_state: Any, request: PinningRequest, view: CloudView | None) -> int | None:
    """What stays free on the nodes that a server would take of a host; None if that is not known."""
    book = Book.of(host_state, request)
    candidates = host_state.allocation_candidates or [None]
    nodes = locate(candidates[0], book.root_uuid, request)
    return None if isinstance(nodes, Mismatch) else stranded(Candidate(0, nodes), request, book.room(view))
