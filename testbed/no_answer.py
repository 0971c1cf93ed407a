# SPDX-License-Identifier: Apache-2.0
"""Servers that take requests on real sockets and never end an answer: they stand for a service that hangs."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator

from kongming_sched.compat import StrEnum


class Kind(StrEnum):
    """How a server does not answer."""

    SILENT = "takes the connection and sends nothing"
    DRIPPING_HEADERS = "sends a byte of endless headers now and then"
    DRIPPING_BODY = "sends a byte of an endless body now and then"


_BEGINNINGS = {
    Kind.SILENT: b"",
    Kind.DRIPPING_HEADERS: b"HTTP/1.1 200 OK\r\nX-Slow: ",
    Kind.DRIPPING_BODY: b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n[",
}


class EndlessServer:
    """A server at a port of loopback.

    :param pause_seconds: between two bytes
    :ivar endpoint: its URL
    :ivar connections: how many it took
    """

    def __init__(self, kind: Kind, pause_seconds: float = 0.1) -> None:
        self._kind = kind
        self._pause_seconds = pause_seconds
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0

    def serve(self) -> None:
        """Take connections until the server is closed, which ends the waiting for another with an error."""
        with self._listener, contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._drip, args=(connection,), daemon=True).start()

    def _drip(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.sendall(_BEGINNINGS[self._kind])
            for _ in itertools.count():
                if self._stopping.wait(self._pause_seconds):
                    return
                if self._kind is not Kind.SILENT:
                    connection.sendall(b" ")

    def close(self) -> None:
        """End, with all connections."""
        self._stopping.set()
        # serve() closes it. A green thread that waits for a socket is not woken by eventlet if another closes it.
        self._listener.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def endless_server(kind: Kind) -> Iterator[EndlessServer]:
    """Run one."""
    server = EndlessServer(kind)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()
