# SPDX-License-Identifier: Apache-2.0
"""Which CPUs are kept free of interrupts, and what becomes of what is in the way."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from kongming_sched.agent.act import beside, interrupts
from kongming_sched.agent.act.beside import BesideGuests, realtime_cpus
from kongming_sched.agent.act.interrupts import Interrupts
from kongming_sched.agent.model.guest import Guest
from kongming_sched.agent.model.problem import Problem, Reason, Subject, SubjectKind
from kongming_sched.cpuset import CpuSet
from tests.unit.agent.act.test_helpers import Kernel
from tests.unit.agent.act.test_interrupts import read, write
from tests.unit.agent.hosts import POOLS, tenant


def realtime(vcpus: str) -> Guest:
    """A guest on CPU 1 and 9, of which these vCPUs run by a real-time policy."""
    guest = tenant("web", "gold", [0], "1", "9").guest
    return replace(guest, identity=replace(guest.identity, realtime=CpuSet.parse(vcpus) if vcpus else CpuSet()))


@pytest.mark.parametrize(("vcpus", "expected"), [("", ""), ("1", "9"), ("0-1", "1,9")])
def test_cpus_of_realtime_vcpus(vcpus: str, expected: str) -> None:
    """Those of these vCPUs alone."""
    assert expected == str(realtime_cpus([realtime(vcpus)], POOLS.dedicated))


def test_realtime_vcpu_that_floats() -> None:
    """It has no CPU of its own that could be kept free."""
    assert CpuSet() == realtime_cpus([realtime("0-1")], CpuSet.parse("2-3"))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with one interrupt that may be served everywhere."""
    write(tmp_path, {24: "0-15"})
    monkeypatch.setattr(beside, "Interrupts", lambda path: Interrupts(path, tmp_path))
    return tmp_path


def test_interrupts_go_when_it_comes_and_come_when_it_goes(root: Path) -> None:
    """The host is the subject of what is done; when the option is turned off they come back as well."""
    mover = BesideGuests(Kernel(), root / "run", moves_irqs=True)

    cleared = mover.run([realtime("1")], [], POOLS.dedicated, {})
    without = read(root)[24]
    mover.run([], [], POOLS.dedicated, {})
    back = read(root)[24]
    mover.run([realtime("1")], [], POOLS.dedicated, {})
    BesideGuests(Kernel(), root / "run").run([realtime("1")], [], POOLS.dedicated, {})

    host = Subject(SubjectKind.HOST)
    assert ((host, "interrupt 24 (eth0-24): CPU 0-15 -> 0-8,10-15"),) == cleared.done
    assert ("0-8,10-15", "0-15", "0-15") == (without, back, read(root)[24])


def test_what_cannot_be_written_down(root: Path) -> None:
    """Is a problem of the host."""
    (root / "run").write_text("in the way")

    cleared = BesideGuests(Kernel(), root / "run", moves_irqs=True).run([realtime("1")], [], POOLS.dedicated, {})

    (problem,) = cleared.problems.values()
    assert (Reason.HOST, Subject(SubjectKind.HOST)) == (problem.reason, problem.subject)
    assert problem.text.startswith("move_irqs is on, and the agent cannot move interrupts: ")
    assert "ProtectKernelTunables" not in problem.text


def test_unit_that_does_not_let_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its unit the agent finds /proc/irq read-only; the remedy is said."""

    def refuse(number: int, _cpus: CpuSet, _root: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", f"/proc/irq/{number}/smp_affinity_list")

    monkeypatch.setattr(interrupts, "move_interrupt", refuse)
    mover = BesideGuests(Kernel(), root / "run", moves_irqs=True)

    problems = [mover.run([realtime("1")], [], POOLS.dedicated, {}).problems[""] for _ in range(2)]

    text = (
        "move_irqs is on, and the agent cannot move interrupts: [Errno 30] Read-only file system:"
        " '/proc/irq/24/smp_affinity_list'; set ProtectKernelTunables=no in a drop-in of its unit"
    )
    assert [Problem(Reason.HOST, Subject(SubjectKind.HOST), text)] * 2 == problems
    assert "0-15" == read(root)[24]
