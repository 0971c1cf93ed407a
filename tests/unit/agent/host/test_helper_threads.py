# SPDX-License-Identifier: Apache-2.0
"""The threads that work for a guest beside those that libvirt pins, on files laid out as the kernel lays them out."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.host.helper_threads import HelperReader
from kongming_sched.agent.model.guest import HelperThread
from kongming_sched.cpuset import CpuSet

QEMU = 77
NO_SETAFFINITY = 0x0400_0000


def add_thread(
    proc: Path, number: int, name: str, cpus: str = "0-3", parent: int = 2, flags: int = 0x0020_8040
) -> None:
    """A thread as the kernel shows it, a kernel's own if nothing else is said."""
    (proc / str(number)).mkdir(parents=True, exist_ok=True)
    (proc / f"{number}/comm").write_text(f"{name}\n")
    (proc / f"{number}/status").write_text(f"Name:\t{name}\nPPid:\t{parent}\nCpus_allowed_list:\t{cpus}\n")
    (proc / f"{number}/stat").write_text(f"{number} ({name}) S {parent} 0 0 0 -1 {flags} 0 0 0\n")


def list_children(proc: Path, *numbers: int) -> None:
    """The children of kthreadd."""
    (proc / "2/task/2").mkdir(parents=True, exist_ok=True)
    (proc / "2/task/2/children").write_text("".join(f"{number} " for number in numbers))


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A kernel with threads of vhost, of KVM, and others."""
    names = {20: "kworker/0:1", 21: f"vhost-{QEMU}", 22: f"kvm-pit/{QEMU}", 23: "vhost-78"}
    names[24] = f"kvm-nx-lpage-recovery-{QEMU}"
    for number, name in names.items():
        add_thread(tmp_path, number, name)
    list_children(tmp_path, *names)
    return tmp_path


def test_kernel_threads_by_process(proc: Path) -> None:
    """The id of QEMU's process stands in their names."""
    mine = {21: "vhost-77", 22: "kvm-pit/77", 24: "kvm-nx-lpage-recovery-77"}
    assert {QEMU: mine, 78: {23: "vhost-78"}} == HelperReader(proc, proc / "cgroup").kernel_threads()


def test_kernel_without_lists_of_children(proc: Path) -> None:
    """All processes are gone through, and one that gives itself such a name is not taken for the kernel's."""
    (proc / "2/task/2/children").unlink()
    add_thread(proc, 30, f"vhost-{QEMU}", parent=1)

    assert {21, 22, 24} == HelperReader(proc, proc / "cgroup").kernel_threads()[QEMU].keys()


def test_each_is_asked_for_its_name_once(proc: Path) -> None:
    """One that is there in the next pass is known by its id; one that has gone is forgotten, and a new one is found."""
    reader = HelperReader(proc, proc / "cgroup")
    reader.kernel_threads()
    (proc / "20/comm").unlink()
    (proc / "21/comm").unlink()
    add_thread(proc, 25, f"vhost-{QEMU}")
    list_children(proc, 20, 21, 25)

    assert {QEMU: {21: "vhost-77", 25: "vhost-77"}} == reader.kernel_threads()


def test_one_that_has_no_name_yet(proc: Path) -> None:
    """It is called as the thread that makes it until it gets its own name, and is asked again."""
    reader = HelperReader(proc, proc / "cgroup")
    add_thread(proc, 25, "kthreadd")
    list_children(proc, 25)
    before = reader.kernel_threads()
    add_thread(proc, 25, f"vhost-{QEMU}")

    assert ({}, {QEMU: {25: "vhost-77"}}) == (before, reader.kernel_threads())


def test_no_proc(tmp_path: Path) -> None:
    """Nothing is found where nothing is mounted."""
    assert {} == HelperReader(tmp_path / "nowhere", tmp_path).kernel_threads()


@pytest.mark.parametrize(("flags", "is_bound"), [(0x0020_8040, False), (0x0020_8040 | NO_SETAFFINITY, True)])
def test_a_thread(proc: Path, flags: int, is_bound: bool) -> None:
    """Its CPUs, and whether the kernel lets them be changed; a name may have brackets and spaces."""
    add_thread(proc, 40, "IO (mon) thread", "1,3", parent=1, flags=flags)

    expected = HelperThread(40, "IO (mon) thread", CpuSet.parse("1,3"), is_bound)
    assert expected == HelperReader(proc, proc / "cgroup").read(40, "IO (mon) thread")


def test_one_that_has_ended(proc: Path) -> None:
    """It is none."""
    assert None is HelperReader(proc, proc / "cgroup").read(99, "worker")


def test_one_that_cannot_be_read(proc: Path) -> None:
    """It is named in the error."""
    add_thread(proc, 40, "worker")
    (proc / "40/stat").write_text("?")

    with pytest.raises(exceptions.KernelError, match=r"the kernel could not read thread worker \(40\): "):
        HelperReader(proc, proc / "cgroup").read(40, "worker")


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing."""
    with subprocess.Popen(["sleep", "60"]) as sleeping:
        yield sleeping
        sleeping.send_signal(signal.SIGKILL)


def test_real_thread(process: subprocess.Popen[bytes]) -> None:
    """What the kernel is asked for is what it then says."""
    reader, cpus = HelperReader(Path("/proc"), Path("/sys/fs/cgroup")), CpuSet.of([max(os.sched_getaffinity(0))])
    thread = HelperThread(process.pid, "sleep", CpuSet())

    reader.pin(thread, cpus, process.pid)

    assert HelperThread(process.pid, "sleep", cpus) == reader.read(process.pid, "sleep")


def test_real_thread_that_the_kernel_keeps(process: subprocess.Popen[bytes]) -> None:
    """The reason is the kernel's own; CPUs that it does not have stand for those that it does not allow."""
    thread = HelperThread(process.pid, "sleep", CpuSet())

    with pytest.raises(exceptions.KernelError, match=r"let thread sleep \(\d+\) run on CPU 8191 only: .*Invalid"):
        HelperReader(Path("/proc"), Path("/sys/fs/cgroup")).pin(thread, CpuSet.of([8191]), process.pid)


def test_real_thread_that_has_ended(process: subprocess.Popen[bytes]) -> None:
    """Nothing is to be done for it."""
    process.kill()
    process.wait()

    reader = HelperReader(Path("/proc"), Path("/sys/fs/cgroup"))

    reader.pin(HelperThread(process.pid, "sleep", CpuSet()), CpuSet.of([0]), process.pid)

    assert None is reader.read(process.pid, "sleep")


@pytest.mark.parametrize(
    ("groups", "folder", "file"),
    [
        pytest.param("5:cpuset:/{}\n", "cgroup/cpuset", "tasks", id="version 1"),
        pytest.param("0::/{}\n", "cgroup", "cgroup.threads", id="version 2"),
    ],
)
def test_thread_of_a_vcpus_group(
    proc: Path, monkeypatch: pytest.MonkeyPatch, groups: str, folder: str, file: str
) -> None:
    """The kernel refuses CPUs that its control group lacks, so it is moved to that of QEMU's main thread first."""
    for number, group in ((40, "machine/vcpu0"), (QEMU, "machine/emulator")):
        add_thread(proc, number, "x")
        (proc / f"{number}/cgroup").write_text(groups.format(group))
        (proc / folder / group).mkdir(parents=True)
    asked: list[set[int]] = []

    def kernel(_number: int, cpus: CpuSet) -> None:
        asked.append(set(cpus))
        if not (proc / folder / "machine/emulator" / file).exists():
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "sched_setaffinity", kernel)
    HelperReader(proc, proc / "cgroup").pin(HelperThread(40, "x", CpuSet.of([3])), CpuSet.of([0]), QEMU)

    assert "40" == (proc / folder / "machine/emulator" / file).read_text()
    assert [{0}, {0}] == asked
