# SPDX-License-Identifier: Apache-2.0
"""Users with no more than the roles that the documents name, by the policies of the real Placement and Nova."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from keystoneauth1 import adapter, session, token_endpoint

from kongming_sched import exceptions
from kongming_sched.agent.triggers.nova import NovaClient
from kongming_sched.cloud.compute import ComputeClient
from kongming_sched.cloud.nodes import read_nodes
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.templates import TemplateStore
from testbed.lab.nova_api import NovaApi
from tests.functional.agent.world import TEMPLATES, World
from tests.functional.cli.conftest import Nova, paging_nova
from tests.functional.conftest import PlacementService

HOST = "node1"
GONE = "5e00e000-0000-4000-8000-000000000001"

DOCUMENT = Path(__file__).parents[2] / "doc/source/install/controllers.rst"

RULES = ("detail", "detail:get_all_tenants", "allow_all_filters")
"""What an operator allows a user that is no administrator, so that the agent may ask Nova."""


def as_role(placement: PlacementService, role: str) -> adapter.Adapter:
    """A way to Placement for a user with this role alone."""
    connections = requests.Session()
    connections.trust_env = False
    auth = token_endpoint.Token(placement.endpoint, "user:project")
    return adapter.Adapter(session.Session(auth, connections), "placement", additional_headers={"X-Roles": role})


def test_the_agent_needs_the_role_service_in_placement(placement: PlacementService) -> None:
    """With it alone it registers a host, offers templates and pins servers."""
    for template in TEMPLATES.values():
        TemplateStore(placement.client).create(template)
    world = World(placement, "host")
    world.adapter = as_role(placement, "service")
    world.start_agent()
    assert () == world.settle().problems
    world.boot_all()
    assert () == world.settle().problems
    assert "5" == world.pins()["exact-1"][0]


def test_scheduler_and_commands_need_the_role_service_in_placement(placement: PlacementService) -> None:
    """With it alone the picture of the NUMA nodes is read, and templates are created, changed and deleted."""
    world = World(placement, "host")
    world.settle()
    client = PlacementClient(as_role(placement, "service"))
    store = TemplateStore(client)
    store.create(TEMPLATES["gold"])
    assert ["gold"] == list(store.list().templates)
    assert 2 == len(client.node_summaries()) == len(read_nodes(client))
    store.delete("gold")
    assert {} == store.list().templates


@pytest.mark.parametrize("role", ["reader", "member"])
def test_another_role_is_not_enough_in_placement(placement: PlacementService, role: str) -> None:
    """What is refused, and which role is needed, is one message."""
    client = PlacementClient(as_role(placement, role))
    with pytest.raises(exceptions.PlacementError, match=r"Placement could not list providers.*role service or admin"):
        client.providers()
    with pytest.raises(exceptions.PlacementError, match=r"role service or admin"):
        client.node_summaries()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nova")


@pytest.fixture(scope="module")
def api(directory: Path) -> Iterator[NovaApi]:
    """Nova's API by its own policies."""
    with paging_nova(directory) as api:
        yield api


@pytest.fixture(scope="module")
def server(api: NovaApi) -> str:
    """The id of a server of an administrator's project."""
    nova = Nova(api.endpoint)
    made = nova.create_server("s", nova.create_flavor("m1", vcpus=1), metadata={"kongming:cpus": "5"})
    api.build(made, HOST)
    return made


def nova_as(api: NovaApi, token: str) -> NovaClient:
    """The agent's way to Nova for the user with this token."""
    return NovaClient(adapter.Adapter(session.Session(token_endpoint.Token(api.endpoint, token)), "compute"))


@pytest.mark.parametrize("token", ["service", "reader"])
def test_a_user_without_the_role_admin_in_nova(api: NovaApi, server: str, token: str) -> None:
    """Its servers are not taken for deleted because Nova hides them, and the message names the remedy."""
    nova = nova_as(api, token)
    for read in (lambda: nova.metadata(server), lambda: nova.metadata(GONE), lambda: nova.metadata_of_host(HOST)):
        with pytest.raises(exceptions.ComputeError) as caught:
            read()
        assert "set a user with the role admin there, instead of auth_section = placement" in caught.value.reason
        assert [f"os_compute_api:servers:{rule}" for rule in RULES] == re.findall(
            r"os_compute_api:[a-z_:]+", caught.value.reason
        )


@pytest.mark.parametrize("token", ["service", "reader"])
def test_commands_without_the_role_admin_in_nova(api: NovaApi, token: str) -> None:
    """What they cannot do, and which role is needed, is one message."""
    nova = ComputeClient(lambda: adapter.Adapter(session.Session(token_endpoint.Token(api.endpoint, token)), "compute"))
    for read in (lambda: list(nova.servers()), lambda: list(nova.hypervisors()), nova.aggregates):
        with pytest.raises(exceptions.ComputeError, match="This needs the role admin"):
            read()


def test_an_administrator_in_nova(api: NovaApi, server: str) -> None:
    """It reads servers of all projects, and what was deleted is gone."""
    nova = nova_as(api, "admin")
    assert {"kongming:cpus": "5"} == nova.metadata(server)
    assert None is nova.metadata(GONE)
    assert {server: {"kongming:cpus": "5"}} == nova.metadata_of_host(HOST)


def test_a_role_that_novas_policy_allows_it(api: NovaApi, server: str, directory: Path) -> None:
    """With the three rules of the documents the role service is enough, and the same is read."""
    lines = re.findall(r'^ +("os_compute_api:.*")$', DOCUMENT.read_text(), re.MULTILINE)
    assert list(RULES) == [line.split('"')[1].removeprefix("os_compute_api:servers:") for line in lines]
    policy = directory / "policy.yaml"
    policy.write_text("\n".join(lines))
    try:
        nova = nova_as(api, "service")
        assert {"kongming:cpus": "5"} == nova.metadata(server)
        assert None is nova.metadata(GONE)
        assert {server: {"kongming:cpus": "5"}} == nova.metadata_of_host(HOST)
    finally:
        policy.write_text("{}\n")
