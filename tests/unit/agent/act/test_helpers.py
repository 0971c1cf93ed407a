# SPDX-License-Identifier: Apache-2.0
"""Threads that libvirt does not pin by themselves follow the emulator of their guest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.act.helpers import HelperThreads, intruders
from kongming_sched.agent.model.actions import Kind, Unit
from kongming_sched.agent.model.guest import Domain, HelperThread, Identity, ObservedGuest, Threads
from kongming_sched.agent.model.policy import Policy
from kongming_sched.agent.model.problem import Problem, Reason, Subject, SubjectKind
from kongming_sched.cpuset import CpuSet

ANYWHERE, HOUSEKEEPING, OTHER = (CpuSet.parse(cpus) for cpus in ("0-7", "0-1", "2-3"))
FIRST, SECOND = CpuSet.of([4]), CpuSet.of([5])


@dataclass
class Kernel:
    """Stands for the kernel: threads with affinities, of which it keeps those that are bound.

    :ivar read: the numbers of the threads that were read, in order
    """

    found: dict[int, HelperThread] = field(default_factory=dict)
    of_kernel: dict[int, dict[int, str]] = field(default_factory=dict)
    read: list[int] = field(default_factory=list)
    unreadable: frozenset[int] = frozenset()
    policies: dict[int, Policy] = field(default_factory=dict)
    refuses_realtime: bool = False

    def add(self, number: int, name: str, cpus: CpuSet, *, is_bound: bool = False) -> None:
        self.found[number] = HelperThread(number, name, cpus, is_bound)

    def kernel_threads(self) -> dict[int, dict[int, str]]:
        return self.of_kernel

    def helper(self, number: int, name: str) -> HelperThread | None:
        self.read.append(number)
        if number in self.unreadable:
            raise exceptions.KernelError(f"read thread {name} ({number})", "Input/output error")
        return self.found.get(number)

    def pin_helper(self, thread: HelperThread, cpus: CpuSet, pid: int) -> None:  # noqa: ARG002  # which has no group to go to
        if thread.is_bound:
            raise exceptions.KernelError(f"let {thread} run on CPU {cpus} only", "Invalid argument")
        self.found[thread.number] = replace(thread, cpus=cpus)

    def vcpu_policies(self, domain: Domain) -> dict[int, Policy]:  # noqa: ARG002  # of the only guest
        return dict(self.policies)

    def set_vcpu_policy(self, domain: Domain, vcpu: int, policy: Policy) -> None:
        if self.refuses_realtime and policy.is_realtime:
            raise exceptions.KernelError(f"run vCPU {vcpu} of {domain.name} by {policy}", "Operation not permitted")
        self.policies[vcpu] = policy

    def cpus(self) -> dict[int, CpuSet]:
        return {number: thread.cpus for number, thread in self.found.items()}

    def take_read(self) -> list[int]:
        read, self.read = self.read, []
        return read


def guest(
    helpers: Mapping[int, str], emulator: CpuSet = HOUSEKEEPING, *, uuid: str = "u", start: str = "1", pid: int = 77
) -> ObservedGuest:
    """A guest of one vCPU."""
    identity = Identity("web", 1, None, start=start)
    return ObservedGuest(Domain(uuid, "i", ""), identity, Threads({0: FIRST}, emulator, {}, pid, helpers))


def test_threads_that_were_there_before_the_guest_was_pinned() -> None:
    """They go to where the emulator is; one that is on a part of that stays, and one that has ended is no matter."""
    kernel = Kernel()
    kernel.add(78, "call_rcu", ANYWHERE)
    kernel.add(79, "worker", CpuSet.of([0]))

    followed = HelperThreads(kernel).run([guest({78: "call_rcu", 79: "worker", 80: "worker"})])

    assert {78: HOUSEKEEPING, 79: CpuSet.of([0])} == kernel.cpus()
    assert ["thread call_rcu (78): CPU 0-7 -> 0-1"] == [what for _, what in followed.done]


def test_the_kernels_own_threads() -> None:
    """Those whose names have the id of the guest's QEMU go with it, and those of others stay."""
    kernel = Kernel(of_kernel={77: {90: "vhost-77"}, 88: {91: "vhost-88"}})
    kernel.add(90, "vhost-77", ANYWHERE)
    kernel.add(91, "vhost-88", ANYWHERE)

    HelperThreads(kernel).run([guest({})])

    assert {90: HOUSEKEEPING, 91: ANYWHERE} == kernel.cpus()


def test_nothing_is_read_again_while_nothing_changes() -> None:
    """But what has appeared since: a worker has the affinity of what made it, which may have been a vCPU."""
    kernel = Kernel()
    kernel.add(78, "call_rcu", HOUSEKEEPING)
    threads = HelperThreads(kernel)
    threads.run([guest({78: "call_rcu"})])
    threads.run([guest({78: "call_rcu"})])
    before = kernel.take_read()
    kernel.add(79, "worker", FIRST)

    threads.run([guest({78: "call_rcu", 79: "worker"})])

    assert ([78], [79]) == (before, kernel.read)
    assert HOUSEKEEPING == kernel.cpus()[79]


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(guest({78: "worker"}, OTHER), id="its emulator has moved"),
        pytest.param(guest({78: "worker"}, start="2"), id="it has been started anew"),
    ],
)
def test_all_are_read_again_when_the_guest_has_changed(changed: ObservedGuest) -> None:
    """They may be anywhere then."""
    kernel = Kernel()
    kernel.add(78, "worker", HOUSEKEEPING)
    threads = HelperThreads(kernel)
    threads.run([guest({78: "worker"})])
    kernel.take_read()

    threads.run([changed])

    assert [78] == kernel.read
    assert changed.threads.emulator == kernel.cpus()[78]


def test_what_something_else_has_moved_is_found_in_time() -> None:
    """Each thread of a calm host is read once in thirty passes, and those of one guest in each of them."""
    kernel = Kernel()
    guests = [guest({number: "worker"}, uuid=f"u{number:02}") for number in range(30)]
    for number in range(30):
        kernel.add(number, "worker", HOUSEKEEPING)
    threads = HelperThreads(kernel)
    threads.run(guests)
    kernel.take_read()
    kernel.add(7, "worker", ANYWHERE)

    counts = []
    for _ in range(30):
        threads.run(guests)
        counts.append(len(kernel.take_read()))

    assert [1] * 30 == counts
    assert HOUSEKEEPING == kernel.cpus()[7]


def test_one_that_the_kernel_keeps_where_it_is() -> None:
    """It is reported in each pass, for it is read in each."""
    kernel = Kernel()
    kernel.add(78, "iou-wrk-77", ANYWHERE, is_bound=True)
    threads = HelperThreads(kernel)

    first, second = (threads.run([guest({78: "iou-wrk-77"})]) for _ in range(2))

    error = "the kernel could not let thread iou-wrk-77 (78) run on CPU 0-1 only: Invalid argument"
    assert [error] == [reason for _, _, reason in first.refused] == [reason for _, _, reason in second.refused]


def test_one_that_cannot_be_read() -> None:
    """The others are moved all the same."""
    kernel = Kernel(unreadable=frozenset({78}))
    kernel.add(79, "worker", ANYWHERE)

    followed = HelperThreads(kernel).run([guest({78: "worker", 79: "worker"})])

    assert HOUSEKEEPING == kernel.cpus()[79]
    assert [78] == [thread.number for _, thread, _ in followed.refused]


def test_no_guest_needs_no_kernel_threads() -> None:
    """The kernel is not asked on a host where nothing is looked after."""

    class Silent(Kernel):
        def kernel_threads(self) -> dict[int, dict[int, str]]:
            raise AssertionError

    assert [] == HelperThreads(Silent()).run([]).done


def test_a_guest_that_is_given_back_what_it_had() -> None:
    """Its threads that were kept with the emulator go where that may go again, and the others stay."""
    kernel = Kernel()
    kernel.add(78, "worker", HOUSEKEEPING)
    kernel.add(79, "worker", OTHER)

    followed = HelperThreads(kernel).give_back(guest({}), guest({78: "worker", 79: "worker"}).threads, ANYWHERE)

    assert {78: ANYWHERE, 79: OTHER} == kernel.cpus()
    assert ["thread worker (78): CPU 0-1 -> 0-7"] == [what for _, what in followed.done]


def test_an_intruder_is_a_problem_of_its_guest() -> None:
    """One that stays on CPUs that another guest has alone; on its own guest's, and on free ones, it is none."""
    kernel = Kernel()
    kernel.add(78, "iou-wrk-77", FIRST | SECOND, is_bound=True)
    followed = HelperThreads(kernel).run([guest({78: "iou-wrk-77"})])
    mine, others = (Unit(uuid, Kind.VCPU, 0, cpus, cpus) for uuid, cpus in (("u", FIRST), ("v", SECOND)))
    floating = Unit("w", Kind.VCPU, 0, ANYWHERE, ANYWHERE)
    dedicated = FIRST | SECOND

    text = (
        "thread iou-wrk-77 (78) may run on CPU 5, which another server has alone: the kernel could not let thread"
        " iou-wrk-77 (78) run on CPU 0-1 only: Invalid argument"
    )
    problem = Problem(Reason.REFUSED, Subject(SubjectKind.SERVER, "web", "u"), text)
    assert {"u": problem} == intruders(followed, [mine, others, floating], dedicated)
    assert {} == intruders(followed, [mine, floating], dedicated)


def test_an_intruder_on_the_cpu_of_an_emulator() -> None:
    """A CPU that QEMU's own threads of another guest have alone is as much that guest's as one of a vCPU."""
    kernel = Kernel()
    kernel.add(78, "iou-wrk-77", SECOND, is_bound=True)
    followed = HelperThreads(kernel).run([guest({78: "iou-wrk-77"})])
    own = Unit("v", Kind.EMULATOR, 0, SECOND, SECOND)

    found = intruders(followed, [own], SECOND)["u"].text
    assert found.startswith("thread iou-wrk-77 (78) may run on CPU 5, which another server has alone: ")
