# SPDX-License-Identifier: Apache-2.0
"""A host's guests, thread by thread."""

from __future__ import annotations

from kongming_sched.agent.model.actions import Kind, Unit
from kongming_sched.agent.model.guest import Domain, Guest, Identity, Threads
from kongming_sched.agent.model.view import GuestLayout, HostView, units_of
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.tree import NodeState
from kongming_sched.pools import HostCpus, HostPools
from kongming_sched.request import PinningRequest
from testbed.topologies import make_topology

ROOT = "11111111-1111-4111-8111-111111111111"
ANYWHERE, ONE, TWO, REST = (CpuSet.parse(cpus) for cpus in ("0-7", "1", "2", "6-7"))
LAYOUT = GuestLayout((ONE,), REST)
REQUEST = PinningRequest("gold", ())


def guest(uuid: str, threads: Threads) -> Guest:
    """A guest with these threads."""
    return Guest(Domain(uuid, uuid, ""), Identity(uuid, len(threads.vcpus), REQUEST), threads, REQUEST)


def test_every_thread_has_a_place() -> None:
    """vCPUs have their own, and the emulator and I/O threads share one."""
    found = units_of([guest("a", Threads({0: TWO}, ANYWHERE, {3: ANYWHERE}))], {"a": LAYOUT})

    assert [
        Unit("a", Kind.VCPU, 0, TWO, ONE),
        Unit("a", Kind.EMULATOR, 0, ANYWHERE, REST),
        Unit("a", Kind.IOTHREAD, 3, ANYWHERE, REST),
    ] == found


def test_guest_that_cannot_be_moved_is_where_it_should_be() -> None:
    """Its threads stay, wherever its layout would have them."""
    found = units_of([guest("a", Threads({0: TWO}, ANYWHERE))], {"a": LAYOUT}, {"a"})

    assert [Unit("a", Kind.VCPU, 0, TWO, TWO, True), Unit("a", Kind.EMULATOR, 0, ANYWHERE, ANYWHERE, True)] == found


def test_vcpu_that_the_layout_does_not_know_stays() -> None:
    """It was plugged in after the layout was made."""
    found = units_of([guest("a", Threads({0: ONE, 1: TWO}, REST))], {"a": LAYOUT})

    assert [ONE, TWO, REST] == [unit.target for unit in found]


def test_guests_come_by_their_ids() -> None:
    """The order does not depend on how libvirt lists them."""
    threads = Threads({0: ONE}, REST)

    found = units_of([guest("b", threads), guest("a", threads)], {"a": LAYOUT, "b": LAYOUT})

    assert ["a", "a", "b", "b"] == [unit.guest for unit in found]


def test_providers_by_node() -> None:
    """A node whose provider is not made yet has an id for it, and no state."""
    topology = make_topology(2, 2, 1)
    first = NodeState(names.node_uuid(ROOT, 0), "host_numa0", 0)
    cpus = HostCpus(topology, HostPools(ONE, CpuSet(), REST, 1.0, 0))
    view = HostView(cpus, ROOT, "host", {first.uuid: first}, {}, ())

    assert ({0: first.uuid, 1: names.node_uuid(ROOT, 1)}, {0: first}) == (view.node_uuids(), view.states_by_node())
