# SPDX-License-Identifier: Apache-2.0
"""What the kernel says, read without any of the agent's code but its CPU sets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kongming_sched.cpuset import CpuSet

_VCPU_THREAD = re.compile(r"CPU (\d+)/(?:KVM|TCG)")
_PAGES = re.compile(r"\bN(\d+)=(\d+)")
_CPUS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Affinity:
    """Where the kernel lets a guest's threads run."""

    vcpus: Mapping[int, CpuSet]
    emulator: CpuSet

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
    vcpus = {}
    for task in process.glob("task/*"):
        if match := _VCPU_THREAD.fullmatch((task / "comm").read_text().strip()):
            vcpus[int(match[1])] = _allowed(task)
    return Affinity(dict(sorted(vcpus.items())), _allowed(process))


def memory_pages(pid: int) -> dict[int, int]:
    """The pages of a guest's memory by the NUMA node that they lie on."""
    return largest_mapping(Path(f"/proc/{pid}/numa_maps").read_text())


def largest_mapping(numa_maps: str) -> dict[int, int]:
    """The pages by node of that mapping which has most of them: in a QEMU process the guest's memory."""
    mappings = [
        Counter({int(node): int(pages) for node, pages in _PAGES.findall(line)}) for line in numa_maps.split("\n")
    ]
    return dict(sorted(max(mappings, key=Counter.total).items()))


def node_cpus(node: int) -> CpuSet:
    """The online CPUs of a NUMA node."""
    return CpuSet.parse(Path(f"/sys/devices/system/node/node{node}/cpulist").read_text().strip())


def siblings(cpu: int) -> CpuSet:
    """The online hardware threads of a CPU's core."""
    return CpuSet.parse((_CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip())


def set_online(cpu: int, online: bool) -> None:
    """Switch a CPU on or off."""
    (_CPUS / f"cpu{cpu}/online").write_text(str(int(online)))


def _allowed(task: Path) -> CpuSet:
    status = (task / "status").read_text()
    return CpuSet.parse(next(line.split()[1] for line in status.splitlines() if line.startswith("Cpus_allowed_list:")))
