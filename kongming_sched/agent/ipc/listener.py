# SPDX-License-Identifier: Apache-2.0
"""The Unix socket on which libvirt's hook asks where an incoming guest belongs, and commands give orders.

See qemu_hook.py and client.py for the other ends. There is one question for each connection, of bounded length, asked
within a second, from root or the agent's own user. Each connection has a thread, which puts the question before the
agent's loop and waits for its answer: a hook for a second, an order for as long as moving a guest takes. So orders have
room of their own, and however many wait, no hook waits for them.

Whether the agent works, which the hook asks before a guest starts, is answered at once and not by the loop, whose pass
may take longer than the hook waits. So is a hook whose guest has no pins inside the dedicated pool. One whose guest has
some waits for the loop, which clears these CPUs, as long as it says that it can.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from kongming_sched import exceptions
from kongming_sched.agent.ipc import client
from kongming_sched.agent.ipc.qemu_hook import (
    CLEAR_GREETING,
    GREETING,
    MAX_BYTES,
    PATIENCE_SECONDS,
    START_GREETING,
    START_PATIENCE_SECONDS,
)
from kongming_sched.agent.ipc.question import Question
from kongming_sched.agent.own_directory import SOCKET_NAME, OwnDirectory
from kongming_sched.texts.whole_number import find_whole_number

MAX_CONNECTIONS = 16
"""No more guests than this come in within a second; further connections wait in the socket's queue. An order counts
until it has been read."""

MAX_ORDERS = 16
"""How many orders may wait for their answers; further ones are refused at once."""

MAX_STARTS = 64
"""How many starting guests may wait for their CPUs; hooks of further ones ask again."""

_ANSWERING_SECONDS = 0.5
"""How long before the end of a hook's time it is answered that there is no answer."""

QUEUE_LENGTH = 128
"""How many hooks may wait to be accepted; one more would be refused at once instead of waiting its second."""

_CREDENTIALS = struct.Struct("3i")


class Listener:
    """The agent's end of the socket.

    :param directory: made if it is not there, and readable for the agent's user alone
    :param wake: called whenever a question has come
    :param is_working: whether the agent works; called by other threads
    :param is_clear: whether the guest of an XML needs no CPU cleared; called by other threads
    """

    def __init__(
        self,
        directory: Path,
        wake: Callable[[], None],
        is_working: Callable[[], bool],
        is_clear: Callable[[str], bool],
    ) -> None:
        self.path = directory / SOCKET_NAME
        self._directory = OwnDirectory(directory)
        self._wake = wake
        self._is_working = is_working
        self._is_clear = is_clear
        self._socket: socket.socket | None = None
        self._made: os.stat_result | None = None
        self._questions: list[Question] = []
        self._starts: list[Question] = []
        self._orders: list[Question] = []
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._free_for_starts = threading.BoundedSemaphore(MAX_STARTS)
        self._free_for_orders = threading.BoundedSemaphore(MAX_ORDERS)

    def open(self) -> None:
        """Begin to listen.

        :raises ConfigurationError: if the directory cannot be used, or another agent listens there
        """
        try:
            self._directory.prepare()
            if self._is_served():
                raise exceptions.ConfigurationError("run_directory", f"another agent listens at {self.path}")
            self._directory.remove(SOCKET_NAME)
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            os.fchmod(listening.fileno(), 0o600)  # which the file takes on when it is made: it is never open to others
            listening.bind(str(self.path))
            listening.listen(QUEUE_LENGTH)
            self._made = self.path.lstat()
        except OSError as error:
            raise exceptions.ConfigurationError("run_directory", f"cannot listen at {self.path}: {error}") from error
        self._socket = listening
        threading.Thread(target=self._accept, args=(listening,), name="listener", daemon=True).start()

    def is_in_place(self) -> bool:
        """Whether the socket's file is there still, and none in its place."""
        try:
            return self._made is not None and os.path.samestat(self._made, self.path.lstat())
        except OSError:
            return False

    def take(self) -> list[Question]:
        """The questions for incoming guests that came since the last call, those left out that were abandoned."""
        return self._take(self._questions)

    def take_starts(self) -> list[Question]:
        """The questions for starting guests that came since the last call, those left out that were abandoned."""
        return self._take(self._starts)

    def take_order(self) -> Question | None:
        """The order that has waited longest, those left out that were abandoned; None if none waits."""
        with self._lock:
            while self._orders:
                order = self._orders.pop(0)
                if not order.is_abandoned:
                    return order
        return None

    def close(self) -> None:
        """Stop listening; hooks and commands that wait get no answer."""
        listening, self._socket = self._socket, None
        if listening is None:
            return
        if self.is_in_place():  # and is not another agent's
            with contextlib.suppress(OSError, exceptions.ConfigurationError):
                self._directory.remove(SOCKET_NAME)
        with contextlib.suppress(OSError):  # wakes the thread that accepts
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for question in (*self.take(), *self.take_starts()):
            question.answer(None)
        while order := self.take_order():
            order.answer(None)

    def _take(self, waiting: list[Question]) -> list[Question]:
        with self._lock:
            taken = waiting.copy()
            waiting.clear()
        return [question for question in taken if not question.is_abandoned]

    def _is_served(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(PATIENCE_SECONDS)
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                probe.connect(str(self.path))
                return True
        return False

    def _accept(self, listening: socket.socket) -> None:
        while True:
            self._free.acquire()
            try:
                connection, _ = listening.accept()
            except OSError:
                if self._socket is not listening:
                    return  # closed
                self._free.release()
                time.sleep(0.1)  # out of descriptors, for example
                continue
            threading.Thread(target=self._serve, args=(connection,), name="connection", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        with connection, contextlib.suppress(OSError):
            try:
                greeting, text = _receive(connection, deadline) if _is_trusted(connection) else (b"", "")
                if greeting == START_GREETING:
                    _send(connection, {"running": self._is_working()})
                elif greeting == GREETING:
                    self._put(connection, self._questions, text, deadline - time.monotonic())
            finally:
                self._free.release()
            if greeting == client.GREETING:
                self._serve_order(connection, text)
            elif greeting == CLEAR_GREETING:
                self._serve_start(connection, text)

    def _serve_start(self, connection: socket.socket, text: str) -> None:
        line, _, xml = text.partition("\n")
        seconds = min(find_whole_number(line, range(10_000)) or 0, START_PATIENCE_SECONDS)
        if not self._is_working():
            _send(connection, {"running": False})
        elif self._is_clear(xml):
            _send(connection, {"running": True, "clear": True})
        elif not self._free_for_starts.acquire(blocking=False):
            _send(connection, _busy(f"{MAX_STARTS} starting guests wait for their CPUs already"))
        else:
            try:
                self._put(connection, self._starts, xml, seconds - _ANSWERING_SECONDS, _BUSY)
            finally:
                self._free_for_starts.release()

    def _serve_order(self, connection: socket.socket, text: str) -> None:
        if not self._free_for_orders.acquire(blocking=False):
            _send(connection, {"error": f"{MAX_ORDERS} orders wait for the agent already; try again later"})
            return
        try:
            self._put(connection, self._orders, text, client.PATIENCE_SECONDS)
        finally:
            self._free_for_orders.release()

    def _put(
        self,
        connection: socket.socket,
        waiting: list[Question],
        text: str,
        seconds: float,
        late: Mapping[str, object] | None = None,
    ) -> None:
        """Put a question before the loop, and send the answer if there is one in time.

        :param late: what is sent instead if there is none; by default nothing
        """
        question = Question(text)
        with self._lock:
            waiting.append(question)
        self._wake()
        answer = question.wait(seconds)
        if answer is None and question.is_abandoned:
            answer = late
        if answer is not None:
            _send(connection, answer)


def _busy(reason: str) -> dict[str, object]:
    """An answer to a hook that may ask again."""
    return {"running": True, "clear": False, "retry": True, "reason": reason}


_BUSY = _busy("the agent is busy with something that takes long; see its log")


def _send(connection: socket.socket, answer: Mapping[str, object]) -> None:
    connection.settimeout(PATIENCE_SECONDS)
    connection.sendall(json.dumps(answer).encode())


def _is_trusted(connection: socket.socket) -> bool:
    """Whether root or our own user is at the other end."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(credentials)
    return user in (0, os.geteuid())


def _receive(connection: socket.socket, deadline: float) -> tuple[bytes, str]:
    """The greeting, and the order or the XML that is asked about.

    Nothing if that does not come in time, is too long, or is not what a hook or a command says.
    """
    received = bytearray()
    while len(received) <= len(GREETING) + MAX_BYTES:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        chunk = connection.recv(65536)
        if not chunk:
            known = (GREETING, START_GREETING, CLEAR_GREETING, client.GREETING)
            greeting = next((line for line in known if received.startswith(line)), b"")
            with contextlib.suppress(UnicodeDecodeError):
                return greeting, received[len(greeting) :].decode()
            break
        received += chunk
    return b"", ""
