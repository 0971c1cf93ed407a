# SPDX-License-Identifier: Apache-2.0
"""Serves a WSGI application on a port of loopback, and writes the port to a file once it can answer.

``python -m testbed.lab.wsgi_server MODULE PORT_FILE [PORT]``, by default with a free port, loads
``MODULE:application``, as an operator's WSGI server does.
"""

from __future__ import annotations

import importlib
import socketserver
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class ThreadingServer(ThreadingMixIn, WSGIServer):
    """The standard library's server with a thread for each request."""

    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        """Bind without the reverse look-up of the host's name, which stalls where no name server answers."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


def one_at_a_time(application: WSGIApplication) -> WSGIApplication:
    """Let requests take turns: SQLite refuses transactions that overlap, where a cloud's database lets them wait."""
    turn = threading.Lock()

    def call(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with turn:
            return list(application(environ, start_response))

    return call


def serve(application: WSGIApplication, port_file: Path, port: int) -> None:
    """Serve until the process ends."""
    with ThreadingServer(("127.0.0.1", port), WSGIRequestHandler) as server:
        server.set_app(one_at_a_time(application))
        port_file.write_text(f"{server.server_port}\n")
        server.serve_forever()


def main() -> None:
    """Serve the application of a module."""
    module, port_file, port = [*sys.argv[1:], "0"][:3]
    del sys.argv[1:]  # services read their own options from it
    serve(importlib.import_module(module).application, Path(port_file), int(port))


if __name__ == "__main__":
    main()
