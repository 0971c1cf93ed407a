# SPDX-License-Identifier: Apache-2.0
"""Equal hosts in a real Placement in this process, for bursts of servers."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import requests
from keystoneauth1 import adapter, session, token_endpoint
from keystoneauth1 import exceptions as ksa_exceptions
from placement import deploy
from placement.tests.functional.fixtures import placement as placement_fixture
from wsgi_intercept import interceptor

from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory, PlacementClient

NODES, CPUS, MEMORY_MB = 2, 30, 65536
SIZES = {"big": 8, "small": 1}
"""Of the first three fit on a node, as whole cores of a fake host's node do."""

ROOT_RESOURCES = {"VCPU": 4 * 64, "MEMORY_MB": 2 * MEMORY_MB}
NODE_RESOURCES = {names.NODE: 1, names.PCPU: CPUS}

VERSION = {"OpenStack-API-Version": "placement 1.36"}


def roots_of(hosts: int) -> dict[str, str]:
    """The compute nodes of so many hosts, each with its name."""
    return {str(uuid.uuid5(uuid.NAMESPACE_DNS, f"c{index}")): f"c{index:03}" for index in range(hosts)}


def node_traits(node: int) -> frozenset[str]:
    """The traits of a NUMA node."""
    return frozenset(
        {names.HW_NUMA_ROOT, names.smt_trait(2), names.node_trait(node), *map(names.template_trait, SIZES)}
    )


class Cloud:
    """Equal hosts in a real Placement."""

    def __init__(self, connection: adapter.Adapter, hosts: int) -> None:
        self.adapter = connection
        self.client = PlacementClient(connection)
        self.roots = roots_of(hosts)
        self.client.ensure_resource_classes([names.NODE, names.PCPU])
        self.client.ensure_traits(
            {trait for node in range(NODES) for trait in node_traits(node)} - {names.HW_NUMA_ROOT}
        )
        for root, name in self.roots.items():
            self._provider(root, name, None, ROOT_RESOURCES, {"COMPUTE_NODE"})
            for node in range(NODES):
                child = names.node_uuid(root, node), names.node_name(name, node)
                self._provider(*child, root, NODE_RESOURCES, node_traits(node))

    def _provider(
        self, uuid_: str, name: str, parent: str | None, resources: Mapping[str, int], traits: Iterable[str]
    ) -> None:
        inventories = {resource_class: Inventory(total) for resource_class, total in resources.items()}
        generation = self.client.create_provider(uuid_, name, parent).generation
        self.client.set_traits(uuid_, self.client.set_inventories(uuid_, generation, inventories), set(traits))

    def candidates(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """What Placement offers now."""
        answer = self.adapter.get("/allocation_candidates", params={**query, "limit": 1000}, headers=VERSION)
        return list(answer.json()["allocation_requests"])

    def claim(self, server: str, allocations: Mapping[str, Any]) -> bool:
        """Whether Placement takes a claim."""
        body = {"allocations": allocations, "project_id": "p", "user_id": "u", "consumer_generation": None}
        with contextlib.suppress(ksa_exceptions.Conflict):
            self.adapter.put(f"/allocations/{server}", json=body, headers=VERSION)
            return True
        return False

    def clear(self, servers: Sequence[str]) -> None:
        """Take all servers away."""
        for server in servers:
            self.adapter.delete(f"/allocations/{server}", headers=VERSION)


@contextlib.contextmanager
def running(hosts: int) -> Iterator[Cloud]:
    """A Placement with so many hosts."""
    for name in ("placement", "oslo_policy", "oslo_concurrency", "oslo_db"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    endpoint, connections = f"http://{uuid.uuid4()}/placement", requests.Session()
    connections.trust_env = False
    with placement_fixture.PlacementFixture("admin", use_intercept=False) as fixture:
        application = deploy.loadapp(fixture.conf_fixture.conf)
        with interceptor.RequestsInterceptor(lambda: application, url=endpoint):
            auth = token_endpoint.Token(endpoint, "admin")
            yield Cloud(adapter.Adapter(session.Session(auth, connections), "placement"), hosts)
