# SPDX-License-Identifier: Apache-2.0
"""What the agent reads from /proc, on files laid out as the kernel and libvirt lay them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.guest import Domain
from kongming_sched.agent.host import Host
from kongming_sched.cpuset import CpuSet

DOMAIN = Domain("11111111-1111-4111-8111-111111111111", "instance-1", "")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A machine with one guest, process 77."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/instance-1.pid").write_text("77\n")
    threads = {
        77: ("qemu-system-x86", "0-1"),
        80: ("IO iothread3", "1"),
        81: ("CPU 0/KVM", "2"),
        82: ("CPU 1/TCG", "2-5,9"),
    }
    for thread, (name, cpus) in threads.items():
        task = tmp_path / "proc/77/task" / str(thread)
        task.mkdir(parents=True)
        (task / "comm").write_text(f"{name}\n")
        (task / "status").write_text(f"Name:\t{name}\nCpus_allowed:\tff\nCpus_allowed_list:\t{cpus}\n")
    (tmp_path / "proc/77/cmdline").write_bytes(b"qemu\0-uuid\0" + DOMAIN.uuid.encode() + b"\0")
    return Host(tmp_path / "proc", tmp_path / "run", tmp_path / "cgroup")


def test_threads(host: Host) -> None:
    """Threads are told apart by their names, and the main thread is the emulator."""
    threads = host.threads(DOMAIN)

    assert {0: CpuSet.parse("2"), 1: CpuSet.parse("2-5,9")} == threads.vcpus
    assert {3: CpuSet.parse("1")} == threads.iothreads
    assert CpuSet.parse("0-1") == threads.emulator


def test_number_of_another_process(host: Host, tmp_path: Path) -> None:
    """A process that got the number of a guest that has ended is not taken for it."""
    (tmp_path / "proc/77/cmdline").write_bytes(b"sleep\0" + b"1000\0")

    with pytest.raises(exceptions.GuestGone, match="instance-1"):
        host.threads(DOMAIN)


@pytest.mark.parametrize("missing", ["run/instance-1.pid", "proc/77/cmdline", "proc/77/task/81/status"])
def test_guest_that_ends_meanwhile(host: Host, tmp_path: Path, missing: str) -> None:
    """Files that vanish while they are read mean that the guest ended."""
    (tmp_path / missing).unlink()

    with pytest.raises(exceptions.GuestGone):
        host.threads(DOMAIN)


def test_default_shares(host: Host, tmp_path: Path) -> None:
    """Shares are 1024 by default, and 100 where only cgroup v2 is there."""
    first = host.default_shares()
    (tmp_path / "cgroup").mkdir()
    (tmp_path / "cgroup/cgroup.controllers").touch()

    assert (1024, 100) == (first, host.default_shares())
