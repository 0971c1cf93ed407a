# SPDX-License-Identifier: Apache-2.0
"""PlacementClient against the real Placement; where it must fail, an adapter answers in Placement's stead."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import openstack
import pytest
from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import session, token_endpoint

from kongming_sched.exceptions import PlacementConflict, PlacementError, PlacementUnavailable, ProviderNotFound
from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory, PlacementClient, Provider
from kongming_sched.placement.summaries import ProviderSummary
from testbed.adapters import CONFLICT, Answer, Canned, Counting
from tests.functional.conftest import PlacementService

HOST = "5a1e0000-0000-4000-8000-000000000001"
OTHER_HOST = "5a1e0000-0000-4000-8000-000000000002"
NODE = names.node_uuid(HOST, 0)
AGGREGATE = "a9900000-0000-4000-8000-000000000001"
NOWHERE = "00000000-0000-4000-8000-000000000000"


def add_node(client: PlacementClient, host: str, node_id: int, cpus: int, reserved: int = 0) -> Provider:
    """A node provider with a dedicated pool below a host, perhaps all reserved as a retired one is."""
    node = client.create_provider(names.node_uuid(host, node_id), names.node_name(host, node_id), host)
    client.ensure_resource_classes([names.NODE, names.PCPU])
    client.ensure_traits([names.node_trait(node_id)])
    inventories = {names.NODE: Inventory(1, min(reserved, 1)), names.PCPU: Inventory(cpus, reserved)}
    generation = client.set_inventories(node.uuid, node.generation, inventories)
    client.set_traits(node.uuid, generation, [names.HW_NUMA_ROOT, names.node_trait(node_id)])
    return node


def test_a_provider_is_listed_as_it_was_created(placement: PlacementService) -> None:
    """Ids, name, parent and root."""
    root = placement.client.create_provider(HOST, "compute1")
    child = placement.client.create_provider(NODE, "compute1_kongming_numa0", HOST)
    assert Provider(HOST, "compute1", 0, HOST, None) == root
    assert Provider(NODE, "compute1_kongming_numa0", 0, HOST, HOST) == child
    assert {HOST, NODE} == {provider.uuid for provider in placement.client.providers(in_tree=NODE)}
    assert [child] == placement.client.providers(name="compute1_kongming_numa0")


def test_a_deleted_provider_is_gone(placement: PlacementService) -> None:
    """With its traits."""
    root = placement.client.create_provider(HOST, "compute1")
    placement.client.set_traits(HOST, root.generation, [names.HW_NUMA_ROOT])
    placement.client.delete_provider(HOST)
    assert [] == placement.client.providers()


def test_what_is_written_is_read_back(placement: PlacementService) -> None:
    """Traits, aggregates and inventories replace what was there, and each gives the provider's new generation."""
    client = placement.client
    generation = client.create_provider(HOST, "compute1").generation
    client.ensure_traits(["CUSTOM_OLD", "CUSTOM_NEW"])
    client.ensure_resource_classes([names.VCPU])
    shared = {names.VCPU: Inventory(4, 1, 2.5)}
    generation = client.set_traits(HOST, generation, ["CUSTOM_OLD"])
    generation = client.set_traits(HOST, generation, ["CUSTOM_NEW", names.HW_NUMA_ROOT])
    generation = client.set_aggregates(HOST, generation, [AGGREGATE])
    generation = client.set_inventories(HOST, generation, shared)
    assert {"CUSTOM_NEW", names.HW_NUMA_ROOT} == client.traits(HOST)
    assert {AGGREGATE} == client.aggregates(HOST)
    assert shared == client.inventories(HOST)
    assert generation == client.providers(uuid=HOST)[0].generation


def test_capacity_is_what_placement_makes_of_an_inventory(placement: PlacementService) -> None:
    """Total less reserved, times the ratio, rounded down."""
    client = placement.client
    provider = client.create_provider(HOST, "compute1")
    client.ensure_resource_classes([names.NODE, names.VCPU])
    shared = Inventory(5, 2, 1.5)
    client.set_inventories(HOST, provider.generation, {names.NODE: Inventory(1), names.VCPU: shared})
    assert shared.capacity == client.node_summaries()[0].capacity[names.VCPU] == 4


def test_allocations_are_read_per_consumer(placement: PlacementService) -> None:
    """With what each has of the provider, and nothing of other providers."""
    client = placement.client
    placement.add_host("compute1", HOST)
    add_node(client, HOST, 0, cpus=8)
    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    placement.allocate(one, {NODE: {names.PCPU: 2}, HOST: {"MEMORY_MB": 512}})
    placement.allocate(other, {NODE: {names.PCPU: 3}})
    assert {one: {names.PCPU: 2}, other: {names.PCPU: 3}} == client.allocations(NODE)


WRITES: list[Callable[[PlacementClient, str, int], int]] = [
    lambda client, provider, generation: client.set_traits(provider, generation, [names.HW_NUMA_ROOT]),
    lambda client, provider, generation: client.set_aggregates(provider, generation, [AGGREGATE]),
    lambda client, provider, generation: client.set_inventories(provider, generation, {"MEMORY_MB": Inventory(8)}),
]
WRITE_IDS = ["traits", "aggregates", "inventories"]


@pytest.mark.parametrize("write", WRITES, ids=WRITE_IDS)
def test_a_write_on_an_old_generation_is_a_conflict(
    placement: PlacementService, write: Callable[[PlacementClient, str, int], int]
) -> None:
    """Another client wrote in between: nothing is overwritten."""
    client = placement.client
    stale = client.create_provider(HOST, "compute1").generation
    fresh = client.set_traits(HOST, stale, ["HW_CPU_X86_AVX2"])
    with pytest.raises(PlacementConflict) as caught:
        write(client, HOST, stale)
    assert 409 == caught.value.status
    assert {"HW_CPU_X86_AVX2"} == client.traits(HOST)
    assert fresh < write(client, HOST, fresh)


@pytest.mark.parametrize(
    "call",
    [
        *WRITES,
        lambda client, provider, _: client.traits(provider),
        lambda client, provider, _: client.aggregates(provider),
        lambda client, provider, _: client.inventories(provider),
        lambda client, provider, _: client.allocations(provider),
        lambda client, provider, _: client.delete_provider(provider),
    ],
    ids=[*WRITE_IDS, "read traits", "read aggregates", "read inventories", "read allocations", "delete"],
)
def test_a_provider_that_is_not_there_is_named(
    placement: PlacementService, call: Callable[[PlacementClient, str, int], object]
) -> None:
    """The error is one of its own, so that callers take it for no outage."""
    with pytest.raises(ProviderNotFound, match=NOWHERE) as caught:
        call(placement.client, NOWHERE, 0)
    assert 404 == caught.value.status


@pytest.mark.parametrize(
    ("provider", "name"), [(OTHER_HOST, "compute1"), (HOST, "compute2")], ids=["name taken", "id taken"]
)
def test_a_taken_name_or_id_is_no_conflict_that_goes_away(
    placement: PlacementService, provider: str, name: str
) -> None:
    """Placement says 409 here too, but trying again would not help."""
    placement.client.create_provider(HOST, "compute1")
    with pytest.raises(PlacementError, match=f"create provider {name}") as caught:
        placement.client.create_provider(provider, name)
    assert not isinstance(caught.value, PlacementConflict)
    assert (409, "placement.duplicate_name") == (caught.value.status, caught.value.code)


def test_an_inventory_in_use_cannot_be_taken_away(placement: PlacementService) -> None:
    """Placement refuses it, and keeps the servers' claims."""
    client = placement.client
    placement.add_host("compute1", HOST)
    add_node(client, HOST, 0, cpus=8)
    placement.allocate(str(uuid.uuid4()), {NODE: {names.PCPU: 2}})
    generation = client.providers(uuid=NODE)[0].generation
    with pytest.raises(PlacementError, match="in use") as caught:
        client.set_inventories(NODE, generation, {names.NODE: Inventory(1)})
    assert (409, "placement.inventory.inuse") == (caught.value.status, caught.value.code)
    assert Inventory(8) == client.inventories(NODE)[names.PCPU]


def test_a_refusal_is_told_in_placements_words(placement: PlacementService) -> None:
    """One line of what was asked and why it cannot be."""
    with pytest.raises(PlacementError) as caught:
        placement.client.providers(in_tree="not-an-id")
    assert 400 == caught.value.status
    assert str(caught.value).startswith("Placement could not list providers (in_tree=not-an-id): ")
    assert "\n" not in str(caught.value)


def test_only_missing_traits_are_created(placement: PlacementService) -> None:
    """Standard traits are there already; the second time one request finds that all are."""
    counting = Counting(placement.adapter)
    client = PlacementClient(counting)
    client.ensure_traits([names.HW_NUMA_ROOT, "CUSTOM_A", "CUSTOM_B", "CUSTOM_A"])
    assert [("GET", "/traits"), ("PUT", "/traits/CUSTOM_A"), ("PUT", "/traits/CUSTOM_B")] == counting.requests
    client.ensure_traits(["CUSTOM_A", "CUSTOM_B"])
    assert ("GET", "/traits") == counting.requests[-1]
    assert 4 == len(counting.requests)


def test_many_traits_do_not_make_a_url_too_long(placement: PlacementService) -> None:
    """A template of 256 pinned vCPUs has as many traits; uWSGI takes a request line of 4096 bytes by default."""
    counting = Counting(placement.adapter)
    traits = {f"CUSTOM_KONGMING_C0_PIN_{vcpu}_ON_{vcpu + 256}" for vcpu in range(256)}
    PlacementClient(counting).ensure_traits(traits)
    assert max(len(urlencode(query)) for query in counting.queries) < 2500
    assert 256 == sum(method == "PUT" for method, _ in counting.requests)
    before = len(counting.requests)
    PlacementClient(counting).ensure_traits(traits)
    assert {("GET", "/traits")} == set(counting.requests[before:])


def test_resource_classes_are_created_once(placement: PlacementService) -> None:
    """Asking again for what is there is no error."""
    for _ in range(2):
        placement.client.ensure_resource_classes([names.PCPU, names.VCPU])
    listed = placement.adapter.get("/resource_classes", headers={"OpenStack-API-Version": "placement 1.36"}).json()
    assert {names.PCPU, names.VCPU} <= {item["name"] for item in listed["resource_classes"]}


def test_an_empty_cloud_has_no_nodes_and_no_templates(placement: PlacementService) -> None:
    """Placement knows neither resource class nor trait then, and says 400."""
    assert [] == placement.client.node_summaries()
    assert [] == placement.client.template_providers()


def test_all_nodes_of_the_cloud_are_read_in_one_request(placement: PlacementService) -> None:
    """Capacity, use and traits of each; the roots and retired nodes do not appear."""
    client = placement.client
    for host in (HOST, OTHER_HOST):
        placement.add_host(host, host)
        add_node(client, host, 0, cpus=8)
        add_node(client, host, 1, cpus=6, reserved=6)
    placement.allocate(str(uuid.uuid4()), {NODE: {names.PCPU: 3}})
    counting = Counting(placement.adapter)
    summaries = {summary.uuid: summary for summary in PlacementClient(counting).node_summaries()}
    expected = ProviderSummary(
        NODE,
        HOST,
        HOST,
        frozenset({names.HW_NUMA_ROOT, names.node_trait(0)}),
        {names.NODE: 1, names.PCPU: 8},
        {names.NODE: 0, names.PCPU: 3},
    )
    assert 1 == len(counting.requests)
    assert {NODE, names.node_uuid(OTHER_HOST, 0)} == summaries.keys()
    assert expected == summaries[NODE]
    assert (5, 0) == (summaries[NODE].free(names.PCPU), summaries[NODE].free("CUSTOM_OTHER"))


def test_the_client_speaks_through_openstacksdk(placement: PlacementService) -> None:
    """A Connection's placement proxy is an adapter as good as keystoneauth's own."""
    auth = token_endpoint.Token(placement.endpoint, placement.token)
    connection = openstack.connection.Connection(
        session=session.Session(auth), placement_endpoint_override=placement.endpoint
    )
    client = PlacementClient(connection.placement)
    client.create_provider(HOST, "compute1")
    assert ["compute1"] == [provider.name for provider in client.providers()]
    with pytest.raises(ProviderNotFound):
        client.traits(NOWHERE)


CALLS: dict[str, Callable[[PlacementClient], Any]] = {
    "list providers": lambda client: client.providers(name="compute1"),
    "list templates": lambda client: client.template_providers(),
    "summarise nodes": lambda client: client.node_summaries(),
    "read traits": lambda client: client.traits(HOST),
    "read aggregates": lambda client: client.aggregates(HOST),
    "read inventories": lambda client: client.inventories(HOST),
    "read allocations": lambda client: client.allocations(HOST),
    "ensure traits": lambda client: client.ensure_traits(["CUSTOM_A"]),
    "create a provider": lambda client: client.create_provider(HOST, "compute1"),
    "set traits": lambda client: client.set_traits(HOST, 0, []),
    "set aggregates": lambda client: client.set_aggregates(HOST, 0, []),
    "set inventories": lambda client: client.set_inventories(HOST, 0, {}),
}
SILENT_CALLS: dict[str, Callable[[PlacementClient], Any]] = {
    "ensure resource classes": lambda client: client.ensure_resource_classes([names.NODE]),
    "delete a provider": lambda client: client.delete_provider(HOST),
}
"""Calls whose answer has no body to read."""

OUTAGES = {
    "no connection": ksa_exceptions.ConnectFailure("connection refused"),
    "no answer in time": ksa_exceptions.ConnectTimeout("timed out"),
    "no endpoint in the catalog": ksa_exceptions.EndpointNotFound("no placement endpoint"),
    "500 from Placement": Answer(
        500, '{"errors": [{"code": "placement.undefined_code", "detail": "database is away"}]}'
    ),
    "503 from a proxy": Answer(503, "<html>Service Unavailable</html>"),
    "404 from a web server": Answer(404, "<html>Not Found</html>"),
}
GARBAGE = {
    "no body": Answer(200),
    "a page": Answer(200, "<html>Welcome</html>"),
    "another shape": Answer(200, '{"versions": []}'),
    "a list": Answer(200, "[]"),
    "nothing in it": Answer(200, "null"),
}


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES)
@pytest.mark.parametrize("call", (CALLS | SILENT_CALLS).values(), ids=CALLS | SILENT_CALLS)
def test_an_outage_is_told_from_a_refusal(call: Callable[[PlacementClient], Any], outage: Answer | Exception) -> None:
    """Who gets PlacementUnavailable waits and tries again."""
    with pytest.raises(PlacementUnavailable, match="Placement could not"):
        call(PlacementClient(Canned(outage)))


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_answer_that_is_not_placements_counts_as_none(
    call: Callable[[PlacementClient], Any], garbage: Answer
) -> None:
    """A captive portal or a proxy's page is not an empty cloud."""
    with pytest.raises(PlacementUnavailable, match="is not Placement's"):
        call(PlacementClient(Canned(garbage)))


@pytest.mark.parametrize("call", (CALLS | SILENT_CALLS).values(), ids=CALLS | SILENT_CALLS)
def test_a_conflict_is_told_from_an_outage(call: Callable[[PlacementClient], Any]) -> None:
    """Who gets PlacementConflict observes again at once."""
    with pytest.raises(PlacementConflict, match="resource provider changed"):
        call(PlacementClient(Canned(CONFLICT)))


def test_a_refusal_without_placements_words_has_the_status() -> None:
    """As keystonemiddleware answers to a token that is not valid."""
    answer = Answer(401, '{"error": {"code": 401, "title": "Unauthorized"}}')
    with pytest.raises(PlacementError, match="HTTP status 401") as caught:
        PlacementClient(Canned(answer)).providers()
    assert not isinstance(caught.value, PlacementUnavailable | PlacementConflict | ProviderNotFound)
