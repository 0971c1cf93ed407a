# SPDX-License-Identifier: Apache-2.0
"""What a look saw and left, and which threads went astray between two looks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.agent.model.actions import Action, Kind, Unit
from kongming_sched.agent.model.guest import Domain, Guest, Threads, identify
from kongming_sched.agent.model.outcome import AstrayThreads, PoolUse, Seats, pool_use, seats
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
    return Guest(domain, identity, identity.request, Threads({0: EVERYWHERE}, EVERYWHERE))


def at(current: CpuSet, target: CpuSet = ONE) -> Unit:
    """The only thread of guest a."""
    return Unit("a", Kind.VCPU, 0, current, target)


def look(before: Unit, after: Unit, start: str = "1") -> Seats:
    """A look at guest a."""
    return Seats({"a": "web"}, {"a": start}, (before,), (after,))


def test_what_was_done_is_where_threads_are() -> None:
    """After a look a thread is where an action that holds has put it, and the others are where they were."""
    layouts = {"a": GuestLayout((ONE,), TWO), "b": GuestLayout((TWO,), TWO)}

    found = seats(
        [make_guest("a", "7"), make_guest("b", "8")], layouts, [Action("a", Kind.VCPU, 0, ONE, EVERYWHERE)], {}
    )

    assert {EVERYWHERE} == {unit.current for unit in found.before}
    assert [ONE, EVERYWHERE, EVERYWHERE, EVERYWHERE] == [unit.current for unit in found.after]
    assert [ONE, TWO, TWO, TWO] == [unit.target for unit in found.after]
    assert {"a": "7", "b": "8"} == found.starts
    assert {"a": "server-instance-a", "b": "server-instance-b"} == found.servers


def test_the_kernel_has_the_last_word() -> None:
    """Where the kernel was asked after a pin, what it says counts, and not what libvirt was told."""
    done = [Action("a", Kind.VCPU, 0, ONE, EVERYWHERE)]

    found = seats([make_guest("a")], {"a": GuestLayout((ONE,), TWO)}, done, {"a": Threads({0: EVERYWHERE}, TWO)})

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


def test_moved_by_somebody_else() -> None:
    """A thread that was right and is elsewhere at the next look is astray, and repaired when it is right again."""
    threads = AstrayThreads()
    threads.follow(look(at(EVERYWHERE), at(ONE)))

    astray, repaired = threads.follow(look(at(TWO), at(ONE)))

    assert ["vCPU 0 was moved from CPU 1 to 2"] == [str(item) for item in astray]
    assert ("web", ONE, TWO, 1) == (astray[0].server, astray[0].was, astray[0].found, repaired)


def test_astray_is_counted_once() -> None:
    """One that cannot be put back is found once, and counts as repaired when it is right at last."""
    threads = AstrayThreads()
    threads.follow(look(at(EVERYWHERE), at(ONE)))

    looks = [
        threads.follow(look(at(TWO), at(TWO))),
        threads.follow(look(at(TWO), at(TWO))),
        threads.follow(look(at(TWO), at(ONE))),
        threads.follow(look(at(ONE), at(ONE))),
    ]

    assert [(1, 0), (0, 0), (0, 1), (0, 0)] == [(len(astray), repaired) for astray, repaired in looks]


def test_not_pinned_yet_is_not_astray() -> None:
    """A guest that is new, or was started anew, floats because nobody has pinned it yet."""
    threads = AstrayThreads()

    first = threads.follow(look(at(EVERYWHERE), at(ONE)))
    again = threads.follow(look(at(EVERYWHERE), at(ONE), start="2"))

    assert ([], 0) == first
    assert ([], 0) == again


def test_meant_to_be_there_is_not_astray() -> None:
    """A thread that somebody moved to where it belongs by now needs no repair."""
    threads = AstrayThreads()
    threads.follow(look(at(EVERYWHERE), at(ONE)))

    assert ([], 0) == threads.follow(look(at(TWO, TWO), at(TWO, TWO)))


def test_a_guest_that_ended_is_forgotten() -> None:
    """What ended astray is never repaired."""
    threads = AstrayThreads()
    threads.follow(look(at(EVERYWHERE), at(ONE)))
    threads.follow(look(at(TWO), at(TWO)))

    assert ([], 0) == threads.follow(Seats())
    assert ([], 0) == threads.follow(look(at(ONE), at(ONE)))


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30))
def test_never_more_repaired_than_found(moves: list[tuple[int, bool]]) -> None:
    """However threads are moved and put back, and whether that works or not."""
    threads = AstrayThreads()
    found = repaired = 0
    for cpu, works in moves:
        here = at(CpuSet.of([cpu]))
        astray, back = threads.follow(look(here, at(ONE) if works else here))
        found += len(astray)
        repaired += back
        assert 0 <= found - repaired <= 1
