# SPDX-License-Identifier: Apache-2.0
"""Where the threads of a guest without a template belong."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.agent.act.confine import Confined, Confinement, Record, plan_confinement
from kongming_sched.agent.model.actions import Kind, ThreadKey
from kongming_sched.agent.model.guest import HelperThread, RunningGuest, identify
from kongming_sched.cpuset import CpuSet
from testbed.simulated_host import SimulatedHost
from testbed.topologies import two_nodes_no_smt
from tests.unit.strategies import cpu_sets

VCPU = ThreadKey(Kind.VCPU, 0)
POOL = CpuSet.parse("2-5")
ONLINE = CpuSet.parse("0-7")
FRESH = Record("1", {}, {})


def planned(cpus: str, record: Record = FRESH, pool: CpuSet = POOL) -> str | None:
    """Where a thread with this affinity goes; None if it stays."""
    move = plan_confinement({VCPU: CpuSet.parse(cpus)}, record, pool, ONLINE).get(VCPU)
    return None if move is None else str(move)


def test_what_is_clear_of_the_pool_stays() -> None:
    """A thread that Nova or an administrator has pinned elsewhere is left alone."""
    assert [None, None] == [planned("0-1"), planned("7")]


def test_what_floats_loses_the_pool() -> None:
    """A thread keeps all that it had but the pool, and what is offline."""
    assert ["0-1,6-7", "6"] == [planned("0-9"), planned("5-6")]


def test_what_has_nothing_else_stays() -> None:
    """A thread that is pinned inside the pool was pinned there by hand, and is not moved."""
    assert [None, None] == [planned("3"), planned("2-5")]


def test_pool_that_changes() -> None:
    """When the pool shrinks or grows, what was confined follows from what it had at first."""
    record = Record("1", {VCPU: ONLINE}, {VCPU: CpuSet.parse("0-1,6-7")})

    assert "0-1,4-7" == planned("0-1,6-7", record, CpuSet.parse("2-3"))
    assert "0-1" == planned("0-1,6-7", record, CpuSet.parse("2-7"))


def test_confined_thread_that_was_pinned_since() -> None:
    """What was pinned since, clear of the pool, is not widened again."""
    record = Record("1", {VCPU: ONLINE}, {VCPU: CpuSet.parse("0-1,6-7")})

    assert planned("0", record, CpuSet.parse("2-3")) is None


@given(cpu_sets(15, 1), cpu_sets(15), cpu_sets(15, 1))
def test_off_the_pool_or_left_alone(cpus: CpuSet, pool: CpuSet, online: CpuSet) -> None:
    """Whatever is moved goes to online CPUs that it had, off the pool; done again nothing is left to do."""
    moves = plan_confinement({VCPU: cpus}, FRESH, pool, online)

    for wanted in moves.values():
        assert wanted <= (cpus & online) - pool
        record = Record("1", {VCPU: cpus}, {VCPU: wanted})
        assert {} == plan_confinement({VCPU: wanted}, record, pool, online)


@given(st.data())
def test_nothing_to_do_without_a_pool(data: st.DataObject) -> None:
    """Without a pool nobody is moved."""
    assert {} == plan_confinement({VCPU: data.draw(cpu_sets(7, 1))}, FRESH, CpuSet(), ONLINE)


class Killed(BaseException):
    """SIGKILL: nothing in the agent can catch it."""


GUEST = "00000000-0000-4000-8000-00000000cafe"


def run(host: SimulatedHost, path: Path, wanted: bool) -> Confined:
    """A new process confines the guest, or gives it back what it had."""
    [domain] = host.domains()
    guest = RunningGuest(domain, identify(domain))
    return Confinement(host, host, path).run([guest], POOL, ONLINE, lambda _: wanted)


def kill_at(host: SimulatedHost, step: int) -> None:
    """Let the agent die at the n-th call of libvirt or the kernel, or right after it."""
    left = step

    def count(_name: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    host.on_call = count


@pytest.mark.parametrize("is_off_then", [True, False], ids=["the option goes off", "it stays on"])
@pytest.mark.parametrize("step", range(20))
def test_killed_at_any_step(tmp_path: Path, step: int, is_off_then: bool) -> None:
    """Whenever the agent dies while it confines a guest, the next one finishes or gives back all that the guest had."""
    host = SimulatedHost(two_nodes_no_smt(), POOL)
    host.spawn(GUEST, 2, {}, iothreads=1)
    before = host.pins()
    kill_at(host, step)
    with contextlib.suppress(Killed):
        run(host, tmp_path / "confined.json", True)
    host.on_call = lambda _name: None

    confined = run(host, tmp_path / "confined.json", not is_off_then)

    off_the_pool = {GUEST: ("0-1,6-7", "0-1,6-7", "emulator 0-1,6-7", "memory anywhere")}
    assert (before if is_off_then else off_the_pool) == host.pins()
    assert [] == confined.problems


def test_threads_that_libvirt_does_not_pin(tmp_path: Path) -> None:
    """They leave the pool with the emulator, and go back with it; one that the kernel keeps there is a problem."""
    host = SimulatedHost(two_nodes_no_smt(), POOL)
    host.spawn(GUEST, 1, {})
    host.add_helper(GUEST, HelperThread(71, "worker", ONLINE))
    host.add_helper(GUEST, HelperThread(72, "iou-wrk-70", ONLINE, is_bound=True))

    confined = run(host, tmp_path / "confined.json", True)
    off = host.helper(71, "worker")
    run(host, tmp_path / "confined.json", False)

    assert HelperThread(71, "worker", ONLINE - POOL) == off
    assert HelperThread(71, "worker", ONLINE) == host.helper(71, "worker")
    (problem,) = confined.problems
    assert problem[1].startswith("thread iou-wrk-70 (72) may run on CPU 2-5 of dedicated_cpu_set: the kernel could not")


def test_disk_full(tmp_path: Path) -> None:
    """What cannot be written down is not done, and is reported."""
    host = SimulatedHost(two_nodes_no_smt(), POOL)
    host.spawn(GUEST, 1, {})
    before = host.pins()
    (tmp_path / "confined.new").mkdir()  # where the draft would be

    confined = run(host, tmp_path / "confined.json", True)

    assert before == host.pins()
    assert 1 == len(confined.problems)


def test_restored_after_a_reboot_is_nothing(tmp_path: Path) -> None:
    """A guest that started anew has what Nova gives it, which is not touched."""
    host = SimulatedHost(two_nodes_no_smt(), POOL)
    host.spawn(GUEST, 1, {})
    run(host, tmp_path / "confined.json", True)
    host.respawn(GUEST)
    host.set_affinity(GUEST, 0, CpuSet.parse("0-1,6-7"))

    confined = run(host, tmp_path / "confined.json", False)

    assert [] == confined.done
    assert "0-1,6-7" == host.pins()[GUEST][0]
