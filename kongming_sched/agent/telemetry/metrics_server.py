# SPDX-License-Identifier: Apache-2.0
"""Where Prometheus fetches the agent's metrics: prometheus_client's own server, in a thread of its own."""

from __future__ import annotations

import threading
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server

from kongming_sched import exceptions


class MetricsServer:
    """The server, open or not.

    :ivar place: address and port that it listens at; None while it is closed
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._running: tuple[WSGIServer, threading.Thread] | None = None
        self.place: tuple[str, int] | None = None

    def open(self, address: str, port: int) -> None:
        """Listen there and nowhere else; port 0 is nowhere.

        :raises ConfigurationError: if that cannot be
        """
        place = (address, port) if port else None
        if place == self.place:
            return
        self.close()
        if place is None:
            return
        try:
            self._running = start_http_server(port, address, self._registry)
        except OSError as error:
            raise exceptions.ConfigurationError(
                "[kongming_agent] metrics_port",
                f"cannot listen at {address}:{port}: {error.strerror or error}; choose another port, or 0",
            ) from error
        self.place = place

    def close(self) -> None:
        """Listen no more, and leave no thread."""
        running, self._running, self.place = self._running, None, None
        if running is not None:
            server, thread = running
            server.shutdown()
            server.server_close()
            thread.join()
