# SPDX-License-Identifier: Apache-2.0
"""Three views of a server: what Nova and Placement say, what libvirt says, and what the kernel says of its threads."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libvirt

from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.flavor import cell_requests
from kongming_sched.template import CpuPolicy, EmulatorPolicy, PinningTemplate, ThreadPolicy

_VCPU_THREAD = re.compile(r"CPU (\d+)/(?:KVM|TCG)")


@dataclass(frozen=True)
class Kernel:
    """The affinity of a guest's threads in /proc.

    :ivar vcpus: vCPU to host CPUs
    """

    pid: int
    vcpus: Mapping[int, CpuSet]
    emulator: CpuSet


@dataclass
class Views:
    """What was seen of a server at one time, and what is wrong with it.

    :ivar host: where Nova says that it runs
    :ivar nodes: NUMA node to what the server has of it, as Placement says
    :ivar pins: vCPU to host CPUs, as libvirt says
    """

    status: str
    host: str
    nodes: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    pins: Mapping[int, CpuSet] = field(default_factory=dict)
    kernel: Kernel | None = None

    def faults(self, template: PinningTemplate, online: CpuSet, threads_per_core: int) -> list[str]:
        """What is not as the template says."""
        found = [] if self.status == "ACTIVE" else [f"Nova says {self.status}"]
        wanted = sorted(sorted(cell.resources.items()) for cell in cell_requests(template, 0, threads_per_core))
        has = [
            {name: amount for name, amount in node.items() if name != names.MEMORY_MB} for node in self.nodes.values()
        ]
        if sorted(sorted(node.items()) for node in has) != wanted:
            found.append(f"Placement has {self.nodes}, and its cells take {wanted}")
        if self.kernel is None:
            return [*found, "no QEMU process runs it"]
        if self.pins != self.kernel.vcpus:
            found.append(f"libvirt says {_words(self.pins)}, the kernel {_words(self.kernel.vcpus)}")
        return found + _thread_faults(template, self.kernel, online)


def _thread_faults(template: PinningTemplate, kernel: Kernel, online: CpuSet) -> list[str]:
    found = []
    if set(kernel.vcpus) != set(range(template.vcpus)):
        return [f"its threads are of the vCPUs {sorted(kernel.vcpus)}"]
    given: list[CpuSet] = []
    for cell in template.cells:
        for index, vcpu in enumerate(cell.vcpus):
            cpus = kernel.vcpus[vcpu]
            given.append(cpus)
            if cell.cpus is CpuPolicy.DEDICATED and len(cpus) != 1:
                found.append(f"dedicated vCPU {vcpu} may run on CPU {cpus}")
            if cell.cpus is CpuPolicy.SHARED and cpus == online:
                found.append(f"shared vCPU {vcpu} may run on every CPU")
            if cell.cpus is CpuPolicy.EXPLICIT and cpus != cell.pins[index]:
                found.append(f"vCPU {vcpu} may run on CPU {cpus} and not on {cell.pins[index]}")
        if cell.cpus is CpuPolicy.DEDICATED:
            mine = [kernel.vcpus[vcpu] for vcpu in cell.vcpus]
            if len(set(mine)) < len(mine):
                found.append("two of its dedicated vCPUs have the same CPU")
            if cell.threads is ThreadPolicy.ISOLATE:
                found += _sibling_faults(mine)
    together = CpuSet.union(given)
    if template.emulator is EmulatorPolicy.CELL and kernel.emulator != together:
        found.append(f"the emulator may run on CPU {kernel.emulator} and not on {together}")
    dedicated = [cell.vcpus for cell in template.cells if cell.cpus is not CpuPolicy.SHARED]
    own = CpuSet.union(kernel.vcpus[vcpu] for vcpus in dedicated for vcpu in vcpus)
    if template.emulator is EmulatorPolicy.SHARED and kernel.emulator & own:
        found.append(f"the emulator may run on the vCPUs' CPU {kernel.emulator & own}")
    return found


def _sibling_faults(pins: list[CpuSet]) -> list[str]:
    cores = [siblings(cpus.first) for cpus in pins if cpus]
    return ["two of its isolated vCPUs have the same core"] if len(set(cores)) < len(cores) else []


def siblings(cpu: int) -> CpuSet:
    """The hardware threads of a CPU's core."""
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    return CpuSet.parse(path.read_text())


def _words(pins: Mapping[int, CpuSet]) -> str:
    return ", ".join(f"{vcpu} on {cpus}" for vcpu, cpus in sorted(pins.items()))


def kernel_view(server: str) -> Kernel | None:
    """The threads of the QEMU process that runs a server on this machine, whichever libvirtd started it."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if server.encode() not in (process / "cmdline").read_bytes().split(b"\0"):
                continue
            vcpus = {}
            for task in (process / "task").iterdir():
                if match := _VCPU_THREAD.fullmatch((task / "comm").read_text().strip()):
                    vcpus[int(match[1])] = _affinity(task)
            if vcpus:
                return Kernel(int(process.name), vcpus, _affinity(process))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return None


def _affinity(task: Path) -> CpuSet:
    text = (task / "status").read_text()
    return CpuSet.parse(next(line for line in text.splitlines() if line.startswith("Cpus_allowed_list")).split()[1])


def libvirt_pins(connection: Any, server: str) -> dict[int, CpuSet]:
    """The pins of a server's vCPUs by libvirt; empty if it does not run there."""
    try:
        domain = connection.lookupByUUIDString(server)
        maps = domain.vcpuPinInfo(libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError:
        return {}
    return {vcpu: CpuSet.of(cpu for cpu, on in enumerate(cpus) if on) for vcpu, cpus in enumerate(maps)}


def is_pinned_for_good(connection: Any, server: str) -> bool:
    """Whether the persistent definition of a server has pins, which it would start with."""
    xml = connection.lookupByUUIDString(server).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    return ET.fromstring(xml).find("cputune/vcpupin") is not None
