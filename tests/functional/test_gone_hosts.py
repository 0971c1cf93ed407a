# SPDX-License-Identifier: Apache-2.0
"""What is left of compute nodes that Nova does not know any more, on the real Placement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from kongming_sched import exceptions
from kongming_sched.cloud.compute import ComputeClient, Flavor, Hypervisor, Server
from kongming_sched.cloud.gone_hosts import Removal
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from testbed.adapters import Failing, Failure
from tests.functional.agent.world import World, store_templates
from tests.functional.conftest import PlacementService

NEW_ROOT = "5a1e0000-0000-4000-8000-000000000009"
OTHER_ROOT = "5a1e0000-0000-4000-8000-00000000000a"


@dataclass
class NovaAnswers:
    """Stands for Nova's API: the compute nodes and the servers that it knows."""

    hypervisors_by_name: dict[str, str] = field(default_factory=dict)
    hosts: dict[str, str] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()

    def hypervisors(self) -> Iterable[Hypervisor]:
        """The compute nodes of cells that answer."""
        return [Hypervisor(uuid, name) for name, uuid in self.hypervisors_by_name.items()]

    def find_server(self, name_or_id: str) -> Server:
        """A server by its id."""
        if name_or_id not in self.hosts:
            raise exceptions.ServerNotFound(name_or_id, "there is no server")
        return Server(name_or_id, "web", Flavor("", "m1", 1, 1, {}), host=self.hosts[name_or_id])

    def silent_hosts(self) -> frozenset[str]:
        """The hosts of cells that do not answer."""
        return self.silent


@dataclass
class Scene:
    """A compute node that Nova has deleted, with servers of every template that have claims of Nova's too."""

    world: World
    nova: NovaAnswers

    @property
    def client(self) -> PlacementClient:
        """Placement."""
        return self.world.placement.client

    def removal(self, host: str = "host") -> Removal:
        """What the command would do."""
        return Removal(PlacementClient(self.world.adapter), cast("ComputeClient", self.nova), host)

    def remove(self) -> Removal:
        """What the command does."""
        removal = self.removal()
        assert [] == removal.refusals
        removal.carry_out()
        return removal

    def tree(self, root: str) -> list[str]:
        """The names of the providers of a tree."""
        return sorted(provider.name for provider in self.client.providers(in_tree=root))

    def claims(self) -> dict[str, dict[str, dict[str, int]]]:
        """Server to its claim, with nodes and roots by their names."""
        by_id = {provider.uuid: provider.name for provider in self.client.providers()}
        return {
            name: {by_id[provider]: dict(resources) for provider, resources in claim.resources.items()}
            for name, uuid in self.world.servers.items()
            if (claim := self.client.claim(uuid)) is not None
        }

    def come_back(self, name: str = "host") -> World:
        """Let nova-compute register the host under a new id, and its agent its nodes."""
        self.world.placement.add_host(name, NEW_ROOT)
        self.world.name, self.world.root = name, NEW_ROOT
        self.world.start_agent()
        self.world.run_pass()
        return self.world

    def keep_servers(self) -> None:
        """Let Nova have the servers on the new compute node of the name."""
        self.nova.hypervisors_by_name["host"] = NEW_ROOT
        self.nova.hosts = dict.fromkeys(self.world.servers.values(), "host")


def claim_more(client: PlacementClient, server: str, root: str) -> None:
    """Let a server claim memory of a compute node as well."""
    claim = client.claim(server)
    assert claim
    client.replace_claim(replace(claim, resources={**claim.resources, root: {"MEMORY_MB": 512}}))


@pytest.fixture
def scene(placement: PlacementService) -> Scene:
    """A host with servers whose compute service was deleted."""
    store_templates(placement.client)
    world = World(placement, "host")
    world.settle()
    world.boot_all()
    for server in world.servers.values():
        claim_more(placement.client, server, world.root)
    (root,) = placement.client.providers(uuid=world.root)
    placement.client.set_traits(world.root, root.generation, {"COMPUTE_NODE"})
    return Scene(world, NovaAnswers())


def test_a_host_without_servers(scene: Scene) -> None:
    """Its nodes and its provider are deleted, with the claims of servers that Nova does not know."""
    servers = scene.world.servers.values()

    removal = scene.remove()

    assert [] == scene.tree(scene.world.root)
    assert {} == scene.claims()
    assert [
        *((f"claim of {server}", "dropped: Nova has no server of this id") for server in sorted(servers)),
        ("node 0", "deleted"),
        ("node 1", "deleted"),
        (f"compute node {scene.world.root}", "deleted"),
    ] == removal.changes


def test_a_reinstalled_host(scene: Scene) -> None:
    """While Nova waits for the name the old provider makes room; then claims move to the new nodes, and it goes."""
    old, before = scene.world.root, scene.claims()
    scene.keep_servers()

    first = scene.remove()
    waiting = scene.claims()
    world = scene.come_back()
    scene.remove()

    aside = f"host-{old[:8]}"
    assert [
        (f"compute node {old}", f"host -> {aside}; run this again once its agent has registered the new one's nodes")
    ] == first.changes
    assert {name.replace(aside, "host") for claim in waiting.values() for name in claim} == {
        name for claim in before.values() for name in claim
    }
    assert before == scene.claims()
    assert [] == scene.tree(old)
    assert ["host", "host_kongming_numa0", "host_kongming_numa1"] == scene.tree(NEW_ROOT)
    assert () == world.settle().problems


def test_a_host_that_an_operator_has_renamed(scene: Scene) -> None:
    """Where the new compute node is there already, one run moves the claims."""
    old, before = scene.world.root, scene.claims()
    scene.client.rename_provider(old, "host-before")
    scene.keep_servers()
    scene.come_back()

    removal = scene.removal(old)
    removal.carry_out()

    assert (before, []) == (scene.claims(), scene.tree(old))


def test_servers_that_were_evacuated(scene: Scene) -> None:
    """What they have claimed on another host stays, and what they had here is dropped."""
    scene.world.placement.add_host("other", OTHER_ROOT)
    scene.nova.hypervisors_by_name["other"] = OTHER_ROOT
    server = scene.world.servers["gold-1"]
    scene.nova.hosts[server] = "other"
    claim_more(scene.client, server, OTHER_ROOT)

    removal = scene.remove()

    assert {"gold-1": {"other": {"MEMORY_MB": 512}}} == scene.claims()
    assert (f"claim of web ({server})", "dropped: it has its claim on other") in removal.changes


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("host", "it is on host by Nova; evacuate or delete it first"),
        ("", "it is on no host by Nova; evacuate or delete it first"),
        ("other", "other has nothing like host_kongming_numa0, where it has claimed; start kongming-agent there first"),
    ],
)
def test_servers_that_stand_against_it(scene: Scene, host: str, words: str) -> None:
    """A server that is still there by Nova, or whose claim has nowhere to go, is a reason to write nothing."""
    scene.world.placement.add_host("other", OTHER_ROOT)
    scene.nova.hypervisors_by_name["other"] = OTHER_ROOT
    scene.nova.hosts[scene.world.servers["gold-1"]] = host

    (refusal,) = scene.removal().refusals

    assert words in str(refusal)


def test_a_cell_that_does_not_answer(scene: Scene) -> None:
    """A host that Nova only cannot see now is not taken for gone."""
    scene.nova.silent = frozenset({"host.example.org"})

    (refusal,) = scene.removal().refusals

    assert "Nova could not say whether host is gone: its cell does not answer" == str(refusal)


def test_a_host_in_service(scene: Scene) -> None:
    """A compute node that Nova has is refused, with what to do first; so is a name that nothing has."""
    scene.nova.hypervisors_by_name["host"] = scene.world.root

    with pytest.raises(exceptions.HostNotFound, match="'openstack compute service delete' first"):
        scene.removal()
    with pytest.raises(exceptions.HostNotFound, match="has no nodes of a compute node that is gone"):
        scene.removal("nobody")


def test_providers_of_others(scene: Scene) -> None:
    """What Nova has registered below the compute node stays, and so does the compute node, which a dry run says."""
    scene.client.create_provider(OTHER_ROOT, "host_pci_0000_81_00", scene.world.root)

    removal = scene.remove()

    assert ["host", "host_pci_0000_81_00"] == scene.tree(scene.world.root)
    stays = "stays, for it has providers that are not KongMing's: host_pci_0000_81_00"
    assert [(f"compute node {scene.world.root}", stays)] == removal.left


def test_a_mark_of_the_machine_goes_along(scene: Scene) -> None:
    """A trait that no other node has is deleted with the last node."""
    trait = names.machine_trait("AAAAAAAAAAAA")
    scene.client.ensure_traits([trait])
    for node in (0, 1):
        (provider,) = scene.client.providers(uuid=scene.world.node(node))
        traits = scene.client.traits(provider.uuid) | {trait}
        scene.client.set_traits(provider.uuid, provider.generation, traits)

    scene.remove()

    answer = scene.world.placement.adapter.get("/traits", headers={"OpenStack-API-Version": "placement 1.36"}).json()
    assert trait not in answer["traits"]


@pytest.mark.parametrize("failing", [0, 2, 5, 6, 8, 9, 10])
@pytest.mark.parametrize("failure", [Failure.LOST_ANSWER, Failure.SERVER_ERROR])
def test_whichever_write_fails(scene: Scene, failing: int, failure: Failure) -> None:
    """Claims are never lost, and the same again completes it."""
    old, before = scene.world.root, scene.claims()
    scene.client.rename_provider(old, "host-before")
    scene.keep_servers()
    scene.come_back()
    removal = scene.removal(old)
    removal.placement = PlacementClient(Failing(scene.world.adapter, failing, failure))
    with pytest.raises(exceptions.PlacementError):
        removal.carry_out()
    during = scene.claims()

    if scene.tree(old):
        scene.removal(old).carry_out()

    assert {name.replace("-before", "") for claim in during.values() for name in claim} >= {"host"}
    assert (before.keys(), before) == (during.keys(), scene.claims())
    assert [] == scene.tree(old)
