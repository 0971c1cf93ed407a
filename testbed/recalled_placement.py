# SPDX-License-Identifier: Apache-2.0
"""Lets tests that begin with the same requests have the real Placement answer these once.

What Placement holds, and what it answers, follows from the writes that it got since it was empty. Most tests begin with
the same ones: templates, a host, servers. Their answers are remembered, and a database is only made, and brought to
where the test has come, when something is asked that nobody has asked there before. So each answer is Placement's own.
"""

from __future__ import annotations

import io
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    Start: TypeAlias = Callable[[], tuple[WSGIApplication, sqlite3.Connection]]

MOST_WRITES = 120
"""How many writes from the start are remembered: more than tests have in common, fewer than long ones make."""

MOST_IMAGES = 60
"""How many databases are kept, each of some 200 KiB."""

_NO_MATTER = ("HTTP_HOST", "HTTP_X_OPENSTACK_REQUEST_ID")
"""Headers by which no answer is another one: the id of a command is only logged."""

_HOST = "placement.invalid"
"""Stands in remembered answers for the host by which Placement was asked."""


@dataclass(frozen=True)
class _Answer:
    status: str
    headers: tuple[tuple[str, str], ...]
    body: tuple[bytes, ...]


@dataclass(eq=False)
class State:
    """What an application holds after certain writes.

    :ivar writes: how many
    :ivar reads: answers, by what was asked
    :ivar following: answers of writes and what the application holds then, by what was asked
    """

    writes: int = 0
    reads: dict[object, _Answer] = field(default_factory=dict)
    following: dict[object, tuple[_Answer, State]] = field(default_factory=dict)


class Memory:
    """What applications that begin empty have answered, and copies of their databases."""

    def __init__(self) -> None:
        self.empty = State()
        self._images: OrderedDict[State, sqlite3.Connection] = OrderedDict()

    def has(self, state: State) -> bool:
        """Whether there is a copy of the database in this state."""
        return state in self._images

    def keep(self, state: State, database: sqlite3.Connection) -> None:
        """Copy a database that is in this state."""
        image = sqlite3.connect(":memory:", check_same_thread=False)
        database.backup(image)
        self._images[state] = image
        if len(self._images) > MOST_IMAGES:
            _, oldest = self._images.popitem(last=False)
            oldest.close()

    def restore(self, state: State, database: sqlite3.Connection) -> None:
        """Bring a database into this state."""
        self._images.move_to_end(state)
        self._images[state].backup(database)


class Recalled:
    """An application with an empty database of its own, for all that those who ask it can see.

    Its answers have to follow from the requests alone, and its database is written by requests alone.

    :param start: starts the application with an empty database, when it is needed
    :ivar made: how many requests the application has got
    """

    def __init__(self, start: Start, memory: Memory) -> None:
        self._start = start
        self._memory = memory
        self._state = memory.empty
        self._running: tuple[WSGIApplication, sqlite3.Connection] | None = None
        self._behind: list[tuple[State, WSGIEnvironment, bytes]] = []
        """Writes that the application has not got yet, each with the state before it."""
        self._lock = threading.Lock()
        self._is_closed = False
        self.made = 0

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer from memory, or have the application answer."""
        host = environ.get("HTTP_HOST", "")
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        with self._lock:
            answer = self._read(environ, body) if environ["REQUEST_METHOD"] == "GET" else self._write(environ, body)
        start_response(answer.status, [(name, value.replace(_HOST, host)) for name, value in answer.headers])
        return list(answer.body)

    def close(self) -> None:
        """Let the application not be started any more, as by a thread of a test that has ended."""
        with self._lock:
            self._is_closed = True

    def _read(self, environ: WSGIEnvironment, body: bytes) -> _Answer:
        asked = _question(environ, body)
        if asked not in self._state.reads:
            self._state.reads[asked] = self._ask(environ, body)
        return self._state.reads[asked]

    def _write(self, environ: WSGIEnvironment, body: bytes) -> _Answer:
        before, asked = self._state, _question(environ, body)
        if asked in before.following:
            self._behind.append((before, dict(environ), body))
            answer, self._state = before.following[asked]
            return answer
        after = State(before.writes + 1)
        try:
            answer = self._ask(environ, body)
        finally:
            self._state = after  # also if it breaks off: part of it may have been done
        if after.writes <= MOST_WRITES:
            before.following[asked] = answer, after
        return answer

    def _ask(self, environ: WSGIEnvironment, body: bytes) -> _Answer:
        """Have the application answer, once it has got all that was answered by memory."""
        if self._is_closed:
            raise RuntimeError("the test whose Placement is asked has ended")
        if self._running is None:
            self._running = self._start()
        if self._behind:
            self._catch_up(self._running[1])
        return self._make(environ, body)

    def _catch_up(self, database: sqlite3.Connection) -> None:
        """Bring the application's database to where those who ask are."""
        behind, self._behind = self._behind, []
        if self._memory.has(self._state):
            self._memory.restore(self._state, database)
            return
        known = [number for number, (state, *_) in enumerate(behind) if self._memory.has(state)]
        if known:
            self._memory.restore(behind[known[-1]][0], database)
        for _, environ, body in behind[known[-1] if known else 0 :]:
            self._make(environ, body)
        self._memory.keep(self._state, database)

    def _make(self, environ: WSGIEnvironment, body: bytes) -> _Answer:
        """Send the application a request."""
        assert self._running
        self.made += 1
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], _error: object = None) -> object:
            started.append((status, headers))
            return None

        application, _ = self._running
        found = application({**environ, "wsgi.input": io.BytesIO(body)}, start_response)  # type: ignore[arg-type]
        parts = tuple(found)
        status, headers = started[-1]
        host = environ.get("HTTP_HOST") or _HOST
        return _Answer(status, tuple((name, value.replace(host, _HOST)) for name, value in headers), parts)


def _question(environ: WSGIEnvironment, body: bytes) -> object:
    """All of a request that its answer may depend on."""
    names = ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "CONTENT_TYPE")
    headers = {name: value for name, value in environ.items() if name.startswith("HTTP_") and name not in _NO_MATTER}
    return tuple(environ.get(name) for name in names), tuple(sorted(headers.items())), body
