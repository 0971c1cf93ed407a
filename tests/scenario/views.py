# SPDX-License-Identifier: Apache-2.0
"""Three views of a server: what Nova and Placement say, what libvirt says, and what the kernel says of its threads."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import libvirt

from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.flavor import cell_requests, memory_classes
from kongming_sched.template import CpuPolicy, EmulatorPolicy, MemoryPolicy, PinningTemplate, ThreadPolicy
from tests.scenario.machines import HostCpus, Kernel


@dataclass
class Views:
    """What was seen of a server at one time, and what is wrong with it.

    :ivar host: where Nova says that it runs
    :ivar nodes: NUMA node to what the server has of it, as Placement says
    :ivar pins: vCPU to host CPUs, as libvirt says
    :ivar io_pins: I/O thread to host CPUs, as libvirt's XML says
    """

    status: str
    host: str
    nodes: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    pins: Mapping[int, CpuSet] = field(default_factory=dict)
    io_pins: Mapping[int, CpuSet] = field(default_factory=dict)
    kernel: Kernel | None = None

    def faults(self, template: PinningTemplate, cpus: HostCpus) -> list[str]:
        """What is not as the template says, on a host with these CPUs."""
        found = [] if self.status == "ACTIVE" else [f"Nova says {self.status}"]
        wanted = sorted(sorted(cell.resources.items()) for cell in cell_requests(template, 0, cpus.threads_per_core))
        has = [
            {name: amount for name, amount in node.items() if name not in memory_classes(node)}
            for node in self.nodes.values()
        ]
        if sorted(sorted(node.items()) for node in has) != wanted:
            found.append(f"Placement has {self.nodes}, and its cells take {wanted}")
        if self.kernel is None:
            return [*found, "no QEMU process runs it"]
        if self.pins != self.kernel.vcpus:
            found.append(f"libvirt says {_words(self.pins)}, the kernel {_words(self.kernel.vcpus)}")
        if self.io_pins != self.kernel.iothreads:
            seen = _words(self.kernel.iothreads)
            found.append(f"libvirt's XML says of I/O threads {_words(self.io_pins)}, the kernel {seen}")
        return found + _thread_faults(template, self.kernel, cpus) + self._node_faults(template, self.kernel, cpus)

    def _node_faults(self, template: PinningTemplate, kernel: Kernel, cpus: HostCpus) -> list[str]:
        """Whether vCPUs and memory are on the nodes that Placement says."""
        cells = [CpuSet.union(kernel.vcpus.get(vcpu, CpuSet()) for vcpu in cell.vcpus) for cell in template.cells]
        on = [[node for node, own in cpus.nodes.items() if cell <= own] for cell in cells]
        if sorted(on) != [[node] for node in sorted(self.nodes)]:
            return [f"its cells are on CPUs {', '.join(map(str, cells))}, and Placement has nodes {sorted(self.nodes)}"]
        strict = all(cell.memory is MemoryPolicy.STRICT for cell in template.cells)
        strange = kernel.memory.keys() - self.nodes.keys() if strict else set()
        return [f"{kernel.memory[node]} pages of its memory lie on node {node}" for node in sorted(strange)]


def _thread_faults(template: PinningTemplate, kernel: Kernel, cpus: HostCpus) -> list[str]:
    found = []
    if set(kernel.vcpus) != set(range(template.vcpus)):
        return [f"its threads are of the vCPUs {sorted(kernel.vcpus)}"]
    for cell in template.cells:
        for index, vcpu in enumerate(cell.vcpus):
            own = kernel.vcpus[vcpu]
            if cell.cpus is CpuPolicy.DEDICATED and len(own) != 1:
                found.append(f"dedicated vCPU {vcpu} may run on CPU {own}")
            if cell.cpus is CpuPolicy.SHARED and own == cpus.online:
                found.append(f"shared vCPU {vcpu} may run on every CPU")
            if cell.cpus is CpuPolicy.EXPLICIT and own != cell.pins[index]:
                found.append(f"vCPU {vcpu} may run on CPU {own} and not on {cell.pins[index]}")
        if cell.cpus is CpuPolicy.DEDICATED:
            mine = [kernel.vcpus[vcpu] for vcpu in cell.vcpus]
            if len(set(mine)) < len(mine):
                found.append("two of its dedicated vCPUs have the same CPU")
            found += _core_faults(cell.threads, mine, cpus)
    return found + _helper_faults(template, kernel, cpus)


def _helper_faults(template: PinningTemplate, kernel: Kernel, cpus: HostCpus) -> list[str]:
    """What is wrong with QEMU's own threads, the emulator's and those for I/O."""
    found = [
        f"I/O thread {number} may run on CPU {own}, and the emulator on {kernel.emulator}"
        for number, own in kernel.iothreads.items()
        if own != kernel.emulator
    ]
    together = CpuSet.union(kernel.vcpus.values())
    if template.emulator is EmulatorPolicy.CELL and kernel.emulator != together:
        found.append(f"the emulator may run on CPU {kernel.emulator} and not on {together}")
    dedicated = [cell.vcpus for cell in template.cells if cell.cpus is not CpuPolicy.SHARED]
    alone = CpuSet.union(kernel.vcpus[vcpu] for vcpus in dedicated for vcpu in vcpus)
    if template.emulator is EmulatorPolicy.SHARED and kernel.emulator & alone:
        found.append(f"the emulator may run on the vCPUs' CPU {kernel.emulator & alone}")
    if template.emulator is EmulatorPolicy.OWN:
        first = CpuSet.union(kernel.vcpus[vcpu] for vcpu in template.cells[0].vcpus)
        node = next((own for own in cpus.nodes.values() if first <= own), CpuSet())
        count = cpus.threads_per_core if template.emulator_threads is ThreadPolicy.ISOLATE else 1
        if len(kernel.emulator) != count or kernel.emulator & together or not kernel.emulator <= node:
            found.append(f"the emulator may run on CPU {kernel.emulator}, of node {node} with vCPUs on {together}")
    if template.emulator is not EmulatorPolicy.CELL and kernel.helpers & alone:
        found.append(f"a thread of QEMU's may run on the vCPUs' CPU {kernel.helpers & alone}")
    return found


def _core_faults(threads: ThreadPolicy, pins: list[CpuSet], cpus: HostCpus) -> list[str]:
    cores = [cpus.siblings[own.first] for own in pins if own]
    if threads is ThreadPolicy.ISOLATE and len(set(cores)) < len(cores):
        return ["two of its isolated vCPUs have the same core"]
    whole = CpuSet.union(cores)
    if threads is ThreadPolicy.REQUIRE and whole != CpuSet.union(pins):
        return [f"its vCPUs are on CPUs {CpuSet.union(pins)}, and their cores have {whole}"]
    return []


def _words(pins: Mapping[int, CpuSet]) -> str:
    return ", ".join(f"{vcpu} on {cpus}" for vcpu, cpus in sorted(pins.items()))


def libvirt_pins(connection: Any, server: str) -> dict[int, CpuSet]:
    """The pins of a server's vCPUs by libvirt; empty if it does not run there."""
    try:
        domain = connection.lookupByUUIDString(server)
        maps = domain.vcpuPinInfo(libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError:
        return {}
    return {vcpu: CpuSet.of(cpu for cpu, on in enumerate(cpus) if on) for vcpu, cpus in enumerate(maps)}


def libvirt_io_pins(connection: Any, server: str) -> dict[int, CpuSet]:
    """The pins of a server's I/O threads in its live XML; empty if it does not run there."""
    try:
        xml = connection.lookupByUUIDString(server).XMLDesc(0)
    except libvirt.libvirtError:
        return {}
    pins = ET.fromstring(xml).iterfind("cputune/iothreadpin")
    return {int(pin.get("iothread", "0")): CpuSet.parse(pin.get("cpuset", "")) for pin in pins}


def is_pinned_for_good(connection: Any, server: str) -> bool:
    """Whether the persistent definition of a server has pins, which it would start with."""
    xml = connection.lookupByUUIDString(server).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    return ET.fromstring(xml).find("cputune/vcpupin") is not None
