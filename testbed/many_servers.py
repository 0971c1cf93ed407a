# SPDX-License-Identifier: Apache-2.0
"""A cloud of many servers in a Placement: hosts as their agents register them, and servers as Nova claims for them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from kongming_sched import exceptions
from kongming_sched.cloud.compute import Flavor, Server
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.client import Claim, Inventory, PlacementClient
from kongming_sched.placement.flavor import cell_requests, extra_specs
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.placement.tree import desired_tree
from kongming_sched.pools import HostCpus, HostPools
from kongming_sched.template import PinningTemplate
from testbed.topologies import make_topology

MEMORY_MB = 16
VCPUS = 1
GOLD = PinningTemplate.from_mapping({"name": "gold", "cells": [{"vcpus": "0", "cpus": "dedicated"}]})
SILVER = PinningTemplate.from_mapping({"name": "silver", "cells": [{"vcpus": "0", "cpus": "shared"}]})
_SHARED = CpuSet.parse("0,8,16,24")
_TOPOLOGY = make_topology(2, 8, 2)
CPUS = HostCpus(_TOPOLOGY, HostPools(_TOPOLOGY.cpus - _SHARED, _SHARED, CpuSet(), 8.0))
PER_NODE = 14
"""How many servers of gold a node has room for; of silver it is 16."""


@dataclass
class StandInNova:
    """What the commands ask of Nova about servers, which here are only claims in Placement."""

    by_id: dict[str, Server] = field(default_factory=dict)

    def servers(self) -> Iterator[Server]:
        """Every server."""
        return iter(self.by_id.values())

    def find_server(self, server_id: str) -> Server:
        """One server."""
        if server_id not in self.by_id:
            raise exceptions.ServerNotFound(server_id, "there is no server")
        return self.by_id[server_id]

    def set_metadata(self, server: Server, metadata: Mapping[str, str]) -> None:
        """Nothing here sets any."""
        raise NotImplementedError

    def delete_metadata(self, server: Server, key: str) -> None:
        """Nothing here deletes any."""
        raise NotImplementedError


def build(client: PlacementClient, hosts: int, servers: int) -> StandInNova:
    """Hosts of two nodes, and servers of gold that fill one node after the other."""
    store = TemplateStore(client)
    for template in (GOLD, SILVER):
        store.create(template)
    flavor = Flavor("", "m1.gold", VCPUS, MEMORY_MB, extra_specs(GOLD, {}, vcpus=VCPUS, memory_mb=MEMORY_MB))
    nova = StandInNova()
    for index in range(hosts):
        name = f"compute-{index:04}"
        root = _register(client, name)
        for number in range(index, servers, hosts):
            node = names.node_uuid(root, number // hosts // PER_NODE)
            server_id = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"server-{number}"))
            taken = {root: {"MEMORY_MB": MEMORY_MB}, node: cell_requests(GOLD, MEMORY_MB, 2)[0].resources}
            client.replace_claim(Claim(server_id, None, "project", "user", taken))
            nova.by_id[server_id] = Server(server_id, f"web-{number}", flavor, {}, name, "ACTIVE", "project")
    return nova


def _register(client: PlacementClient, name: str) -> str:
    """A compute node as nova-compute and the agent register it; gives its id."""
    root = client.create_provider(str(uuid.uuid5(uuid.NAMESPACE_DNS, name)), name)
    client.set_inventories(root.uuid, root.generation, {"MEMORY_MB": Inventory(8192)})
    registry = NodeRegistry(client, name)
    observed, _, states = registry.observe()
    registry.write(observed, desired_tree(root.uuid, name, CPUS, [GOLD, SILVER], states).nodes, states)
    return root.uuid
