# SPDX-License-Identifier: Apache-2.0
"""What a pass would do, and the reason that is given for each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from kongming_sched.agent.decide.preview import ProviderChange
from kongming_sched.agent.model.actions import Action, Kind
from kongming_sched.agent.model.problem import Problem, Reason, server
from kongming_sched.agent.model.view import GuestLayout, HostView
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory
from testbed.topologies import make_topology
from tests.unit.agent.hosts import EVERYWHERE, Tenant, host, preview, tenant


def steps(view: HostView, **more: Mapping[str, Problem]) -> list[tuple[str, str]]:
    """Action and reason of each step."""
    return [(step.action, step.reason) for step in preview(view, **more).steps()]


def reason(view: HostView, action: str) -> str:
    """The reason of one step."""
    return dict(steps(view))[action]


def unbound(who: Tenant) -> Tenant:
    """A guest whose memory is not bound."""
    identity = replace(who.guest.identity, memory_nodes=CpuSet(), memory_mode="")
    return replace(who, guest=replace(who.guest, identity=identity))


def changes(view: HostView, node: int, **state: object) -> list[ProviderChange]:
    """What would be changed in Placement if a node's provider were in another state."""
    uuid = view.node_uuids()[node]
    other = replace(view.states[uuid], **state)  # type: ignore[arg-type]  # whatever a test wants to be another
    return preview(replace(view, states={**view.states, uuid: other})).provider_changes()


def test_host_that_is_as_it_should_be() -> None:
    """There is nothing to do."""
    assert [] == steps(host(tenant("web", "gold", [0], "1", "9"), templates=["gold"]))


def test_subject_of_a_step() -> None:
    """It is the server with its id."""
    [step] = preview(host(tenant("web", "gold", [0], "1", "0-15"), templates=["gold"])).steps()

    assert ("server web (a-web)", "vCPU 1: CPU 0-15 -> 9", "it is not pinned") == (
        step.subject,
        step.action,
        step.reason,
    )


@pytest.mark.parametrize(
    ("guest", "action", "expected"),
    [
        pytest.param(
            tenant("web", "gold", [0], "1", "9", emulator="1"),
            "emulator: CPU 1 -> 0,4,8",
            "it belongs on the housekeeping CPUs",
            id="emulator on the pool",
        ),
        pytest.param(
            tenant("in", "inside", [0], "1"),
            "emulator: CPU 0,4,8 -> 1",
            "it runs with the vCPUs (emulator: cell)",
            id="emulator beside its vCPUs",
        ),
        pytest.param(
            tenant("own", "own", [0], "1"),
            "emulator: CPU 0,4,8 -> 9",
            "it has a dedicated CPU of its own (emulator: own)",
            id="emulator on a CPU of its own",
        ),
        pytest.param(
            tenant("apart", "apart", [0], "1"),
            "emulator: CPU 0,4,8 -> 2,10",
            "it has a dedicated CPU of its own (emulator: own)",
            id="emulator on a core of its own",
        ),
        pytest.param(
            tenant("exact", "exact", [1], "7"), "vCPU 0: CPU 7 -> 15", "its template names CPU 15", id="explicit"
        ),
        pytest.param(
            tenant("float", "bronze", [1], "4"),
            "vCPU 0: CPU 4 -> 12",
            "its cell floats over the shared pool of node 1",
            id="shared",
        ),
        pytest.param(
            tenant("web", "gold", [0], "5", "9"),
            "vCPU 0: CPU 5 -> 1",
            "CPU 5 is not in the dedicated pool of node 0, on which it has its claim",
            id="on another node",
        ),
        pytest.param(
            tenant("web", "gold", [0], "1-2", "9"),
            "vCPU 0: CPU 1-2 -> 1",
            "it floats over CPU 1-2, and a dedicated vCPU has one of its own",
            id="floats inside of the pool",
        ),
        pytest.param(
            tenant("whole", "cores", [0], "1", "2"),
            "vCPU 1: CPU 2 -> 9",
            "its template wants whole cores (threads: require)",
            id="not on whole cores",
        ),
        pytest.param(
            tenant("whole", "pairs", [0], "1", "2", "9", "10", threads_per_core=2),
            "vCPU 1: CPU 2 -> 9",
            "the guest takes vCPU 0-1 for threads of one core (hw:cpu_threads=2)",
            id="siblings of the guest on two cores",
        ),
    ],
)
def test_reason_of_a_pin(guest: Tenant, action: str, expected: str) -> None:
    """Each pin says why the thread is not where it belongs."""
    assert expected == reason(host(guest), action)


def two_caches(view: HostView) -> HostView:
    """The same host with the pool of node 0 in two caches: core 1,9 in one, and 2,10 3,11 in the other."""
    return replace(view, cpus=replace(view.cpus, topology=make_topology(2, 4, 2, cores_per_cache=2)))


def test_vcpus_in_several_caches() -> None:
    """Where the template wants one."""
    view = two_caches(host(tenant("near", "close", [0], "1", "3")))
    expected = "its template wants all its vCPUs in one last-level cache (caches: one)"
    assert [("vCPU 0: CPU 1 -> 2", expected)] == [step for step in steps(view) if step[0].startswith("vCPU")]


def test_guest_of_whole_cores_that_makes_room_in_a_cache() -> None:
    """The server that gets the cache is named."""
    view = two_caches(host(tenant("one", "alone", [0], "3"), tenant("near", "close", [0], "0-15", "0-15")))
    assert "it makes room for server near (a-near)" == reason(view, "vCPU 0: CPU 3 -> 1")


def test_vcpu_that_makes_room() -> None:
    """The guest for which it moves is named."""
    view = host(
        tenant("one", "loose", [0], "1"),
        tenant("two", "loose", [0], "2"),
        tenant("three", "loose", [0], "3"),
        tenant("whole", "cores", [0], "0-15", "0-15"),
        templates=["loose", "cores"],
    )

    moved = [why for _, why in steps(view) if why.startswith("it makes room for")]

    assert ["it makes room for server whole (a-whole)"] == moved


def test_emulator_that_makes_room() -> None:
    """So does one on a CPU of its own, to which the reason names the guest as well."""
    view = host(
        tenant("one", "own", [0], "2", emulator="1"),
        tenant("two", "loose", [0], "3"),
        tenant("whole", "cores", [0], "0-15", "0-15"),
        templates=["own", "loose", "cores"],
    )

    moved = [(action, why) for action, why in steps(view) if why.startswith("it makes room for")]

    assert [("emulator: CPU 0,4,8 -> 10", "it makes room for server whole (a-whole)")] == moved


def test_guests_that_swap() -> None:
    """One of two that wait for each other steps aside, and both are named."""
    swap = replace(
        host(tenant("a", "loose", [0], "1"), tenant("b", "loose", [0], "2"), templates=["loose"]),
        assigned={uuid: GuestLayout((CpuSet.of([cpu]),), CpuSet.of([0])) for uuid, cpu in {"a-a": 2, "a-b": 1}.items()},
    )

    assert ("vCPU 0: CPU 1 -> 0,4,8", "it steps aside for server b (a-b), for both wait for each other") == steps(swap)[
        0
    ]


def test_memory_of_a_strict_template() -> None:
    """It follows the vCPUs."""
    view = host(unbound(tenant("web", "gold", [0], "1", "9")))

    assert "that is where its vCPUs are (memory: strict)" == reason(view, "memory: node any -> 0")


def test_memory_that_a_template_does_not_bind() -> None:
    """It may lie anywhere."""
    view = host(tenant("web", "loose", [0], "1"))

    assert "its template does not bind memory" == reason(view, "memory: node 0 -> 0-1")


def test_qos() -> None:
    """The order in which its values are taken is given."""
    web = tenant("web", "gold", [0], "1", "9")
    shares = replace(web.guest, domain=replace(web.guest.domain, scheduler={"cpu_shares": 7}))

    [(action, why)] = steps(host(replace(web, guest=shares)))

    assert ("cpu_shares 7 -> 1024", "so say its template's qos, its flavor's quota and the kernel's defaults") == (
        action,
        why.removesuffix(", in this order"),
    )


def test_guest_without_a_place() -> None:
    """It is kept out of the way, with the reason."""
    view = host(replace(tenant("web", "gold", [0], "0-15", "9"), nodes=()), templates=["gold"])

    found = [why for action, why in steps(view) if action.startswith("vCPU")]

    reason = "its flavor's groups are not claimed on this host's node providers"
    assert [f"it has no place here and is kept out of the way of others: {reason}"] == found


def test_guest_that_waits_for_one_that_cannot_be_moved() -> None:
    """It stays where it is pinned, so that there is nothing to do."""
    late, stays = tenant("late", "exact", [1], "5"), tenant("stays", "gold", [1], "15", "7")
    busy = Problem(Reason.BUSY, server(stays.guest), "it migrates")

    assert [] == steps(host(late, stays), left={stays.guest.uuid: busy})


def test_pin_that_cannot_be_done() -> None:
    """The guest that uses the CPU is named after the reason."""
    late, stays = tenant("late", "loose", [1], "0-15"), tenant("stays", "gold", [1], "15", "7")
    action = Action(late.guest.uuid, Kind.VCPU, 0, CpuSet.of([15]), EVERYWHERE)

    [step] = preview(host(late, stays), actions=(action,)).steps()

    assert step.reason.endswith("; but server stays (a-stays) still uses it and cannot be moved")


def test_units_are_those_of_the_layout() -> None:
    """Every thread of every guest is among them."""
    found = preview(host(tenant("web", "gold", [0], "1", "9"))).units()

    assert [Kind.VCPU, Kind.VCPU, Kind.EMULATOR] == [unit.kind for unit in found]


def test_provider_that_is_made() -> None:
    """A host that is new gets its providers, with all that they have."""
    view = host(templates=["gold"])
    uuid = view.node_uuids()[0]
    states = {key: state for key, state in view.states.items() if key != uuid}

    found = [item.change for item in preview(replace(view, states=states)).provider_changes()]

    assert ["create the provider", f"{names.PCPU} 0 -> 6"] == [
        found[0],
        *(item for item in found if names.PCPU in item),
    ]


@pytest.mark.parametrize(
    ("trait", "expected"),
    [
        pytest.param("CUSTOM_ELSE", "the node is not like that any more", id="of the node"),
        pytest.param(
            names.template_trait("gone"),
            "template 'gone' does not exist or is not offered to this host",
            id="of a template that has gone",
        ),
        pytest.param(
            names.template_trait("bronze"),
            "needs 1 shared CPUs, the node has 0",
            id="of a template that it cannot honour",
        ),
    ],
)
def test_trait_that_is_taken_off(trait: str, expected: str) -> None:
    """Each says why the node has it no more."""
    view = host()

    found = changes(view, 0, traits=view.states[view.node_uuids()[0]].traits | {trait})

    assert [ProviderChange("host_kongming_numa0", f"take trait {trait} off", expected)] == found


def test_trait_of_a_template_that_is_set() -> None:
    """The node has become able to honour it."""
    view = host(templates=["gold"])
    trait = names.template_trait("gold")

    found = changes(view, 0, traits=view.states[view.node_uuids()[0]].traits - {trait})

    assert [ProviderChange("host_kongming_numa0", f"set trait {trait}", "the node can honour template 'gold'")] == found


def test_inventory_that_changes() -> None:
    """Both amounts are given, and what is not there counts as none."""
    view = host(templates=["gold"])
    inventories = dict(view.states[view.node_uuids()[0]].inventories)

    found = changes(view, 0, inventories={**inventories, names.PCPU: Inventory(2), "CUSTOM_OLD": Inventory(1)})

    assert {f"{names.PCPU} 2 -> 6", "CUSTOM_OLD 1 -> 0"} == {item.change for item in found}
    assert {"that is what the node has for servers now"} == {item.reason for item in found}
