# SPDX-License-Identifier: Apache-2.0
"""What the agent reads from /proc, on files laid out as the kernel and libvirt lay them out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.host.kernel import Host
from kongming_sched.agent.model.guest import Domain
from kongming_sched.cpuset import CpuSet

DOMAIN = Domain("11111111-1111-4111-8111-111111111111", "instance-1", "")

V1_GROUPS = """\
5:cpuset:/machine/qemu-1-x.libvirt-qemu/{name}
2:cpu,cpuacct:/machine/qemu-1-x.libvirt-qemu/{name}
0::/system.slice/libvirtd.service
"""
V2_GROUPS = "0::/machine.slice/machine-qemu\\x2d1\\x2dx.scope/libvirt/{name}\n"


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
        83: ("worker", "0-7"),
    }
    for thread, (name, cpus) in threads.items():
        task = tmp_path / "proc/77/task" / str(thread)
        task.mkdir(parents=True)
        (task / "comm").write_text(f"{name}\n")
        (task / "status").write_text(f"Name:\t{name}\nCpus_allowed:\tff\nCpus_allowed_list:\t{cpus}\n")
    (tmp_path / "proc/77/cmdline").write_bytes(b"qemu\0-uuid\0" + DOMAIN.uuid.encode() + b"\0")
    return Host(tmp_path / "proc", tmp_path / "run", tmp_path / "cgroup")


def test_threads(host: Host) -> None:
    """Threads are known by their names, and the main thread is the emulator."""
    threads = host.threads(DOMAIN)

    assert {0: CpuSet.parse("2"), 1: CpuSet.parse("2-5,9")} == threads.vcpus
    assert {3: CpuSet.parse("1")} == threads.iothreads
    assert CpuSet.parse("0-1") == threads.emulator


def test_helpers(host: Host) -> None:
    """All other threads of the process are named, the main thread not among them."""
    assert (77, {83: "worker"}) == (host.threads(DOMAIN).pid, host.threads(DOMAIN).helpers)


LONG_ID = "<domain><iothreadids><iothread id='123456789'/></iothreadids></domain>"


@pytest.mark.parametrize("groups", [V1_GROUPS, V2_GROUPS])
def test_long_id_of_an_io_thread(host: Host, tmp_path: Path, groups: str) -> None:
    """Such a thread has no name, for it would not fit, and libvirt's control group tells which one it is."""
    for thread, name in ((80, "iothread3"), (83, "iothread123456789")):
        (tmp_path / f"proc/77/task/{thread}/cgroup").write_text(groups.format(name=name))

    threads = host.threads(replace(DOMAIN, xml=LONG_ID))

    assert {3: CpuSet.parse("1"), 123456789: CpuSet.parse("0-7")} == threads.iothreads
    assert {} == threads.helpers


def test_long_id_without_control_groups(host: Host, tmp_path: Path) -> None:
    """The thread is one of QEMU's others then, which follow the emulator as I/O threads do."""
    (tmp_path / "proc/77/task/83/cgroup").write_text("0::/\n")

    threads = host.threads(replace(DOMAIN, xml=LONG_ID))

    assert ({3}, {83}) == (set(threads.iothreads), set(threads.helpers))


def test_number_of_another_process(host: Host, tmp_path: Path) -> None:
    """A process that got the number of a guest that has ended is not taken for it."""
    (tmp_path / "proc/77/cmdline").write_bytes(b"sleep\0" + b"1000\0")

    with pytest.raises(exceptions.GuestGone, match="instance-1"):
        host.threads(DOMAIN)


@pytest.mark.parametrize("broken", ["proc/77/cmdline", "proc/77/task/81/status"])
def test_guest_that_cannot_be_read(host: Host, tmp_path: Path, broken: str) -> None:
    """Any other error of the kernel's is one of this guest."""
    (tmp_path / broken).unlink()
    (tmp_path / broken).mkdir()

    with pytest.raises(exceptions.KernelError, match=r"the kernel could not read the .* of instance-1: .*directory"):
        host.threads(DOMAIN)


def test_affinity_that_is_no_cpus(host: Host, tmp_path: Path) -> None:
    """A file of the kernel's with another content is an error of this guest."""
    (tmp_path / "proc/77/task/81/status").write_text("Name:\tx\nCpus_allowed_list:\tsome\n")

    with pytest.raises(exceptions.KernelError, match="not a CPU set"):
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


def test_controllers(host: Host, tmp_path: Path) -> None:
    """They are those that version 2 lists, or else the folders of version 1; none where nothing is mounted."""
    nothing = host.controllers()
    for folder in ("cpu", "cpuset", "memory"):
        (tmp_path / "cgroup" / folder).mkdir(parents=True)
    first = host.controllers()
    (tmp_path / "cgroup/cgroup.controllers").write_text("cpu io\n")

    every = frozenset({"cpu", "cpuset", "memory"})
    assert (frozenset(), every, frozenset({"cpu", "io"})) == (nothing, first, host.controllers())


def add_groups(tmp_path: Path, groups: str, folder: str, files: dict[str, str]) -> Path:
    """Put both vCPUs into control groups of their own; gives the folder of these."""
    for thread, name in ((77, "emulator"), (80, "iothread3"), (81, "vcpu0"), (82, "vcpu1")):
        (tmp_path / f"proc/77/task/{thread}/cgroup").write_text(groups.format(name=name))
        group = tmp_path / "cgroup" / folder / name
        group.mkdir(parents=True)
        for file, text in files.items():
            (group / file).write_text(text)
    return tmp_path / "cgroup" / folder


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    """The groups of the guest's threads on cgroup v1."""
    return add_groups(
        tmp_path,
        V1_GROUPS,
        "cpu/machine/qemu-1-x.libvirt-qemu",
        {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"},
    )


@pytest.fixture
def version_2(tmp_path: Path) -> Path:
    """The groups of the guest's threads on cgroup v2."""
    folder = "machine.slice/machine-qemu\\x2d1\\x2dx.scope/libvirt"
    return add_groups(tmp_path, V2_GROUPS, folder, {"cpu.max": "max 100000\n"})


def test_quotas_on_version_1(host: Host, version_1: Path) -> None:
    """Each vCPU's quota is a file of its group, and only that of the vCPU is written."""
    before = host.vcpu_quotas(DOMAIN)
    host.set_vcpu_quota(DOMAIN, 1, 25000)

    assert {0: -1, 1: -1} == before
    assert "25000" == (version_1 / "vcpu1/cpu.cfs_quota_us").read_text().strip()
    assert "-1\n" == (version_1 / "vcpu0/cpu.cfs_quota_us").read_text()


def test_quotas_on_version_2(host: Host, version_2: Path) -> None:
    """There quota and period are one file; the quota alone is written, which leaves the period to the kernel."""
    (version_2 / "vcpu0/cpu.max").write_text("30000 100000\n")
    before = host.vcpu_quotas(DOMAIN)
    for vcpu, quota in ((0, -1), (1, 25000)):
        (version_2 / f"vcpu{vcpu}/cpu.max").write_text(" " * 12)
        host.set_vcpu_quota(DOMAIN, vcpu, quota)

    assert {0: 30000, 1: -1} == before
    assert ["max", "25000"] == [(version_2 / f"vcpu{vcpu}/cpu.max").read_text().strip() for vcpu in (0, 1)]


@pytest.mark.parametrize("missing", ["the groups", "the controller"])
def test_no_quotas_without_the_controller(host: Host, version_2: Path, tmp_path: Path, missing: str) -> None:
    """Where libvirt has made no groups of the cpu controller no quotas are known, and none can be set."""
    if missing == "the groups":
        for thread in (81, 82):
            (tmp_path / f"proc/77/task/{thread}/cgroup").write_text("0::/system.slice/libvirtd.service\n")
    else:
        for vcpu in (0, 1):
            (version_2 / f"vcpu{vcpu}/cpu.max").unlink()

    with pytest.raises(exceptions.ControlGroupError, match="set the quota of vCPU 1 of instance-1 to 5000"):
        host.set_vcpu_quota(DOMAIN, 1, 5000)

    assert {} == host.vcpu_quotas(DOMAIN)


NUMA_MAPS = """\
5647f28c7000 default file=/usr/bin/qemu-system-x86_64 mapped=12390 active=1238 N0=12390 kernelpagesize_kB=4
564826095000 default heap anon=1040 dirty=1040 active=0 N0=1040 kernelpagesize_kB=4
7f9304000000 bind:1 anon=65536 dirty=65536 active=0 N0=512 N1=65024 kernelpagesize_kB=4
7f9404000000 bind:1 file=/dev/hugepages/libvirt/qemu/1-x/ram huge dirty=4 N1=4 kernelpagesize_kB=2048
7f9504000000 default file=/memfd:memory-backend-memfd\\040(deleted) anon=512 N2=512 kernelpagesize_kB=4
7f9604000000 default
"""


def test_memory_by_node(host: Host, tmp_path: Path) -> None:
    """A guest's memory counts whatever holds it, with the size of its pages, and code does not."""
    (tmp_path / "proc/77/numa_maps").write_text(NUMA_MAPS)

    assert {0: (1040 + 512) * 4 // 1024, 1: 65024 * 4 // 1024 + 8, 2: 2} == host.memory_mb(DOMAIN)


def test_huge_pages_of_a_guest(host: Host, tmp_path: Path) -> None:
    """Are counted by node and size; pages of the usual size are not, however many the kernel has put together."""
    (tmp_path / "proc/77/numa_maps").write_text(
        f"{NUMA_MAPS}7f9704000000 bind:0 file=/memfd:x huge dirty=3 N0=2 N1=1 kernelpagesize_kB=1048576\n"
    )

    assert {(1, 2048): 4, (0, 1 << 20): 2, (1, 1 << 20): 1} == host.guest_pages(DOMAIN)
