# SPDX-License-Identifier: Apache-2.0
"""What goes wrong during one pass of a story."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from hypothesis import strategies as st

from testbed.adapters import Failing, Failure, Meddling
from tests.functional.agent.story_scene import ANY_CHANGE, CHANGES, READS, Kind, Scene, Step, Whom
from tests.functional.agent.story_weights import weighted
from tests.functional.agent.test_faults import Countdown, Interrupted, Killed
from tests.functional.agent.world import World


@dataclass(frozen=True)
class Nothing:
    """All is well."""

    def begin(self, _: Scene) -> Step:
        """Break the world; gives what is to happen at each call."""
        return lambda _: None


@dataclass(frozen=True)
class CallsFail:
    """Some calls of one name fail, or of any.

    :ivar call: with "after " if they have had their effect; ANY_CHANGE for all of these, empty for any call
    :ivar first: how many of these pass before
    """

    call: str
    first: int
    times: int
    kind: Kind
    whom: Whom = Whom.ANYBODY

    def begin(self, on: Scene) -> Step:
        """Break the world; gives what is to happen at each call."""
        steps, failing = itertools.count(), range(self.first, self.first + self.times)

        def fail(name: str) -> None:
            is_meant = self.call in ("", name) or (self.call == ANY_CHANGE and name in CHANGES)
            if is_meant and on.is_of(self.whom) and next(steps) in failing:
                raise self.kind.error(name)

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
                raise Kind.REFUSED.error(name)

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
class GuestHangs:
    """Each call of libvirt for a guest waits for its lock, and fails then."""

    pick: int

    def begin(self, on: Scene) -> Step:
        """Break the world; gives what is to happen at each call."""
        on.world.host.slow.add(on.pick(self.pick))
        return lambda _: None


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
class SocketFails:
    """The operating system refuses to send some requests to Placement."""

    first: int
    times: int

    def begin(self, on: Scene) -> Step:
        """Break the world; gives what is to happen at each call."""
        steps, failing = itertools.count(), range(self.first, self.first + self.times)

        def fail(_method: str, _url: str) -> None:
            if next(steps) in failing:
                raise OSError(24, "Too many open files")

        on.world.client.transport.adapter = Meddling(on.world.placement.adapter, fail)
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
    | GuestHangs
    | GuestUnreadable
    | RequestFails
    | SocketFails
    | KilledAtRequest
)

NOTHING = Nothing()


def faults() -> st.SearchStrategy[Fault]:
    """Any of these, most often a single refusal, of which the agent has to undo the most."""
    pick, kind, whom = st.integers(0, 19), st.sampled_from(Kind), st.sampled_from(Whom)
    calls = st.sampled_from([*CHANGES, *(f"after {name}" for name in CHANGES), *READS, ""])
    often = st.sampled_from(["pin_vcpu", "pin_emulator", "bind_memory", "set_scheduler"])
    refused = st.builds(
        CallsFail,
        often,
        st.sampled_from([0, 0, 0, 1, 2, 3]),
        st.sampled_from([1, 1, 2]),
        st.just(Kind.REFUSED),
        whom,
    )
    return weighted(
        (1, st.just(NOTHING)),
        (4, refused),
        (4, mean_faults()),
        (1, st.builds(CallsFail, calls, st.integers(0, 40), st.integers(1, 4), kind)),
        (1, st.builds(GuestRefuses, whom)),
        (1, st.builds(GuestEnds, pick, st.integers(0, 40))),
        (1, st.builds(PinsAreDropped, whom)),
        (1, st.builds(CallHangs, st.integers(0, 60), st.sampled_from([60.0, 5000.0]))),
        (1, st.builds(GuestHangs, pick)),
        (1, st.builds(GuestUnreadable, pick, st.booleans())),
        (1, st.builds(RequestFails, st.integers(0, 12), st.sampled_from(Failure))),
        (1, st.builds(SocketFails, st.integers(0, 12), st.integers(1, 3))),
        (1, st.builds(KilledAtRequest, st.integers(0, 12))),
    )


def mean_faults() -> st.SearchStrategy[Fault]:
    """What fails when others depend on it: a guest cannot leave its CPUs, or has to go back to what is taken by now."""
    refused = st.just(Kind.REFUSED)
    first, times = st.sampled_from([0, 0, 1, 2]), st.integers(1, 2)
    return weighted(
        (2, st.builds(CallsFail, st.just("pin_vcpu"), first, times, refused, st.just(Whom.PINNED))),
        (2, st.builds(CallsFail, st.just(ANY_CHANGE), st.just(0), times, refused, st.just(Whom.REPLACED))),
        (1, st.builds(CallsFail, st.just("set_scheduler"), first, times, refused, st.just(Whom.PINNED_AND_MOVED))),
        (1, st.builds(CallsFail, st.just(ANY_CHANGE), first, times, refused, st.just(Whom.PINNED_AND_MOVED))),
        (1, st.builds(GuestRefuses, st.just(Whom.PINNED))),
        (1, st.builds(PinsAreDropped, st.just(Whom.PINNED))),
    )


def is_one_refusal(fault: Fault) -> bool:
    """Whether one change of one guest is refused, and nothing else happens, so that the guest is as it was then."""
    changes = (*CHANGES, ANY_CHANGE)
    return isinstance(fault, CallsFail) and fault.kind is Kind.REFUSED and fault.call in changes and fault.times == 1


def end(world: World) -> None:
    """Take what lasts off the world."""
    world.host.drops_pins.clear()
    world.host.slow.clear()
    world.host.unreadable.clear()
    world.host.opaque.clear()
    world.client.transport.adapter = world.placement.adapter
