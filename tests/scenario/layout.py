# SPDX-License-Identifier: Apache-2.0
"""Where a server is that Nova lays out on NUMA nodes: as Nova, Placement, libvirt's XML and the kernel have it."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.flavor import cell_requests, share_memory
from kongming_sched.template import PinningTemplate
from tests.scenario.cloud import Cloud
from tests.scenario.machines import HostCpus
from tests.scenario.views import Views

_TOPOLOGY_VERSION = "2.78"


@dataclass(frozen=True)
class GuestNode:
    """A NUMA node of the guest.

    :ivar host_nodes: those of the host that it is on
    """

    vcpus: CpuSet
    memory_mb: int
    host_nodes: CpuSet


@dataclass(frozen=True)
class Layout:
    """A server as Nova and libvirt have laid it out, in the order of the guest's nodes."""

    nova: Sequence[GuestNode]
    libvirt: Sequence[GuestNode]

    def faults(self, template: PinningTemplate, ram_mb: int, views: Views, cpus: HostCpus) -> list[str]:
        """What is not as template and flavor say, or where two of the views differ.

        :param ram_mb: of the flavor
        """
        on = [node.host_nodes.first for node in self.nova if len(node.host_nodes) == 1]
        wanted = [
            GuestNode(cell.vcpus, memory, CpuSet.of([node]))
            for cell, memory, node in zip(template.cells, share_memory(template, ram_mb), on, strict=False)
        ]
        requests = cell_requests(template, ram_mb, cpus.threads_per_core)
        compared: Mapping[str, tuple[object, object]] = {
            "Nova": ([*wanted], [*self.nova]),
            "libvirt's XML": ([*wanted], [*self.libvirt]),
            "Placement": (
                {node: dict(request.resources) for node, request in zip(on, requests, strict=False)},
                {node: dict(amounts) for node, amounts in views.nodes.items()},
            ),
        }
        if template.pages and views.kernel:
            pages = {node.host_nodes.first: node.memory_mb * 1024 // template.pages.kib for node in wanted}
            compared = {**compared, "numa_maps": ({template.pages.kib: pages}, views.kernel.huge_pages)}
        found = [
            f"{name} has {has}, and it should be {should}" for name, (should, has) in compared.items() if has != should
        ]
        if len(wanted) < len(template.cells):
            found.append(f"Nova has it on {len(wanted)} nodes")
        return found + _thread_faults(template, on, views, cpus)


def _thread_faults(template: PinningTemplate, on: Sequence[int], views: Views, cpus: HostCpus) -> list[str]:
    """The cells whose threads are not on the CPUs of the node that Nova has for them."""
    threads = views.kernel.vcpus if views.kernel else {}
    return [
        f"vCPU {vcpu} may run on CPU {threads.get(vcpu)}, which is not of node {node}"
        for cell, node in zip(template.cells, on, strict=False)
        for vcpu in cell.vcpus
        if not threads.get(vcpu, cpus.online) <= cpus.nodes[node]
    ]


def read_layout(cloud: Cloud, server: str, host: str) -> Layout:
    """How a server that runs on a host is laid out."""
    answer = cloud.compute.get(f"/servers/{server}/topology", microversion=_TOPOLOGY_VERSION).json()
    nova = [
        GuestNode(CpuSet.of(node["vcpu_set"]), node["memory_mb"], CpuSet.of([node["host_node"]]))
        for node in answer["nodes"]
    ]
    xml = cloud.hosts.libvirts[host].lookupByUUIDString(server).XMLDesc(0)
    return Layout(nova, libvirt_layout(xml))


def libvirt_layout(xml: str) -> list[GuestNode]:
    """The NUMA nodes of a guest by its XML."""
    domain = ET.fromstring(xml)
    memory = {node.get("cellid"): node.get("nodeset", "") for node in domain.iterfind("numatune/memnode")}
    return [
        GuestNode(
            CpuSet.parse(cell.get("cpus", "")),
            int(cell.get("memory", "0")) // 1024,
            CpuSet.parse(memory.get(cell.get("id"), "")),
        )
        for cell in domain.iterfind("cpu/numa/cell")
    ]


def wait_until_laid_out(cloud: Cloud, server: str, template: PinningTemplate, ram_mb: int) -> Views:
    """The views of a server, once all of them and its layout are right.

    :raises AssertionError: naming what stays wrong
    """
    deadline = time.monotonic() + cloud.hosts.patience_seconds
    while True:
        views = cloud.views(server)
        cpus = cloud.hosts.cpus(views.host)
        faults = views.faults(template, cpus)
        if not faults:
            faults = read_layout(cloud, server, views.host).faults(template, ram_mb, views, cpus)
        if not faults:
            return views
        assert time.monotonic() < deadline, "; ".join(faults)
        time.sleep(0.1)


def flavor_memory(cloud: Cloud, server: str) -> int:
    """The memory in MiB of the flavor that a server has."""
    flavor: Any = cloud.compute.get_server(server).flavor
    return int(flavor["ram"])
