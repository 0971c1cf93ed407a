# SPDX-License-Identifier: Apache-2.0
"""Asks Nova for the metadata of servers, beside the loop, which never waits for Nova."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from kongming_sched import exceptions
from kongming_sched.agent.model.problem import Problem, Reason, Subject, SubjectKind
from kongming_sched.agent.state.server_metadata import Metadata
from kongming_sched.agent.triggers.nova import NovaClient
from kongming_sched.agent.triggers.supervised import SupervisedThread

RETRY_SECONDS = 30.0
"""How soon to ask again after Nova did not answer."""

FEW = 4
"""So many servers are asked for one by one; if there are more, all of the host are."""


class MetadataPoller:
    """A thread that reads servers when they came here or something of them changed, and all of them at an interval.

    :param host: the compute node's name
    :param wake: called when something new was learnt
    :param poll_seconds: how often to ask for every server; 0 for never
    """

    def __init__(
        self,
        nova: NovaClient,
        host: str,
        metadata: Metadata,
        wake: Callable[[], None],
        poll_seconds: float,
    ) -> None:
        self._nova = nova
        self._host = host
        self._metadata = metadata
        self._wake = wake
        self._poll_seconds = poll_seconds
        self._changed = threading.Condition()
        self._running: set[str] = set()
        self._pending: set[str] = set()
        self._problem = ""
        self._stopping = False
        self._thread = SupervisedThread("metadata-poller", self._run, wake)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with Nova, if something is."""
        failed = self._thread.problem
        problem = f"Nova is not asked for servers' metadata: {failed}" if failed else self._problem
        return (Problem(Reason.TRIGGER, Subject(SubjectKind.NOVA), problem),) if problem else ()

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def watch(self, running: Iterable[str]) -> None:
        """Take the guests that run now; those that are new are asked for."""
        with self._changed:
            now = set(running)
            self._pending |= now - self._running
            self._pending &= now
            self._running = now
            self._changed.notify()

    def ask(self, server: str) -> None:
        """Have a server asked for, of which something has changed.

        One that does not run here is not asked for: if it comes, watch() does that.
        """
        with self._changed:
            if server in self._running:
                self._pending.add(server)
                self._changed.notify()

    def stop(self) -> None:
        """End, after the request that is under way."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.stop()

    def _run(self) -> None:
        polled = time.monotonic()
        while (servers := self._next(polled)) is not None:
            if not servers:
                polled = time.monotonic()
                continue
            try:
                is_new = self._read_or_keep(servers)
            except exceptions.ComputeError as error:
                self._say(str(error))
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, RETRY_SECONDS)
                continue
            self._thread.is_well()
            self._say("")
            if is_new:
                self._wake()

    def _next(self, polled: float) -> set[str] | None:
        """The servers to read, once there are some; none if all are due, which are asked for next; None to end."""
        with self._changed:
            rest = max(polled + self._poll_seconds - time.monotonic(), 0.0) if self._poll_seconds else None
            self._changed.wait_for(lambda: self._stopping or self._pending, rest)
            if self._stopping:
                return None
            servers, self._pending = self._pending, set()
            if not servers:
                self._pending = set(self._running)
            return servers

    def _read_or_keep(self, servers: set[str]) -> bool:
        """Read some servers, as :meth:`read`; whatever fails, they are read next time."""
        try:
            return self.read(servers)
        except Exception:
            with self._changed:
                self._pending |= servers & self._running
            raise

    def read(self, servers: Iterable[str]) -> bool:
        """Read some servers now; gives whether something was new.

        :raises ComputeError: if Nova does not say
        """
        asked, is_new = set(servers), False
        found = self._nova.metadata_of_host(self._host) if len(asked) > FEW else {}
        for server in sorted(asked):
            metadata = found[server] if server in found else self._nova.metadata(server)
            if metadata is None:
                self._metadata.forget(server)
            else:
                is_new |= self._metadata.learn(server, metadata)
        return is_new

    def _say(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            self._wake()
