# SPDX-License-Identifier: Apache-2.0
"""The layout of a server on the emulated host's NUMA nodes, by Nova's own fit and in Nova's own words of XML."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

from nova import objects
from nova.virt import hardware
from nova.virt.libvirt import config
from nova.virt.libvirt.driver import LibvirtDriver

from kongming_sched.cpuset import CpuSet
from kongming_sched.nova_numa.markers import marker
from testbed.lab.process import LabError
from testbed.lab.scheduler import Flavor
from testbed.numa_host import machine
from testbed.numa_host.proof_setup import DEDICATED, THREADS_PER_CORE

_SMALL_PAGE_KIB = 4
_CPUS_OF_NODE = 4


class _Driver(LibvirtDriver):  # type: ignore[misc]  # Nova carries no types
    """Nova's driver for libvirt on the emulated host, which is not there yet."""

    def __init__(self, host: objects.NUMATopology) -> None:
        self._host_topology = host

    def _has_numa_support(self) -> bool:
        return True

    def _get_host_numa_topology(self) -> objects.NUMATopology:
        return self._host_topology


def lay_out(flavor: Flavor, nodes: Sequence[int]) -> list[ET.Element]:
    """What Nova adds to the XML of a server that KongMing leads to these nodes of an empty host.

    :raises LabError: if Nova does not lay it out there
    """
    objects.register_all()
    wanted = objects.Flavor(vcpus=flavor.vcpus, memory_mb=flavor.memory_mb, extra_specs=dict(flavor.extra_specs))
    image = objects.ImageMeta.from_dict({})
    host = objects.NUMATopology(cells=[_host_cell(node) for node in machine.NODES])
    network = objects.NetworkMetadata(physnets={marker(node) for node in nodes}, tunneled=False)
    limits = objects.NUMATopologyLimits(cpu_allocation_ratio=1.0, ram_allocation_ratio=1.0, network_metadata=network)
    topology = hardware.numa_get_constraints(wanted, image)
    fitted = hardware.numa_fit_instance_to_host(host, topology, provider_mapping=None, limits=limits)
    if fitted is None or [cell.id for cell in fitted.cells] != [*nodes]:
        raise LabError(f"Nova does not lay {flavor.name} out on the nodes {nodes}")
    driver = _Driver(host)
    numa = driver._get_guest_numa_config(fitted, wanted, image)
    cpu = config.LibvirtConfigGuestCPU()
    cpu.numa = numa.numaconfig
    parts: list[Any] = [
        cpu,
        numa.cputune,
        numa.numatune,
        driver._get_guest_memory_backing_config(fitted, numa.numatune, wanted, image),
    ]
    return [ET.fromstring(part.to_xml()) for part in parts if part is not None]


def _host_cell(node: int) -> objects.NUMACell:
    cpus = range(node * _CPUS_OF_NODE, (node + 1) * _CPUS_OF_NODE)
    cores = [CpuSet.of(cpus[first : first + THREADS_PER_CORE]) for first in range(0, _CPUS_OF_NODE, THREADS_PER_CORE)]
    pages = {_SMALL_PAGE_KIB: machine.NODE_MEMORY_MB * 1024 // _SMALL_PAGE_KIB, **machine.HUGE_PAGES}
    return objects.NUMACell(
        id=node,
        socket=node,
        cpuset=set(),
        pcpuset=set(DEDICATED & CpuSet.of(cpus)),
        siblings=[set(core & DEDICATED) for core in cores if core & DEDICATED],
        memory=sum(size_kib * count for size_kib, count in pages.items()) // 1024,
        cpu_usage=0,
        memory_usage=0,
        pinned_cpus=set(),
        mempages=[
            objects.NUMAPagesTopology(size_kb=size_kib, total=count, used=0, reserved=0)
            for size_kib, count in sorted(pages.items())
        ],
        network_metadata=objects.NetworkMetadata(physnets={marker(node)}, tunneled=False),
    )
