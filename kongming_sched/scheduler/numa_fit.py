# SPDX-License-Identifier: Apache-2.0
"""Leads Nova's own choice of NUMA nodes to those of an allocation candidate, through the limits that Nova respects.

Nova fits the NUMA topology of a server to a host twice: here, and in nova-compute when it claims. Both times it
respects ``NUMATopologyLimits``, which travel with the selection, and takes only nodes near which the physical networks
are that these name. nova.conf of a host has a physical network for each of its nodes, a marker, which is near that node
alone. So limits with the markers of a candidate's nodes leave Nova these nodes and no others.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from nova import objects
from nova.virt import hardware

from kongming_sched.nova_numa.keys import DEVICES_KEY
from kongming_sched.nova_numa.markers import marker


class Choice(NamedTuple):
    """The candidate that a server is to take of a host.

    :ivar position: of the candidate
    :ivar limits: Nova's NUMATopologyLimits that lead to its nodes
    """

    position: int
    limits: Any


class _Limits(NamedTuple):
    """Nova's NUMATopologyLimits for some nodes of hosts with the same ratios.

    :ivar leading: with the markers of the nodes
    :ivar plain: without any network
    """

    leading: Any
    plain: Any


class NumaFit:
    """Nova's fit of one server to hosts, candidate by candidate.

    :param spec: Nova's RequestSpec, with a NUMA topology
    """

    def __init__(self, spec: Any) -> None:
        self._topology = spec.numa_topology.obj_clone()  # the fit writes into what it is given
        self._has_local_devices = DEVICES_KEY in spec.flavor.extra_specs
        self._pci_requests = spec.pci_requests.requests if spec.pci_requests else None
        asked = spec.network_metadata if "network_metadata" in spec else None
        self._physnets = set(asked.physnets) if asked and "physnets" in asked else set()
        self._is_tunneled = bool(asked and "tunneled" in asked and asked.tunneled)
        self._known_limits: dict[tuple[Sequence[int], float, float], _Limits] = {}

    def choose(self, host_state: Any, candidates: Iterable[tuple[int, Sequence[int]]]) -> Choice | str:
        """The first candidate whose nodes Nova takes if the limits name them, or why there is none.

        :param candidates: position and nodes of each, the best first
        """
        host = host_state.numa_topology
        if host is None:
            return "nova-compute reports no NUMA nodes"
        ids = [cell.id for cell in host.cells]
        if wrong := _wrong_markers(host.cells, ids):
            return wrong
        tried: dict[tuple[int, ...], list[int] | None] = {}  # without devices, equal nodes give equal answers
        for position, nodes in candidates:
            limits = self._limits(host_state, nodes)
            key = tuple(sorted(nodes))
            if self._pci_requests or key not in tried:
                mappings = host_state.allocation_candidates[position]["mappings"]
                tried[key] = self._fit(host, nodes, limits, mappings, host_state.pci_stats)
            # Where Nova tries these nodes in this order before any others, it has tried each pair if it takes them.
            # If a server is on fewer nodes than the host has, Nova sorts these first. A single node has one pair.
            is_sure = len(nodes) == 1 or ids == [*nodes]
            if tried[key] == [*nodes] and (is_sure or self._fits_in_order(host, limits.plain, nodes)):
                return Choice(position, limits.leading)
        return self._why_none(host_state, sorted(tried))

    def _fit(self, host: Any, nodes: Sequence[int], limits: _Limits, mappings: Any, pci_stats: Any) -> list[int] | None:
        """The node of each cell, as Nova chooses them; None if the server does not fit.

        With their markers in the limits Nova takes these nodes and no others, so that it is asked about these alone,
        without the markers, which costs half of the whole. But networks and tunnels that the server asks for may be
        near another node, which Nova then refuses these for.
        """
        if len(self._topology.cells) > 1:
            self._clear()
        if (self._physnets or self._is_tunneled) and self._are_networks_near(host.cells):
            part, asked = host, limits.leading
        else:
            part, asked = _part(host, nodes), limits.plain
        fitted = hardware.numa_fit_instance_to_host(
            part,
            self._topology,
            limits=asked,
            pci_requests=self._pci_requests,
            pci_stats=pci_stats,
            provider_mapping=mappings,
        )
        return None if fitted is None else [cell.id for cell in fitted.cells]

    def _are_networks_near(self, cells: Sequence[Any]) -> bool:
        """Whether a node of a host is near a network or a tunnel that the server asks for."""
        near = [cell.network_metadata for cell in cells]
        return any(self._physnets & each.physnets or (self._is_tunneled and each.tunneled) for each in near)

    def _why_none(self, host_state: Any, tried: Sequence[tuple[int, ...]]) -> str:
        """Why Nova takes none of the nodes that were tried."""
        words = " or ".join(",".join(map(str, nodes)) for nodes in tried[:8])
        if self._pci_requests and any(self._fits_without_devices(host_state, nodes) for nodes in tried):
            named = sorted({request.alias_name for request in self._pci_requests if request.alias_name})
            devices = f"device of alias {' or '.join(named)}" if named else "device for a port of the server"
            other = (
                "take devices: local off the template"
                if self._has_local_devices
                else "let hw:pci_numa_affinity_policy be preferred"
            )
            return (
                f"no free {devices} is near node {words}, where Placement has room for the server; see [pci] of that"
                f" host's nova.conf, or {other}"
            )
        return f"Nova's own fit does not put the server on node {words}, where Placement has room for it"

    def _fits_without_devices(self, host_state: Any, nodes: Sequence[int]) -> bool:
        self._clear()
        return (
            hardware.numa_fit_instance_to_host(
                host_state.numa_topology,
                self._topology,
                limits=self._limits(host_state, nodes).leading,
                provider_mapping=None,
            )
            is not None
        )

    def _fits_in_order(self, host: Any, limits: Any, nodes: Sequence[int]) -> bool:
        """Whether each cell fits on its node.

        Of several cells Nova remembers which pairs of cell and node fit by ids that the fit itself changes, and so may
        take a pair for fitting that it has not tried. So it is asked about these nodes alone, in this order.
        """
        by_id = {cell.id: cell for cell in host.cells}
        self._clear()
        fitted = hardware.numa_fit_instance_to_host(
            objects.NUMATopology(cells=[by_id[node] for node in nodes]),
            self._topology,
            limits=limits,
            provider_mapping=None,
        )
        return fitted is not None and [cell.id for cell in fitted.cells] == [*nodes]

    def _clear(self) -> None:
        """Take off the ids that the last fit has written into the cells: Nova remembers by them what fits."""
        for index, cell in enumerate(self._topology.cells):
            cell.id = -1 - index

    def _limits(self, host_state: Any, nodes: Sequence[int]) -> _Limits:
        """Those that lead to the nodes, with the networks that the server asks for. Hosts share them."""
        cpu_ratio, ram_ratio = host_state.cpu_allocation_ratio, host_state.ram_allocation_ratio
        limits = self._known_limits.get((nodes, cpu_ratio, ram_ratio))
        if limits is None:
            ratios = {"cpu_allocation_ratio": cpu_ratio, "ram_allocation_ratio": ram_ratio}
            physnets = self._physnets | {marker(node) for node in nodes}
            network = objects.NetworkMetadata(physnets=physnets, tunneled=self._is_tunneled)
            leading = objects.NUMATopologyLimits(**ratios, network_metadata=network)
            limits = _Limits(leading, objects.NUMATopologyLimits(**ratios))
            self._known_limits[nodes, cpu_ratio, ram_ratio] = limits
        return limits


@functools.cache
def _nothing() -> Any:
    """A node on which no server fits."""
    no_cpus: set[int] = set()
    return objects.NUMACell(
        id=-100,
        cpuset=no_cpus,
        pcpuset=no_cpus,
        memory=0,
        cpu_usage=0,
        memory_usage=0,
        pinned_cpus=no_cpus,
        siblings=[],
        mempages=[],
    )


def _part(host: Any, nodes: Sequence[int]) -> Any:
    """Some nodes of a host, in the order in which Nova tries them on the whole host.

    Nova sorts nodes by their use if a server leaves some of them out. So there is one more, which has nothing.
    """
    if len(nodes) == len(host.cells):
        return host
    cells = [cell for cell in host.cells if cell.id in nodes]
    return objects.NUMATopology(cells=cells if len(nodes) == 1 else [*cells, _nothing()])


def _wrong_markers(cells: Sequence[Any], ids: Sequence[int]) -> str | None:
    """What is wrong with the markers of a host's nodes; None if each has its own and no other."""
    for node, cell in zip(ids, cells, strict=True):
        try:
            physnets = cell.network_metadata.physnets
        except NotImplementedError:  # a field that is not set, as of a host without networks in nova.conf
            physnets = ()
        if marker(node) in physnets and (len(physnets) == 1 or not _others(ids, node, physnets)):
            continue
        others = _others(ids, node, physnets)
        what = f"has the physical network {others[0]}" if others else f"lacks the physical network {marker(node)}"
        return f"node {node} {what}; 'kongming-agent --check' on the host prints the lines that its nova.conf needs"
    return None


def _others(ids: Sequence[int], node: int, physnets: Collection[str]) -> list[str]:
    """The markers of other nodes that a node has."""
    return [marker(other) for other in ids if other != node and marker(other) in physnets]
