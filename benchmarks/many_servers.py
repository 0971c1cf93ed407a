# SPDX-License-Identifier: Apache-2.0
"""What it takes to give another template to many servers: requests to Placement and seconds, broken off and resumed.

A real Placement on SQLite runs as a process of its own. The servers are claims in it; of Nova only its answers are
there, which come from memory. The first run is broken off when half of the servers have changed, and the second one
takes up those that are left.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from keystoneauth1 import adapter, session, token_endpoint

from benchmarks import report
from kongming_sched.cli.classes.many import ManyServers
from kongming_sched.cli.classes.plan import Asked
from kongming_sched.cli.classes.which import Which
from kongming_sched.cloud.classes.many import ManyChanger
from kongming_sched.cloud.classes.read import read_classes, template_of
from kongming_sched.cloud.compute import ComputeClient, Server
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.templates import TemplateStore
from testbed.adapters import Counting
from testbed.lab.placement_api import TOKEN, PlacementApi
from testbed.many_servers import StandInNova, build


@dataclass
class BrokenOff:
    """A Nova that is asked about so many servers; then the command is broken off, as by Ctrl-C."""

    nova: StandInNova
    left: int

    def find_server(self, server_id: str) -> Server:
        """One server, or the end."""
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return self.nova.find_server(server_id)


def change(client: PlacementClient, nova: StandInNova | BrokenOff, servers: Iterator[Server]) -> None:
    """Give the servers of gold template silver; ends the program if some could not."""
    changer = ManyChanger(client, TemplateStore(client))
    compute = cast(ComputeClient, nova)
    if ManyServers(changer, compute, list(servers), Which("gold"), Asked("silver")).run():
        raise SystemExit("some servers could not change")


def measure(raw: adapter.Adapter, hosts: int, servers: int) -> dict[str, Any]:
    """Both runs."""
    nova = build(PlacementClient(raw), hosts, servers)
    runs = []
    for source in (BrokenOff(nova, servers // 2), nova):
        counting, started_at = Counting(raw), time.monotonic()
        with contextlib.suppress(KeyboardInterrupt):
            change(PlacementClient(counting), source, nova.servers())
        writes = counting.requests.count(("POST", "/allocations"))
        seconds = time.monotonic() - started_at
        runs.append({"changed": writes, "requests": len(counting.requests), "seconds": seconds})
    classes = read_classes(PlacementClient(raw))
    if {"silver"} != {template_of(server, classes) for server in nova.servers()}:
        raise SystemExit("not all servers have changed")
    return {"hosts": hosts, "servers": servers, "runs": runs}


def main() -> None:
    """Measure, print, and keep."""
    options = report.parser(__doc__)
    options.add_argument("--hosts", type=int, default=50)
    options.add_argument("--servers", type=int, default=1000)
    args = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="kongming-many.") as folder, PlacementApi(Path(folder)) as placement:
        raw = adapter.Adapter(session.Session(token_endpoint.Token(placement.endpoint, TOKEN)), "placement")
        figures = measure(raw, args.hosts, args.servers)
    total = {key: sum(run[key] for run in figures["runs"]) for key in ("changed", "requests", "seconds")}
    report.table(
        f"{args.servers} servers of {args.hosts} hosts get another template, broken off and resumed",
        ("run", "changed", "requests to Placement", "requests per server", "seconds"),
        [
            (name, run["changed"], run["requests"], f"{run['requests'] / run['changed']:.2f}", f"{run['seconds']:.1f}")
            for name, run in zip(("first", "second", "both"), [*figures["runs"], total], strict=True)
        ],
    )
    if total["requests"] > 3 * args.servers:
        raise SystemExit("more than three requests a server")
    if args.write:
        report.keep("many_servers", figures)


if __name__ == "__main__":
    main()
