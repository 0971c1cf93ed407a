# SPDX-License-Identifier: Apache-2.0
"""What the kernel says, read without any of the agent's code but its CPU sets.

``python -m testbed.numa_host.kernel_view`` prints the host's CPUs as JSON, and with the UUID of a server what is known
of its QEMU process, or null.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from kongming_sched.cpuset import CpuSet

_VCPU_THREAD = re.compile(r"CPU (\d+)/(?:KVM|TCG)")
_IO_THREAD = re.compile(r"IO iothread(\d+)")
_PAGES = re.compile(r"\bN(\d+)=(\d+)")
_PAGE_SIZE = re.compile(r"\bkernelpagesize_kB=(\d+)")
_CPUS = Path("/sys/devices/system/cpu")
_NODES = Path("/sys/devices/system/node")
_MEMORY_WORD = re.compile(r"(?:size=)?(\d+)([kM]?)")
_MOVE_PAGES, _MOVE_OWN = 279, 1 << 1
"""Linux's number of move_pages on x86-64, and its flag MPOL_MF_MOVE."""
_UNITS_KIB = {"k": 1, "M": 1024, "": 1024}


@dataclass(frozen=True)
class Affinity:
    """Where the kernel lets a guest's threads run.

    :ivar iothreads: libvirt's id of an I/O thread to host CPUs
    """

    vcpus: Mapping[int, CpuSet]
    emulator: CpuSet
    iothreads: Mapping[int, CpuSet] = field(default_factory=dict)

    @property
    def cpus(self) -> CpuSet:
        """All CPUs that its vCPUs may run on."""
        return CpuSet.union(self.vcpus.values())

    @property
    def is_pinned(self) -> bool:
        """Whether each vCPU has a CPU for itself."""
        return all(len(cpus) == 1 for cpus in self.vcpus.values()) and len(self.cpus) == len(self.vcpus)

    def __str__(self) -> str:
        vcpus = ", ".join(f"vCPU {vcpu} on CPU {cpus}" for vcpu, cpus in self.vcpus.items())
        return f"{vcpus}, emulator on {self.emulator}"


def affinity(pid: int) -> Affinity:
    """The affinity of a QEMU process's threads."""
    process = Path("/proc") / str(pid)
    vcpus, iothreads = {}, {}
    for task in process.glob("task/*"):
        name = (task / "comm").read_text().strip()
        if match := _VCPU_THREAD.fullmatch(name):
            vcpus[int(match[1])] = _allowed(task)
        elif match := _IO_THREAD.fullmatch(name):
            iothreads[int(match[1])] = _allowed(task)
    return Affinity(dict(sorted(vcpus.items())), _allowed(process), dict(sorted(iothreads.items())))


def helpers(pid: int) -> CpuSet:
    """All CPUs that threads of a QEMU process may run on which are neither vCPUs nor I/O threads."""
    found = []
    for task in (Path("/proc") / str(pid)).glob("task/*"):
        with suppress(FileNotFoundError, ProcessLookupError):  # helpers come and go
            name = (task / "comm").read_text().strip()
            if not _VCPU_THREAD.fullmatch(name) and not _IO_THREAD.fullmatch(name):
                found.append(_allowed(task))
    return CpuSet.union(found)


def vcpu_limits(pid: int) -> dict[int, str]:
    """What ``cpu.max`` says of each vCPU of a QEMU process: quota and period in microseconds, on cgroup v2."""
    limits = {}
    for task in (Path("/proc") / str(pid)).glob("task/*"):
        if match := _VCPU_THREAD.fullmatch((task / "comm").read_text().strip()):
            group = (task / "cgroup").read_text().strip().rpartition("::")[2]
            limits[int(match[1])] = Path(f"/sys/fs/cgroup{group}/cpu.max").read_text().strip()
    return dict(sorted(limits.items()))


def memory_pages(pid: int) -> dict[int, int]:
    """The pages of a guest's memory by the NUMA node that they lie on."""
    return largest_mapping(Path(f"/proc/{pid}/numa_maps").read_text())


def largest_mapping(numa_maps: str) -> dict[int, int]:
    """The pages by node of that mapping which has most of them: in a QEMU process the guest's memory."""
    mappings = [
        Counter({int(node): int(pages) for node, pages in _PAGES.findall(line)}) for line in numa_maps.split("\n")
    ]
    return dict(sorted(max(mappings, key=Counter.total).items()))


def spread_memory(pid: int) -> None:
    """Move the first half of a guest's memory to NUMA node 0, and the second half to node 1.

    :raises OSError: if the kernel refuses, as it does for nodes that the guest may not use
    """
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    numa_maps = Path(f"/proc/{pid}/numa_maps").read_text().splitlines()
    largest = max(numa_maps, key=lambda line: sum(int(pages) for _, pages in _PAGES.findall(line))).partition(" ")[0]
    start, _, end = next(line for line in maps if line.startswith(f"{largest}-")).partition(" ")[0].partition("-")
    pages = range(int(start, 16), int(end, 16), os.sysconf("SC_PAGE_SIZE"))
    addresses = (ctypes.c_void_p * len(pages))(*pages)
    nodes = (ctypes.c_int * len(pages))(*(2 * number // len(pages) for number in range(len(pages))))
    statuses = (ctypes.c_int * len(pages))()
    kernel = ctypes.CDLL(None, use_errno=True)
    if kernel.syscall(_MOVE_PAGES, pid, ctypes.c_ulong(len(pages)), addresses, nodes, statuses, _MOVE_OWN) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def huge_pages(numa_maps: str) -> dict[int, dict[int, int]]:
    """The huge pages of a process: their size in KiB to how many lie on which NUMA node."""
    found: dict[int, Counter[int]] = {}
    for line in numa_maps.splitlines():
        if " huge " in f"{line} " and (size := _PAGE_SIZE.search(line)):
            on = {int(node): int(pages) for node, pages in _PAGES.findall(line)}
            found.setdefault(int(size[1]), Counter()).update(on)
    return {size: dict(sorted(pages.items())) for size, pages in sorted(found.items()) if pages}


def bound_pages(numa_maps: str) -> dict[int, int]:
    """The pages by node of those mappings of a process that it has bound to nodes: memory that Nova has laid out."""
    lines = [line for line in numa_maps.splitlines() if line.partition(" ")[2].startswith("bind")]
    pages = sum((Counter({int(node): int(count) for node, count in _PAGES.findall(line)}) for line in lines), Counter())
    return dict(sorted(pages.items()))


def guest_memory(pid: int) -> dict[int, int]:
    """The pages of a guest's memory by NUMA node, even if it has used little of it; empty where nobody counts them."""
    process = Path("/proc") / str(pid)
    words = (process / "cmdline").read_text().split("\0")
    if any('"host-nodes"' in word for word in words):
        return bound_pages((process / "numa_maps").read_text())
    size = _MEMORY_WORD.match(words[words.index("-m") + 1])
    assert size
    bytes_wanted = int(size[1]) * _UNITS_KIB[size[2]] << 10
    if not (process / "numa_maps").exists():
        return {}
    return mapping_of_size(bytes_wanted, (process / "maps").read_text(), (process / "numa_maps").read_text())


def mapping_of_size(size: int, maps: str, numa_maps: str) -> dict[int, int]:
    """The pages by node of the smallest mapping in which so many bytes find room."""
    ranges = [line.partition(" ")[0].partition("-") for line in maps.splitlines()]
    lengths = {start: int(end, 16) - int(start, 16) for start, _, end in ranges}
    start = min((start for start, length in lengths.items() if length >= size), key=lengths.__getitem__)
    pages = next((line for line in numa_maps.splitlines() if line.startswith(f"{start} ")), "")
    return {int(node): int(count) for node, count in _PAGES.findall(pages)}


def find_guest(server: str) -> int | None:
    """The QEMU process that runs a server, whichever libvirtd started it."""
    return next(find_guests(server), None)


def find_guests(server: str) -> Iterator[int]:
    """All QEMU processes of a server: two while it migrates between hosts that are this machine."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if (
                server in (process / "cmdline").read_text(errors="replace").split("\0")
                and affinity(int(process.name)).vcpus
            ):
                yield int(process.name)


def nodes() -> list[int]:
    """The NUMA nodes with CPUs."""
    found = [int(path.name.removeprefix("node")) for path in _NODES.glob("node[0-9]*")]
    return sorted(node for node in found if node_cpus(node))


def node_cpus(node: int) -> CpuSet:
    """The online CPUs of a NUMA node."""
    return CpuSet.parse((_NODES / f"node{node}" / "cpulist").read_text().strip())


def online() -> CpuSet:
    """The CPUs that are online."""
    return CpuSet.parse((_CPUS / "online").read_text().strip())


def siblings(cpu: int) -> CpuSet:
    """The online hardware threads of a CPU's core."""
    return CpuSet.parse((_CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip())


def set_online(cpu: int, online: bool) -> None:
    """Switch a CPU on or off."""
    (_CPUS / f"cpu{cpu}/online").write_text(str(int(online)))


def _allowed(task: Path) -> CpuSet:
    status = (task / "status").read_text()
    return CpuSet.parse(next(line.split()[1] for line in status.splitlines() if line.startswith("Cpus_allowed_list:")))


def describe_host() -> dict[str, object]:
    """The host's CPUs, for JSON."""
    cpus = online()
    return {
        "online": str(cpus),
        "siblings": {str(cpu): str(siblings(cpu)) for cpu in cpus},
        "nodes": {str(node): str(node_cpus(node)) for node in nodes()} or {"0": str(cpus)},
    }


def describe_guest(server: str) -> dict[str, object] | None:
    """A guest's threads and memory, for JSON; None if it does not run."""
    pid = find_guest(server)
    if pid is None:
        return None
    try:
        seen, memory = affinity(pid), guest_memory(pid)
        maps = Path(f"/proc/{pid}/numa_maps")
        huge = huge_pages(maps.read_text()) if maps.exists() else {}
    except (FileNotFoundError, ProcessLookupError):  # gone since
        return None
    return {
        "pid": pid,
        "vcpus": {str(vcpu): str(cpus) for vcpu, cpus in seen.vcpus.items()},
        "emulator": str(seen.emulator),
        "helpers": str(helpers(pid)),
        "iothreads": {str(number): str(cpus) for number, cpus in seen.iothreads.items()},
        "memory": {str(node): pages for node, pages in memory.items()},
        "huge_pages": {str(size): {str(node): count for node, count in on.items()} for size, on in huge.items()},
    }


if __name__ == "__main__":
    print(json.dumps(describe_guest(sys.argv[1]) if sys.argv[1:] else describe_host()))
