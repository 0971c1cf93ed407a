# SPDX-License-Identifier: Apache-2.0
"""A template that 20 running guests use is changed and changed back: when all have followed, and whether one was free.

Real libvirt, QEMU and Placement, and the agent as a process. The emulator's threads move from the housekeeping CPUs to
the guests' own and back, and the guests' shares change; what the template says of the vCPUs stays as it is. Another
process reads the affinity of all threads from the kernel in a tight loop.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import report
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import PinningTemplate
from testbed.lab.compute_host import ComputeHost, compute_host
from testbed.lab.guests import Guest
from testbed.lab.process import REPOSITORY, ChildProcess

GUESTS = 20
SWITCHES = 10
INTERVAL_SECONDS = 2
LIMIT_MS = 50
NAME = "fleet"

FIGURES = (
    ("seconds", f"until all have followed, s (a pass every {INTERVAL_SECONDS} s)"),
    ("halfway_ms", "first to last thread of a guest, ms"),
    ("misplaced_ms", f"a thread on other CPUs than either form says, ms (wanted: at most {LIMIT_MS})"),
    ("longest_round_ms", "the longest round of the sampler, ms"),
    ("median_round_ms", "the median round of the sampler, ms"),
)


@dataclass(frozen=True)
class Form:
    """One of the two forms of the template.

    :ivar emulator: the CPUs of the emulator and the I/O threads by that
    """

    template: PinningTemplate
    emulator: str
    shares: int


def forms(cpu: int, housekeeping: int, with_shares: bool) -> tuple[Form, Form]:
    """The template before and after, for guests whose vCPUs run on one CPU."""
    cell = {"vcpus": "0", "cpus": "shared", "memory": "none"}

    def make(emulator: str, shares: int) -> PinningTemplate:
        qos = {"qos": {"shares": shares}} if with_shares else {}
        return PinningTemplate.from_mapping({"name": NAME, "cells": [cell], "emulator": emulator, **qos})

    return Form(make("shared", 512), str(housekeeping), 512), Form(make("cell", 256), str(cpu), 256)


@contextmanager
def sampler(pids: Sequence[int]) -> Iterator[Callable[[], Mapping[str, Any]]]:
    """Another process that watches; what is given ends it and gives what it saw."""
    words = [sys.executable, "-m", "benchmarks.affinity_sampler", *map(str, pids)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:  # noqa: S603  # our own
        assert process.stdout
        process.stdout.readline()

        def end() -> Mapping[str, Any]:
            process.send_signal(signal.SIGTERM)
            document: Mapping[str, Any] = json.loads(process.communicate()[0])
            return document

        try:
            yield end
        finally:
            process.kill()


def longest_misplaced_ms(seen: Mapping[str, Any], allowed: Mapping[str, Sequence[list[int]]]) -> float:
    """The longest time that a thread was anywhere but where either form of the template says.

    :param allowed: "CPU", "IO" and "emulator" to the affinities of such threads
    """
    longest = 0.0
    for threads in seen["guests"].values():
        for name, affinities in threads.items():
            good = allowed[name.partition(" ")[0]]
            ends = [at for at, _ in affinities[1:]] + [seen["until"]]
            for (begin, affinity), end in zip(affinities, ends, strict=True):
                if affinity not in good:
                    longest = max(longest, (end - begin) * 1000)
    return longest


def halfway_ms(seen: Mapping[str, Any]) -> list[float]:
    """Of each guest, the time from the first of its threads that moved to the last."""
    found = []
    for threads in seen["guests"].values():
        moves = [at for affinities in threads.values() for at, _ in affinities[1:]]
        if moves:
            found.append((max(moves) - min(moves)) * 1000)
    return found


def has_followed(host: ComputeHost, guests: Sequence[Guest], form: Form) -> bool:
    """Whether the emulator of every guest is where the template says, and its shares are that."""
    return all(
        host.guests.affinity(guest).emulator == form.emulator
        and host.guests.scheduler_parameters(guest).get("cpu_shares", form.shares) == form.shares
        for guest in guests
    )


def measure(host: ComputeHost, count: int, switches: int) -> dict[str, Any]:
    """Switch back and forth."""
    cpu, housekeeping = max(host.topology.cpus), min(host.topology.cpus)
    both = forms(cpu, housekeeping, "cpu" in host.hypervisor.controllers)
    host.store(both[0].template)
    store = TemplateStore(host.client)
    pools = {"shared_cpu_set": cpu, "housekeeping_cpu_set": housekeeping, "vcpu_allocation_ratio": 1000}
    allowed = {"CPU": [[cpu]], "IO": [[cpu], [housekeeping]], "emulator": [[cpu], [housekeeping]]}
    rows = []
    with host.agent(interval_seconds=INTERVAL_SECONDS, **pools) as agent:
        host.wait_until_offered(agent, cpu, NAME)
        guests = [host.guests.spawn(f"{NAME}-{number}", host.server(both[0].template, cpu)) for number in range(count)]
        wait_for(agent, lambda: has_followed(host, guests, both[0]))
        pids = [int(Path(f"/run/libvirt/qemu/{guest.domain}.pid").read_text()) for guest in guests]
        for number in range(1, switches + 1):
            with sampler(pids) as end:
                started_at = time.monotonic()
                store.update(both[number % 2].template)
                wait_for(agent, lambda number=number: has_followed(host, guests, both[number % 2]))
                took = time.monotonic() - started_at
                seen = end()
            moved = halfway_ms(seen)
            assert len(moved) == count, f"{len(moved)} of {count} guests have followed"
            rows.append(
                {
                    "seconds": took,
                    "misplaced_ms": longest_misplaced_ms(seen, allowed),
                    "halfway_ms": max(moved),
                    "median_round_ms": seen["median_round_ms"],
                    "longest_round_ms": seen["longest_round_ms"],
                }
            )
    return {"guests": count, "switches": rows, "virt_type": host.hypervisor.virt_type}


def wait_for(agent: ChildProcess, have_followed: Callable[[], bool]) -> None:
    """Until all guests have followed."""
    agent.wait_for("guests that follow", lambda: have_followed() or None)


def main() -> None:
    """Measure and print."""
    parser = report.parser(__doc__)
    parser.add_argument("--guests", type=int, default=GUESTS)
    parser.add_argument("--switches", type=int, default=SWITCHES)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, compute_host(Path(directory), print) as host:
        figures = measure(host, arguments.guests, arguments.switches)
    rows = figures["switches"]
    report.table(
        f"A template switched {len(rows)} times for {figures['guests']} running guests ({figures['virt_type']})",
        ("", "median", "longest"),
        [(words, statistics.median(row[key] for row in rows), max(row[key] for row in rows)) for key, words in FIGURES],
    )
    if arguments.write:
        report.keep("switch", figures)


if __name__ == "__main__":
    main()
