# SPDX-License-Identifier: Apache-2.0
"""What the requests of this worker are about to claim, or have claimed since Placement was read.

Many requests at once would all choose the node that is left with the least room, since none knows of another's choice
before Placement shows its claim; all but the first few would have their claims refused. So each request takes account
of the others of its worker: of what they have claimed, and before that of the host that weighs the most. Nova's
scheduler does not say which host it has selected, but it counts the server on the ``HostState``.

Other workers cannot be known. While several requests are under way, each worker therefore prefers other hosts among
those that are almost equal. The more requests there are, the more hosts it draws from. A host of which a claim is under
way is left to others where there is an equal one: each claim changes the generation of the host's provider, for which
Placement refuses claims that it meets, and Nova sends them again.
"""

from __future__ import annotations

import functools
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kongming_sched.request import PinningRequest
from kongming_sched.scheduler.host_claims import HostClaims
from kongming_sched.scheduler.ordering import merge, scarce_amount
from kongming_sched.scheduler.scheduler_worker import SchedulerWorker
from kongming_sched.scheduler.snapshot import CloudView

LIFETIME_SECONDS = 30.0
"""How long a claim counts that no snapshot has shown: the server may be gone already, or Placement be unavailable."""

LONGEST_REQUEST_SECONDS = 600.0
"""How long a choice counts that was not claimed yet: as long as its request waits for Placement, within reason."""

MOST_SERVERS = 4
"""Among hosts that differ by less than so many servers is drawn at most, else servers would be scattered."""

Claims = Mapping[int, Mapping[str, int]]
"""NUMA node id to resource class to amount."""

_NONE: Claims = {}


class Choice:
    """The hosts that one request may take, and what it takes of them.

    :ivar began_at: when the request came, in seconds of the clock
    :ivar claimed_at: when its first claim was noticed; None before that
    :ivar amount: what one server takes of the classes by which nodes count as full
    :ivar others: what other requests take, as the filters have found it for the server that is being scheduled
    """

    def __init__(self, request: PinningRequest, began_at: float) -> None:
        self.began_at = began_at
        self.claimed_at: float | None = None
        self.is_over = False
        self.amount = scarce_amount(request)
        self.others: Others | None = None
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
        self.others = None
        self.is_over = True

    def is_settled(self, now: float, view: CloudView | None) -> bool:
        """Whether it counts no longer: the view shows its claim, its request failed, or too much time has passed."""
        if self.claimed_at is None:
            return self.is_over or now - self.began_at > LONGEST_REQUEST_SECONDS
        is_shown = view is not None and view.taken_at > self.claimed_at
        return is_shown or now - self.claimed_at > LIFETIME_SECONDS

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
    :param worker: says which worker this is, when that is first needed
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        worker: Callable[[], SchedulerWorker] = lambda: SchedulerWorker(""),
    ) -> None:
        self._clock = clock
        self._worker = functools.cache(worker)
        # Each call below is one step of Python's, so that no lock is needed, which the end of a request could not take.
        self._choices: set[Choice] = set()
        self._of_spec: dict[int, Choice] = {}

    def filtered(self, spec: Any, request: PinningRequest, hosts: Sequence[Any], others: Others) -> None:
        """Note the hosts that are left for a server, until the next server of the same request or its end.

        :param spec: Nova's RequestSpec, which lives as long as the request
        :param others: what the filter has been given for this server
        """
        choice = self._of_spec.get(id(spec))
        if choice is None:
            choice = self._of_spec[id(spec)] = Choice(request, self._clock())
            self._choices.add(choice)
            weakref.finalize(spec, self._end, id(spec)).atexit = False
        choice.filtered(hosts)
        choice.others = others

    def weighed(self, spec: Any, weighed: Sequence[Any]) -> None:
        """Note what Nova's handler weighs for a server."""
        choice = self._of_spec.get(id(spec))
        if choice is not None:
            choice.weighed(weighed)

    def others_as_filtered(self, spec: Any, view: CloudView | None) -> Others:
        """What :meth:`others` has given the filter for the same server, or gives now if the filter is not enabled."""
        choice = self._of_spec.get(id(spec))
        return self.others(spec, view) if choice is None or choice.others is None else choice.others

    def others(self, spec: Any, view: CloudView | None) -> Others:
        """What all requests but this one take, as far as the view cannot show it."""
        now, own = self._clock(), self._of_spec.get(id(spec))
        found = []
        for choice in list(self._choices):
            if choice is own:
                continue
            choice.notice(now)
            if choice.is_settled(now, view):
                self._choices.discard(choice)
            else:
                found.append(choice)
        return Others(found, self._worker())

    def _end(self, spec_id: int) -> None:
        self._of_spec.pop(spec_id).end(self._clock())


class Others:
    """What other requests take, as it is when this is made.

    :ivar are_choosing: whether one of them has not claimed yet
    """

    def __init__(self, choices: Sequence[Choice], worker: SchedulerWorker) -> None:
        self.are_choosing = False
        self._worker = worker
        self._servers = min(MOST_SERVERS, len(choices))
        self._amount = max((choice.amount for choice in choices), default=0)
        self._by_root: dict[str, Claims] = {}
        self._about_to_claim: Counter[str] = Counter()
        for choice in choices:
            claims = choice.claims()
            for root_uuid, of_host in claims.items():
                self._by_root[root_uuid] = merge(self.of(root_uuid), of_host)
            if choice.claimed_at is None:
                self.are_choosing = True
                self._about_to_claim.update(claims.keys())

    def of(self, root_uuid: str) -> Claims:
        """What they take of the nodes of a host."""
        return self._by_root.get(root_uuid, _NONE)

    def detour(self, root_uuid: str, amount: int) -> float:
        """How much more may stay free on another host that is to be preferred to this one; 0 while none is choosing.

        :param amount: what the server takes of the classes by which nodes count as full
        """
        if not self.are_choosing:
            return 0.0
        drawn = self._worker.distance(root_uuid) * self._servers
        return max(amount, self._amount) * (drawn + self._about_to_claim[root_uuid])
