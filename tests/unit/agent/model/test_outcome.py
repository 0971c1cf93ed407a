# SPDX-License-Identifier: Apache-2.0
"""What a reconcile pass saw of threads and pools, and what it left."""

from __future__ import annotations

from kongming_sched.agent.model.actions import Action, Kind
from kongming_sched.agent.model.guest import Domain, Guest, Threads, identify
from kongming_sched.agent.model.outcome import PoolUse, pins_of, pool_use
from kongming_sched.agent.model.view import GuestLayout
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory
from kongming_sched.placement.tree import DesiredNode, DesiredTree, NodeState
from testbed.simulated_host import domain_xml

EVERYWHERE = CpuSet.parse("0-7")
ONE, TWO = CpuSet.of([1]), CpuSet.of([2])


def make_guest(uuid: str, start: str = "") -> Guest:
    """A guest of one vCPU that is not pinned."""
    xml = domain_xml(f"instance-{uuid}", uuid, 1, {"kongming:template": "gold", "resources_KONGMING0:A": "1"})
    domain = Domain(uuid, f"instance-{uuid}", xml.replace("<domain ", f'<domain id="{start}" ') if start else xml)
    identity = identify(domain)
    assert identity.request is not None
    return Guest(domain, identity, Threads({0: EVERYWHERE}, EVERYWHERE), identity.request)


def test_what_was_done_is_where_threads_are() -> None:
    """After a pass a thread is where an action that holds has put it, and the others are where they were."""
    layouts = {"a": GuestLayout((ONE,), TWO), "b": GuestLayout((TWO,), TWO)}

    found = pins_of(
        [make_guest("a", "7"), make_guest("b", "8")], layouts, [Action("a", Kind.VCPU, 0, ONE, EVERYWHERE)], {}
    )

    assert {EVERYWHERE} == {unit.current for unit in found.before}
    assert [ONE, EVERYWHERE, EVERYWHERE, EVERYWHERE] == [unit.current for unit in found.after]
    assert [ONE, TWO, TWO, TWO] == [unit.target for unit in found.after]
    assert {"a": "7", "b": "8"} == found.starts
    assert {"a": "server-instance-a", "b": "server-instance-b"} == found.servers


def test_the_kernel_has_the_last_word() -> None:
    """Where the kernel was asked after a pin, what it says counts, and not what was asked of libvirt."""
    done = [Action("a", Kind.VCPU, 0, ONE, EVERYWHERE)]

    found = pins_of([make_guest("a")], {"a": GuestLayout((ONE,), TWO)}, done, {"a": Threads({0: EVERYWHERE}, TWO)})

    assert [EVERYWHERE, TWO] == [unit.current for unit in found.after]


def test_pools_as_placement_counts_them() -> None:
    """Capacity of what should be, use of what is allocated; a node that lost its number is left out."""
    inventories = {names.PCPU: Inventory(6), names.VCPU: Inventory(2, 0, 4.0), names.MEMORY_MB: Inventory(1024)}
    node = DesiredNode("u0", "h_numa0", frozenset({names.node_trait(0)}), inventories)
    broken = DesiredNode("u1", "h_numa1", frozenset(), inventories)
    state = NodeState("u0", "h_numa0", 1, allocations={"a": {names.PCPU: 2}, "b": {names.PCPU: 5, names.VCPU: 3}})

    use = pool_use(DesiredTree((node, broken), (), {}), {"u0": state})

    assert (PoolUse(0, "dedicated", 6, 7), PoolUse(0, "shared", 8, 3)) == use
    assert [0, 5] == [pool.free for pool in use]
