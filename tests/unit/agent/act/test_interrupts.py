# SPDX-License-Identifier: Apache-2.0
"""Interrupts leave CPUs that are to be free of them, and get back what they had, on files like the kernel's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.agent.act import interrupts
from kongming_sched.agent.act.interrupts import Interrupts, Record, plan_interrupts
from kongming_sched.agent.host.noise import move_interrupt
from kongming_sched.agent.model.noise import Interrupt
from kongming_sched.cpuset import CpuSet

NONE, TWO, BOTH = CpuSet(), CpuSet.of([2]), CpuSet.parse("2-3")


def write(root: Path, affinities: Mapping[int, str]) -> None:
    """Interrupts of a network card, and which CPUs may serve them."""
    for number, cpus in affinities.items():
        (root / f"proc/irq/{number}/eth0-{number}").mkdir(parents=True, exist_ok=True)
        (root / f"proc/irq/{number}/smp_affinity_list").write_text(f"{cpus}\n")


def read(root: Path) -> dict[int, str]:
    """Which CPUs may serve each interrupt now."""
    return {int(path.parent.name): path.read_text().strip() for path in root.glob("proc/irq/*/smp_affinity_list")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host of CPUs 0 to 3."""
    write(tmp_path, {24: "0-3", 25: "2", 26: "0-1", 27: "1-2"})
    return tmp_path


def test_interrupts_leave_and_come_back(root: Path) -> None:
    """One that could be served by no other CPU stays, and one that is elsewhere is left alone."""
    mover = Interrupts(root / "run/interrupts.json", root)

    done = mover.run(TWO)
    moved = read(root)
    again = mover.run(TWO)
    back = mover.run(NONE)

    assert {24: "0-1,3", 25: "2", 26: "0-1", 27: "1"} == moved
    assert ["interrupt 24 (eth0-24): CPU 0-3 -> 0-1,3", "interrupt 27 (eth0-27): CPU 1-2 -> 1"] == done
    assert [] == again
    assert 2 == len(back)
    assert {24: "0-3", 25: "2", 26: "0-1", 27: "1-2"} == read(root)


def test_another_process_restores(root: Path) -> None:
    """What they had survives a crash in the run directory; when all is as it was nothing is left to be restored."""
    file = root / "run/interrupts.json"
    Interrupts(file, root).run(TWO)

    Interrupts(file, root).run(NONE)

    assert {24: "0-3", 25: "2", 26: "0-1", 27: "1-2"} == read(root)
    assert "{}" == file.read_text()
    assert [] == Interrupts(file, root).run(NONE)


def test_it_is_written_down_before_it_is_done(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that is killed at the first move leaves what is needed to undo it, or finds that nothing was done."""
    file = root / "run/interrupts.json"

    class Killed(BaseException):
        pass

    def kill(number: int, cpus: CpuSet, root: Path) -> None:
        move_interrupt(number, cpus, root)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(interrupts, "move_interrupt", kill)
        with pytest.raises(Killed):
            Interrupts(file, root).run(TWO)
    assert "0-1,3" == read(root)[24]

    Interrupts(file, root).run(NONE)

    assert {24: "0-3", 25: "2", 26: "0-1", 27: "1-2"} == read(root)


def test_more_and_fewer_cpus(root: Path) -> None:
    """What an interrupt is given follows from what it had at first."""
    mover = Interrupts(None, root)
    mover.run(TWO)
    mover.run(BOTH)
    both = read(root)[24]
    mover.run(CpuSet.of([3]))

    assert ("0-1", "0-2") == (both, read(root)[24])


def test_moved_by_something_else(root: Path) -> None:
    """It is taken as it is then: it keeps that, unless it has come to a CPU that is to be free."""
    mover = Interrupts(None, root)
    mover.run(TWO)
    write(root, {24: "0", 27: "2-3"})

    mover.run(TWO)
    moved = read(root)
    mover.run(NONE)

    assert ("0", "3") == (moved[24], moved[27])
    assert ("0", "2-3") == (read(root)[24], read(root)[27])


def test_number_of_another_device(root: Path) -> None:
    """It is not given what the one before had."""
    mover = Interrupts(None, root)
    mover.run(TWO)
    (root / "proc/irq/24/eth0-24").rename(root / "proc/irq/24/nvme0q1")

    mover.run(NONE)

    assert "0-1,3" == read(root)[24]


def test_one_that_the_kernel_spreads_by_itself(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried once, and the others are moved; it is tried again when its CPUs have changed."""
    tried: list[int] = []

    def kernel(number: int, cpus: CpuSet, root: Path) -> None:
        tried.append(number)
        if number == 24:
            raise OSError(5, "Input/output error")
        move_interrupt(number, cpus, root)

    monkeypatch.setattr(interrupts, "move_interrupt", kernel)
    mover = Interrupts(root / "run/interrupts.json", root)
    done = [mover.run(TWO), mover.run(TWO)]
    write(root, {24: "1-2"})
    mover.run(TWO)

    assert [["interrupt 27 (eth0-27): CPU 1-2 -> 1"], []] == done
    assert [24, 27, 24] == tried
    assert "24" not in (root / "run/interrupts.json").read_text()


def test_nothing_is_moved_that_cannot_be_written_down(root: Path) -> None:
    """It could not be given back after a crash."""
    (root / "run").write_text("in the way")

    with pytest.raises(OSError, match="run"):
        Interrupts(root / "run/interrupts.json", root).run(TWO)

    assert {24: "0-3", 25: "2", 26: "0-1", 27: "1-2"} == read(root)


def test_nothing_is_read_where_nothing_is_to_be_done(tmp_path: Path) -> None:
    """A host without real-time guests pays nothing."""
    assert [] == Interrupts(tmp_path / "run/interrupts.json", tmp_path).run(NONE)
    assert [] == list(tmp_path.iterdir())


cpu_sets = st.sets(st.integers(0, 3)).map(CpuSet.of)


@given(allowed=cpu_sets.filter(bool), frees=st.lists(cpu_sets, min_size=1))
def test_each_is_as_if_moved_once(allowed: CpuSet, frees: list[CpuSet]) -> None:
    """Whatever was to be free before: an interrupt has all it had at first but what is to be free, or all of it."""
    records: dict[int, Record] = {}
    now = allowed
    for free in frees:
        records = plan_interrupts([Interrupt(1, ("x",), now, now)], records, free)
        now = records[1].given if records else now

        assert (allowed - free or allowed) == now
