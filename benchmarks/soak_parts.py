# SPDX-License-Identifier: Apache-2.0
"""What is around the agent of the soak: a simulated host to which something happens, and Nova's API."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer

from kongming_sched.cpuset import CpuSet
from testbed.simulated_host import SimulatedHost
from testbed.topologies import two_nodes_smt2

DEDICATED = CpuSet.parse("1-3,9-11,5-7,13-15")


class NovaServers(HTTPServer):
    """Nova's API as far as the agent asks it: the metadata of servers.

    :ivar metadata: of each server that there is, by its id
    """

    def __init__(self) -> None:
        self.metadata: dict[str, Mapping[str, str]] = {}
        super().__init__(("127.0.0.1", 0), _Answer)
        threading.Thread(target=self.serve_forever, name="nova", daemon=True).start()


class _Answer(BaseHTTPRequestHandler):
    server: NovaServers

    def do_GET(self) -> None:
        """Answer for one server or for all."""
        known = {key: {"id": key, "metadata": dict(value)} for key, value in list(self.server.metadata.items())}
        asked = self.path.partition("?")[0].rpartition("/")[2]
        body = {"servers": list(known.values())} if asked == "detail" else {"server": known.get(asked)}
        content = json.dumps(body).encode()
        self.send_response(200 if asked == "detail" or asked in known else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class SoakHost(SimulatedHost):
    """A simulated host to which something happens before each pass."""

    def __init__(self) -> None:
        super().__init__(two_nodes_smt2(), DEDICATED)
        self.before_pass: Callable[[], None] = lambda: None

    def take_started(self) -> frozenset[str]:
        """What the agent asks first in each pass."""
        self.before_pass()
        return super().take_started()
