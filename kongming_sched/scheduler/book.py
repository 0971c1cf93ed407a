# SPDX-License-Identifier: Apache-2.0
"""What is known of one host while one request is scheduled: where its candidates lead, and what servers have taken.

Nova's scheduler claims the first candidate of a host and offers the same candidates to the next server of the request.
Its HostState objects live as long as the request and count the servers that they were given, and so the book of a host
is kept on its HostState.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kongming_sched.placement.candidates import Mismatch, locate
from kongming_sched.request import PinningRequest
from kongming_sched.scheduler.ordering import Candidate, HostRoom, add, stranded
from kongming_sched.scheduler.snapshot import CloudView

_ATTRIBUTE = "kongming_book"


class Book:
    """The book of one host: who opens it first in a pass writes down what the pass before has claimed.

    :ivar taken: how many servers of the request the host was given so far
    """

    __slots__ = ("_booked", "_free", "_located", "_servers", "root_uuid", "taken")  # there is one for each host

    def __init__(self, root_uuid: str, servers: int) -> None:
        self.root_uuid = root_uuid
        self.taken = 0
        self._servers = servers
        self._booked: Mapping[int, Mapping[str, int]] = {}
        self._free: Mapping[int, Mapping[str, int]] | None = None
        self._located: dict[int, tuple[object, tuple[int, ...]]] = {}

    @classmethod
    def of(cls, host_state: Any, request: PinningRequest) -> Book:
        """The book of a host, brought up to date."""
        book: Book | None = getattr(host_state, _ATTRIBUTE, None)
        if book is None:
            book = cls(str(host_state.uuid), host_state.num_instances)
            setattr(host_state, _ATTRIBUTE, book)
        elif host_state.num_instances != book._servers:
            book._note_claims(host_state, request)
        return book

    def locate(self, candidate: object, request: PinningRequest) -> tuple[int, ...] | Mismatch:
        """Where a candidate leads, looked at closely; if that is somewhere it is kept."""
        found = locate(candidate, self.root_uuid, request)
        if not isinstance(found, Mismatch):
            self._located[id(candidate)] = candidate, found
        return found

    def recall(self, candidate: object, request: PinningRequest) -> tuple[int, ...] | Mismatch:
        """The same by what is kept, for whoever orders and weighs what was looked at in the same pass."""
        known = self._located.get(id(candidate))
        return known[1] if known is not None and known[0] is candidate else self.locate(candidate, request)

    def room(self, view: CloudView | None) -> HostRoom:
        """The room on the host. The first view holds for the whole request: later ones may count its own servers."""
        if self._free is None:
            self._free = view.free.get(self.root_uuid, {}) if view else {}
        return HostRoom(self._free, self._booked)

    def _note_claims(self, host_state: Any, request: PinningRequest) -> None:
        more = host_state.num_instances - self._servers
        if more > 0:
            self.taken += more
            nodes = self.recall((host_state.allocation_candidates or [None])[0], request)
            if not isinstance(nodes, Mismatch):
                self._booked = add(self._booked, nodes, request)
        self._servers = host_state.num_instances


def stranded_room(host_state: Any, request: PinningRequest, view: CloudView | None) -> int | None:
    """What stays free on the nodes that a server would take of a host; None if that is not known."""
    book = Book.of(host_state, request)
    nodes = book.recall((host_state.allocation_candidates or [None])[0], request)
    return None if isinstance(nodes, Mismatch) else stranded(Candidate(0, nodes), request, book.room(view))
