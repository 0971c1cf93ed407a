# SPDX-License-Identifier: Apache-2.0
"""How much memory a worker of nova-scheduler needs for its snapshot of the cloud's NUMA nodes.

An answer of Placement's shape comes over HTTP from another process, is read by the real client and kept by the real
snapshot: hosts of two nodes whose compute nodes have what nova-compute registers. Python's own count of its allocations
prints what stays and what was needed meanwhile, the text of the answer included.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import tracemalloc
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.connection import Connection
from typing import Any

from keystoneauth1 import adapter, session, token_endpoint

from benchmarks import report
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.scheduler.snapshot import NodeSnapshot

TRAITS_OF_HOST = 60
"""How many traits nova-compute sets on a provider; most of them name features of the CPU."""


def answer(hosts: int) -> str:
    """What Placement answers to the snapshot's question."""
    summaries: dict[str, Any] = {}
    requests = []
    for index in range(hosts):
        root = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"c{index}"))
        summaries[root] = {
            "resources": {name: {"capacity": 128, "used": 64} for name in ("VCPU", "MEMORY_MB", "DISK_GB")},
            "traits": [f"HW_CPU_X86_FEATURE_{number}" for number in range(TRAITS_OF_HOST)],
            "parent_provider_uuid": None,
            "root_provider_uuid": root,
        }
        for number in range(2):
            node = names.node_uuid(root, number)
            classes = (names.PCPU, names.VCPU, names.MEMORY_MB, names.NODE)
            summaries[node] = {
                "resources": {name: {"capacity": 1000 + index, "used": index % 1000} for name in classes},
                "traits": ["HW_NUMA_ROOT", names.node_trait(number), names.smt_trait(2), names.template_trait("gold")],
                "parent_provider_uuid": root,
                "root_provider_uuid": root,
            }
            requests.append({"allocations": {node: {"resources": {names.NODE: 1}}}, "mappings": {"": [node]}})
    return json.dumps({"provider_summaries": summaries, "allocation_requests": requests})


def serve(hosts: int, ready: Connection) -> None:
    """Answer every GET as Placement would, and say at which port and with how many bytes."""
    text = answer(hosts).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    ready.send((server.server_port, len(text)))
    server.serve_forever()


@contextlib.contextmanager
def placement(hosts: int) -> Iterator[tuple[PlacementClient, int]]:
    """A client of such a server, and how long its answer is."""
    context = multiprocessing.get_context("spawn")
    ready, other = context.Pipe()
    server = context.Process(target=serve, args=(hosts, other), daemon=True)
    server.start()
    try:
        port, size = ready.recv()
        auth = token_endpoint.Token(f"http://127.0.0.1:{port}", "unused")
        yield PlacementClient(adapter.Adapter(session.Session(auth), service_type="placement")), size
    finally:
        server.kill()
        server.join()


def measure(hosts: int) -> dict[str, float]:
    """MiB that stay and MiB that are needed while an answer is read."""
    with placement(hosts) as (client, size):
        snapshot = NodeSnapshot(lambda: client, lambda: 300.0)
        tracemalloc.start()
        view = snapshot.get()
        snapshot.wait(60)
        stays, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    if view is None or len(view.free) != hosts:
        raise SystemExit("the snapshot does not hold all hosts")
    return {"hosts": hosts, "answer_mib": size / 2**20, "stays_mib": stays / 2**20, "peak_mib": peak / 2**20}


def main() -> None:
    """Measure, print, and keep."""
    args = report.parser(__doc__).parse_args()
    rows = [measure(hosts) for hosts in (100, 1000, 5000)]
    report.table(
        "Memory of the snapshot, MiB",
        ("hosts", "Placement's answer", "stays", "at most while it is read"),
        [list(row.values()) for row in rows],
    )
    if args.write:
        report.keep("snapshot_memory", {"rows": rows})


if __name__ == "__main__":
    main()
