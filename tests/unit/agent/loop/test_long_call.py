# SPDX-License-Identifier: Apache-2.0
"""How a call that takes minutes is watched, by one that takes as long as it is observed."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from kongming_sched.agent.loop.long_call import call_watched
from kongming_sched.agent.loop.patience import Patience, PatientHypervisor
from kongming_sched.cpuset import CpuSet
from testbed.simulated_host import SimulatedHost
from testbed.topologies import two_nodes_smt2

SERVER = "00000000-0000-0000-0000-000000000001"


def watch(observed: list[object], end: Callable[[], str]) -> tuple[str, int]:
    """The result of a call that ends when all of this was observed, and how often it made progress."""
    over, shown, left = threading.Event(), [], list(observed)

    def call() -> str:
        assert over.wait(10)
        return end()

    def observe() -> object:
        seen = left.pop(0) if left else None
        if not left:
            over.set()
        return seen

    return call_watched(call, observe, lambda: shown.append(threading.current_thread()), 0.001), len(shown)


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        pytest.param([{0: 3}, {0: 2}, {0: 1}], 3, id="moves"),
        pytest.param([{0: 3}, {0: 2}, {0: 2}, {0: 2}], 2, id="gets stuck"),
        pytest.param([None, None], 0, id="cannot be observed"),
    ],
)
def test_progress_is_what_changes(observed: list[object], expected: int) -> None:
    """Whatever has changed since it was observed last is progress, and nothing else."""
    assert ("done", expected) == watch(observed, lambda: "done")


def test_error_of_the_call() -> None:
    """It is raised where the call is waited for."""

    def fail() -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        watch([{0: 1}], fail)


def test_progress_is_reported_by_the_thread_that_waits() -> None:
    """The thread of the call cannot: it would say nothing of whether the loop goes on."""
    reported: list[threading.Thread] = []
    over = threading.Event()

    def observe() -> int:
        over.set()
        return 1

    call_watched(lambda: over.wait(10), observe, lambda: reported.append(threading.current_thread()), 0.001)

    assert {threading.current_thread()} == set(reported)


def test_memory_that_moves_is_watched() -> None:
    """While libvirt binds the memory of a guest, each change of where its pages are is progress."""
    host = SimulatedHost(two_nodes_smt2(), CpuSet())
    host.spawn(SERVER, 1, {})
    [domain] = host.domains()
    arrived = iter((100, 200, 256))
    over = threading.Event()
    shown: list[None] = []

    def on_call(name: str) -> None:
        if name == "bind_memory":
            assert over.wait(10)
        elif name == "memory_mb" and not over.is_set():
            moved = next(arrived)
            left = {0: 256 - moved} if moved < 256 else {}
            host.migrate_pages(SERVER, left | {1: 256 + moved})
            if not left:
                over.set()

    host.on_call = on_call
    libvirt = PatientHypervisor(host, host, Patience(), lambda: shown.append(None), watch_seconds=0.001)

    libvirt.bind_memory(domain, CpuSet.of([1]))

    assert 3 + 1 == len(shown)  # changes of the pages, and the end of the call
    assert {1: 512} == host.memory_mb(domain)
