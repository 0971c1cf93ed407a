# SPDX-License-Identifier: Apache-2.0
"""What the agent would do and why, and whether the three views agree: on the real Placement and simulated guests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.decide.preview import Preview
from kongming_sched.agent.host.read_only import ReadOnly
from kongming_sched.agent.inspect.compare import Comparison, KernelView, compare
from kongming_sched.agent.loop.reconcile import Reconciler
from kongming_sched.agent.model.guest import Domain, Identity, ObservedGuest, Threads, libvirt_pins
from kongming_sched.agent.state.reservations import Reservations
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import PinningTemplate
from testbed.adapters import Counting
from testbed.simulated_host import domain_xml
from tests.functional.agent.world import World, parts, store_templates
from tests.functional.conftest import PlacementService

EVERYWHERE = CpuSet.parse("0-15")


@pytest.fixture
def world(placement: PlacementService) -> World:
    """A host whose agent has registered it, on a cloud with all templates."""
    store_templates(placement.client)
    world = World(placement, "host")
    world.settle()
    return world


def preview(world: World, reservations: Reservations | None = None) -> Preview:
    """What a command sees that reads the host while the agent runs; it may not write anything."""
    client = PlacementClient(ReadOnly(world.placement.adapter))
    more: dict[str, Any] = {"reservations": reservations} if reservations else {}
    return Reconciler(parts(world.host, client, world.name, **more)).preview(world.cpus)


def reasons(world: World) -> list[tuple[str, str, str]]:
    """Server, action and reason of each step."""
    names = {uuid: name for name, uuid in world.servers.items()}
    found = []
    for step in preview(world).steps():
        uuid = step.subject.rpartition("(")[2].rstrip(")")
        found.append((names.get(uuid, step.subject), step.action, step.reason))
    return found


def test_nothing_is_to_be_done(world: World) -> None:
    """On a host that is as it should be there is no step, and no reason to write anything."""
    world.boot_all()
    world.settle()

    assert [] == preview(world).steps()


def test_what_it_says_is_what_the_agent_does(world: World) -> None:
    """The actions of the preview are those of the next pass, one by one, and the preview does none of them."""
    world.boot_all()
    before = world.pins()

    steps = preview(world).steps()
    untouched = world.pins()
    outcome = world.run_pass()

    assert before == untouched
    assert [(str(subject), str(action)) for subject, action in outcome.pinning.done] == [
        (step.subject, step.action) for step in steps
    ]


def test_only_questions_reach_placement(world: World, placement: PlacementService) -> None:
    """Also where there is much to write: a template that every node would offer."""
    world.boot_all()
    TemplateStore(placement.client).create(
        PinningTemplate.from_mapping({"name": "fresh", "cells": [{"vcpus": "0", "cpus": "dedicated"}]})
    )
    counting = Counting(placement.adapter)

    client = PlacementClient(counting)
    found = Reconciler(parts(world.host, client, world.name)).preview(world.cpus)

    assert {"GET"} == {method for method, _ in counting.requests}
    assert [
        ("host_kongming_numa0", "Placement: set trait CUSTOM_KONGMING_TEMPLATE_FRESH"),
        ("host_kongming_numa1", "Placement: set trait CUSTOM_KONGMING_TEMPLATE_FRESH"),
    ] == [(step.subject, step.action) for step in found.steps() if step.action.startswith("Placement")]
    with pytest.raises(exceptions.PlacementError, match="this command only reads"):
        ReadOnly(placement.adapter).request("/traits/CUSTOM_X", "PUT")


def test_a_new_host_is_registered_first(placement: PlacementService) -> None:
    """Before the first pass everything of Placement is to be made, each with its reason."""
    store_templates(placement.client)
    steps = preview(World(placement, "host")).steps()

    assert ("host_kongming_numa0", "Placement: create the provider", "the host has CPUs in the pools there") == (
        steps[0].subject,
        steps[0].action,
        steps[0].reason,
    )
    assert "Placement: CUSTOM_KONGMING_PCPU 0 -> 6" in [step.action for step in steps]
    assert "the node can honour template 'gold'" in [step.reason for step in steps]


def test_a_template_that_goes_takes_its_trait(world: World, placement: PlacementService) -> None:
    """With the reason why the node does not offer it any more."""
    TemplateStore(placement.client).delete("twin")

    assert {
        (
            "Placement: take trait CUSTOM_KONGMING_TEMPLATE_TWIN off",
            "template 'twin' does not exist or is not offered to this host",
        )
    } == {(step.action, step.reason) for step in preview(world).steps()}


def test_a_new_guest_is_not_pinned(world: World) -> None:
    """So each of its threads is to be moved, and its scheduler's parameters are to be set."""
    world.boot("gold-1", "gold", 0)

    assert [
        ("gold-1", "emulator: CPU 0-15 -> 0,4", "it is not pinned"),
        ("gold-1", "vCPU 0: CPU 0-15 -> 1", "it is not pinned"),
        ("gold-1", "memory: node any -> 0", "that is where its vCPUs are (memory: strict)"),
        (
            "gold-1",
            "cpu_shares 1024 -> 2048",
            "so say its template's qos, its flavor's quota and the kernel's defaults, in this order",
        ),
    ] == reasons(world)


def test_moved_by_somebody_else(world: World) -> None:
    """A thread that is where it must not be goes back, because of what its node, its cell or its template says."""
    world.boot_all()
    world.settle()
    for server, cpus in {"gold-1": "8", "silver-2": "6-7", "bronze-1": "9", "exact-1": "7"}.items():
        world.host.set_affinity(world.servers[server], 0, CpuSet.parse(cpus))

    found = {server: reason for server, _, reason in reasons(world)}

    assert {
        "gold-1": "CPU 8 is not in the dedicated pool of node 0, on which it has its claim",
        "silver-2": "it floats over CPU 6-7, and a dedicated vCPU has one of its own",
        "bronze-1": "its cell floats over the shared pool of node 1",
        "exact-1": "its template names CPU 5",
    } == found


def test_makes_room(world: World) -> None:
    """A guest that is moved for another one's whole core says for whom."""
    for name in ("a", "b", "c"):
        world.boot(name, "silver", 0)
        world.settle()
    world.host.destroy(world.servers["b"])
    world.placement.adapter.delete(f"/allocations/{world.servers['b']}")
    world.host.set_affinity(world.servers["a"], 1, CpuSet.parse("2"))
    world.start_agent()  # which takes them to be where they belong
    world.settle()
    world.boot("new", "gold", 0)

    found = [(server, reason) for server, action, reason in reasons(world) if action.startswith("vCPU")]

    name = f"server server-instance-{world.servers['new'][-8:]} ({world.servers['new']})"
    moved = {reason for server, reason in found if server != "new"}
    assert {f"it makes room for {name}", f"it steps aside for {name}, for both wait for each other"} == moved


def test_quota_of_a_vcpu(world: World) -> None:
    """A quota of a single vCPU is a step of its own, with its reason."""
    cells = [{"vcpus": "0-1", "cpus": "dedicated"}]
    qos = {"vcpus": {1: {"quota_us": 30_000}}}
    template = {"name": "silver", "cells": cells, "emulator": "cell", "qos": qos}
    TemplateStore(world.placement.client).update(PinningTemplate.from_mapping(template))
    world.boot("a", "silver", 0)

    [reason] = [reason for _, action, reason in reasons(world) if action == "vCPU 1: quota_us -1 -> 30000"]

    assert reason.startswith("so say its template's qos")


def test_steps_aside(world: World) -> None:
    """Of guests that wait for each other one goes to the housekeeping CPUs and says for whom."""
    world.boot("x", "exact", 1)
    world.settle()
    world.boot("y", "silver", 1)
    world.settle()
    world.host.set_affinity(world.servers["x"], 0, CpuSet.parse("6"))
    world.host.set_affinity(world.servers["y"], 0, CpuSet.parse("5"))

    found = reasons(world)

    aside = [(server, reason) for server, _, reason in found if "steps aside" in reason]
    assert 1 == len(aside)
    assert aside[0][1].startswith("it steps aside for server ")


def test_a_guest_that_has_no_place(world: World) -> None:
    """It is kept out of the way, and the reason is what the log says of it."""
    world.boot("gold-1", "gold", 0)
    world.placement.adapter.delete(f"/allocations/{world.servers['gold-1']}")

    found = [step.reason for step in preview(world).steps()]

    assert {
        "it has no place here and is kept out of the way of others: its flavor's groups are not claimed on this host's"
        " node providers"
    } == set(found)


def test_a_guest_that_migrates_waits(world: World) -> None:
    """Nothing can be done about it now; that it is not where it belongs, and why, is what verify says."""
    world.boot("gold-1", "gold", 0)
    world.host.migrating.add(world.servers["gold-1"])

    found = preview(world)

    assert [] == found.steps()
    assert ("gold-1", "template gold", "it is migrating or being saved, and is pinned when that is over") in faults(
        world, with_libvirts_word(found)
    )
    assert ("gold-1", "vCPU 0", "the kernel has it on CPU 0-15, and it belongs on 1") in faults(
        world, with_libvirts_word(found)
    )


def test_guests_on_their_way_keep_their_cpus(world: World, tmp_path: Path) -> None:
    """The reservations of the agent count, and a preview does not change the file that holds them."""
    specs = world.claim("coming", "gold", 0)
    xml = domain_xml("instance-coming", world.servers["coming"], 1, specs, "1")
    path = tmp_path / "arrivals.json"
    agent = Reconciler(parts(world.host, world.placement.client, world.name, reservations=Reservations(path)))
    given = agent.run(world.cpus, [xml]).answers[0].pins
    before = path.read_bytes()
    world.boot("other", "gold", 0)

    steps = preview(world, Reservations.read_only(path)).steps()

    assert given is not None
    assert "vCPU 0: CPU 0-15 -> 2" in [step.action for step in steps]
    assert {"0": "1"} == given["vcpupin"]
    assert before == path.read_bytes()


def with_libvirts_word(found: Preview, **vcpu_0: str) -> Preview:
    """The same with a live XML that reports the kernel's pins, but for the first vCPU of some domains."""
    guests = []
    for guest in found.guests:
        pins = "".join(
            f"<vcpupin vcpu='{vcpu}' cpuset='{vcpu_0.get(guest.uuid, cpus) if vcpu == 0 else cpus}'/>"
            for vcpu, cpus in guest.threads.vcpus.items()
        )
        tune = f"<cputune>{pins}<emulatorpin cpuset='{guest.threads.emulator}'/></cputune></domain>"
        guests.append(replace(guest, domain=replace(guest.domain, xml=guest.domain.xml.replace("</domain>", tune))))
    return replace(found, guests=tuple(guests))


def faults(world: World, found: Preview) -> list[tuple[str, str, str]]:
    """Server, thing and fault of what does not agree."""
    names = {uuid: name for name, uuid in world.servers.items()}
    return [
        (names.get(item.subject.rpartition("(")[2].rstrip(")"), item.subject), item.what, item.fault)
        for item in compare(found, [], KernelView())
        if item.fault
    ]


def test_all_agree(world: World) -> None:
    """Every thread of every guest has a line, and nothing is wrong."""
    world.boot_all()
    world.settle()

    found = compare(with_libvirts_word(preview(world)), [], KernelView())

    assert [] == [item for item in found if item.fault]
    gold = [item for item in found if world.servers["gold-1"] in item.subject]
    assert [
        ("vCPU 0", "1", "1", "1"),
        ("emulator", "0,4", "0,4", "0,4"),
        ("memory", "node 0", "node 0", "any node"),
    ] == [(item.what, item.placement, item.libvirt, item.kernel) for item in gold]


def test_the_kernel_has_it_elsewhere(world: World) -> None:
    """A pin that the kernel has dropped is found although libvirt goes on to report it."""
    world.boot_all()
    world.settle()
    world.host.set_affinity(world.servers["gold-1"], 0, EVERYWHERE)

    found = faults(world, with_libvirts_word(preview(world), **{world.servers["gold-1"]: "1"}))

    assert [
        (
            "gold-1",
            "vCPU 0",
            "the kernel has it on CPU 0-15, and it belongs on 1; libvirt says CPU 1, and the kernel has 0-15",
        )
    ] == found


def test_two_guests_on_one_cpu(world: World) -> None:
    """The problem of each names the other."""
    world.boot_all()
    world.settle()
    world.host.set_affinity(world.servers["gold-1"], 0, CpuSet.parse("2"))

    found = {(server, what): fault for server, what, fault in faults(world, with_libvirts_word(preview(world)))}

    assert f"CPU 2 is used by server server-instance-{world.servers['silver-1'][-8:]}" in found["gold-1", "vCPU 0"]
    assert f"CPU 2 is used by server server-instance-{world.servers['gold-1'][-8:]}" in found["silver-1", "vCPU 0"]


def test_an_offline_cpu_does_not_count(world: World) -> None:
    """libvirt goes on to name it, and the kernel leaves it out: that is no disagreement, where others are left."""
    world.boot("bronze-1", "bronze", 1)
    world.settle()
    found = with_libvirts_word(preview(world), **{world.servers["bronze-1"]: "12,99"})

    assert [] == faults(world, found)


def test_memory_that_lies_elsewhere(world: World) -> None:
    """What Placement wants, libvirt has bound and the kernel allows are compared."""
    world.boot("gold-1", "gold", 0)
    world.settle()
    found = with_libvirts_word(preview(world))

    rows = [
        item for item in compare(found, [], KernelView({world.servers["gold-1"]: CpuSet.parse("0-1")})) if item.fault
    ]

    assert [("memory", "node 0", "node 0", "node 0-1", "the kernel lets it lie on node 0-1")] == [
        (item.what, item.placement, item.libvirt, item.kernel, item.fault) for item in rows
    ]


def test_a_guest_without_a_template(world: World) -> None:
    """Placement says nothing of it; libvirt and the kernel should agree all the same."""
    xml = "<domain><vcpu>1</vcpu><cputune><vcpupin vcpu='0' cpuset='3'/></cputune></domain>"
    domain = Domain("u", "instance-u", xml)
    calm, misplaced = (
        compare(
            preview(world),
            [ObservedGuest(domain, Identity("free", 1, None), Threads({0: CpuSet.parse(cpus)}, EVERYWHERE))],
            KernelView(),
        )
        for cpus in ("3", "4")
    )

    assert [Comparison("server free (u)", "vCPU 0", "", "3", "4", "libvirt says CPU 3, and the kernel has 4")] == [
        item for item in misplaced if item.fault
    ]
    assert [] == [item for item in calm if item.fault]


def test_a_guest_without_a_place_is_a_fault(world: World) -> None:
    """So is a provider that is not as the host is."""
    world.boot("gold-1", "gold", 0)
    world.placement.adapter.delete(f"/allocations/{world.servers['gold-1']}")
    TemplateStore(world.placement.client).delete("twin")

    found = faults(world, with_libvirts_word(preview(world)))

    assert ("provider host_kongming_numa0", "take trait CUSTOM_KONGMING_TEMPLATE_TWIN off") in {
        (subject, what) for subject, what, _ in found
    }
    assert "its flavor's groups are not claimed on this host's node providers" in [fault for *_, fault in found]


def test_pins_by_libvirts_word() -> None:
    """What is not pinned has the domain's own CPU set, or any CPU."""
    pinned = (
        "<domain><vcpu current='2' cpuset='0-3'>4</vcpu><cputune><vcpupin vcpu='1' cpuset='2'/>"
        "<iothreadpin iothread='1' cpuset='7'/></cputune></domain>"
    )
    plain = "<domain><vcpu>1</vcpu></domain>"

    assert Threads(
        {0: CpuSet.parse("0-3"), 1: CpuSet.of([2])}, CpuSet.parse("0-3"), {1: CpuSet.of([7])}
    ) == libvirt_pins(Domain("u", "n", pinned), EVERYWHERE)
    assert Threads({0: EVERYWHERE}, EVERYWHERE) == libvirt_pins(Domain("u", "n", plain), EVERYWHERE)
