# SPDX-License-Identifier: Apache-2.0
"""One reconcile pass: observe, decide, act. Keeps nothing between passes except caches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from kongming_sched import exceptions
from kongming_sched.agent.act.beside import BesideGuests
from kongming_sched.agent.act.definitions import Definitions
from kongming_sched.agent.act.pages import MemoryCheck
from kongming_sched.agent.act.pinning import Pinned
from kongming_sched.agent.act.unmanaged import UnmanagedGuests
from kongming_sched.agent.decide.layout import lay_out
from kongming_sched.agent.decide.overfull import find_overfull
from kongming_sched.agent.decide.preview import Preview
from kongming_sched.agent.loop.class_rounds import Asked, see
from kongming_sched.agent.loop.clearing import Clearing
from kongming_sched.agent.loop.observation import Observation, PlacementView
from kongming_sched.agent.loop.observe import Observer
from kongming_sched.agent.loop.parts import ReconcilerParts
from kongming_sched.agent.loop.pinners import failed_before, pinner_for, texts
from kongming_sched.agent.model.actions import Action
from kongming_sched.agent.model.guest import Guest
from kongming_sched.agent.model.outcome import (
    Answer,
    Outcome,
    PinningResult,
    PlacementResult,
    StartAnswer,
    pins_of,
    pool_use,
)
from kongming_sched.agent.model.problem import PLACEMENT, Problem, Reason, Subject, one_per_subject, server
from kongming_sched.agent.model.view import HostLayout, HostView, RunningGuests
from kongming_sched.agent.state.history import History
from kongming_sched.pools import HostCpus

_ATTEMPTS = 5
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Decided:
    """What a host should be, once Placement has taken it or has not answered.

    :ivar placement: what Placement held, now or when it last answered
    :ivar problem: why Placement could not be asked or written
    """

    placement: PlacementView
    layout: HostLayout
    result: PlacementResult
    problem: Problem | None = None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong in Placement."""
        overfull = find_overfull(self.layout.tree, self.placement.states)
        return (*self.placement.problems, *overfull, *([self.problem] if self.problem else []))


class Reconciler:
    """Brings a host to what Placement, its templates and its guests say, step by safe step."""

    def __init__(self, parts: ReconcilerParts) -> None:
        self._parts = parts
        self._history = History()
        self._observer = Observer(parts, self._history)
        self._unmanaged = parts.unmanaged or UnmanagedGuests(parts.hypervisor, parts.kernel)
        self._beside = parts.beside or BesideGuests(parts.kernel)
        self._memory = MemoryCheck(parts.hypervisor, parts.kernel)
        self._definitions = Definitions(parts.hypervisor)
        self._clearing = Clearing(parts, self._observer, self._history)
        self._evenly_limited: frozenset[str] = frozenset()
        self._met: frozenset[tuple[str, str]] = frozenset()

    def run(self, cpus: HostCpus, questions: Sequence[str] = ()) -> Outcome:
        """Observe the host, and do what is to be done.

        Without Placement the guests are held to what it said last.

        :param questions: the XML of incoming guests, for which a hook asks
        :raises HypervisorError: if libvirt does not say what runs
        """
        self._parts.patience.start()
        started = self._pin_started(cpus)
        self._parts.patience.retry()
        asked, seen = see(
            self._observer, lambda: self._observer.observe(cpus, questions, self._evenly_limited), self._parts
        )
        unmanaged = self._unmanaged.run(seen.unmanaged, seen.unread_servers, cpus, self._history, seen.released)
        decided = self._decide(seen, asked)
        problems = [*seen.problems, *unmanaged.problems]
        placement, pinning, answers = PlacementResult(), PinningResult(), dict(seen.incoming.refused)
        change_seconds = None
        if isinstance(decided, _Decided):
            if decided.problem is None:
                self._parts.metadata.forget_absent({*seen.servers, *decided.placement.consumers})
            self._parts.metadata.grant(seen.servers, decided.layout.granted)
            placement = decided.result
            pinning, pinning_problems, answers = self._pin(seen, decided)
            problems += (*decided.problems, *pinning_problems)
            change_seconds = self._seconds_to_change(decided.placement, pinning)
        else:
            problems.append(decided)
        repaired, definition_problems = self._definitions.repair(seen.guests)
        self._parts.backoff.keep_only(seen.servers)
        return Outcome(
            one_per_subject([*problems, *definition_problems]),
            placement,
            replace(pinning, done=(*self._clearing.take_done(), *started, *pinning.done)),
            unmanaged,
            answers,
            repaired,
            _soonest(self._parts.backoff.next_seconds(), self._parts.patience.next_seconds(), change_seconds),
        )

    def clear(self, cpus: HostCpus, xml: str) -> StartAnswer:
        """Clear the CPUs of a guest that is about to start; a pass may be waiting for libvirt meanwhile.

        :param xml: of the guest, as libvirt hands it to its hook
        :raises HypervisorError: if libvirt cannot be reached
        """
        return self._clearing.run(cpus, xml)

    def view(self, cpus: HostCpus) -> HostView:
        """The host and its claims as they are now; nothing is done.

        :raises HypervisorError: if libvirt does not say what runs
        :raises PlacementError: if Placement does not say what is claimed
        """
        self._parts.patience.start()
        placement = self._observer.placement()
        return self._observer.view(self._observer.observe(cpus, (), self._evenly_limited), placement)

    def guests(self) -> RunningGuests:
        """The running guests as they are now.

        :raises HypervisorError: if libvirt does not say what runs
        """
        return self._observer.guests(self._evenly_limited)

    def reset_backoff(self, server_id: str) -> None:
        """Do not leave a guest alone although a change of it has failed."""
        self._parts.backoff.forget(server_id)

    def preview(self, cpus: HostCpus) -> Preview:
        """What a pass would find and do now. Nothing is done.

        :raises HypervisorError: if libvirt does not say what runs
        :raises PlacementError: if Placement does not say what is claimed
        """
        placement = self._observer.placement()
        seen = self._observer.observe(cpus, (), self._evenly_limited)
        self._parts.reservations.forget_unclaimed(seen.incoming, placement.consumers)
        layout = lay_out(self._observer.view(seen, placement))
        nodes = tuple(self._parts.registry.complete(node, placement.root) for node in layout.tree.nodes)
        layout = replace(layout, tree=replace(layout.tree, nodes=nodes))
        planned, actions, left = pinner_for(self._parts, self._observer, seen, placement, self.guests).first_plan(
            layout, seen.guests
        )
        overfull = find_overfull(layout.tree, placement.states)
        problems = one_per_subject([*seen.problems, *placement.problems, *overfull])
        return Preview(
            cpus, seen.guests, placement.states, placement.templates, layout, planned, actions, left, problems
        )

    def _pin_started(self, cpus: HostCpus) -> tuple[tuple[Subject, Action], ...]:
        """Pin guests that have just started by what Placement said last, for to ask it again takes longer than pinning.

        Placement mostly knew them then: a guest is defined, which is an event, before it starts. Nothing else is moved
        for them; a guest that needs that waits for the rest of the pass, as does one that has no place by that.

        :returns: the actions that hold, each with its guest
        """
        placement, started = self._observer.last_placement, self._parts.hypervisor.take_started()
        if placement is None or placement.consumers.isdisjoint(started):
            return ()
        # One without a claim of its own waits: what looks like it may be the claim of a server that has just gone.
        known = started & placement.consumers
        # libvirt makes the control groups of each run anew, and gives all vCPUs one quota.
        seen = self._observer.observe(cpus, (), self._evenly_limited | started)
        self._evenly_limited -= started
        others = {*self._parts.backoff.waiting(), *(guest.uuid for guest in seen.guests if guest.uuid not in known)}
        layout = lay_out(self._observer.view(seen, placement, others))
        pinner = pinner_for(self._parts, self._observer, seen, placement, self.guests)
        pinned = pinner.run(layout, seen.guests, {}, others | layout.problems.keys())
        self._observer.remember(pinned)
        self._parts.backoff.record(texts(pinned.failed), ())
        return _with_subjects(seen.guests, pinned)

    def _decide(self, seen: Observation, asked: Asked) -> _Decided | Problem:
        """Lay the host out, and write the node providers; again from the start if they were changed in between.

        :param asked: what Placement said before the guests were read. A guest that has no place by that, and that no
            pass has met, may have claimed since
        :returns: why nothing can be decided, if Placement has never answered
        """
        met, self._met = self._met, frozenset(guest.run for guest in seen.guests)
        new = {uuid for uuid, _ in self._met - met}
        result = PlacementResult()
        for attempt in range(_ATTEMPTS):
            try:
                placement = _unless_error(asked) if attempt == 0 else self._observer.placement()
                self._parts.reservations.forget_unclaimed(seen.incoming, placement.consumers)
                layout = lay_out(self._observer.view(seen, placement))
                if attempt == 0 and new & layout.problems.keys():
                    continue
                result = PlacementResult((), layout.tree.refusals, pool_use(layout.tree, placement.states))
                changes = self._parts.registry.write(placement.root, layout.tree.nodes, placement.states)
                return _Decided(placement, layout, replace(result, changes=tuple(changes)))
            except exceptions.PlacementError as error:
                if error.status != 409 or attempt + 1 == _ATTEMPTS:
                    problem = Problem(Reason.PLACEMENT, PLACEMENT, str(error))
                    break
        last = self._observer.last_placement
        if last is None:
            return problem
        layout = lay_out(self._observer.view(seen, last))
        return _Decided(last, layout, replace(result, refusals=layout.tree.refusals), problem)

    def _seconds_to_change(self, placement: PlacementView, pinning: PinningResult) -> float | None:
        """When the next pass is due for the hours of the guests' templates."""
        names = {basis.name for basis in pinning.bases.values()}
        seconds = placement.seconds_to_change(names, self._parts.now())
        return None if seconds is None else seconds + self._parts.hours_delay_seconds

    def _pin(self, seen: Observation, decided: _Decided) -> tuple[PinningResult, Iterable[Problem], dict[int, Answer]]:
        """Pin the guests that can be pinned now, then answer for the incoming ones."""
        subjects = {guest.uuid: server(guest) for guest in (*seen.guests, *seen.incoming.guests)}
        released = {guest.uuid for guest in seen.guests if seen.released.covers(*guest.run)}
        pinner = pinner_for(self._parts, self._observer, seen, decided.placement, self.guests)
        try:
            pinned = pinner.run(decided.layout, seen.guests, failed_before(self._parts, subjects, released), released)
        except exceptions.HypervisorError:
            self._history.lose_track()
            raise
        self._observer.remember(pinned)
        layout, wrong = pinned.layout, {**pinned.left, **pinned.failed}
        targets = {**layout.guests, **_only(decided.layout.guests, wrong)}
        guests = [guest for guest in seen.guests if guest.uuid in targets]  # the others have ended meanwhile
        unsettled = {*wrong, *released, *layout.unplaced}
        settled = [guest for guest in guests if guest.uuid not in unsettled]
        settled_ids = {guest.uuid for guest in settled}
        pins = pins_of(guests, targets, pinned.done, pinned.seen)
        drift = self._history.record(guests, targets, pins, settled_ids, seen.unread_servers)
        self._evenly_limited = frozenset(guest.uuid for guest in settled if _is_evenly_limited(guest, layout))
        bound = [guest for guest in pinned.guests if guest.uuid in settled_ids]
        pages = {
            uuid: Problem(Reason.MEMORY, subjects[uuid], text)
            for uuid, text in self._memory.run(bound, layout.guests, seen.cpus.topology.memory_nodes).items()
        }
        looked_after = [guest for guest in pinned.guests_now() if guest.uuid not in released]
        cleared = self._beside.run(looked_after, pins.after, seen.cpus.pools.dedicated, targets)
        self._parts.backoff.record(texts(pinned.failed), [uuid for uuid in subjects if uuid not in wrong])
        answers = self._parts.reservations.reserve(
            seen.incoming, layout.guests, texts(layout.problems), pinned.occupancy, pinner.housekeeping
        )
        return (
            PinningResult(
                _with_subjects(seen.guests, pinned),
                pins,
                drift,
                tuple(subjects[uuid] for uuid in sorted(released)),
                layout.memory_elsewhere,
                cleared.done,
                {guest.uuid: decided.placement.basis(guest, layout.granted.get(guest.uuid, {})) for guest in guests},
            ),
            {**cleared.problems, **layout.problems, **pages, **wrong}.values(),
            answers,
        )


def _is_evenly_limited(guest: Guest, layout: HostLayout) -> bool:
    """Whether all vCPUs of a guest that is as it should be have one quota, and shall."""
    return len(set(guest.quotas.values())) <= 1 and not layout.guests[guest.uuid].quotas


def _with_subjects(guests: Iterable[Guest], pinned: Pinned) -> tuple[tuple[Subject, Action], ...]:
    subjects = {guest.uuid: server(guest) for guest in guests}
    return tuple((subjects[action.guest], action) for action in pinned.done)


def _soonest(*seconds: float | None) -> float | None:
    return min((each for each in seconds if each is not None), default=None)


def _only(values: Mapping[str, _T], servers: Iterable[str]) -> dict[str, _T]:
    """The values of these servers, where there is one."""
    return {uuid: values[uuid] for uuid in servers if uuid in values}


def _unless_error(asked: Asked) -> PlacementView:
    if isinstance(asked, exceptions.PlacementError):
        raise asked
    return asked
