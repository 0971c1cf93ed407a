# SPDX-License-Identifier: Apache-2.0
"""What this host knows of servers' own metadata. It outlives the agent, so that no pin flips back at a restart."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kongming_sched.agent.model.view import OverrideRequest
from kongming_sched.agent.state.json_file import load_state, write_state
from kongming_sched.override import select

METADATA_NAME = "metadata.json"
"""The file in the run directory that holds what is known."""

MAX_SERVERS = 4096
"""How many servers are remembered; beyond that the one with the oldest news goes, of those that do not run here."""

_AHEAD_SECONDS = 60.0
"""How far other clocks may be ahead of this one; news from later than that are from before this clock was set back."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a server.

    :ivar metadata: its keys that mean something here
    :ivar granted: the last that it was given
    :ivar at: when it was so, in seconds since the epoch by the clock of the sender
    """

    metadata: Mapping[str, str] = field(default_factory=dict)
    granted: Mapping[str, str] = field(default_factory=dict)
    at: float = 0.0


class Metadata:
    """The metadata of servers, as triggers report it. Safe to be called from any thread.

    :param path: the file that holds it; None to keep it in memory
    :param clock: seconds since the epoch
    :ivar running: the servers that ran here at the last pass
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, Known] = load_state(path, _parse, {})
        self._saved = dict(self._known)
        self._absent: frozenset[str] = frozenset()
        self.running: tuple[str, ...] = ()

    def learn(self, server: str, metadata: Mapping[str, str], at: float | None = None) -> bool:
        """Take in the metadata of a server; gives whether what matters here has changed.

        :param metadata: all of it
        :param at: when it was so, in seconds since the epoch; older news than what is known do not count. None if it
            was read just now
        """
        mine = select(metadata)
        with self._lock:
            if not mine and server not in self._known:
                return False
            known = self._known.pop(server, Known())
            if at is not None and at < known.at <= self._clock() + _AHEAD_SECONDS:
                self._known[server] = known
                return False
            self._known[server] = replace(known, metadata=mine, at=known.at if at is None else at)
            # The server was put at the end, so that the first one is that with the oldest news.
            elsewhere = (other for other in self._known if other not in self.running)
            if len(self._known) > MAX_SERVERS and (oldest := next(elsewhere, None)):
                del self._known[oldest]
            return mine != known.metadata

    def forget(self, server: str) -> None:
        """Forget a server, because it was deleted."""
        with self._lock:
            self._known.pop(server, None)

    def forget_absent(self, present: Collection[str]) -> None:
        """Forget the servers that have gone for good, or are another host's.

        Notifications reach every host, and of most servers nothing says that they have ended. One that comes back
        claims first, and then it is news again. News may overtake what was read of Placement, so only servers that two
        calls in a row find absent are forgotten.

        :param present: the servers that run here or have a claim here, by Placement's own word
        """
        with self._lock:
            absent = frozenset(server for server in self._known if server not in present)
            for server in absent & self._absent:
                del self._known[server]
            self._absent = absent - self._absent

    def requests(self) -> dict[str, OverrideRequest]:
        """Server id to what it asks for, of those whose metadata means something here."""
        with self._lock:
            return {
                server: OverrideRequest(known.metadata, known.granted)
                for server, known in self._known.items()
                if known.metadata
            }

    def grant(self, servers: Iterable[str], granted: Mapping[str, Mapping[str, str]]) -> None:
        """Note which metadata is in force, and write down what is known of servers whose metadata means something.

        :param servers: all servers that run here
        :param granted: server id to the metadata that was honoured
        """
        with self._lock:
            self.running = tuple(servers)
            for server in self.running:
                known = self._known.get(server)
                if known is None:
                    continue
                now = granted.get(server, known.granted if known.metadata else {})
                if now != known.granted:
                    self._known[server] = replace(known, granted=now)
            worth = {server: known for server, known in self._known.items() if known.metadata}
            if self._path is not None and worth != self._saved:
                with contextlib.suppress(OSError):  # then the next agent has to ask again
                    write_state(self._path, {server: _to_json(known) for server, known in worth.items()})
                    self._saved = worth


def _to_json(known: Known) -> dict[str, object]:
    return {"metadata": dict(known.metadata), "granted": dict(known.granted), "at": known.at}


def _parse(state: Mapping[str, Any]) -> dict[str, Known]:
    """What the agent that ran before knew, the oldest news first."""
    return {
        server: Known(_texts(item["metadata"]), _texts(item["granted"]), float(item["at"]))
        for server, item in state.items()
    }


def _texts(mapping: Mapping[str, str]) -> dict[str, str]:
    return select({str(key): str(value) for key, value in mapping.items()})
