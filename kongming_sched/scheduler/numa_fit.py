# SPDX-License-Identifier: Apache-2.0
"""Leads Nova's own choice of NUMA nodes to those of an allocation candidate, through the limits that Nova respects.

Nova fits the NUMA topology of a server to a host twice: here, and in nova-compute when it claims. Both times it
respects ``NUMATopologyLimits``, which travel with the selection, and takes only nodes near which the physical networks
are that these name. nova.conf of a host has a physical network for each of its nodes, a marker, which is near that node
alone. So limits with the markers of a candidate's nodes leave Nova these nodes and no others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from nova import objects
from nova.virt import hardware

from kongming_sched.nova_numa.markers import marker


class Choice(NamedTuple):
    """The candidate that a server is to take of a host.

    :ivar position: of the candidate
    :ivar limits: Nova's NUMATopologyLimits that lead to its nodes
    """

    position: int
    limits: Any


class NumaFit:
    """Nova's fit of one server to hosts, candidate by candidate.

    :param spec: Nova's RequestSpec, with a NUMA topology
    """

    def __init__(self, spec: Any) -> None:
        self._topology = spec.numa_topology.obj_clone()  # the fit writes into what it is given
        self._pci_requests = spec.pci_requests.requests if spec.pci_requests else None
        asked = spec.network_metadata if "network_metadata" in spec else None
        self._physnets = set(asked.physnets) if asked and "physnets" in asked else set()
        self._is_tunneled = bool(asked and "tunneled" in asked and asked.tunneled)
        self._known_limits: dict[tuple[Sequence[int], float, float], Any] = {}

    def choose(self, host_state: Any, candidates: Iterable[tuple[int, Sequence[int]]]) -> Choice | str:
        """The first candidate whose nodes Nova takes if the limits name them, or why there is none.

        :param candidates: position and nodes of each, the best first
        """
        host = host_state.numa_topology
        if host is None:
            return "nova-compute reports no NUMA nodes"
        if wrong := _wrong_markers(host.cells):
            return wrong
        tried: dict[tuple[int, ...], list[int] | None] = {}  # without devices, equal nodes give equal answers
        for position, nodes in candidates:
            limits = self._limits(host_state, nodes)
            key = tuple(sorted(nodes))
            if self._pci_requests or key not in tried:
                mappings = host_state.allocation_candidates[position]["mappings"]
                tried[key] = self._fit(self._part(host, nodes), limits, mappings, host_state.pci_stats)
            if tried[key] == [*nodes] and (len(nodes) == 1 or self._fits_alone(host, limits, nodes)):
                return Choice(position, limits)
        return self._why_none(host_state, sorted(tried))

    def _fit(self, host: Any, limits: Any, mappings: Any, pci_stats: Any) -> list[int] | None:
        """The node of each cell, as Nova chooses them; None if the server does not fit."""
        if len(self._topology.cells) > 1:
            self._clear()
        fitted = hardware.numa_fit_instance_to_host(
            host,
            self._topology,
            limits=limits,
            pci_requests=self._pci_requests,
            pci_stats=pci_stats,
            provider_mapping=mappings,
        )
        return None if fitted is None else [cell.id for cell in fitted.cells]

    def _part(self, host: Any, nodes: Sequence[int]) -> Any:
        """What of a host Nova has to be asked about: of a single node this node alone, which costs half of the whole.

        With its marker in the limits Nova takes no other node. But networks and tunnels that the server asks for may be
        near another node, which Nova then refuses this one for.
        """
        if len(nodes) > 1 or ((self._physnets or self._is_tunneled) and self._are_networks_near(host.cells)):
            return host
        return objects.NUMATopology(cells=[cell for cell in host.cells if cell.id == nodes[0]])

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
            return (
                f"no free {devices} is near node {words}, where Placement has room for the server; see [pci] of that"
                " host's nova.conf, or let hw:pci_numa_affinity_policy be preferred"
            )
        return f"Nova's own fit does not put the server on node {words}, where Placement has room for it"

    def _fits_without_devices(self, host_state: Any, nodes: Sequence[int]) -> bool:
        self._clear()
        return (
            hardware.numa_fit_instance_to_host(
                host_state.numa_topology,
                self._topology,
                limits=self._limits(host_state, nodes),
                provider_mapping=None,
            )
            is not None
        )

    def _fits_alone(self, host: Any, limits: Any, nodes: Sequence[int]) -> bool:
        """Whether each cell fits on its node by itself.

        Of several cells Nova remembers which pairs of cell and node fit by ids that the fit itself changes, and so may
        take a pair for fitting that it has not tried.
        """
        by_id = {cell.id: cell for cell in host.cells}
        self._clear()
        alone = objects.NUMATopologyLimits(
            cpu_allocation_ratio=limits.cpu_allocation_ratio, ram_allocation_ratio=limits.ram_allocation_ratio
        )
        policy = self._topology.emulator_threads_policy if "emulator_threads_policy" in self._topology else None
        policies = [policy, *[None] * len(nodes)]  # the first cell has the emulator
        return all(
            hardware.numa_fit_instance_to_host(
                objects.NUMATopology(cells=[by_id[node]]),
                objects.InstanceNUMATopology(cells=[cell], emulator_threads_policy=policy),
                limits=alone,
                provider_mapping=None,
            )
            for cell, node, policy in zip(self._topology.cells, nodes, policies, strict=False)
        )

    def _clear(self) -> None:
        """Take off the ids that the last fit has written into the cells: Nova remembers by them what fits."""
        for index, cell in enumerate(self._topology.cells):
            cell.id = -1 - index

    def _limits(self, host_state: Any, nodes: Sequence[int]) -> Any:
        """Limits with the markers of the nodes, and with the networks that the server asks for. Hosts share them."""
        cpu_ratio, ram_ratio = host_state.cpu_allocation_ratio, host_state.ram_allocation_ratio
        limits = self._known_limits.get((nodes, cpu_ratio, ram_ratio))
        if limits is None:
            physnets = self._physnets | {marker(node) for node in nodes}
            network = objects.NetworkMetadata(physnets=physnets, tunneled=self._is_tunneled)
            limits = objects.NUMATopologyLimits(
                cpu_allocation_ratio=cpu_ratio, ram_allocation_ratio=ram_ratio, network_metadata=network
            )
            self._known_limits[nodes, cpu_ratio, ram_ratio] = limits
        return limits


def _wrong_markers(cells: Sequence[Any]) -> str | None:
    """What is wrong with the markers of a host's nodes; None if each has its own and no other."""
    ids = [cell.id for cell in cells]
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
