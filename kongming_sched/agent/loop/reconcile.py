# SPDX-License-Identifier: Apache-2.0
"""One reconcile pass: observe, plan, apply. Keeps nothing between passes except caches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from kongming_sched import exceptions
from kongming_sched.agent.act.pages import MemoryCheck
from kongming_sched.agent.act.pinning import Pinner
from kongming_sched.agent.act.unmanaged import UnmanagedGuests
from kongming_sched.agent.decide.layout import lay_out
from kongming_sched.agent.decide.preview import Preview
from kongming_sched.agent.host.ports import Hypervisor, Kernel
from kongming_sched.agent.model.guest import Guest, Identities, RunningGuest
from kongming_sched.agent.model.outcome import Outcome, pins_of, pool_use
from kongming_sched.agent.model.problem import (
    PLACEMENT,
    RELEASED_GUESTS,
    Problem,
    Reason,
    Subject,
    SubjectKind,
    server,
)
from kongming_sched.agent.model.view import HostLayout, HostView
from kongming_sched.agent.state.backoff import Backoff
from kongming_sched.agent.state.history import History
from kongming_sched.agent.state.released import ReleasedFile
from kongming_sched.agent.state.reservations import IncomingMigrations, Reservations
from kongming_sched.agent.state.server_metadata import Metadata
from kongming_sched.placement.client import PlacementClient, Provider
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.placement.tree import NodeState
from kongming_sched.pools import HostCpus
from kongming_sched.template import PinningTemplate

_ATTEMPTS = 5
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _PlacementView:
    """What Placement said."""

    root: Provider
    states: Mapping[str, NodeState]
    templates: Mapping[str, PinningTemplate]

    @property
    def consumers(self) -> set[str]:
        """Whoever has claimed something on this host."""
        return {consumer for state in self.states.values() for consumer in state.allocations}


class Reconciler:
    """Brings a host to what Placement, its templates and its guests say, step by safe step.

    :param host_name: the name of the compute node's provider
    :param reservations: the CPUs of guests on their way
    :param metadata: what is known of servers' own metadata
    :param released: guests to be left alone
    :param unmanaged: looks after guests without a template
    """

    def __init__(
        self,
        hypervisor: Hypervisor,
        kernel: Kernel,
        client: PlacementClient,
        host_name: str,
        backoff: Backoff,
        reservations: Reservations | None = None,
        metadata: Metadata | None = None,
        released: ReleasedFile | None = None,
        unmanaged: UnmanagedGuests | None = None,
    ) -> None:
        self._hypervisor = hypervisor
        self._kernel = kernel
        self._registry = NodeRegistry(client, host_name)
        self._store = TemplateStore(client)
        self._backoff = backoff
        self._reservations = Reservations() if reservations is None else reservations
        self._metadata = Metadata() if metadata is None else metadata
        self._released = ReleasedFile() if released is None else released
        self._unmanaged = UnmanagedGuests(hypervisor, kernel) if unmanaged is None else unmanaged
        self._memory = MemoryCheck(hypervisor, kernel)
        self._identities = Identities()
        self._history = History()
        self._evenly_limited: set[str] = set()
        self._unmanaged_seen: list[RunningGuest] = []
        self._repaired: set[str] = set()
        self._met: frozenset[tuple[str, str]] = frozenset()
        self._last: _PlacementView | None = None

    def run(self, cpus: HostCpus, incoming_guest: Sequence[str] = ()) -> Outcome:
        """Look once, and do what is to be done.

        Without Placement the guests are held to what it said last.

        :param incoming_guest: the XML of guests on their way, for which a hook asks
        :raises HypervisorError: if libvirt cannot tell what runs
        """
        outcome = Outcome()
        self._read_released(outcome)
        self._pin_started(cpus, outcome)
        asked = self._ask_placement(outcome)  # first, for libvirt tells of a guest that starts only when it has started
        guests = self._observe_guests(outcome)
        expected = self._reservations.expect(incoming_guest, [guest.uuid for guest in guests], cpus.topology.cpus)
        outcome.answers = dict(expected.refused)
        self._look_after_unmanaged(cpus, outcome)
        layout = self._agree_with_placement(cpus, guests, expected, asked, outcome)
        if layout is not None:
            outcome.refusals = layout.tree.refusals
            self._metadata.grant([guest.uuid for guest in guests], layout.granted)
            self._pin(cpus, guests, expected, layout, outcome)
        self._repair_definitions(guests, outcome)
        self._backoff.keep_only(guest.uuid for guest in guests)
        outcome.retry_seconds = self._backoff.next_seconds()
        return outcome

    def view(self, cpus: HostCpus) -> HostView:
        """The host and its claims as they are now; nothing is done.

        :raises HypervisorError: if libvirt cannot tell what runs
        :raises PlacementError: if Placement cannot tell what is claimed
        """
        outcome = Outcome()
        self._read_released(outcome)
        guests = self._observe_guests(outcome)
        expected = self._reservations.expect((), [guest.uuid for guest in guests], cpus.topology.cpus)
        seen = self._observe_placement(outcome)
        return self._view(cpus, (*guests, *expected.guests), seen)

    def guests(self) -> tuple[Guest, ...]:
        """The running guests of flavors that name a template.

        :raises HypervisorError: if libvirt cannot tell what runs
        """
        return self._observe_guests(Outcome())

    def reset_backoff(self, server: str) -> None:
        """Do not leave a guest alone although a change of it has failed."""
        self._backoff.forget(server)

    def preview(self, cpus: HostCpus) -> Preview:
        """What a look would find and do now. Nothing is done.

        :raises HypervisorError: if libvirt cannot tell what runs
        :raises PlacementError: if Placement cannot tell what is claimed
        """
        outcome = Outcome()
        self._read_released(outcome)
        guests = self._observe_guests(outcome)
        seen = self._observe_placement(outcome)
        expected = self._reservations.expect((), [guest.uuid for guest in guests], cpus.topology.cpus)
        self._reservations.forget_unclaimed(expected, seen.consumers)
        layout = self._lay_out(cpus, (*guests, *expected.guests), seen)
        planned, actions, left = self._pinner(cpus, expected, seen, outcome).first_plan(layout, guests)
        states, templates = seen.states, seen.templates
        return Preview(cpus, guests, states, templates, layout, planned, actions, left, outcome.problems)

    def _read_released(self, outcome: Outcome) -> None:
        """See whom to leave alone; what the file said before holds if it cannot be read."""
        try:
            self._released.read()
        except exceptions.ConfigurationError as error:
            outcome.blame([Problem(Reason.CONFIGURATION, RELEASED_GUESTS, str(error))])

    def _observe_guests(self, outcome: Outcome) -> tuple[Guest, ...]:
        """The running guests of flavors that name a template; all others are kept as strangers."""
        guests = []
        self._unmanaged_seen = []
        for domain, identity in self._identities.of(self._hypervisor.domains()):
            if isinstance(identity, exceptions.KongMingError):
                subject = Subject(SubjectKind.SERVER, domain.name, domain.uuid)
                outcome.blame([Problem(Reason.DOMAIN, subject, str(identity))])
                continue
            if identity.request is None:
                self._unmanaged_seen.append(RunningGuest(domain, identity))
                continue
            try:
                threads = self._kernel.threads(domain)
                quotas = {} if domain.uuid in self._evenly_limited else self._kernel.vcpu_quotas(domain)
            except exceptions.GuestGone:
                continue
            guests.append(Guest(domain, identity, threads, identity.request, quotas))
        return tuple(guests)

    def _look_after_unmanaged(self, cpus: HostCpus, outcome: Outcome) -> None:
        released = self._released.last
        unmanaged = self._unmanaged.run(self._unmanaged_seen, cpus, self._history, released)
        outcome.confined = list(unmanaged.confined)
        outcome.without_template = len(self._unmanaged_seen)
        outcome.blame(unmanaged.problems)

    def _agree_with_placement(
        self,
        cpus: HostCpus,
        guests: tuple[Guest, ...],
        expected: IncomingMigrations,
        asked: _PlacementView | exceptions.PlacementError,
        outcome: Outcome,
    ) -> HostLayout | None:
        """Decide, and write the node providers; again from the start if somebody wrote in between.

        :param asked: what Placement said before the guests were read. Who has no place by that and was never met may
            have claimed since
        """
        met, self._met = self._met, frozenset((guest.uuid, guest.identity.start) for guest in guests)
        strange = {uuid for uuid, _ in self._met - met}
        for attempt in range(_ATTEMPTS):
            try:
                seen = self._last = _unless_error(asked if attempt == 0 else self._ask_placement(outcome))
                self._reservations.forget_unclaimed(expected, seen.consumers)
                layout = self._lay_out(cpus, (*guests, *expected.guests), seen)
                if attempt == 0 and strange & layout.problems.keys():
                    continue
                outcome.use = pool_use(layout.tree, seen.states)
                outcome.changes += self._registry.write(seen.root, layout.tree.nodes, seen.states)
                return layout
            except exceptions.PlacementError as error:
                if error.status == 409 and attempt + 1 < _ATTEMPTS:
                    continue
                outcome.blame([Problem(Reason.PLACEMENT, PLACEMENT, str(error))])
                break
        if self._last is None:
            return None
        return self._lay_out(cpus, (*guests, *expected.guests), self._last)

    def _pin_started(self, cpus: HostCpus, outcome: Outcome) -> None:
        """Pin guests that have just started by what Placement said last, for to ask it again takes longer than pinning.

        That mostly knows them: a guest is defined, which is an event, before it starts. Nobody else is moved for them;
        who needs that waits for the rest of the look, as does who has no place by what was said.
        """
        seen, started = self._last, self._hypervisor.take_started()
        if seen is None or seen.consumers.isdisjoint(started):
            return
        self._evenly_limited |= started  # libvirt makes the control groups of each run anew, and all alike
        guests = self._observe_guests(Outcome())
        self._evenly_limited -= started
        expected = self._reservations.expect((), [guest.uuid for guest in guests], cpus.topology.cpus)
        others = {*self._backoff.waiting(), *(guest.uuid for guest in guests if guest.uuid not in started)}
        everyone = (*guests, *expected.guests)
        layout = self._lay_out(cpus, everyone, seen, frozenset(others))
        others |= layout.problems.keys()
        pinned = self._pinner(cpus, expected, seen, outcome).run(layout, guests, {}, others)
        subjects = {guest.uuid: server(guest) for guest in guests}
        outcome.done += [(subjects[action.guest], action) for action in pinned.done]
        self._backoff.record(_texts(pinned.failed), ())

    def _ask_placement(self, outcome: Outcome) -> _PlacementView | exceptions.PlacementError:
        """What Placement says, or why it does not; whoever needs it deals with that."""
        try:
            return self._observe_placement(outcome)
        except exceptions.PlacementError as error:
            return error

    def _observe_placement(self, outcome: Outcome) -> _PlacementView:
        root, aggregates, states = self._registry.observe()
        stored = self._store.list()
        for broken in stored.broken:
            outcome.blame([Problem(Reason.TEMPLATE, Subject(SubjectKind.TEMPLATE, broken.name), str(broken))])
        templates = {name: item.template for name, item in stored.templates.items() if item.is_offered_to(aggregates)}
        return _PlacementView(root, states, templates)

    def _lay_out(
        self,
        cpus: HostCpus,
        guests: tuple[Guest, ...],
        seen: _PlacementView,
        immovable: frozenset[str] = frozenset(),
    ) -> HostLayout:
        view = self._view(cpus, guests, seen)
        return lay_out(replace(view, immovable=view.immovable | immovable))

    def _view(self, cpus: HostCpus, guests: tuple[Guest, ...], seen: _PlacementView) -> HostView:
        released = self._released_of(guests)
        return HostView(
            cpus,
            seen.root.uuid,
            seen.root.name,
            seen.states,
            {} if self._released.last.everyone else seen.templates,
            guests,
            self._kernel.default_shares(),
            released,
            self._metadata.requests(),
            self._history.assigned(guests),
            released,
        )

    def _released_of(self, guests: Iterable[Guest]) -> frozenset[str]:
        released = self._released.last
        return frozenset(guest.uuid for guest in guests if released.covers(guest.uuid, guest.identity.start))

    def _pin(
        self,
        cpus: HostCpus,
        guests: tuple[Guest, ...],
        expected: IncomingMigrations,
        layout: HostLayout,
        outcome: Outcome,
    ) -> None:
        """Pin the guests that can be pinned now, then answer for the incoming ones."""
        subjects = {guest.uuid: server(guest) for guest in (*guests, *expected.guests)}
        seen = self._last
        if seen is None:
            return
        pinner = self._pinner(cpus, expected, seen, outcome)
        released = self._released_of(guests)
        outcome.released = [subjects[uuid] for uuid in sorted(released)]
        failed_before = {
            uuid: Problem(Reason.REFUSED, subjects[uuid], text)
            for uuid, text in self._backoff.waiting().items()
            if uuid in subjects and uuid not in released
        }
        try:
            pinned = pinner.run(layout, guests, failed_before, released)
        except exceptions.HypervisorError:
            self._history.lose_track()
            raise
        outcome.done += [(subjects[action.guest], action) for action in pinned.done]
        wrong = {**pinned.left, **pinned.failed}
        targets = {**pinned.layout.guests, **_only(layout.guests, wrong)}
        outcome.pins = pins_of(guests, targets, pinned.done, pinned.seen)
        layout, outcome.memory_elsewhere = pinned.layout, dict(pinned.layout.memory_elsewhere)
        settled = [guest for guest in guests if guest.uuid not in {*wrong, *released, *layout.unplaced}]
        outcome.drift = self._history.record(guests, targets, outcome.pins, {guest.uuid for guest in settled})
        pages = {
            uuid: Problem(Reason.MEMORY, subjects[uuid], text)
            for uuid, text in self._settle(settled, layout, cpus).items()
        }
        outcome.blame({**layout.problems, **pages, **wrong}.values())
        self._backoff.record(_texts(pinned.failed), [uuid for uuid in subjects if uuid not in wrong])
        outcome.answers = self._reservations.reserve(
            expected, layout.guests, _texts(layout.problems), pinned.occupancy, pinner.housekeeping
        )

    def _pinner(
        self,
        cpus: HostCpus,
        expected: IncomingMigrations,
        seen: _PlacementView,
        outcome: Outcome,
    ) -> Pinner:
        def lay_out_round(guests: tuple[Guest, ...], immovable: frozenset[str]) -> HostLayout:
            return self._lay_out(cpus, (*guests, *expected.guests), seen, immovable)

        return Pinner(
            self._hypervisor,
            self._kernel,
            lay_out_round,
            lambda: self._observe_guests(outcome),
            expected.reserved.values(),
            cpus.pools.dedicated,
            cpus.housekeeping,
        )

    def _settle(self, settled: Sequence[Guest], layout: HostLayout, cpus: HostCpus) -> dict[str, str]:
        """Count the pages of guests that are as they should be, and note whose vCPUs need no quota of their own.

        :returns: server id to what is wrong with its pages
        """
        even = [guest.uuid for guest in settled if len(set(guest.quotas.values())) <= 1]
        self._evenly_limited = {uuid for uuid in even if not layout.guests[uuid].quotas}
        return self._memory.run(settled, layout.guests, cpus.topology.memory_nodes)

    def _repair_definitions(self, guests: Iterable[Guest], outcome: Outcome) -> None:
        """Take the pins out of the definition that a migrated guest brought along, once it is there."""
        running = {guest.uuid: guest.domain for guest in guests}
        self._repaired &= running.keys()
        for uuid in sorted(running.keys() - self._repaired):
            try:
                repaired = self._hypervisor.repair_definition(running[uuid])
            except exceptions.GuestGone:
                continue
            except exceptions.HypervisorUnavailable:
                raise
            except exceptions.HypervisorError as error:
                subject = Subject(SubjectKind.DEFINITION, running[uuid].name)
                outcome.blame([Problem(Reason.DEFINITION, subject, str(error))])
                continue
            if repaired is not None:
                self._repaired.add(uuid)
            if repaired:
                outcome.repaired.append(running[uuid].name)


def _only(values: Mapping[str, _T], servers: Iterable[str]) -> dict[str, _T]:
    """The values of these servers, where there is one."""
    return {uuid: values[uuid] for uuid in servers if uuid in values}


def _texts(problems: Mapping[str, Problem]) -> dict[str, str]:
    return {uuid: problem.text for uuid, problem in problems.items()}


def _unless_error(asked: _PlacementView | exceptions.PlacementError) -> _PlacementView:
    if isinstance(asked, exceptions.PlacementError):
        raise asked
    return asked
