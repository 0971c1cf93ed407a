# SPDX-License-Identifier: Apache-2.0
"""A cloud for the commands: the real Placement in process, and the real Nova API on loopback where a test needs it."""

from __future__ import annotations

import contextlib
import functools
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.placement.tree import desired_tree
from kongming_sched.pools import HostCpus, HostPools
from kongming_sched.topology import HostTopology
from testbed.lab import cloud
from testbed.lab.nova_api import NovaApi
from testbed.lab.placement_api import TOKEN
from tests.functional.cli.neutron import neutron_without_ports
from tests.functional.cli.samples import GOLD
from tests.functional.cli.shell import Shell
from tests.functional.conftest import PlacementService

NOWHERE = "http://127.0.0.1:1"
"""An endpoint at which nothing listens."""

PAGE = 3
"""How many items Nova gives at once, so that lists of more are pages."""

Write = Callable[..., str]
Register = Callable[[str, HostTopology], str]
InCloud = Callable[..., Shell]


@dataclass(frozen=True)
class Nova:
    """Nova's API by its own words, to prepare a test and to see what became of it.

    Servers are built by nobody; their flavor is copied when they are asked for.
    """

    endpoint: str

    def call(self, method: str, path: str, **body: Any) -> Any:
        """Send a request and give the answer's body."""
        headers = {"X-Auth-Token": TOKEN, "OpenStack-API-Version": "compute 2.61"}
        answer = requests.request(method, self.endpoint + path, json=body or None, headers=headers, timeout=30)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def create_flavor(
        self,
        name: str,
        vcpus: int = 4,
        memory_mb: int = 1024,
        public: bool = True,
        flavor_id: str | None = None,
        specs: Mapping[str, str] | None = None,
    ) -> str:
        """A flavor with a disk and these extra specs; gives its id."""
        flavor = {"name": name, "vcpus": vcpus, "ram": memory_mb, "disk": 1, "os-flavor-access:is_public": public}
        flavor |= {"id": flavor_id} if flavor_id else {}
        made: str = self.call("POST", "/flavors", flavor=flavor)["flavor"]["id"]
        if specs:
            self.call("POST", f"/flavors/{made}/os-extra_specs", extra_specs=specs)
        return made

    def extra_specs(self, flavor_id: str) -> dict[str, str]:
        """The extra specs of a flavor."""
        specs: dict[str, str] = self.call("GET", f"/flavors/{flavor_id}")["flavor"]["extra_specs"]
        return specs

    def create_server(self, name: str, flavor_id: str, **more: Any) -> str:
        """A server without image and network; gives its id."""
        disk = {"boot_index": 0, "source_type": "blank", "destination_type": "local", "guest_format": "ext4"}
        server = {"name": name, "flavorRef": flavor_id, "imageRef": "", "networks": "none"} | more
        server_id: str = self.call("POST", "/servers", server=server | {"block_device_mapping_v2": [disk]})["server"][
            "id"
        ]
        return server_id

    def metadata(self, server_id: str) -> dict[str, str]:
        """The metadata of a server."""
        metadata: dict[str, str] = self.call("GET", f"/servers/{server_id}/metadata")["metadata"]
        return metadata

    def clear(self) -> None:
        """Delete all flavors."""
        while flavors := self.call("GET", "/flavors?is_public=None")["flavors"]:
            for flavor in flavors:
                self.call("DELETE", f"/flavors/{flavor['id']}")


@contextlib.contextmanager
def paging_nova(directory: Path) -> Iterator[NovaApi]:
    """Nova's API, which gives few items at once."""
    api = NovaApi(directory)
    with neutron_without_ports() as neutron:
        with (directory / "nova.conf").open("a") as configuration:
            configuration.write(f"[neutron]\nendpoint_override = {neutron}\n[api]\nmax_limit = {PAGE}\n")
        with api:
            yield api


@pytest.fixture(scope="session")
def nova_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NovaApi]:
    with paging_nova(tmp_path_factory.mktemp("nova")) as api:
        yield api


@pytest.fixture
def nova(nova_api: NovaApi) -> Iterator[Nova]:
    """Nova's API without flavors and servers."""
    client = Nova(nova_api.endpoint)
    yield client
    client.clear()
    nova_api.forget_servers()


def cloud_shell(directory: Path, placement_endpoint: str, compute_endpoint: str | None = None) -> Shell:
    """The ``openstack`` command of a cloud with these endpoints, which a file in the directory names."""
    path = directory / f"clouds-{uuid.uuid4()}.yaml"
    cloud.write_clouds_yaml(path, placement_endpoint, compute_endpoint)
    return Shell(cloud.environment(path))


@pytest.fixture
def in_cloud(tmp_path: Path) -> InCloud:
    """Makes the ``openstack`` command of a cloud with these endpoints."""
    return functools.partial(cloud_shell, tmp_path)


@pytest.fixture
def openstack(in_cloud: InCloud, placement: PlacementService) -> Shell:
    """The ``openstack`` command of a cloud that has Placement, and whose Nova is down."""
    return in_cloud(placement.endpoint, NOWHERE)


@pytest.fixture
def openstack_with_nova(in_cloud: InCloud, placement: PlacementService, nova: Nova) -> Shell:
    """The ``openstack`` command of a cloud that has both."""
    return in_cloud(placement.endpoint, nova.endpoint)


NO_CPUS = CpuSet()


def register_host(placement: PlacementService, name: str, topology: HostTopology, shared: CpuSet = NO_CPUS) -> str:
    """Register a host as its agent does; gives its provider's id.

    All CPUs are dedicated but those of each node's first core, of which some may be shared.
    """
    client = placement.client
    if not client.providers(name=name):
        placement.add_host(name, str(uuid.uuid5(uuid.NAMESPACE_DNS, name)))
    registry = NodeRegistry(client, name)
    root, aggregates, states = registry.observe()
    housekeeping = CpuSet.union(node.cores[0].cpus for node in topology.nodes)
    pools = HostPools(topology.cpus - housekeeping, shared, housekeeping - shared, 4.0)
    stored = TemplateStore(client).list().templates.values()
    offered = [item.template for item in stored if item.is_offered_to(aggregates)]
    tree = desired_tree(root.uuid, root.name, HostCpus(topology, pools), offered, states)
    registry.write(root, tree.nodes, states)
    return root.uuid


@pytest.fixture
def register(placement: PlacementService) -> Register:
    """Registers a host as its agent does."""
    return functools.partial(register_host, placement)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file and gives its path."""

    def write_file(content: str | bytes, name: str = "template.yaml") -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write_file


@pytest.fixture
def gold(openstack: Shell, write: Write) -> str:
    """The template ``gold``, stored; gives its file."""
    path = write(GOLD, "gold.yaml")
    assert openstack("kongming template create --file", path).code == 0
    return path
