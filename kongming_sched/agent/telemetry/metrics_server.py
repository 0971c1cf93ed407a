# SPDX-License-Identifier: Apache-2.0
"""Where Prometheus fetches the agent's metrics: prometheus_client's own handler, behind a server with limits.

Every user of the host may connect to the port. So a connection has a few seconds in all, and few are served at a time:
when all are taken the oldest one ends, which by then is none of Prometheus', whose request comes with its connection.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import socket
import socketserver
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any

from oslo_log import log
from prometheus_client import CollectorRegistry, MetricsHandler

from kongming_sched import exceptions

LOG = log.getLogger(__name__)

MAX_CONNECTIONS = 8
"""How many are served at a time, each with a thread and a descriptor: a few Prometheus servers and a person."""

REQUEST_SECONDS = 5.0
"""How long a connection may take for its request and its answer; a scrape takes milliseconds."""

_FILE_OPTION = "[kongming_agent] metrics_token_file"
_MAX_TOKEN_LENGTH = 4096


class MetricsServer:
    """The server, open or not.

    :ivar place: address and port that it listens at; None while it is closed
    :param request_seconds: how long a connection may take in all
    """

    def __init__(self, registry: CollectorRegistry, request_seconds: float = REQUEST_SECONDS) -> None:
        self._handler = _Handler.factory(registry)
        self._request_seconds = request_seconds
        self._running: tuple[_Server, threading.Thread] | None = None
        self._token = ""
        self.place: tuple[str, int] | None = None

    def open(self, address: str, port: int, token_file: Path | None = None) -> None:
        """Serve the metrics at this address and nowhere else; port 0 disables them.

        :param token_file: with what a request must show, which may be another word at each call; None if none has to
        :raises ConfigurationError: if that cannot be; then nothing is served
        """
        token = ""
        try:
            if port:
                token = read_token(token_file)
        except exceptions.ConfigurationError:
            self.close()
            raise
        place = (address, port) if port else None
        if (place, token) == (self.place, self._token):
            return
        self.close()
        if place is not None:
            self._start(place, token)

    def _start(self, place: tuple[str, int], token: str) -> None:
        try:
            server = _Server(place, self._handler, token, self._request_seconds)
        except OSError as error:
            raise exceptions.ConfigurationError(
                "[kongming_agent] metrics_port",
                f"cannot listen at {place[0]}:{place[1]}: {error.strerror or error}; choose another port, or 0",
            ) from error
        thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()
        self._running = server, thread
        self.place, self._token = place, token

    def close(self) -> None:
        """Listen no more, and leave no thread."""
        running, self._running, self.place = self._running, None, None
        if running is not None:
            server, thread = running
            server.shutdown()
            server.server_close()
            thread.join()


def read_token(file: Path | None) -> str:
    """The token that requests must show; empty if there is to be none.

    :raises ConfigurationError: if the file cannot be read, holds none, or holds what every user of the host may know
    """
    if file is None:
        return ""
    try:
        with file.open() as stream:
            mode = os.fstat(stream.fileno()).st_mode
            token = stream.read(_MAX_TOKEN_LENGTH + 1).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise exceptions.ConfigurationError(_FILE_OPTION, f"cannot read {file}: {error}") from error
    if mode & stat.S_IRWXO:
        raise exceptions.ConfigurationError(_FILE_OPTION, f"every user has access to {file}; chmod o= {file}")
    if not token or len(token) > _MAX_TOKEN_LENGTH or not (token.isascii() and token.isprintable()) or " " in token:
        reason = (
            f"{file} does not hold a token, which is one word of at most {_MAX_TOKEN_LENGTH} letters, digits and signs"
        )
        raise exceptions.ConfigurationError(_FILE_OPTION, reason)
    return token


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves a few connections at a time, each for a limited time.

    :ivar token: what a request must show; empty if none has to
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128  # of more at once the kernel drops some, which then try again a second later

    def __init__(self, place: tuple[str, int], handler: type[MetricsHandler], token: str, seconds: float) -> None:
        self.token = token
        self._seconds = seconds
        self._since: dict[Any, float] = {}
        """Open connections, the oldest first, and when each came."""
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        found = socket.getaddrinfo(*place, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, _, _, _, address = found[0]
        super().__init__(address, handler)  # type: ignore[arg-type]  # of IPv6 it has four parts

    def get_request(self) -> tuple[socket.socket, Any]:
        """Take a connection."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(0.1)  # out of descriptors, for example, and then select() would not wait
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own; if all are taken, the oldest connection makes room."""
        if not self._free.acquire(blocking=False):
            self._end(1)
            self._free.acquire()  # at once: what its thread waits for ends with the connection
        with self._lock:
            self._since[request] = time.monotonic()
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """End the connections that have taken too long; called twice a second."""
        limit = time.monotonic() - self._seconds
        with self._lock:
            late = sum(since < limit for since in self._since.values())
        self._end(late)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            was_served = self._since.pop(request, None) is not None
        if was_served:
            self._free.release()
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening, and end what is served."""
        super().server_close()
        self._end(MAX_CONNECTIONS)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # socketserver's signature
        """Log what went wrong, unless a connection has ended, which is no fault of the agent's."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            LOG.error("a request for metrics failed", exc_info=error)

    def _end(self, count: int) -> None:
        """End the oldest connections, whose threads then close them."""
        with self._lock:
            for connection in list(self._since)[:count]:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Handler(MetricsHandler):
    """Answers with the metrics, once the token has been shown if there is one."""

    server: _Server

    def do_GET(self) -> None:
        """Answer a request."""
        if not self.server.token or self._shows(self.server.token):
            super().do_GET()
            return
        self.send_response(401)
        self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _shows(self, token: str) -> bool:
        scheme, _, shown = self.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), token.encode())
