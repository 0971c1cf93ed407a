# SPDX-License-Identifier: Apache-2.0
"""What Nova does in Placement: it registers the host, and claims for servers."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from keystoneauth1 import adapter, session, token_endpoint

from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.flavor import cell_requests
from kongming_sched.placement.templates import TemplateStore
from testbed.lab.placement_api import TOKEN
from testbed.numa_host.proof_setup import TEMPLATES, THREADS_PER_CORE, Server

_HEADERS = {"OpenStack-API-Version": "placement 1.38"}
_PROJECT = "1ab00000000000000000000000000002"
_USER = "1ab00000000000000000000000000001"

Allocations = Mapping[str, Mapping[str, int]]
"""Provider to resource class to amount."""


class Cloud:
    """The emulated host's place in a real Placement.

    :ivar root_uuid: the provider of the host
    """

    def __init__(self, endpoint: str) -> None:
        auth = token_endpoint.Token(endpoint, TOKEN)
        self._adapter = adapter.Adapter(session.Session(auth), "placement")
        self.client = PlacementClient(self._adapter)
        self.templates = TemplateStore(self.client)
        self.root_uuid = str(uuid.uuid4())

    def register_host(self, name: str, memory_mb: int) -> None:
        """Make the host's root provider."""
        provider = self.client.create_provider(self.root_uuid, name)
        inventory = {"MEMORY_MB": {"total": memory_mb, "max_unit": memory_mb}}
        body = {"resource_provider_generation": provider.generation, "inventories": inventory}
        self._adapter.put(f"/resource_providers/{self.root_uuid}/inventories", json=body, headers=_HEADERS)

    def node_uuid(self, node: int) -> str:
        """The provider of a NUMA node of the host."""
        return names.node_uuid(self.root_uuid, node)

    def total(self, node: int, resource_class: str) -> int:
        """How much of a class a node has; 0 if it has none."""
        mine = self.node_uuid(node)
        if mine not in {provider.uuid for provider in self.client.providers(in_tree=self.root_uuid)}:
            return 0
        inventory = self.client.inventories(mine).get(resource_class)
        return inventory.capacity if inventory else 0

    def offered(self, template: str) -> list[int]:
        """The nodes that offer a template now."""
        trait = names.template_trait(template)
        providers = {provider.uuid for provider in self.client.providers(in_tree=self.root_uuid)}
        return [
            node
            for node in (0, 1)
            if self.node_uuid(node) in providers and trait in self.client.traits(self.node_uuid(node))
        ]

    def claims(self, server: Server, nodes: tuple[int, ...]) -> dict[str, dict[str, int]]:
        """What Nova claims for a server whose cells are on these nodes."""
        cells = cell_requests(TEMPLATES[server.template], server.memory_mb, THREADS_PER_CORE)
        allocations = {self.root_uuid: {"MEMORY_MB": server.memory_mb}}
        for node, cell in zip(nodes, cells, strict=True):
            allocations[self.node_uuid(node)] = dict(cell.resources)
        return allocations

    def claim(self, server: Server, nodes: tuple[int, ...]) -> None:
        """Claim for a server; one that has claimed already gives that back in the same request."""
        url = f"/allocations/{server.uuid}"
        known: dict[str, Any] = self._adapter.get(url, headers=_HEADERS).json()
        claims = self.claims(server, nodes)
        body = {
            "allocations": {provider: {"resources": resources} for provider, resources in claims.items()},
            "project_id": _PROJECT,
            "user_id": _USER,
            "consumer_generation": known.get("consumer_generation"),
            "consumer_type": "INSTANCE",
        }
        self._adapter.put(url, json=body, headers=_HEADERS)

    def claimed(self, server: Server) -> list[int]:
        """The nodes on which a server has claimed."""
        claim = self._adapter.get(f"/allocations/{server.uuid}", headers=_HEADERS).json()["allocations"]
        return [node for node in (0, 1) if self.node_uuid(node) in claim]

    def release(self, server: Server) -> None:
        """Give back what a server has."""
        self._adapter.delete(f"/allocations/{server.uuid}", headers=_HEADERS)
