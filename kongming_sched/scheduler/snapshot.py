# SPDX-License-Identifier: Apache-2.0
"""A snapshot of all NUMA nodes of the cloud, renewed in the background while the old one is served.

One instance serves all threads of a process. It starts no thread before it is asked first, so that a process may fork
after making it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kongming_sched import exceptions
from kongming_sched.placement import names
from kongming_sched.placement.candidates import node_id
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.summaries import ProviderSummary
from kongming_sched.texts.sentences import sentence

LOG = logging.getLogger(__name__)

_LIFETIMES = 12
"""A view older than so many times the ttl is not served any more while it is renewed."""

_WAIT_SECONDS = 10.0
"""How long callers wait for one answer of Placement when there is no view to serve."""

_REMIND_SECONDS = 600.0
"""How often an outage is logged while it lasts."""


@dataclass(frozen=True, slots=True)
class CloudView:
    """What is free on all hosts at one time.

    :ivar free: root provider to NUMA node id to resource class to amount
    :ivar free_pcpus: root provider to the free host CPUs of its dedicated pools
    :ivar taken_at: when Placement was asked, in seconds of the snapshot's clock; claims until then are in it
    """

    free: Mapping[str, Mapping[int, Mapping[str, int]]]
    free_pcpus: Mapping[str, int]
    taken_at: float = field(default=0.0, compare=False)

    @classmethod
    def of(cls, summaries: Iterable[ProviderSummary], taken_at: float = 0.0) -> CloudView:
        """The view of these node providers."""
        free: dict[str, dict[int, Mapping[str, int]]] = {}
        for summary in summaries:
            node = node_id(summary.root_uuid, summary.uuid)
            if node is not None:
                amounts = {name: summary.free(name) for name in summary.capacity}
                free.setdefault(summary.root_uuid, {})[node] = amounts
        pcpus = {root: sum(amounts.get(names.PCPU, 0) for amounts in nodes.values()) for root, nodes in free.items()}
        return cls(free, pcpus, taken_at)


class NodeSnapshot:
    """The last :class:`CloudView`, and its renewal.

    A view younger than the ttl is served as it is. An older one is served too while a thread asks Placement again.
    Without a view, or with one that is far too old (because no server was scheduled for long), the caller waits for the
    answer. After a failure the last view stays in use, the failure is logged with the view's age, and the next attempt
    follows after the ttl.

    :param client: makes the client when it is first needed; called in the refreshing thread. The client's requests must
        end: as long as one is under way there is no other
    :param ttl_seconds: gives the ttl each time that it is needed, so that the option may change
    :param clock: gives the time in seconds
    :param announce: called each time that Placement was asked, with what it answered or with what prevented that
    """

    def __init__(
        self,
        client: Callable[[], PlacementClient],
        ttl_seconds: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        announce: Callable[[Sequence[ProviderSummary] | Exception], None] = lambda _: None,
    ) -> None:
        self._make_client = client
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._announce = announce
        self._lock = threading.Lock()  # guards everything below
        self._client: PlacementClient | None = None
        self._view: CloudView | None = None
        self._taken_at = 0.0
        self._next_attempt_at: float | None = None
        self._failing = False
        self._reported_at = 0.0
        self._refresh_ends: threading.Event | None = None  # of the refresh that is under way
        self._patience_ends_at = 0.0

    def get(self) -> CloudView | None:
        """The last view; None if Placement has never answered."""
        ttl, now = self._ttl_seconds(), self._clock()
        with self._lock:
            if self._next_attempt_at is None or now >= self._next_attempt_at:
                self._start_refresh(now)
            patience_seconds = self._patience_ends_at - now
            if self._refresh_ends is None or self._failing or patience_seconds <= 0:
                return self._view
            if self._view is not None and now - self._taken_at < ttl * _LIFETIMES:
                return self._view
        self.wait(patience_seconds)
        with self._lock:
            return self._view

    def wait(self, timeout_seconds: float) -> None:
        """Wait until the refresh that is under way, if there is one, has ended.

        On an event: in a process that eventlet has patched, ``Thread.join`` of Python 3.13 raises eventlet's Timeout,
        which is no Exception, once the time is over.
        """
        with self._lock:
            refresh_ends = self._refresh_ends
        if refresh_ends is not None:
            refresh_ends.wait(timeout_seconds)

    def _start_refresh(self, now: float) -> None:
        if self._refresh_ends is None:
            ends = threading.Event()
            threading.Thread(target=self._run, args=(ends,), name="kongming-snapshot", daemon=True).start()
            self._refresh_ends = ends  # the refresh cannot end before: it needs the lock that is held here
            self._patience_ends_at = now + _WAIT_SECONDS

    def _run(self, ends: threading.Event) -> None:
        """Ask Placement once. Whatever happens, it is logged and the next attempt stays possible.

        :param ends: set when that is done
        """
        started_at = self._clock()
        view: CloudView | None = None
        found: Sequence[ProviderSummary] | Exception
        try:
            try:
                found = self._ask()
                view = CloudView.of(found, started_at)
            except Exception as error:  # noqa: BLE001  # the thread's outermost call: nothing else would report it
                found = error
            self._report(found)
            self._announce(found)
        finally:  # also where eventlet ends the thread, by what is no Exception
            with self._lock:
                if view is not None:
                    self._view, self._taken_at = view, started_at
                self._failing = view is None
                self._next_attempt_at = self._clock() + self._ttl_seconds()
                self._refresh_ends = None
            ends.set()

    def _ask(self) -> list[ProviderSummary]:
        if self._client is None:
            self._client = self._make_client()
        return self._client.node_summaries()

    def _report(self, found: Sequence[ProviderSummary] | Exception) -> None:
        """Log the begin of an outage, that it still lasts, and its end."""
        now = self._clock()
        if not isinstance(found, Exception):
            if self._failing:
                LOG.info("Placement reports the use of NUMA nodes again.")
        elif not self._failing or now - self._reported_at >= _REMIND_SECONDS:
            self._reported_at = now
            known = "Placement's own order of NUMA nodes"
            if self._view is not None:
                known = f"the last known use of NUMA nodes, which is {now - self._taken_at:.0f} s old,"
            if isinstance(found, exceptions.PlacementError):
                why = sentence(str(found))
                LOG.warning("%s Servers of templates are scheduled by %s until it answers again.", why, known)
            else:
                LOG.error(
                    "KongMing cannot read the use of NUMA nodes: %r. Servers of templates are scheduled by %s until"
                    " that is mended.",
                    found,
                    known,
                    exc_info=found,
                )
