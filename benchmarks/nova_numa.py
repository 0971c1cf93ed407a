# SPDX-License-Identifier: Apache-2.0
"""Hosts and servers as Nova's own CPU pinning sees them."""

from __future__ import annotations

from nova import objects
from nova.virt import hardware

from kongming_sched.topology import HostTopology

MEMORY_MB = 262144


def host_topology(topology: HostTopology, free_cpus: list[int] | None = None) -> objects.NUMATopology:
    """A host that gives all its CPUs to pinned servers.

    :param free_cpus: how many CPUs of each node are free, the highest ones; all by default
    """
    cells = []
    for index, node in enumerate(topology.nodes):
        cpus = sorted(node.cpus)
        free = len(cpus) if free_cpus is None else free_cpus[index]
        cell = objects.NUMACell(
            id=node.id,
            cpuset=set(),
            pcpuset=set(cpus),
            memory=MEMORY_MB,
            cpu_usage=0,
            memory_usage=0,
            pinned_cpus=set(cpus[: len(cpus) - free]),
            siblings=[set(core.cpus) for core in node.cores if len(core.cpus) > 1],
            mempages=[objects.NUMAPagesTopology(size_kb=4, total=MEMORY_MB * 256, used=0, reserved=0)],
            network_metadata=objects.NetworkMetadata(physnets=set(), tunneled=False),
            socket=0,
        )
        cells.append(cell)
    return objects.NUMATopology(cells=cells)


def server_topology(cells: list[int], memory_mb: int, threads: str | None = None) -> objects.InstanceNUMATopology:
    """What a flavor with ``hw:cpu_policy=dedicated`` asks for, by Nova's own reading of its extra specs.

    :param cells: vCPUs of each cell
    :param threads: its ``hw:cpu_thread_policy``
    """
    specs = {"hw:cpu_policy": "dedicated", "hw:numa_nodes": str(len(cells))}
    first = 0
    for index, vcpus in enumerate(cells):
        specs[f"hw:numa_cpus.{index}"] = ",".join(map(str, range(first, first + vcpus)))
        specs[f"hw:numa_mem.{index}"] = str(memory_mb // len(cells))
        first += vcpus
    if threads:
        specs["hw:cpu_thread_policy"] = threads
    flavor = objects.Flavor(name="f", vcpus=first, memory_mb=memory_mb // len(cells) * len(cells), extra_specs=specs)
    image = objects.ImageMeta(properties=objects.ImageMetaProps())
    return hardware.numa_get_constraints(flavor, image)
