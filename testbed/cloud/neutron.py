# SPDX-License-Identifier: Apache-2.0
"""Stands for Neutron in a cloud whose servers have no network: every collection that Nova asks for is empty.

``python -m testbed.cloud.neutron PORT`` serves on loopback. What would change something is refused.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from testbed.cloud.plan import LOOPBACK

COLLECTIONS = ("ports", "networks", "extensions", "security-groups", "subnets", "floatingips", "quotas")


def answer(path: str) -> tuple[int, object]:
    """Status and document for a GET."""
    collection = path.partition("?")[0].removeprefix("/v2.0/").removesuffix(".json").rstrip("/")
    if collection in ("", "/v2.0"):
        return 200, {"versions": [{"id": "v2.0", "status": "CURRENT", "links": []}]}
    if collection in COLLECTIONS:
        return 200, {collection.replace("-", "_"): []}
    return 404, {"NeutronError": {"type": "NotFound", "message": f"there is no {collection}", "detail": ""}}


class Handler(BaseHTTPRequestHandler):
    """Answers GET alone."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer from the table."""
        status, document = answer(self.path)
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until the process ends."""
    ThreadingHTTPServer((LOOPBACK, int(sys.argv[1])), Handler).serve_forever()


if __name__ == "__main__":
    main()
