# SPDX-License-Identifier: Apache-2.0
"""Watches where the kernel lets threads run, in a tight loop, until it gets SIGTERM.

``python -m benchmarks.affinity_sampler PID...`` prints a line once it samples, and at its end a JSON document: for
each thread of these QEMU processes that runs a vCPU, does I/O or is the main one, each affinity that it had, in order,
with when it was first seen so; and how long a round over all threads took.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import statistics
import sys
import time
from pathlib import Path

_NAME = re.compile(r"CPU \d+/(?:KVM|TCG)|IO iothread\d+")


def threads_of(pid: int) -> dict[int, str]:
    """The threads of a guest that the agent pins, by their numbers, with their names."""
    found = {pid: "emulator"}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        if _NAME.fullmatch(name):
            found[int(task.name)] = name
    return found


def main() -> None:
    """Watch."""
    guests = {int(pid): threads_of(int(pid)) for pid in sys.argv[1:]}
    threads = [thread for names in guests.values() for thread in names]
    seen: dict[int, list[tuple[float, list[int]]]] = {thread: [] for thread in threads}
    last: dict[int, set[int]] = {}
    rounds: list[float] = []
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    with contextlib.suppress(PermissionError):
        os.nice(-20)  # a sampler that does not run misses changes
    print("sampling", flush=True)
    now = time.monotonic()
    while not stopped:
        for thread in threads:
            affinity = os.sched_getaffinity(thread)
            if affinity != last.get(thread):
                last[thread] = affinity
                seen[thread].append((time.monotonic(), sorted(affinity)))
        before, now = now, time.monotonic()
        rounds.append(now - before)
    document = {
        "until": now,
        "guests": {pid: {name: seen[thread] for thread, name in names.items()} for pid, names in guests.items()},
        "rounds": len(rounds),
        "median_round_ms": statistics.median(rounds) * 1000,
        "longest_round_ms": max(rounds) * 1000,
    }
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    main()
