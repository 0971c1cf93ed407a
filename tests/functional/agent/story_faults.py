# SPDX-License-Identifier: Apache-2.0
"""What goes wrong during one pass of a story."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from kongming_sched import exceptions
from kongming_sched.compat import StrEnum
from kongming_sched.cpuset import CpuSet
from testbed.adapters import Failing, Failure
from tests.functional.agent.test_faults import Countdown, Interrupted, Killed
from tests.functional.agent.world import World

CHANGES = ("pin_vcpu", "pin_emulator", "pin_iothread", "bind_memory", "set_scheduler", "set_vcpu_quota")
"""The calls that change a guest."""

_READS = ("domains", "read", "threads", "is_busy", "memory_mb", "vcpu_quotas", "repair_definition")

Step = Callable[[str], None]
"""Called with the name of each call of libvirt or of the kernel, before it and after it."""


class Whom(StrEnum):
    """Of which guest a call fails."""

    ANYBODY = "anybody"
    PINNED = "one that was pinned to CPUs of the pool when the agent planned"
    MOVED = "one that has been moved since"
    PINNED_AND_MOVED = "one that was pinned there and has been moved since"


class Kind(StrEnum):
    """How a call fails."""

    REFUSED = "refused"
    LOST = "the connection is lost"
    KILLED = "the agent is killed"

    def error(self) -> BaseException:
        """What is raised."""
        if self is Kind.KILLED:
            return Killed()
        if self is Kind.LOST:
            return exceptions.HypervisorUnavailable("do it", "connection reset", 38)
        return exceptions.HypervisorError("do it", "injected", 38)


@dataclass(frozen=True)
class Scene:
    """Where something goes wrong.

    :ivar servers: the ids of all servers
    :ivar before: server id to the affinity of each of its threads when the agent planned
    :ivar touched: server id to the threads that were moved since
    """

    world: World
    servers: list[str]
    before: Mapping[str, Sequence[CpuSet]]
    touched: Mapping[str, Collection[int]]

    def pick(self, number: int) -> str:
        """One of the servers; empty if there is none."""
        return self.servers[number % len(self.servers)] if self.servers else ""

    def is_of(self, whom: Whom) -> bool:
        """Whether the guest that is being changed is one of these."""
        guest, pool = self.world.host.changing, self.world.pools.dedicated
        is_pinned = any(cpus <= pool for cpus in self.before.get(guest, ()))
        is_moved = bool(self.touched.get(guest))
        return {
            Whom.ANYBODY: True,
            Whom.PINNED: is_pinned,
            Whom.MOVED: is_moved,
            Whom.PINNED_AND_MOVED: is_pinned and is_moved,
        }[whom]


@dataclass(frozen=True)
class Nothing:
    """All is well."""

    def begin(self, _: Scene) -> Step:
        """Break the world; gives what is to happen at each call."""
        return lambda _: None


@dataclass(frozen=True)
class CallsFail:
    """Some calls of one name fail, or of any.

    :ivar call: with "after " if they have had their effect; empty for any call
    :ivar first: how many of these pass before
    """

    call: str
    first: int
    times: int
    kind: Kind
    whom: Whom = Whom.ANYBODY

    def begin(self, on: Scene) -> Step:
        """Break the world; gives what is to happen at each call."""
        steps = itertools.count()

        def fail(name: str) -> None:
            if self.call in ("", name) and on.is_of(self.whom) and self.first <= next(steps) < self.first + self.times:
                raise self.kind.error()

        return fail


@dataclass(frozen=True)
class GuestRefuses:
    """Whatever is to be changed of one guest fails.

    :ivar whom: the first such guest that the pass changes
    """

    whom: Whom

    def begin(self, on: Scene) -> Step:
        """Break the world; gives what is to happen at each call."""
        victims: list[str] = []

        def fail(name: str) -> None:
            if name in CHANGES and not victims and on.is_of(self.whom):
                victims.append(on.world.host.changing)
            if name in CHANGES and on.world.host.changing in victims:
                raise Kind.REFUSED.error()

        return fail


@dataclass(frozen=True)
class GuestEnds:
    """A guest dies."""

    pick: int
    first: int

    def begin(self, on: Scene) -> Step:
        """Break the world; gives what is to happen at each call."""
        steps, server = itertools.count(), on.pick(self.pick)

        def end_it(_: str) -> None:
            if next(steps) == self.first and server in on.world.host.affinities():
                on.world.host.destroy(server)

        return end_it


@dataclass(frozen=True)
class PinsAreDropped:
    """libvirt says that it has pinned the threads of a guest, and the kernel has them where they were.

    :ivar whom: the first such guest that the pass pins
    """

    whom: Whom

    def begin(self, on: Scene) -> Step:
        """Break the world; gives what is to happen at each call."""

        def drop(name: str) -> None:
            if name.startswith("pin_") and not on.world.host.drops_pins and on.is_of(self.whom):
                on.world.host.drops_pins.add(on.world.host.changing)

        return drop


@dataclass(frozen=True)
class CallHangs:
    """A call takes very long."""

    first: int
    seconds: float

    def begin(self, on: Scene) -> Step:
        """Break the world; gives what is to happen at each call."""
        steps = itertools.count()

        def hang(_: str) -> None:
            if next(steps) == self.first:
                on.world.clock += self.seconds

        return hang


@dataclass(frozen=True)
class GuestUnreadable:
    """A guest cannot be read."""

    pick: int
    by_libvirt: bool

    def begin(self, on: Scene) -> Step:
        """Break the world; gives what is to happen at each call."""
        (on.world.host.unreadable if self.by_libvirt else on.world.host.opaque).add(on.pick(self.pick))
        return lambda _: None


@dataclass(frozen=True)
class RequestFails:
    """A request to Placement fails."""

    first: int
    failure: Failure

    def begin(self, on: Scene) -> Step:
        """Break the world; gives what is to happen at each call."""
        on.world.client.transport.adapter = Failing(on.world.placement.adapter, self.first, self.failure)
        return lambda _: None


@dataclass(frozen=True)
class KilledAtRequest:
    """The agent dies at a request to Placement."""

    first: int

    def begin(self, on: Scene) -> Step:
        """Break the world; gives what is to happen at each call."""
        on.world.client.transport.adapter = Interrupted(on.world.placement.adapter, Countdown(self.first, Killed()))
        return lambda _: None


Fault = (
    Nothing
    | CallsFail
    | GuestRefuses
    | GuestEnds
    | PinsAreDropped
    | CallHangs
    | GuestUnreadable
    | RequestFails
    | KilledAtRequest
)

NOTHING = Nothing()


def faults() -> st.SearchStrategy[Fault]:
    """Any of these, most often a single refusal, of which the agent has to undo the most."""
    pick, kind = st.integers(0, 19), st.sampled_from(Kind)
    calls = st.sampled_from([*CHANGES, *(f"after {name}" for name in CHANGES), *_READS, ""])
    first, whom = st.sampled_from([0, 0, 0, 1, 2, 3]), st.sampled_from(Whom)
    often = st.sampled_from(["pin_vcpu", "pin_emulator", "bind_memory", "set_scheduler"])
    once = st.builds(CallsFail, often, first, st.just(1), st.just(Kind.REFUSED), whom)
    late = st.builds(
        CallsFail,
        st.sampled_from(["pin_emulator", "bind_memory", "set_scheduler"]),
        st.sampled_from([0, 0, 1, 2]),
        st.just(1),
        st.just(Kind.REFUSED),
        st.just(Whom.PINNED_AND_MOVED),
    )
    twice = st.builds(CallsFail, often, first, st.just(2), st.just(Kind.REFUSED), whom)
    return st.one_of(
        st.just(NOTHING),
        once,
        once,
        late,
        late,
        twice,
        st.builds(CallsFail, calls, st.integers(0, 40), st.integers(1, 4), kind),
        st.builds(GuestRefuses, whom),
        st.builds(GuestEnds, pick, st.integers(0, 40)),
        st.builds(PinsAreDropped, whom),
        st.builds(CallHangs, st.integers(0, 60), st.sampled_from([60.0, 5000.0])),
        st.builds(GuestUnreadable, pick, st.booleans()),
        st.builds(RequestFails, st.integers(0, 12), st.sampled_from(Failure)),
        st.builds(KilledAtRequest, st.integers(0, 12)),
    )


def is_one_refusal(fault: Fault) -> bool:
    """Whether one change of one guest is refused, and nothing else happens, so that the guest is as it was then."""
    return isinstance(fault, CallsFail) and fault.kind is Kind.REFUSED and fault.call in CHANGES and fault.times == 1


def end(world: World) -> None:
    """Take what lasts off the world."""
    world.host.drops_pins.clear()
    world.host.unreadable.clear()
    world.host.opaque.clear()
    world.client.transport.adapter = world.placement.adapter
