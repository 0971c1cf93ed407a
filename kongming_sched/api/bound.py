# SPDX-License-Identifier: Apache-2.0
"""A bound on the whole of a request.

The limit that requests and keystoneauth take holds between two bytes: a server that sends one byte a second never
exceeds it. Nor does it hold for the name service, or for the requests to Keystone that may come before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

DEFAULT_SECONDS = 60.0
"""Where ``timeout`` does not say: as long as proxies commonly wait for a service."""

MARGIN_SECONDS = 1.0
"""So much longer is the limit between two bytes, which ends the thread of a request that was given up: if both were the
same, either might be first, and the words of the problem would change each time."""

MOST_GIVEN_UP = 8
"""So many requests that were given up may still be waiting: a server that never ends its answers must not take up all
threads and descriptors."""

IDLE_SECONDS = 5.0
"""How long a thread that makes requests waits for the next one before it ends."""

_BACK = 12.0
"""How much of a burst's time comes back for each second without a request: all of a minute in a pause of 5 seconds."""

_T = TypeVar("_T")


class _Call(Generic[_T]):
    """A call, and how it ended.

    :ivar is_over: set once it has returned or raised
    :ivar is_given_up: whether nobody waits for it any more
    """

    def __init__(self, call: Callable[[], _T]) -> None:
        self._call = call
        self._values: list[_T] = []
        self._error: BaseException | None = None
        self.is_over = threading.Event()
        self.is_given_up = False

    def make(self) -> None:
        """Make the call, and keep how it ends."""
        try:
            self._values.append(self._call())
        except BaseException as error:  # noqa: BLE001  # raised in the thread that waits
            self._error = error

    def result(self) -> _T:
        """What the call returned, or raise what it raised."""
        if self._error is not None:
            raise self._error
        return self._values[0]


class _Workers:
    """Threads that make calls. One that has nothing to do waits for another call for a while, and then ends.

    To start a thread for each call costs several times as much as to wake one that waits.

    :param idle_seconds: how long one waits
    """

    def __init__(self, idle_seconds: float) -> None:
        self.idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []

    def make(self, call: _Call[Any]) -> None:
        """Have a call made, by a thread of its own as long as that lasts."""
        worker = self._take() or _Worker(self)
        worker.make(call)

    def _take(self) -> _Worker | None:
        """One that waits; a process that was forked has none of the threads of its parent."""
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.is_alive():
                    return worker
        return None

    def add(self, worker: _Worker) -> None:
        """Note that a worker can make another call."""
        with self._lock:
            self._idle.append(worker)

    def remove(self, worker: _Worker) -> bool:
        """Whether a worker may end, because it has no call to make and gets none."""
        with self._lock:
            if worker not in self._idle:
                return False
            self._idle.remove(worker)
            return True


class _Worker(threading.Thread):
    """A thread that makes one call after the other."""

    def __init__(self, workers: _Workers) -> None:
        super().__init__(name="kongming-request", daemon=True)
        self._workers = workers
        self._call: _Call[Any] | None = None
        self._has_call = threading.Event()

    def make(self, call: _Call[Any]) -> None:
        """Make this call next; to be called while it has none."""
        self._call = call
        self._has_call.set()
        if self.ident is None:
            self.start()

    def run(self) -> None:
        """Make calls until none comes for a while."""
        while True:
            if not self._has_call.wait(self._workers.idle_seconds):
                if self._workers.remove(self):
                    return
                continue
            self._has_call.clear()
            if self._call is not None and not self._make(self._call):
                return

    def _make(self, call: _Call[Any]) -> bool:
        """Make a call; gives whether another one may follow."""
        self._call = None
        call.make()
        is_free = not call.is_given_up
        if is_free:
            self._workers.add(self)  # before the call is over, so that the next one finds this thread
        call.is_over.set()
        return is_free


class Bound:
    """Makes calls that are given up when they take too long.

    Each is made in a thread, since nothing else ends a wait for the network at a given time. One that is given up goes
    on there until its connection ends, and what it returns is lost. So a write may still come to pass, as it may after
    a connection that broke.

    :param most_given_up: if so many calls still go on, no other is begun
    :param idle_seconds: how long a thread waits for the next call before it ends
    """

    def __init__(self, most_given_up: int = MOST_GIVEN_UP, idle_seconds: float = IDLE_SECONDS) -> None:
        self._most_given_up = most_given_up
        self._given_up: list[_Call[Any]] = []
        self._lock = threading.Lock()
        self._workers = _Workers(idle_seconds)

    def run(self, call: Callable[[], _T], seconds: float) -> _T:
        """Make a call.

        It is waited for on an event: in a process that eventlet has patched, ``Thread.join`` of Python 3.13 raises
        eventlet's Timeout, which is no Exception, once the time is over.

        :raises TimeoutError: if it is not over after that time
        """
        with self._lock:
            self._given_up = [other for other in self._given_up if not other.is_over.is_set()]
            if len(self._given_up) >= self._most_given_up:
                raise TimeoutError(f"{len(self._given_up)} earlier requests still wait for the end of their answer")
        made = _Call(call)
        self._workers.make(made)
        if not made.is_over.wait(seconds):
            made.is_given_up = True
            with self._lock:
                self._given_up.append(made)
            raise TimeoutError(_timed_out(seconds))
        return made.result()


class Burst:
    """How long requests that follow one another may take together: no longer than one of them.

    A service that answers each request late, but in time, would else hold a pass of many requests up for minutes.

    :param clock: gives the time in seconds
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spent_seconds = 0.0
        self._ended_at = clock()

    def run(self, call: Callable[[float], _T], seconds: float) -> _T:
        """Make a call with what is left of the time.

        :param call: takes how many seconds it may last
        :param seconds: how long a burst may last
        :raises TimeoutError: if nothing is left
        """
        began_at = self._clock()
        self._spent_seconds = max(self._spent_seconds - _BACK * (began_at - self._ended_at), 0.0)
        left_seconds = seconds - self._spent_seconds
        if left_seconds <= 0:
            raise TimeoutError(_timed_out(seconds))
        try:
            return call(left_seconds)
        except TimeoutError as error:
            raise TimeoutError(_timed_out(seconds)) from error
        finally:
            self._ended_at = self._clock()
            self._spent_seconds += self._ended_at - began_at


def _timed_out(seconds: float) -> str:
    """Why a request was given up, in the same words each time, so that a log can leave out what it said before."""
    return f"timed out: no whole answer within {seconds:g} s"
