# SPDX-License-Identifier: Apache-2.0
"""What is known here of servers' own metadata. It outlives the agent, so that no pin flips back while it starts."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kongming_sched.agent.model.view import OverrideRequest
from kongming_sched.agent.state.json_file import load_state, write_state
from kongming_sched.override import select

METADATA_NAME = "metadata.json"
"""The file in the run directory that holds it."""

MAX_SERVERS = 4096
"""How many servers are remembered, besides those that run here; of the others the oldest news are forgotten first."""


_AHEAD_SECONDS = 60.0
"""How far clocks may be ahead of this one; what is of later than that was said before this clock was set back."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a server.

    :ivar metadata: its keys that mean something here
    :ivar granted: the last that it was given
    :ivar at: when it was so, in seconds since the epoch by the clock of whoever said it
    """

    metadata: Mapping[str, str] = field(default_factory=dict)
    granted: Mapping[str, str] = field(default_factory=dict)
    at: float = 0.0


class Metadata:
    """The metadata of servers, as triggers heard it. Safe to be called from any thread.

    :param path: the file that holds it; None to keep it in memory
    :param clock: seconds since the epoch
    :ivar running: the servers that were looked at last
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, Known] = load_state(path, _parse, {})
        self._saved = dict(self._known)
        self.running: tuple[str, ...] = ()

    def learn(self, server: str, metadata: Mapping[str, str], at: float | None = None) -> bool:
        """Take in what somebody says of a server; gives whether that is new.

        :param metadata: all of it
        :param at: when it was so, in seconds since the epoch; what is older than what was said before does not count.
            None if it was read just now
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
            elsewhere = (other for other in self._known if other not in self.running)
            if len(self._known) > MAX_SERVERS and (oldest := next(elsewhere, None)):
                del self._known[oldest]
            return mine != known.metadata

    def forget(self, server: str) -> None:
        """A server was deleted."""
        with self._lock:
            self._known.pop(server, None)

    def requests(self) -> dict[str, OverrideRequest]:
        """What servers ask for, by id: those whose metadata says something."""
        with self._lock:
            return {
                server: OverrideRequest(known.metadata, known.granted)
                for server, known in self._known.items()
                if known.metadata
            }

    def grant(self, servers: Iterable[str], granted: Mapping[str, Mapping[str, str]]) -> None:
        """Note what servers were given, and write everything down that is worth it.

        :param servers: all servers that were looked at
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
