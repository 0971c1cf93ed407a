# SPDX-License-Identifier: Apache-2.0
"""What becomes of a plan when a call fails, does nothing, or finds the CPUs taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.act.apply import Applied, Applier
from kongming_sched.agent.model.actions import Action, Kind, Unit
from kongming_sched.agent.model.guest import Guest, Identity
from kongming_sched.cpuset import CpuSet
from kongming_sched.request import PinningRequest
from testbed.simulated_host import SimulatedHost
from testbed.topologies import make_topology

DEDICATED = CpuSet.parse("2-7")
HOUSEKEEPING = CpuSet.parse("0-1")
REQUEST = PinningRequest("gold", ())


def host(**vcpus: str) -> SimulatedHost:
    """A host of eight CPUs with guests by their ids, each of these vCPUs; their emulators are on CPUs 0-1."""
    made = SimulatedHost(make_topology(1, 8), DEDICATED)
    for uuid, texts in vcpus.items():
        made.arrive(uuid, {}, list(map(CpuSet.parse, texts.split())), HOUSEKEEPING, "")
    return made


def pin(guest: str, before: str, cpus: str, vcpu: int = 0) -> Action:
    """A vCPU moves."""
    return Action(guest, Kind.VCPU, vcpu, CpuSet.parse(cpus), CpuSet.parse(before))


def shares(guest: str) -> Action:
    """A change that comes after the pins of a guest."""
    return Action(guest, Kind.SCHEDULER, parameters={"cpu_shares": 2048}, parameters_before={"cpu_shares": 1024})


def apply(on: SimulatedHost, *actions: Action) -> Applied:
    """Carry out actions on a host."""
    guests, units = [], []
    for domain in on.domains():
        threads = on.threads(domain)
        guests.append(Guest(domain, Identity(domain.uuid, len(threads.vcpus), REQUEST), threads, REQUEST))
        units += [Unit(domain.uuid, *key, cpus, cpus) for key, cpus in threads.by_key().items()]
    return Applier(on, on, guests, units, DEDICATED).run(actions)


def vcpus(on: SimulatedHost, guest: str) -> list[str]:
    """Where the vCPUs of a guest are."""
    return list(on.pins()[guest][:-2])


def failing(*calls: tuple[str, int]) -> Callable[[str], None]:
    """Fail these calls: the name, and which call of that name, from 1 on. "after" a call it has had its effect."""
    made: Counter[str] = Counter()

    def fail(name: str) -> None:
        made[name] += 1
        if (name, made[name]) in calls:
            raise exceptions.HypervisorError("do it", "injected", 38)

    return fail


def test_a_plan_that_works_is_done() -> None:
    """What was carried out is noted, with the threads as the kernel has them."""
    on = host(a="2")
    actions = pin("a", "2", "3"), shares("a")

    applied = apply(on, *actions)

    assert (list(actions), {}, {}) == (applied.done, applied.failed, applied.kept_out)
    assert CpuSet.parse("3") == applied.seen["a"].vcpus[0]


def test_a_guest_whose_change_fails_is_set_back() -> None:
    """All of it: its pins, the last first, and nothing of it counts as done."""
    on = host(a="2 3")
    on.on_call = failing(("set_scheduler", 1))

    applied = apply(on, pin("a", "2", "4"), pin("a", "3", "5", vcpu=1), shares("a"))

    assert ["2", "3"] == vcpus(on, "a")
    assert ([], {"a": "libvirt could not do it: injected"}) == (applied.done, applied.failed)


def test_a_guest_is_not_set_back_onto_cpus_that_others_have_taken() -> None:
    """It stays where it is, and the problem says who has its CPU now."""
    on = host(a="2", b="5")
    on.on_call = failing(("set_scheduler", 1))

    applied = apply(on, pin("a", "2", "4"), pin("b", "5", "2"), shares("a"))

    assert (["4"], ["2"]) == (vcpus(on, "a"), vcpus(on, "b"))
    assert "and it cannot go back to CPU 2, which server b (b) has now" in applied.failed["a"]


def test_a_thread_that_floated_is_kept_off_the_pool() -> None:
    """After a failure it runs on the CPUs that it had outside of the pool, in which others may have been pinned."""
    on = host(a="0-7")
    on.on_call = failing(("set_scheduler", 1))

    apply(on, pin("a", "0-7", "2"), shares("a"))

    assert ["0-1"] == vcpus(on, "a")


def test_no_guest_is_pinned_to_a_cpu_that_is_not_free_yet() -> None:
    """Where a guest could not leave its CPU the one that should have it is kept out, and set back too."""
    on = host(a="2", b="5 6")
    on.on_call = failing(("pin_vcpu", 1))

    applied = apply(on, pin("a", "2", "3"), pin("b", "5", "7"), pin("b", "6", "2", vcpu=1))

    assert (["2"], ["5", "6"]) == (vcpus(on, "a"), vcpus(on, "b"))
    assert {"b": "server a (a) still uses CPU 2 and could not be moved"} == applied.kept_out


def test_a_thread_may_be_where_a_call_that_failed_should_have_moved_it() -> None:
    """A call may fail after it has moved a thread. Another guest does not go back to the CPU that it may be on."""
    on = host(a="2", c="3")
    # The pin of a fails although it was done, and setting it back fails too; then the last change of c fails.
    on.on_call = failing(("after pin_vcpu", 2), ("pin_vcpu", 3), ("set_scheduler", 1))

    applied = apply(on, pin("c", "3", "4"), pin("a", "2", "3"), shares("c"))

    assert (["3"], ["4"]) == (vcpus(on, "a"), vcpus(on, "c"))
    assert "and it cannot go back to CPU 3, which server a (a) has now" in applied.failed["c"]


def test_a_pin_that_the_kernel_drops_is_a_failure() -> None:
    """Libvirt says that it has pinned a thread, and the kernel has it elsewhere."""
    on = host(a="2", b="5")
    on.drops_pins.add("a")

    applied = apply(on, pin("a", "2", "3"), pin("b", "5", "6"))

    assert {"a": "libvirt pinned vCPU 0 to 3, but the kernel has it on 2"} == applied.failed


def test_a_guest_that_ends_is_no_failure() -> None:
    """What it had is free at once for the others."""
    on = host(a="2", b="5")
    on.on_call = lambda name: on.destroy("a") if name == "pin_vcpu" and "a" in on.pins() else None

    applied = apply(on, pin("a", "2", "3"), pin("b", "5", "2"))

    assert (["2"], {}, {}) == (vcpus(on, "b"), applied.failed, applied.kept_out)


def test_a_lost_connection_ends_the_plan() -> None:
    """Nothing can be undone then; the next pass repairs what is half done."""
    on = host(a="2")
    lost = exceptions.HypervisorUnavailable("do it", "connection reset", 38)

    def fail(name: str) -> None:
        if name == "set_scheduler":
            raise lost

    on.on_call = fail
    with pytest.raises(exceptions.HypervisorUnavailable):
        apply(on, pin("a", "2", "3"), shares("a"))
    assert ["3"] == vcpus(on, "a")
