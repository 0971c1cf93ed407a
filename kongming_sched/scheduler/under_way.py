# SPDX-License-Identifier: Apache-2.0
"""What the requests of this worker are about to claim, or have claimed since Placement was read.

Many requests at once would all choose the node that is left with the least room, since none knows of another's choice
before Placement shows its claim; all but the first few would have their claims refused. So each request takes account
of the others of its worker: of what they have claimed, and before that of the host that weighs the most. Nova's
scheduler does not say which host it has selected, but it counts the server on the ``HostState``.

Other workers cannot be known. While several requests are under way, each worker therefore prefers other hosts among
those that are almost equal.
"""

from __future__ import annotations

import os
import socket
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kongming_sched.request import PinningRequest
from kongming_sched.scheduler.host_claims import HostClaims
from kongming_sched.scheduler.ordering import hash_fraction, merge
from kongming_sched.scheduler.snapshot import CloudView

LIFETIME_SECONDS = 30.0
"""How long a choice counts that no snapshot has shown: its request may have failed, or Placement may be unavailable."""

Claims = Mapping[int, Mapping[str, int]]
"""NUMA node id to resource class to amount."""

_NONE: Claims = {}


def process_name() -> str:
    """What tells this worker from those of this and other controllers."""
    return f"{socket.gethostname()}/{os.getpid()}"


class Choice:
    """The hosts that one request may take, and what it takes of them.

    :ivar began_at: when the request came, in seconds of the clock
    :ivar claimed_at: when its first claim was noticed; None before that
    """

    def __init__(self, request: PinningRequest, began_at: float) -> None:
        self.began_at = began_at
        self.claimed_at: float | None = None
        self.is_over = False
        self._request = request
        self._hosts: Sequence[Any] = ()
        self._weighed: Sequence[Any] = ()
        self._claims: Mapping[str, Claims] = {}

    def filtered(self, hosts: Sequence[Any]) -> None:
        """Take the hosts that the filters have left for the next server of the request."""
        self._hosts, self._weighed = hosts, ()

    def weighed(self, weighed: Sequence[Any]) -> None:
        """Take what Nova's handler weighs; it adds up the weights in these objects, those of later weighers too."""
        self._weighed = weighed

    def notice(self, now: float) -> None:
        """See what the request has claimed by now."""
        claims = {}
        for host in self._hosts:
            of_host = HostClaims.known(host)
            if of_host is not None and of_host.has_claimed(host):
                claims[of_host.root_uuid] = of_host.total(host, self._request)
        if claims:
            self._claims = claims
            self.claimed_at = now if self.claimed_at is None else self.claimed_at

    def end(self, now: float) -> None:
        """Let go of Nova's objects, of which there is one for each host of the cloud."""
        self.notice(now)
        self._hosts = self._weighed = ()
        self.is_over = True

    def claims(self) -> Mapping[str, Claims]:
        """What the request takes of the nodes of each root provider: has claimed, or else is about to."""
        if self._claims:
            return self._claims
        best = max(self._weighed, key=lambda item: item.weight).obj if self._weighed else None
        if best is None and len(self._hosts) == 1:  # which Nova does not weigh
            best = self._hosts[0]
        of_host = None if best is None else HostClaims.known(best)
        return {} if of_host is None else {of_host.root_uuid: of_host.total(best, self._request, servers=1)}


class UnderWay:
    """The choices of all requests of this process that Placement may not show yet. May be used by several threads.

    :param clock: gives the time in seconds; that of the snapshot
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Each call below is one step of Python's, so that no lock is needed, which the end of a request could not take.
        self._choices: set[Choice] = set()
        self._of_spec: dict[int, Choice] = {}

    def filtered(self, spec: Any, request: PinningRequest, hosts: Sequence[Any]) -> None:
        """Note the hosts that are left for a server, until the next server of the same request or its end.

        :param spec: Nova's RequestSpec, which lives as long as the request
        """
        choice = self._of_spec.get(id(spec))
        if choice is None:
            choice = self._of_spec[id(spec)] = Choice(request, self._clock())
            self._choices.add(choice)
            weakref.finalize(spec, self._end, id(spec)).atexit = False
        choice.filtered(hosts)

    def weighed(self, spec: Any, weighed: Sequence[Any]) -> None:
        """Note what Nova's handler weighs for a server."""
        choice = self._of_spec.get(id(spec))
        if choice is not None:
            choice.weighed(weighed)

    def others(self, spec: Any, view: CloudView | None) -> Others:
        """What all requests but this one take, as far as the view cannot show it."""
        now, own = self._clock(), self._of_spec.get(id(spec))
        found: list[Mapping[str, Claims]] = []
        are_choosing = False
        for choice in list(self._choices):
            if choice is own:
                continue
            choice.notice(now)
            shown = choice.claimed_at is not None and view is not None and view.taken_at > choice.claimed_at
            has_failed = choice.is_over and choice.claimed_at is None
            if shown or has_failed or now - choice.began_at > LIFETIME_SECONDS:
                self._choices.discard(choice)
                continue
            found.append(choice.claims())
            are_choosing = are_choosing or choice.claimed_at is None
        return Others(found, are_choosing)

    def _end(self, spec_id: int) -> None:
        self._of_spec.pop(spec_id).end(self._clock())


class Others:
    """What other requests take.

    :ivar are_choosing: whether one of them has not claimed yet
    """

    def __init__(self, choices: Sequence[Mapping[str, Claims]], are_choosing: bool) -> None:
        self.are_choosing = are_choosing
        self._process = process_name() if are_choosing else ""
        self._by_root: dict[str, Claims] = {}
        for choice in choices:
            for root_uuid, claims in choice.items():
                self._by_root[root_uuid] = merge(self.of(root_uuid), claims)

    def of(self, root_uuid: str) -> Claims:
        """What they take of the nodes of a host."""
        return self._by_root.get(root_uuid, _NONE)

    def draw(self, root_uuid: str) -> float:
        """A number in [0, 1) for a host, another one in each worker; 0 while no other request is choosing."""
        return hash_fraction(self._process, root_uuid) if self.are_choosing else 0.0
