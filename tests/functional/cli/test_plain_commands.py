# SPDX-License-Identifier: Apache-2.0
"""What KongMing's commands write is what plain ``openstack`` commands write: Placement and Nova are the only stores."""

from __future__ import annotations

from typing import Any

import pytest

from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from testbed.lab.nova_api import NovaApi
from testbed.topologies import two_nodes_smt2
from tests.functional.cli.conftest import Nova, Register, Write
from tests.functional.cli.samples import AGGREGATE, GOLD
from tests.functional.cli.shell import Shell
from tests.functional.conftest import PlacementService

GOLD_TRAITS = [
    "CUSTOM_KONGMING_TEMPLATE",
    "CUSTOM_KONGMING_C0_VCPUS_0TO1",
    "CUSTOM_KONGMING_C0_CPUS_DEDICATED",
    "CUSTOM_KONGMING_C0_THREADS_ISOLATE",
    "CUSTOM_KONGMING_C0_MEMORY_STRICT",
    "CUSTOM_KONGMING_QOS_SHARES_1024",
    "CUSTOM_KONGMING_EMULATOR_SHARED",
    "CUSTOM_KONGMING_OVERRIDE_DENIED",
]
NODE_TRAITS = [names.HW_NUMA_ROOT, "CUSTOM_KONGMING_NODE_0", "CUSTOM_KONGMING_SMT_2"]


@pytest.fixture
def openstack(openstack_with_nova: Shell) -> Shell:
    """A cloud with Placement and Nova, whose plain commands know all of Placement's API."""
    return Shell({**openstack_with_nova.environment, "OS_PLACEMENT_API_VERSION": "1.39"})


def stored(client: PlacementClient) -> dict[str, Any]:
    """What each provider is, by its name, without what differs between ways of getting there."""
    return {
        provider.name: (
            client.traits(provider.uuid),
            client.aggregates(provider.uuid),
            client.inventories(provider.uuid),
        )
        for provider in client.providers()
    }


def run(openstack: Shell, line: str, *words: str) -> str:
    """What a command prints that succeeds."""
    done = openstack(line, *words)
    assert (done.code, done.err) == (0, ""), line
    return done.out.strip()


def set_traits(openstack: Shell, provider: str, traits: list[str]) -> None:
    """Replace a provider's traits with the plain command, and make those that are not there yet."""
    for trait in traits:
        if trait.startswith("CUSTOM_"):
            run(openstack, f"trait create {trait}")
    run(
        openstack, f"resource provider trait set {provider}", *(word for trait in traits for word in ("--trait", trait))
    )


def uuid_of(openstack: Shell, name: str) -> str:
    """A provider's id by its name."""
    return run(openstack, f"resource provider list --name {name} -f value -c uuid")


def test_template_create_set_and_delete(openstack: Shell, placement: PlacementService, write: Write) -> None:
    """A provider without inventory whose traits are the template, and whose aggregates say who is offered it."""
    run(openstack, "kongming template create --aggregate", AGGREGATE, "--file", write(GOLD))
    created = stored(placement.client)
    run(openstack, "kongming template set gold --no-aggregate --file", write(GOLD + "emulator: cell\n"))
    changed = stored(placement.client)
    run(openstack, "kongming template delete --force gold")
    deleted = stored(placement.client)

    provider = run(openstack, "resource provider create kongming_template_gold -f value -c uuid")
    words = ("--aggregate", AGGREGATE, "--generation", "0")
    run(openstack, f"resource provider aggregate set {provider}", *words)
    run(openstack, "trait create CUSTOM_KONGMING_TEMPLATE_GOLD")
    set_traits(openstack, provider, GOLD_TRAITS)
    assert created == stored(placement.client)
    assert [item["name"] for item in openstack.json("kongming template list")] == ["gold"]

    generation = run(openstack, f"resource provider show {provider} -f value -c generation")
    run(openstack, f"resource provider aggregate set {provider} --generation {generation}")
    cell = [trait.replace("EMULATOR_SHARED", "EMULATOR_CELL") for trait in GOLD_TRAITS]
    set_traits(openstack, provider, cell)
    assert changed == stored(placement.client)

    run(openstack, f"resource provider delete {provider}")
    run(openstack, "trait delete CUSTOM_KONGMING_TEMPLATE_GOLD")
    assert deleted == stored(placement.client) == {}


def test_host_disable_and_enable(
    openstack: Shell, placement: PlacementService, write: Write, register: Register
) -> None:
    """One trait of the node comes, and those of templates go."""
    run(openstack, "kongming template create --file", write(GOLD))
    register("c1", two_nodes_smt2())
    before = stored(placement.client)
    run(openstack, "kongming host disable c1 --node 0")
    disabled = stored(placement.client)
    run(openstack, "kongming host enable c1 --node 0")
    enabled = stored(placement.client)
    register("c1", two_nodes_smt2())
    assert before == stored(placement.client)

    node = uuid_of(openstack, names.node_name("c1", 0))
    set_traits(openstack, node, [*NODE_TRAITS, "CUSTOM_KONGMING_DISABLED"])
    assert disabled == stored(placement.client)
    set_traits(openstack, node, NODE_TRAITS)
    assert enabled == stored(placement.client)


def test_flavor_set_and_unset(openstack: Shell, nova: Nova, write: Write) -> None:
    """Extra specs, and nothing else."""
    run(openstack, "kongming template create --file", write(GOLD))
    ids = [nova.create_flavor(name, vcpus=2, memory_mb=512) for name in ("one", "two")]
    run(openstack, "kongming flavor set one --template gold --threads-per-core 2")
    properties = [
        "kongming:template=gold",
        "resources:VCPU=0",
        "resources_KONGMING0:CUSTOM_KONGMING_PCPU=4",
        "resources_KONGMING0:CUSTOM_KONGMING_MEMORY_MB=512",
        "trait_KONGMING0:CUSTOM_KONGMING_TEMPLATE_GOLD=required",
        "trait_KONGMING0:CUSTOM_KONGMING_SMT_2=required",
    ]
    run(openstack, "flavor set two", *(word for item in properties for word in ("--property", item)))
    assert nova.extra_specs(ids[0]) == nova.extra_specs(ids[1]) != {}
    assert openstack("kongming flavor validate two").code == 0

    run(openstack, "kongming flavor unset one")
    keys = [item.partition("=")[0] for item in properties]
    run(openstack, "flavor unset two", *(word for key in keys for word in ("--property", key)))
    assert nova.extra_specs(ids[0]) == nova.extra_specs(ids[1]) == {}


def test_server_set_and_unset(openstack: Shell, nova: Nova, nova_api: NovaApi, write: Write) -> None:
    """Metadata, and nothing else."""
    text = GOLD.replace("gold", "twin").replace("isolate", "any") + "override: allowed\n"
    run(openstack, "kongming template create --file", write(text))
    flavor = nova.create_flavor("of-twins", vcpus=2, memory_mb=512)
    run(openstack, "kongming flavor set of-twins --template twin")
    servers = [nova.create_server(name, flavor) for name in ("one", "two")]
    for server in servers:
        nova_api.build(server, "c1")
    run(openstack, f"kongming server set {servers[0]} --cpus 0:5;1:9")
    run(openstack, f"server set {servers[1]} --property kongming:cpus=0:5;1:9")
    assert nova.metadata(servers[0]) == nova.metadata(servers[1]) == {"kongming:cpus": "0:5;1:9"}
    run(openstack, f"kongming server unset {servers[0]} --cpus")
    run(openstack, f"server unset {servers[1]} --property kongming:cpus")
    assert nova.metadata(servers[0]) == nova.metadata(servers[1]) == {}


def test_what_is_listed_can_be_listed_otherwise(
    openstack: Shell, placement: PlacementService, write: Write, register: Register
) -> None:
    """The templates, the nodes with what is free, who offers what, and what a server has."""
    run(openstack, "kongming template create --file", write(GOLD))
    root = register("c1", two_nodes_smt2())
    server, node = "5e00e000-0000-4000-8000-000000000001", names.node_uuid(root, 0)
    placement.allocate(server, {root: {"MEMORY_MB": 512}, node: {names.PCPU: 4}})

    providers = openstack.json("resource provider list --required CUSTOM_KONGMING_TEMPLATE")
    listed = openstack.json("kongming template list")
    assert [f"kongming_template_{item['name']}" for item in listed] == [item["name"] for item in providers]

    traits = openstack.json("resource provider trait list", uuid_of(openstack, "kongming_template_gold"))
    assert sorted(GOLD_TRAITS) == sorted(item["name"] for item in traits)

    shown = openstack.json("kongming host list")
    candidates = openstack.json("allocation candidate list --resource CUSTOM_KONGMING_NODE=1")
    free = {item["resource provider"]: item["inventory used/capacity"].split(",") for item in candidates}
    for number, item in enumerate(shown):
        usage = item["dedicated_cpus"]
        assert f"{names.PCPU}={usage['used']}/{usage['total']}" in free[names.node_uuid(root, number)]

    offering = openstack.json("resource provider list --required CUSTOM_KONGMING_TEMPLATE_GOLD")
    assert sorted(item["name"] for item in offering) == [f"c1_kongming_numa{item['node']}" for item in shown]

    allocation = openstack.json("resource provider allocation show", server)
    of_node = [item["resources"] for item in allocation if item["resource_provider"] == node]
    servers = openstack.json("kongming host show c1")["servers"]
    assert of_node == [{names.PCPU: 4}]
    assert servers == [{"server": server, "node": 0, "resources": {"dedicated_cpus": 4}}]
