# SPDX-License-Identifier: Apache-2.0
"""What Nova asks of Neutron when it lists servers, which here have no ports."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _NoPorts(BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # the name is http.server's
        body = b'{"ports": [], "security_groups": []}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@contextmanager
def neutron_without_ports() -> Iterator[str]:
    """Run it on loopback; gives its endpoint."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _NoPorts) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
