# SPDX-License-Identifier: Apache-2.0
"""Nova's filter and weigher handlers over candidates of a real Placement, without Nova's database and messages."""

from __future__ import annotations

import contextlib
import copy
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from keystoneauth1 import exceptions as ksa_exceptions
from nova import objects
from nova.scheduler import filters, host_manager, weights

from kongming_sched.cpuset import CpuSet
from kongming_sched.filters.numa import KongmingNumaFilter
from kongming_sched.filters.template import KongmingTemplateFilter
from kongming_sched.placement import names
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.tree import desired_tree
from kongming_sched.pools import HostCpus, HostPools
from kongming_sched.template import PinningTemplate
from kongming_sched.topology import HostTopology
from kongming_sched.weighers.packing import KongmingPackingWeigher
from testbed.nova_objects import make_host_state
from tests.functional.conftest import PlacementService


def register_host(
    placement: PlacementService, name: str, topology: HostTopology, templates: Sequence[PinningTemplate] = ()
) -> str:
    """A host whose agent has registered its nodes: all CPUs of a node but the first are dedicated. Gives its uuid."""
    root_uuid = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
    placement.add_host(name, root_uuid)
    housekeeping = CpuSet.of(node.cpus.first for node in topology.nodes)
    registry = NodeRegistry(placement.client, name)
    root, _, states = registry.observe()
    pools = HostPools(topology.cpus - housekeeping, housekeeping=housekeeping)
    registry.write(root, desired_tree(root_uuid, name, HostCpus(topology, pools), templates, states).nodes, states)
    return root_uuid


class Scheduler:
    """One request, scheduled as ``nova.scheduler.manager.SchedulerManager._schedule`` does it.

    :ivar hosts: the hosts of which Placement has candidates
    :ivar refused: how many claims Placement has refused
    """

    def __init__(
        self,
        placement: PlacementService,
        spec: objects.RequestSpec,
        weighers: Sequence[type] = (KongmingPackingWeigher,),
    ) -> None:
        self._placement = placement
        self._spec = spec
        self.refused = 0
        self._filters = [KongmingTemplateFilter(), KongmingNumaFilter()]
        self._weighers = [weigher() for weigher in weighers]
        answer = self._ask_for_candidates()
        roots = {provider.uuid: provider.name for provider in placement.client.providers() if not provider.parent_uuid}
        self.hosts = [
            make_host_state(roots[root], root, copy.deepcopy(requests))
            for root in sorted(roots)
            if (requests := [request for request in answer if root in request["allocations"]])
        ]

    def schedule(self) -> dict[str, Mapping[str, int]] | None:
        """Place and claim one more server of the request; gives what it took by provider, None if it got no host."""
        return self.claim(self.choose())

    def choose(self) -> list[host_manager.HostState]:
        """The hosts for one more server, the best first."""
        self._spec.instance_uuid = str(uuid.uuid4())
        hosts = filters.HostFilterHandler().get_filtered_objects(self._filters, self.hosts, self._spec)
        weighed = weights.HostWeightHandler().get_weighed_objects(self._weighers, hosts, self._spec)
        return [item.obj for item in weighed]

    def claim(self, hosts: Sequence[host_manager.HostState]) -> dict[str, Mapping[str, int]] | None:
        """Claim the first host that Placement gives; gives what was taken by provider, None if it gives none.

        What it refuses is counted.
        """
        for host in hosts:
            taken = host.allocation_candidates[0]["allocations"]
            amounts = {provider: item["resources"] for provider, item in taken.items()}
            with contextlib.suppress(ksa_exceptions.Conflict):
                self._placement.allocate(self._spec.instance_uuid, amounts)
                host.num_instances += 1  # as HostState.consume_from_request does
                return amounts
            self.refused += 1
        return None

    def _ask_for_candidates(self) -> list[dict[str, Any]]:
        query = {"resources": "MEMORY_MB:256", "group_policy": "none"}
        for key, value in self._spec.flavor.extra_specs.items():
            kind, _, name = key.partition(":")
            if kind.startswith("resources_"):
                query[kind] = f"{query[kind]},{name}:{value}" if kind in query else f"{name}:{value}"
            elif kind.startswith("trait_"):
                required = kind.replace("trait_", "required_")
                query[required] = f"{query[required]},{name}" if required in query else name
        version = {"OpenStack-API-Version": "placement 1.36"}
        response = self._placement.adapter.get("/allocation_candidates", params=query, headers=version)
        return list(response.json()["allocation_requests"])


def node_of(root_uuid: str, amounts: Mapping[str, object] | None) -> list[int]:
    """The NUMA nodes of a host from which a claim takes something."""
    return [node for node in range(8) if amounts and names.node_uuid(root_uuid, node) in amounts]
