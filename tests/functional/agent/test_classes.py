# SPDX-License-Identifier: Apache-2.0
"""Guests follow the class that an operator gives their server: real Placement, simulated guests."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.telemetry import change_log
from kongming_sched.agent.telemetry.change_log import ChangeLog
from kongming_sched.cloud.classes.change import ClassChanger
from kongming_sched.cloud.compute import Flavor, Server
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory, PlacementClient
from kongming_sched.placement.flavor import extra_specs
from kongming_sched.placement.templates import TemplateStore
from testbed.adapters import Counting, Meddling
from testbed.simulated_host import domain_xml
from tests.functional.agent.world import MEMORY_MB, TEMPLATES, World, store_templates
from tests.functional.conftest import PlacementService

OTHER = "00000000-0000-0000-0000-0000000000aa"
"""Another consumer, as Nova's migrations are."""


class ClassWorld:
    """A host whose servers Nova has claimed for, with what an operator does to them.

    :ivar world: the host with its agent
    """

    def __init__(self, placement: PlacementService) -> None:
        store_templates(placement.client)
        self.placement = placement
        self.world = World(placement, "host")
        (root,) = placement.client.providers(name="host")
        inventories = {"MEMORY_MB": Inventory(8192), "VCPU": Inventory(16)}
        placement.client.set_inventories(root.uuid, root.generation, inventories)
        self.world.settle()
        self.specs: dict[str, dict[str, str]] = {}

    def boot(self, name: str, template: str | None, *nodes: int, vcpus: int = 1) -> str:
        """Claim for a server as Nova does, and start its guest; gives its id."""
        server = self.world.servers[name] = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        self.specs[server] = {}
        if template is not None:
            layout = TEMPLATES[template]
            vcpus = layout.vcpus
            self.specs[server] = extra_specs(layout, {}, vcpus=vcpus, memory_mb=MEMORY_MB, threads_per_core=2)
        self.claim_by_flavor(server, template, *nodes, vcpus=vcpus)
        self.world.host.spawn(server, vcpus, self.specs[server])
        return server

    def claim_by_flavor(self, server: str, template: str | None, *nodes: int, vcpus: int = 1) -> None:
        """Claim what Nova claims for a server of a flavor."""
        wanted: dict[str, dict[str, int]] = {self.world.root: {"MEMORY_MB": MEMORY_MB}}
        if template is None:
            wanted[self.world.root]["VCPU"] = vcpus
        for index, node in enumerate(nodes):
            group = f"resources_KONGMING{index}:"
            amounts = {key.removeprefix(group): int(value) for key, value in self.specs[server].items() if group in key}
            wanted[self.world.node(node)] = amounts
        self.placement.allocate(server, wanted)

    def hand_claim_to_migration(self, server: str) -> None:
        """Let another consumer have what a server has claimed, as Nova does where it moves a server."""
        claim = self.placement.client.claim(server)
        assert claim is not None
        headers = {"OpenStack-API-Version": "placement 1.36"}
        self.placement.adapter.delete(f"/allocations/{server}", headers=headers)
        self.placement.allocate(OTHER, {key: dict(value) for key, value in claim.resources.items()})

    def nova(self, server: str) -> Server:
        """A server as Nova's API has it."""
        domain = next(domain for domain in self.world.host.domains() if domain.uuid == server)
        vcpus = domain.xml.count("<vcpupin") or int(domain.xml.split('<vcpu placement="static">')[1].split("<")[0])
        flavor = Flavor("", "a-flavor", vcpus, MEMORY_MB, self.specs[server])
        return Server(server, domain.name, flavor, {}, "host", "ACTIVE")

    def set(self, server: str, template: str | None, node: int | None = None) -> None:
        """``openstack kongming server set``, or ``unset`` for None."""
        client = self.placement.client
        ClassChanger(client, TemplateStore(client)).change(self.nova(server), template, node)

    def vcpus(self, server: str) -> list[CpuSet]:
        """Where the vCPUs of a guest run."""
        domain = next(domain for domain in self.world.host.domains() if domain.uuid == server)
        return list(self.world.host.threads(domain).vcpus.values())


@pytest.fixture
def classes(placement: PlacementService) -> ClassWorld:
    """A host without servers."""
    return ClassWorld(placement)


def is_alone(cpus: list[CpuSet], node: int) -> bool:
    """Whether each vCPU has a dedicated CPU of its own on a node."""
    of_node = {0: CpuSet.parse("1-3,9-11"), 1: CpuSet.parse("5-7,13-15")}[node]
    return all(len(each) == 1 and each <= of_node for each in cpus) and len(set(cpus)) == len(cpus)


def test_there_and_back(classes: ClassWorld) -> None:
    """A dedicated server floats over the shared pool with the quota of its class, and then has a CPU again."""
    server = classes.boot("gold-1", "gold", 0)
    classes.world.settle()
    before = classes.vcpus(server)
    assert is_alone(before, 0)

    classes.set(server, "bronze")
    outcome = classes.world.settle()
    assert outcome.problems == ()
    basis = outcome.pinning.bases[server]
    assert ("bronze", "gold") == (basis.name, basis.flavor_template)
    assert [CpuSet.parse("8")] == classes.vcpus(server)
    assert 50000 == classes.world.host.scheduler_of(server)["vcpu_quota"]

    classes.set(server, None)
    assert classes.world.settle().problems == ()
    assert is_alone(classes.vcpus(server), 0)
    assert 2048 == classes.world.host.scheduler_of(server)["cpu_shares"]


def test_the_history_names_the_command(classes: ClassWorld, tmp_path: Path) -> None:
    """A change that a class has caused names the beginning of the request id, as long as that class holds."""
    history, path = ChangeLog(), tmp_path / "history.jsonl"
    history.write_to(path, 1)
    server = classes.boot("gold-1", "gold", 0)

    def reasons() -> list[str]:
        """Of what a pass has added of its vCPU."""
        seen = len(list(change_log.read(path)))
        history.record(classes.world.run_pass())
        changes = list(change_log.read(path))[seen:]
        return [change.why for change in changes if change.what == "vCPU 0"]

    reasons()
    for template, node, request_id in (("bronze", 0, "req-1a2b3c4d"), ("bronze", 1, "req-2a2b3c4d")):
        named = PlacementClient(classes.placement.adapter, f"{request_id}-0000-4000-8000-000000000000")
        ClassChanger(named, TemplateStore(named)).change(classes.nova(server), template, node)
        (why,) = reasons()
        assert why.startswith(("it has template bronze, version ", "its claim was changed; template bronze, version "))
        assert why.endswith(f", by request {request_id}")
    classes.set(server, None)
    (why,) = reasons()
    assert re.fullmatch(r"it has template gold, version \d+, instead of bronze", why)
    history.close()


def test_a_server_of_before(classes: ClassWorld) -> None:
    """A server whose flavor names no template gets its CPUs and its memory on one node, and then all CPUs again."""
    server = classes.boot("plain-1", None, vcpus=2)
    classes.world.settle()
    everywhere = [classes.world.topology.cpus] * 2
    assert everywhere == classes.vcpus(server)

    classes.set(server, "silver", 1)
    outcome = classes.world.settle()
    assert (0, ()) == (outcome.unmanaged.count, outcome.problems)
    assert is_alone(classes.vcpus(server), 1)
    assert "memory 1" == classes.world.pins()["plain-1"][-1]

    classes.set(server, None)
    outcome = classes.world.settle()
    assert (1, ()) == (outcome.unmanaged.count, outcome.problems)
    assert everywhere == classes.vcpus(server)


def test_no_cpu_is_of_two(classes: ClassWorld) -> None:
    """What a server gives up another one can have at once, and gets in the same pass."""
    first, *others = (classes.boot(f"silver-{number}", "silver", 0) for number in range(3))
    plain = classes.boot("plain-1", None, vcpus=2)
    classes.world.settle()
    with pytest.raises(
        exceptions.ClassRefused, match="node 0 has no room: asked: 2 CUSTOM_KONGMING_PCPU; available: 0"
    ):
        classes.set(plain, "silver", 0)

    classes.set(first, "exact")
    classes.set(plain, "silver", 0)
    assert classes.world.run_pass().problems == ()
    assert [CpuSet.parse("5"), CpuSet.parse("13")] == classes.vcpus(first)
    assert is_alone([cpus for server in (plain, *others) for cpus in classes.vcpus(server)], 0)


def test_a_restarted_guest_keeps_its_class(classes: ClassWorld) -> None:
    """Nova writes its XML anew, without pins; the agent pins it by its class, and so does an agent that is new."""
    server = classes.boot("plain-1", None, vcpus=2)
    classes.set(server, "silver", 1)
    classes.world.settle()

    classes.world.host.respawn(server)
    classes.world.settle()
    assert is_alone(classes.vcpus(server), 1)

    classes.world.host.respawn(server)
    classes.world.start_agent()
    assert classes.world.settle().problems == ()
    assert is_alone(classes.vcpus(server), 1)


def test_a_guest_that_leaves_keeps_its_cpus(classes: ClassWorld) -> None:
    """While Nova moves a server, what it has claimed here is the migration's, and the guest has its class still."""
    server = classes.boot("plain-1", None, vcpus=2)
    classes.set(server, "silver", 1)
    classes.world.settle()
    before = classes.vcpus(server)
    classes.hand_claim_to_migration(server)

    assert classes.world.settle().problems == ()
    assert before == classes.vcpus(server)


def test_another_flavor(classes: ClassWorld) -> None:
    """A class that was given with another flavor is none."""
    server = classes.boot("gold-1", "gold", 0)
    classes.set(server, "bronze")
    classes.world.settle()
    classes.specs[server] = extra_specs(TEMPLATES["silver"], {}, vcpus=2, memory_mb=MEMORY_MB, threads_per_core=2)
    headers = {"OpenStack-API-Version": "placement 1.36"}
    classes.placement.adapter.delete(f"/allocations/{server}", headers=headers)
    classes.claim_by_flavor(server, "silver", 1)
    classes.world.host.destroy(server)
    classes.world.host.spawn(server, 2, classes.specs[server])

    assert classes.world.settle().problems == ()
    assert is_alone(classes.vcpus(server), 1)


def test_what_a_pass_costs(classes: ClassWorld) -> None:
    """No request more than without classes, until a server changes its class; then one for each class provider."""
    server = classes.boot("gold-1", "gold", 0)
    classes.world.settle()
    classes.set(server, "bronze")
    classes.world.settle()
    counting = classes.world.adapter = Counting(classes.placement.adapter)
    classes.world.start_agent()
    classes.world.settle()

    counting.requests.clear()
    classes.world.run_pass()
    assert 4 == len(counting.requests)

    classes.set(server, None)
    counting.requests.clear()
    classes.world.run_pass()
    assert 1 == sum(names.class_uuid("bronze") in url for _, url in counting.requests)


def arrives_elsewhere(classes: ClassWorld, server: str, template: str | None, *nodes: int) -> None:
    """Nova has claimed for a server by its flavor again, as after a migration to this host."""
    headers = {"OpenStack-API-Version": "placement 1.36"}
    classes.placement.adapter.delete(f"/allocations/{server}", headers=headers)
    classes.claim_by_flavor(server, template, *nodes, vcpus=2)
    classes.world.host.respawn(server)


def node_claims(classes: ClassWorld, server: str) -> dict[int, dict[str, int]]:
    """What a server has claimed of the nodes, by number."""
    claim = classes.placement.client.claim(server)
    assert claim is not None
    return {
        node: dict(claim.resources[uuid]) for node in (0, 1) if (uuid := classes.world.node(node)) in claim.resources
    }


@pytest.mark.parametrize(("template", "nodes", "vcpus"), [("silver", (1,), 2), (None, (), 2)])
def test_brought_back(classes: ClassWorld, template: str | None, nodes: tuple[int, ...], vcpus: int) -> None:
    """Where Nova has claimed by the flavor, the agent claims by the class in the same pass, and pins by it."""
    server = classes.boot("one", template, *nodes, vcpus=vcpus)
    classes.set(server, "exact")
    classes.world.settle()
    arrives_elsewhere(classes, server, template, *nodes)

    assert classes.world.run_pass().problems == ()
    assert {1: {names.slot_class("exact"): 1, names.MEMORY_MB: MEMORY_MB}} == node_claims(classes, server)
    assert [CpuSet.parse("5"), CpuSet.parse("13")] == classes.vcpus(server)
    claim = classes.placement.client.claim(server)
    assert claim is not None
    assert {"MEMORY_MB": MEMORY_MB} == claim.resources[classes.world.root]


def test_no_room_for_its_class(classes: ClassWorld) -> None:
    """Without room it keeps what its flavor says, which is reported with the reason, until there is room."""
    server = classes.boot("one", "silver", 1)
    classes.set(server, "exact")
    classes.world.settle()
    arrives_elsewhere(classes, server, "silver", 1)
    classes.placement.allocate(OTHER, {classes.world.node(1): {names.slot_class("exact"): 1}})

    (problem,) = classes.world.run_pass().problems
    assert "it cannot have template 'exact', its class: node 0 does not offer template 'exact'; node 1 has no room" in (
        problem.text
    )
    assert problem.text.endswith("it has template 'silver' meanwhile")
    assert is_alone(classes.vcpus(server), 1)

    headers = {"OpenStack-API-Version": "placement 1.36"}
    classes.placement.adapter.delete(f"/allocations/{OTHER}", headers=headers)
    assert classes.world.settle().problems == ()
    assert [CpuSet.parse("5"), CpuSet.parse("13")] == classes.vcpus(server)


def test_not_while_it_migrates(classes: ClassWorld) -> None:
    """The claim of a guest that migrates is Nova's to change."""
    server = classes.boot("one", "silver", 1)
    classes.set(server, "exact")
    classes.world.settle()
    arrives_elsewhere(classes, server, "silver", 1)
    classes.world.host.migrating.add(server)
    classes.world.run_pass()
    assert names.PCPU in node_claims(classes, server)[1]

    classes.world.host.migrating.discard(server)
    classes.world.settle()
    assert names.slot_class("exact") in node_claims(classes, server)[1]


def test_an_operator_is_faster(classes: ClassWorld) -> None:
    """If the class is taken away while the agent is about to claim by it, the agent writes nothing."""
    server = classes.boot("one", "silver", 1)
    classes.set(server, "exact")
    classes.world.settle()
    arrives_elsewhere(classes, server, "silver", 1)
    is_done: list[bool] = []

    def unset(method: str, _: str) -> None:
        if method == "POST" and not is_done:
            is_done.append(True)
            classes.set(server, None)

    classes.world.adapter = Meddling(classes.placement.adapter, unset)
    classes.world.start_agent()
    classes.world.settle()
    assert [True] == is_done
    assert names.PCPU in node_claims(classes, server)[1]
    assert is_alone(classes.vcpus(server), 1)


def test_arrives_without_the_pins_of_its_class(classes: ClassWorld) -> None:
    """A server of a class, whose flavor names no template, migrates with pins of another host; the hook gets others."""
    server = classes.boot("plain-1", None, vcpus=2)
    classes.set(server, "exact")
    classes.world.settle()
    (domain,) = classes.world.host.domains()
    other = domain_xml("other", OTHER, 2, {}, pins=classes.world.host.threads(domain))
    classes.world.host.destroy(server)

    answers = classes.world.agent.run(classes.world.cpus, [domain.xml, other]).answers

    everywhere = str(classes.world.topology.cpus)
    pins = answers[0].pins
    assert pins is not None
    assert ({"0": everywhere, "1": everywhere}, "") == (pins["vcpupin"], pins["memory"])
    assert answers[1].pins is None


def test_foreign_pins_are_lifted(classes: ClassWorld) -> None:
    """If it arrives with such pins all the same, and there is no room for its class, it runs on all CPUs."""
    server = classes.boot("plain-1", None, vcpus=2)
    classes.set(server, "exact")
    classes.world.settle()
    arrives_elsewhere(classes, server, None)
    classes.placement.allocate(OTHER, {classes.world.node(1): {names.slot_class("exact"): 1}})
    (domain,) = classes.world.host.domains()
    for vcpu in (0, 1):
        classes.world.host.pin_vcpu(domain, vcpu, CpuSet.parse("5"))
    classes.world.start_agent()

    (problem,) = classes.world.settle().problems
    assert problem.text.endswith("it has no template meanwhile")
    assert [classes.world.topology.cpus] * 2 == classes.vcpus(server)


def test_not_while_it_is_resized_here(classes: ClassWorld) -> None:
    """While Nova resizes it on its host, what its class takes is the migration's; its own claim is left alone."""
    server = classes.boot("plain-1", None, vcpus=2)
    classes.set(server, "silver", 1)
    classes.world.settle()
    before = classes.vcpus(server)
    classes.hand_claim_to_migration(server)
    classes.claim_by_flavor(server, None, vcpus=4)

    assert classes.world.settle().problems == ()
    assert before == classes.vcpus(server)
    assert {} == node_claims(classes, server)
