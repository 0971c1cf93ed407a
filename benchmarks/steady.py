# SPDX-License-Identifier: Apache-2.0
"""What the agent costs while nothing happens: 200 guests of 8 vCPUs on real libvirt, pass after pass.

The guests are QEMU processes whose vCPUs are stopped, so that they leave the machine's CPUs alone. The host is one of
1,608 CPUs, which are folded onto those of this machine (see folded_agent.py); libvirt, the kernel, the agent's process
and Placement are real. Everything is counted by others than the agent: libvirt calls by libvirtd's log, requests by
Placement's, CPU time and memory by the kernel.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import report
from kongming_sched.cpuset import CpuSet
from kongming_sched.template import PinningTemplate
from testbed.lab.compute_host import ComputeHost, compute_host
from testbed.lab.folded_agent import DEDICATED, HOUSEKEEPING, NODES, TOPOLOGY
from testbed.lab.guests import Guest
from testbed.lab.process import ChildProcess

GUESTS, VCPUS = 200, 8
PASSES = 30
COUNTED_PASSES = 5
"""Further passes, while libvirtd writes down each call."""
INTERVAL_SECONDS = 2
SECONDS_LIMIT, MEMORY_LIMIT_MB = 0.25, 90

TEMPLATE = PinningTemplate.from_mapping(
    {"name": "wide", "cells": [{"vcpus": f"0-{VCPUS - 1}", "cpus": "dedicated", "memory": "none"}]}
)

TEMPLATES = "GET /resource_providers?required"

_REQUEST = re.compile(r'"([A-Z]+) (/\S*) HTTP/1\.1" \d')
_CALL = re.compile(r"(vir(?:Domain|Connect|Node)[A-Za-z]+):\d+ :")
_WRITES = re.compile("virDomain(Pin|Set|Define|Save|Create|Destroy|Undefine|Attach|Detach)")
_NUMBERS = re.compile(r"/[0-9a-f]{8}-[0-9a-f-]{27}")


class Requests:
    """What Placement was asked, by its own log.

    :param log: of the server in front of Placement
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._start = 0

    def restart(self) -> None:
        """Forget what was so far."""
        self._start = self._log.stat().st_size

    @property
    def found(self) -> Counter[str]:
        """Method and path of each request, with the name of what was asked by, and without ids."""
        with self._log.open(errors="replace") as lines:
            lines.seek(self._start)
            return Counter(
                f"{method} {_NUMBERS.sub('/ID', path.partition('=')[0])}"
                for method, path in _REQUEST.findall(lines.read())
            )

    @property
    def passes(self) -> int:
        """How many passes there were, by the question that ends what each asks of Placement: that for the templates."""
        return self.found[TEMPLATES]


def boot(host: ComputeHost, guests: int) -> list[Guest]:
    """Servers that have claimed, half of them on each node, with guests that were started and then suspended."""
    connection = host.hypervisor.connect()
    booted = []
    for number in range(guests):
        node = TOPOLOGY.nodes[number % NODES]
        guest = host.guests.spawn(f"steady-{number}", host.server(TEMPLATE, min(node.cpus)))
        connection.lookupByUUIDString(guest.server.uuid).suspend()
        booted.append(guest)
    connection.close()
    return booted


def wait_until_pinned(host: ComputeHost, agent: ChildProcess, guests: list[Guest]) -> None:
    """Until every vCPU has a CPU of its own."""

    def are_pinned() -> bool | None:
        affinities = [vcpus for guest in guests for vcpus in host.guests.affinity(guest).vcpus.values()]
        return all(len(CpuSet.parse(cpus)) == 1 for cpus in affinities) or None

    agent.wait_for("pins for all", are_pinned, timeout_seconds=600)


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, field: str = "VmRSS") -> float:
    """Resident memory of a process; with VmHWM the most that it ever had."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def wait_for_passes(requests: Requests, passes: int) -> None:
    """Until the agent has made so many passes since the last restart of the counting."""
    while requests.passes < passes:
        time.sleep(0.2)


def libvirt_calls(log: Path, requests: Requests, passes: int) -> Counter[str]:
    """The calls that libvirtd answers during some passes, by its log at its most talkative."""
    _set_libvirtd("daemon-log-outputs", f"1:file:{log}")
    _set_libvirtd("daemon-log-filters", "1:libvirt.domain 1:libvirt.host 4:*")
    requests.restart()
    wait_for_passes(requests, passes)
    _set_libvirtd("daemon-log-filters", "4:*")
    return Counter(_CALL.findall(log.read_text(errors="replace")))


def _set_libvirtd(command: str, value: str) -> None:
    subprocess.run(["virt-admin", "-q", command, value], check=True, capture_output=True)  # noqa: S603, S607  # on this machine's path


def measure(host: ComputeHost, guests: int, passes: int) -> dict[str, Any]:
    """All figures."""
    host.topology = TOPOLOGY
    host.store(TEMPLATE)
    requests = Requests(host.placement.log)
    options = {
        "dedicated_cpu_set": DEDICATED,
        "housekeeping_cpu_set": HOUSEKEEPING,
        "interval_seconds": INTERVAL_SECONDS,
    }
    program = [sys.executable, "-m", "testbed.lab.folded_agent"]
    with host.agent(program=program, **options) as agent:
        host.wait_until_offered(agent, min(DEDICATED), TEMPLATE.name)
        started_at = time.monotonic()
        booted = boot(host, guests)
        print(f"{guests} guests were started in {time.monotonic() - started_at:.0f} s")
        wait_until_pinned(host, agent, booted)
        requests.restart()
        wait_for_passes(requests, 3)  # what the last pins were a reason for
        log_size = agent.log.stat().st_size
        requests.restart()
        before, started_at = cpu_seconds(agent.pid), time.monotonic()
        wait_for_passes(requests, passes)
        used, elapsed = cpu_seconds(agent.pid) - before, time.monotonic() - started_at
        asked, counted = requests.found, requests.passes
        calls = libvirt_calls(host.directory / "libvirtd-calls.log", requests, COUNTED_PASSES)
        assert agent.log.stat().st_size == log_size, agent.tail()
        return {
            "guests": guests,
            "vcpus": VCPUS,
            "nodes": NODES,
            "passes": counted,
            "seconds": elapsed,
            "cpu_seconds_per_pass": used / counted,
            "memory_mb": memory_mb(agent.pid),
            "peak_memory_mb": memory_mb(agent.pid, "VmHWM"),
            "requests": dict(asked),
            "libvirt_passes": requests.passes,
            "libvirt_calls": dict(calls),
        }


def main() -> None:
    """Measure and print."""
    parser = report.parser(__doc__)
    parser.add_argument("--guests", type=int, default=GUESTS)
    parser.add_argument("--passes", type=int, default=PASSES)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, compute_host(Path(directory), print) as host:
        figures = measure(host, arguments.guests, arguments.passes)
        show(figures)  # before the guests are ended, which takes as long as starting them
        if arguments.write:
            report.keep("steady", figures)


def rows(figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What is counted, what it is, and what is wanted."""
    passes, calls, asked = figures["passes"], figures["libvirt_calls"], figures["requests"]
    reads = sum(count for name, count in asked.items() if name.startswith("GET "))
    for_nodes = (reads - asked[TEMPLATES]) / passes / figures["nodes"]
    writes = sum(count for name, count in calls.items() if _WRITES.match(name))
    libvirt_reads = sum(calls.values()) - writes
    return [
        ("calls of libvirt that write", str(writes), "0"),
        ("requests to Placement that write", str(sum(asked.values()) - reads), "0"),
        ("requests for the templates, a pass", f"{asked[TEMPLATES] / passes:.2f}", "1"),
        ("other requests, a pass and node", f"{for_nodes:.2f}", "2"),
        ("CPU time of a pass, s", f"{figures['cpu_seconds_per_pass']:.3f}", f"{SECONDS_LIMIT}"),
        ("resident memory, MB", f"{figures['memory_mb'] * 1.048576:.0f}", f"{MEMORY_LIMIT_MB}"),
        ("calls of libvirt that read, a pass and guest", f"{_per_guest(libvirt_reads, figures):.2f}", ""),
    ]


def _per_guest(calls: int, figures: Mapping[str, Any]) -> float:
    return calls / figures["libvirt_passes"] / max(figures["guests"], 1)


def show(figures: Mapping[str, Any]) -> None:
    """Print the figures beside what is wanted."""
    title = (
        f"{figures['guests']} guests of {figures['vcpus']} vCPUs, {figures['passes']} passes in which nothing happens"
    )
    report.table(title, ("what", "is", "at most"), rows(figures))
    print(f"\nrequests: {figures['requests']}\ncalls of libvirt: {figures['libvirt_calls']}")


if __name__ == "__main__":
    main()
