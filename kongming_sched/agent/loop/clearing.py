# SPDX-License-Identifier: Apache-2.0
"""Clears the CPUs on which Nova lets a guest start, before it runs, so that no other dedicated guest is on one of them.

libvirt holds the guest's lock while its hook waits for this, and gives no list of guests meanwhile. So the guests are
those that were seen last, and the kernel says where their threads are now. No guest is unknown that matters here: each
that starts inside the pool was asked for by a hook before, and its CPUs are kept for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kongming_sched import exceptions
from kongming_sched.agent.decide.blocked import pinned_cpus
from kongming_sched.agent.decide.layout import lay_out
from kongming_sched.agent.decide.starting import in_the_way, pins_only, still_in_the_way
from kongming_sched.agent.loop.observation import Observation, PlacementView
from kongming_sched.agent.loop.observe import Observer
from kongming_sched.agent.loop.parts import ReconcilerParts
from kongming_sched.agent.loop.pinners import failed_before, pinner_for, texts
from kongming_sched.agent.model.actions import Action
from kongming_sched.agent.model.guest import Guest, ObservedGuest
from kongming_sched.agent.model.outcome import StartAnswer
from kongming_sched.agent.model.problem import Problem, Subject, server
from kongming_sched.agent.model.view import HostLayout, HostView, RunningGuests
from kongming_sched.agent.state.history import History
from kongming_sched.agent.state.starts import starting_guest
from kongming_sched.cpuset import CpuSet
from kongming_sched.pools import HostCpus


class Clearing:
    """Makes way for the guests that start on a host.

    :param observer: knows the guests that were seen last, and what Placement said last
    :param history: takes over the pins that change
    """

    def __init__(self, parts: ReconcilerParts, observer: Observer, history: History) -> None:
        self._parts = parts
        self._observer = observer
        self._history = history
        self._done: list[tuple[Subject, Action]] = []

    def take_done(self) -> tuple[tuple[Subject, Action], ...]:
        """The pins that were changed since this was asked last, each with its guest."""
        done, self._done = self._done, []
        return tuple(done)

    def run(self, cpus: HostCpus, xml: str) -> StartAnswer:
        """Clear the CPUs of a guest and keep them for it; gives why that cannot be, if so.

        :param xml: of the guest, as libvirt hands it to its hook
        :raises HypervisorError: if libvirt cannot be reached
        """
        try:
            guest = starting_guest(xml, cpus.topology.cpus)
        except (exceptions.InvalidDomain, exceptions.InvalidRequest):
            return StartAnswer("")  # no guest of a template that the agent could pin
        wanted = pinned_cpus(guest, cpus.pools.dedicated)
        seen = self._see(cpus, guest)
        others = {other.uuid: other for other in _everyone(seen) if other.uuid != guest.uuid}
        answer = StartAnswer(str(guest), wanted)
        if in_the_way(wanted, others.values(), cpus.pools.dedicated):
            answer = self._make_way(seen, answer, others)
        if answer.refusal:
            return answer
        try:
            self._parts.starts.reserve(guest)
        except OSError as error:
            return replace(answer, refusal=f"its CPUs cannot be reserved: {error}", is_transient=True)
        self._parts.reservations.forget(guest.uuid)
        return answer

    def _see(self, cpus: HostCpus, guest: Guest) -> Observation:
        """The host as far as it is known, with a guest that starts."""
        running = self._known(guest)
        here = [other.uuid for other in (*running.managed, *running.unread)]
        anywhere = cpus.topology.cpus
        incoming = self._parts.reservations.expect((), here, anywhere)
        incoming.reserved.pop(guest.uuid, None)  # its pins are in its XML by now
        starting = [other for other in self._parts.starts.guests(anywhere) if other.uuid != guest.uuid]
        released = self._parts.released.last
        return Observation(
            cpus, running.managed, (), running.unread, incoming, released, running.problems, (*starting, guest)
        )

    def _known(self, guest: Guest) -> RunningGuests:
        """The guests that run, without those that start: a guest that is started anew is known from its last run."""
        running = self._observer.known(guest.domain)
        apart = {guest.uuid, *(other.uuid for other in self._parts.starts.guests(CpuSet()))}
        managed = tuple(other for other in running.managed if other.uuid not in apart)
        unread = tuple(other for other in running.unread if other.uuid not in apart)
        return replace(running, managed=managed, unread=unread)

    def _make_way(self, seen: Observation, answer: StartAnswer, others: Mapping[str, ObservedGuest]) -> StartAnswer:
        """Move other guests off the CPUs of one that starts, all of them or none."""
        placement = self._observer.last_placement
        if placement is None:
            refusal = "other servers have to make way, and Placement has not said yet where these belong"
            return replace(answer, refusal=refusal, is_transient=True)
        guest, dedicated = seen.starting[-1], seen.cpus.pools.dedicated
        pinner = pinner_for(self._parts, self._observer, seen, placement, lambda: self._known(guest), _lay_out_pins)
        released = {other.uuid for other in seen.guests if seen.released.covers(*other.run)}
        apart = failed_before(self._parts, {other.uuid: server(other) for other in seen.guests}, released)
        layout, _, left = pinner.first_plan(self._lay_out(seen, placement), seen.guests, apart, released)
        if stay := still_in_the_way(answer.cpus, others.values(), layout.guests, dedicated):
            return _refuse(answer, others, stay, left)
        try:
            pinned = pinner.run(layout, seen.guests, apart, released)
        except exceptions.HypervisorError:
            self._history.lose_track()
            raise
        self._observer.remember(pinned)
        self._history.follow(pinned.done)
        self._parts.backoff.record(texts(pinned.failed), ())
        self._done += [(server(others[action.guest]), action) for action in pinned.done]
        if blocker := pinned.occupancy.blocker(guest.uuid, answer.cpus):
            stay = {blocker: answer.cpus}
            return replace(_refuse(answer, others, stay, {**pinned.left, **pinned.failed}), is_transient=True)
        return answer

    def _lay_out(self, seen: Observation, placement: PlacementView) -> HostLayout:
        return _lay_out_pins(self._observer.view(seen, placement))


def _lay_out_pins(view: HostView) -> HostLayout:
    return pins_only(lay_out(view))


def _everyone(seen: Observation) -> tuple[ObservedGuest, ...]:
    """Every guest that has CPUs, or for which CPUs are kept."""
    return (*seen.guests, *seen.unread, *seen.incoming.reserved.values(), *seen.starting)


def _refuse(
    answer: StartAnswer,
    others: Mapping[str, ObservedGuest],
    stay: Mapping[str, CpuSet],
    left: Mapping[str, Problem],
) -> StartAnswer:
    """The refusal that names each server that stays on a CPU, and why.

    :param stay: server id to these CPUs
    :param left: why servers are left alone, by their ids
    """
    whys = [
        f"CPU {cpus} is in use by server {others.get(uuid, uuid)}, "
        + (f"which cannot be moved now: {left[uuid].text}" if uuid in left else "for which there is no other room")
        for uuid, cpus in sorted(stay.items())
    ]
    return replace(answer, refusal="; ".join(whys), is_transient=any(uuid in left for uuid in stay))
