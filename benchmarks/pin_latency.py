# SPDX-License-Identifier: Apache-2.0
"""From libvirt's event that a guest of 16 vCPUs started to its last pin: the agent beside a bare loop of its calls.

Real libvirtd, real QEMU, real Placement. Both are processes that listen to libvirt all the time, and take turns: who
is not on is stopped (SIGSTOP). A third connection notes the times, by libvirt's own events of the start and of each
pin.
"""

from __future__ import annotations

import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import libvirt

from benchmarks import report
from kongming_sched.template import PinningTemplate
from testbed.lab.compute_host import ComputeHost, compute_host
from testbed.lab.hypervisor import URI
from testbed.lab.process import ChildProcess

ROUNDS = 30
WARM_UP = 2
"""Rounds before, which do not count."""
VCPUS = 16
CALLS = VCPUS + 2
"""Each vCPU, the emulator, one I/O thread."""
SETTLE_SECONDS = 1.0
"""After a guest has gone, and after a stopped process was let go on, until all is quiet."""


def template(cpu: int) -> PinningTemplate:
    """All vCPUs on one host CPU, which any machine has."""
    cell = {"vcpus": f"0-{VCPUS - 1}", "cpus": "explicit", "pins": str(cpu), "memory": "none"}
    return PinningTemplate.from_mapping({"name": "wide", "cells": [cell]})


class Observer:
    """Sees when a guest starts and when each of its pins is set, by libvirt's events."""

    def __init__(self) -> None:
        self._uuid = ""
        self._started_at: float | None = None
        self._pinned_at: list[float] = []
        self._done = threading.Event()
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=self._run, daemon=True).start()
        self._connection = libvirt.open(URI)
        for event, callback in (
            (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle),
            (libvirt.VIR_DOMAIN_EVENT_ID_TUNABLE, self._on_tuned),
        ):
            self._connection.domainEventRegisterAny(None, event, callback, None)

    def watch(self, uuid: str) -> None:
        """From now on this guest."""
        self._started_at, self._pinned_at = None, []
        self._done.clear()
        self._uuid = uuid

    def wait(self) -> float:
        """Milliseconds from its start to its last pin."""
        if not self._done.wait(60):
            raise AssertionError(f"{len(self._pinned_at)} of {CALLS} pins were set within a minute")
        assert self._started_at is not None
        return (self._pinned_at[-1] - self._started_at) * 1000

    def _on_lifecycle(self, _connection: Any, domain: Any, event: int, _detail: int, _opaque: object) -> None:
        now = time.monotonic()
        if event == libvirt.VIR_DOMAIN_EVENT_STARTED and domain.UUIDString() == self._uuid:
            self._started_at = now

    def _on_tuned(self, _connection: Any, domain: Any, parameters: dict[str, Any], _opaque: object) -> None:
        now = time.monotonic()
        if domain.UUIDString() == self._uuid:
            self._pinned_at += [now for name in parameters if "pin" in name]
            if len(self._pinned_at) == CALLS:
                self._done.set()

    @staticmethod
    def _run() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()


@contextmanager
def pinners(host: ComputeHost, cpu: int, emulator_cpu: int) -> Iterator[dict[str, ChildProcess]]:
    """The agent and the bare loop, both stopped."""
    options = {"dedicated_cpu_set": cpu, "housekeeping_cpu_set": emulator_cpu}
    words = [sys.executable, "-m", "benchmarks.bare_pinner", VCPUS, cpu, emulator_cpu]
    bare = ChildProcess("bare-pinner", [str(word) for word in words], host.directory)
    with bare, host.agent(interval_seconds=30, **options) as agent:
        bare.wait_for("a connection", lambda: bare.log.read_text() or None)
        host.wait_until_offered(agent, cpu, "wide")
        both = {"agent": agent, "bare loop": bare}
        for process in both.values():
            process.send(signal.SIGSTOP)
        try:
            yield both
        finally:
            for process in both.values():
                process.send(signal.SIGCONT)


def measure(host: ComputeHost, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each round of each."""
    cpu, emulator_cpu = max(host.topology.cpus), min(host.topology.cpus)
    wide = template(cpu)
    host.store(wide)
    observer = Observer()
    found: dict[str, list[float]] = {"bare loop": [], "agent": []}
    with pinners(host, cpu, emulator_cpu) as processes:
        for number in range(WARM_UP + rounds):
            for name in found:
                processes[name].send(signal.SIGCONT)
                time.sleep(SETTLE_SECONDS)
                server = host.server(wide, cpu)
                observer.watch(server.uuid)
                guest = host.guests.spawn(f"{name}-{number}", server)
                latency_ms = observer.wait()
                if number >= WARM_UP:
                    found[name].append(latency_ms)
                time.sleep(SETTLE_SECONDS / 2)
                affinity = host.guests.affinity(guest)
                assert {str(cpu)} == set(affinity.vcpus.values())
                assert str(emulator_cpu) == affinity.emulator
                processes[name].send(signal.SIGSTOP)
                host.delete(guest)
    return found


def main() -> None:
    """Measure and print."""
    parser = report.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how many guests each of the two pins")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, compute_host(Path(directory), print) as host:
        found = measure(host, arguments.rounds)
        virt_type = host.hypervisor.virt_type
    median = {name: statistics.median(times) for name, times in found.items()}
    allowed = 1.3 * median["bare loop"] + 5
    report.table(
        f"From STARTED to the last of {CALLS} pins of a guest of {VCPUS} vCPUs ({virt_type}), ms",
        ("who", "rounds", "median", "fastest", "slowest"),
        [(name, len(times), median[name], min(times), max(times)) for name, times in found.items()],
    )
    print(
        f"\nthe agent takes {median['agent'] / median['bare loop']:.2f} times as long;"
        f" 1.3 times and 5 ms are {allowed:.3g} ms"
    )
    if arguments.write:
        report.keep("pin_latency", {"virt_type": virt_type, "calls": CALLS, "ms": found, "median_ms": median})


if __name__ == "__main__":
    main()
