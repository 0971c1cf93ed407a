# SPDX-License-Identifier: Apache-2.0
"""What has drifted of guests between two reconcile passes, and where they belong until then."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.agent.model.actions import Action, Kind
from kongming_sched.agent.model.guest import Domain, Guest, Threads, identify
from kongming_sched.agent.model.outcome import DriftReport, pins_of
from kongming_sched.agent.model.view import GuestLayout
from kongming_sched.agent.state.history import History
from kongming_sched.cpuset import CpuSet
from testbed.simulated_host import domain_xml

EVERYWHERE = CpuSet.parse("0-7")
ONE, TWO, THREE, FOUR = (CpuSet.of([cpu]) for cpu in (1, 2, 3, 4))


def make_guest(vcpu: CpuSet, start: str = "1", **scheduler: int) -> Guest:
    """Guest a, whose only vCPU is on these CPUs, and whose emulator is where it belongs."""
    xml = domain_xml("instance-a", "a", 1, {"kongming:template": "gold", "resources_KONGMING0:A": "1"})
    domain = Domain("a", "instance-a", xml.replace("<domain ", f'<domain id="{start}" '), scheduler)
    identity = identify(domain)
    assert identity.request is not None
    return Guest(domain, identity, Threads({0: vcpu}, EVERYWHERE), identity.request)


def reconcile(
    history: History, guest: Guest, target: CpuSet = ONE, *, works: bool = True, **scheduler: int
) -> DriftReport:
    """A pass that pins the vCPU to its target, if that works."""
    targets = {"a": GuestLayout((target,), EVERYWHERE, scheduler=scheduler)}
    done = [Action("a", Kind.VCPU, 0, target)] if works else []
    return history.record([guest], targets, pins_of([guest], targets, done, {}), {"a"} if works else set())


def assigned_vcpus(history: History) -> dict[str, tuple[CpuSet, ...]]:
    """Where the vCPUs of the guest belong, while it is on CPU 2."""
    return {uuid: layout.vcpus for uuid, layout in history.assigned([make_guest(TWO)]).items()}


def test_moved_by_something_else() -> None:
    """A thread that was right and is elsewhere at the next pass has drifted, and is repaired when it is right again."""
    history = History()
    reconcile(history, make_guest(EVERYWHERE))

    drift = reconcile(history, make_guest(TWO))

    assert ["vCPU 0 is on CPU 2 and should be on CPU 1; it is put back"] == list(map(str, drift.found))
    assert 1 == drift.repaired


def test_moved_while_the_template_changes() -> None:
    """A vCPU that was pinned on 2 and moved to 3 by hand has drifted, although its template asks for 4 by now."""
    history = History()
    reconcile(history, make_guest(EVERYWHERE), TWO)

    drift = reconcile(history, make_guest(THREE), FOUR)

    words = "vCPU 0 was moved from CPU 2 to CPU 3 and should be on CPU 4 now; it is put there"
    assert ([words], 1) == (list(map(str, drift.found)), drift.repaired)


def test_drift_is_found_once() -> None:
    """One that cannot be repaired is found once, and counts as repaired when it is right at last."""
    history = History()
    reconcile(history, make_guest(EVERYWHERE))

    passes = [
        reconcile(history, make_guest(TWO), works=False),
        reconcile(history, make_guest(TWO), works=False),
        reconcile(history, make_guest(TWO)),
        reconcile(history, make_guest(ONE)),
    ]

    assert [(1, 0), (0, 0), (0, 1), (0, 0)] == [(len(drift.found), drift.repaired) for drift in passes]


def test_not_pinned_yet_is_no_drift() -> None:
    """A guest that is new, or was started anew, floats because nothing has pinned it yet."""
    history = History()

    first = reconcile(history, make_guest(EVERYWHERE))
    again = reconcile(history, make_guest(EVERYWHERE, start="2"))

    assert [DriftReport(), DriftReport()] == [first, again]


def test_another_target_is_no_drift() -> None:
    """Neither a thread that its template moves has drifted, nor one that was moved to where it belongs by now."""
    history = History()
    reconcile(history, make_guest(EVERYWHERE))

    follows = reconcile(history, make_guest(ONE), TWO)
    is_there = reconcile(history, make_guest(THREE), THREE)

    assert [DriftReport(), DriftReport()] == [follows, is_there]


def test_what_a_cut_off_pass_moved_is_no_drift() -> None:
    """The agent itself has moved it, and nothing was noted of that."""
    history = History()
    reconcile(history, make_guest(EVERYWHERE))

    history.lose_track()

    assert DriftReport() == reconcile(history, make_guest(TWO), THREE)
    assert {"a": (THREE,)} == assigned_vcpus(history)


def test_quality_of_service_drifts() -> None:
    """A quota that something else has lifted has drifted; it is no thread, and so not counted as repaired."""
    history = History()
    reconcile(history, make_guest(ONE), vcpu_quota=50000)

    drift = reconcile(history, make_guest(ONE, vcpu_quota=-1), vcpu_quota=50000)

    words = "QoS is on vcpu_quota -1 and should be on vcpu_quota 50000; it is put back"
    assert ([words], [False], 0) == (
        list(map(str, drift.found)),
        [item.is_thread for item in drift.found],
        drift.repaired,
    )


def test_memory_drifts() -> None:
    """Memory that something else has bound to another node has drifted."""
    history = History()
    there, elsewhere = (
        replace(guest, identity=replace(guest.identity, memory_nodes=nodes, memory_mode="restrictive"))
        for guest, nodes in ((make_guest(ONE), ONE), (make_guest(ONE), TWO))
    )
    targets = {"a": GuestLayout((ONE,), EVERYWHERE)}
    history.record([there], targets, pins_of([there], targets, [], {}), {"a"})
    wanted = {"a": GuestLayout((ONE,), EVERYWHERE, memory_nodes=ONE)}

    drift = history.record([elsewhere], wanted, pins_of([elsewhere], wanted, [], {}), {"a"})

    assert ["memory is on node 2 and should be on node 1; it is put back"] == list(map(str, drift.found))


def test_a_guest_that_ended_is_forgotten() -> None:
    """A drift that ended with its guest is never repaired, and the guest is not known any more."""
    history = History()
    reconcile(history, make_guest(EVERYWHERE))
    reconcile(history, make_guest(TWO), works=False)

    ended = history.record([], {}, pins_of([], {}, [], {}), set())

    assert DriftReport() == ended
    assert not history.knows("a", "1")
    assert DriftReport() == reconcile(history, make_guest(ONE))


def test_assigned_cpus_outlast_a_drift() -> None:
    """A guest belongs where it was last as it should be, in the same run, until it is settled elsewhere."""
    history = History()
    reconcile(history, make_guest(EVERYWHERE))
    reconcile(history, make_guest(TWO), THREE, works=False)

    assert {"a": (ONE,)} == assigned_vcpus(history)
    assert {} == history.assigned([make_guest(TWO, start="2")])


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30))
def test_never_more_repaired_than_found(moves: list[tuple[int, bool]]) -> None:
    """However a thread is moved, and whether it can be put back or not."""
    history = History()
    found = repaired = 0
    for cpu, works in moves:
        drift = reconcile(history, make_guest(CpuSet.of([cpu])), works=works)
        found += len(drift.found)
        repaired += drift.repaired
        assert 0 <= found - repaired <= 1
