# SPDX-License-Identifier: Apache-2.0
"""What is seen of a host: its guests, the incoming ones, Placement, and what of that cannot be read."""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from kongming_sched import exceptions
from kongming_sched.agent.act.pinning import Pinned
from kongming_sched.agent.loop.observation import Observation, PlacementView
from kongming_sched.agent.loop.parts import Attend, ReconcilerParts, simply
from kongming_sched.agent.model.actions import Action, Kind
from kongming_sched.agent.model.guest import (
    Domain,
    Guest,
    Identities,
    Identity,
    ObservedGuest,
    RunningGuest,
    Threads,
    libvirt_pins,
)
from kongming_sched.agent.model.host_classes import HostClasses
from kongming_sched.agent.model.outcome import Answer
from kongming_sched.agent.model.problem import RELEASED_GUESTS, Problem, Reason, Subject, SubjectKind, server
from kongming_sched.agent.model.view import HostView, RunningGuests
from kongming_sched.agent.state.history import History
from kongming_sched.agent.state.reservations import incoming_domain
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.candidates import node_id
from kongming_sched.pools import HostCpus

_NO_THREADS = Threads({}, CpuSet())


class Observer:
    """Sees a host as it is, and changes nothing on it or in Placement.

    :param history: of the guests, which knows the CPUs that each was given
    """

    def __init__(self, parts: ReconcilerParts, history: History) -> None:
        self._parts = parts
        self._history = history
        self._identities = Identities()
        self._last: dict[str, ObservedGuest] | None = None
        self._last_placement: PlacementView | None = None
        self._classes = HostClasses()

    def observe(
        self,
        cpus: HostCpus,
        questions: Sequence[str] = (),
        evenly_limited: Collection[str] = (),
    ) -> Observation:
        """See what is on a host. Placement is asked apart, for it may not answer.

        :param questions: the XML of incoming guests for which a hook asks
        :param evenly_limited: server ids of guests whose vCPUs are known to have one quota, which is not read again
        :raises HypervisorError: if libvirt does not say what runs
        """
        problems = []
        try:
            self._parts.released.read()
        except exceptions.ConfigurationError as error:  # what the file said before holds
            problems.append(Problem(Reason.CONFIGURATION, RELEASED_GUESTS, str(error)))
        running = self.guests(evenly_limited, self._parts.attend)
        # An unread guest whose threads are not known either keeps the CPUs that were reserved for it.
        unread = [guest for guest in running.unread if guest.threads.vcpus]
        here = [guest.uuid for guest in (*running.managed, *unread)]
        incoming = self._parts.reservations.expect(questions, here, cpus.topology.cpus)
        # One that libvirt's hook asks for once more comes from another host, and its start before has failed.
        self._parts.starts.forget(incoming.asked.keys())
        incoming.refused.update(self._unpinned(questions, incoming.refused, cpus.topology.cpus))
        problems += running.problems
        return Observation(
            cpus,
            running.managed,
            running.unmanaged,
            running.unread,
            incoming,
            self._parts.released.last,
            tuple(problems),
            self._parts.starts.guests(cpus.topology.cpus),
        )

    def _unpinned(self, questions: Sequence[str], refused: Iterable[int], anywhere: CpuSet) -> dict[int, Answer]:
        """The answers for incoming guests that have a template by their class alone, by the number of the question.

        Such a guest comes with the pins of its class on another host. Nova has claimed by its flavor, so that it has no
        template here before it runs and its claim is that of its class.

        :param refused: the numbers of the questions about guests without a template
        """
        answers = {}
        for number in refused:
            with contextlib.suppress(exceptions.InvalidDomain, exceptions.InvalidRequest):
                guest = incoming_domain(questions[number], anywhere)
                identity = self._classes.apply(guest.uuid, guest.identity, ())
                if identity.server_class and guest.identity.request is None:
                    answers[number] = Answer(str(guest), guest.threads, reason="its class holds once it runs")
        return answers

    def guests(self, evenly_limited: Collection[str] = (), attend: Attend = simply) -> RunningGuests:
        """See the running guests. One that cannot be read keeps none of the others from being seen.

        Guests that start on CPUs which are kept for them are left out: libvirt has not set all of their pins yet.

        :param evenly_limited: server ids of guests whose vCPUs are known to have one quota, which is not read again
        :param attend: asks libvirt, which waits for the hooks of starting guests
        :raises HypervisorError: if libvirt does not say what runs
        """
        since = self._parts.starts.now()
        domains = attend(self._parts.hypervisor.domains)
        managed, unmanaged, unread = self._read(domains, evenly_limited)
        listed = {domain.uuid for domain in domains}
        starting = self._parts.starts.settle(listed, since, managed)  # one that cannot be read yet is not done
        managed = [guest for guest in managed if guest.uuid not in starting]
        unread = [guest for guest in unread if guest.uuid not in starting]
        self._last = {guest.uuid: guest for guest in (*managed, *unread)}
        return _running(managed, unmanaged, unread)

    def known(self, besides: Domain) -> RunningGuests:
        """The guests that were seen last, with their threads as they are now; libvirt is not asked for a list.

        It would wait for the hook of the guest that starts. Before the first pass the kernel says which guests run.

        :param besides: the guest that starts
        """
        if self._last is None:
            names = [name for name in self._parts.kernel.guest_names() if name != besides.name]
            managed, unmanaged, unread = self._read(self._parts.hypervisor.find(names), ())
            return _running(managed, unmanaged, unread)
        found: list[ObservedGuest] = []
        for guest in self._last.values():
            threads = guest.threads
            try:
                threads = self._parts.kernel.threads(guest.domain)
            except exceptions.GuestGone:
                continue
            except exceptions.KernelError as error:
                guest = ObservedGuest(guest.domain, replace(guest.identity, fault=str(error)), threads)
            found.append(replace(guest, threads=threads))
        managed = [guest for guest in found if isinstance(guest, Guest)]
        return _running(managed, [], [guest for guest in found if not isinstance(guest, Guest)])

    def _read(
        self, domains: Iterable[Domain], evenly_limited: Collection[str]
    ) -> tuple[list[Guest], list[RunningGuest], list[ObservedGuest]]:
        """Guests of templates, those without one, and those that cannot be read."""
        managed: list[Guest] = []
        unmanaged: list[RunningGuest] = []
        unread: list[ObservedGuest] = []
        found = list(self._identities.of(domains))
        running = frozenset(domain.uuid for domain, _ in found)
        for domain, identity in found:
            if not isinstance(identity, exceptions.KongMingError):
                identity = self._classes.apply(domain.uuid, identity, running)
            if isinstance(identity, exceptions.KongMingError):
                unread.append(self._unread(domain, str(identity)))
                continue
            if identity.request is None:
                unmanaged.append(RunningGuest(domain, identity))
                continue
            try:
                threads = self._parts.kernel.threads(domain)
                quotas = {} if domain.uuid in evenly_limited else self._parts.kernel.vcpu_quotas(domain)
            except exceptions.GuestGone:
                continue
            except exceptions.KernelError as error:
                unread.append(self._unread(domain, str(error), identity))
                continue
            managed.append(Guest(domain, identity, threads, identity.request, quotas))
        return managed, unmanaged, unread

    def remember(self, pinned: Pinned) -> None:
        """Keep where a pass has left the threads of guests, for one of them may be unreadable from then on."""
        last = self._last or {}
        for action in pinned.done:
            if action.is_pin and (guest := last.get(action.guest)):
                last[action.guest] = replace(guest, threads=_pinned_by(action, guest.threads))
        for uuid in pinned.seen.keys() & last.keys():
            last[uuid] = replace(last[uuid], threads=pinned.seen[uuid])

    def _unread(self, domain: Domain, fault: str, identity: Identity | None = None) -> ObservedGuest:
        """A guest that libvirt or the kernel cannot read, with what the other one says, or what was seen last.

        Where the kernel does not show its threads they are where they were seen, unless libvirt has moved them since.

        :param identity: None if it is not known from what libvirt says now
        """
        last = (self._last or {}).get(domain.uuid)
        if identity is None and last is not None and domain.start == last.identity.start:
            identity = last.identity
        if identity is None:
            identity = Identity(domain.name, 0, None, start=domain.start)
        try:
            threads = self._parts.kernel.threads(domain)
        except exceptions.GuestGone:
            threads = _NO_THREADS
        except exceptions.KernelError:
            is_same_run = last is not None and last.run == (domain.uuid, identity.start)
            threads = _as_moved(last, domain) if last is not None and is_same_run else _pins_by_libvirt(domain)
        return ObservedGuest(domain, replace(identity, fault=fault), threads)

    @property
    def last_placement(self) -> PlacementView | None:
        """What Placement said when it last answered, with what templates say by now; None if it never has."""
        return self._last_placement and self._last_placement.at(self._parts.now())

    def placement(self) -> PlacementView:
        """Read Placement. From then on the guests have the classes that it says.

        :raises PlacementError: if it does not answer
        """
        root, aggregates, states = self._parts.registry.observe()
        stored = self._parts.store.list()
        offered = {name: item for name, item in stored.templates.items() if item.is_offered_to(aggregates)}
        templates = {name: item.template for name, item in offered.items()}
        versions = {name: item.version for name, item in offered.items()}
        broken = (
            Problem(Reason.TEMPLATE, Subject(SubjectKind.TEMPLATE, error.name), str(error)) for error in stored.broken
        )
        records = self._parts.store.read_classes(stored)
        nodes = ((node_id(root.uuid, uuid), state) for uuid, state in states.items())
        self._classes = HostClasses(records, templates, {node: state for node, state in nodes if node is not None})
        view = PlacementView(root, states, self._parts.now(), templates, versions, tuple(broken), self._classes)
        self._last_placement = view
        return view

    def view(self, seen: Observation, placement: PlacementView, immovable: Collection[str] = frozenset()) -> HostView:
        """The host as decisions see it, with the incoming guests.

        :param immovable: server ids of further guests that cannot be changed now
        """
        running = frozenset(seen.servers)
        # Placement may have been read again since the guests were.
        guests = tuple(placement.classes.of_guest(guest, running) for guest in (*seen.guests, *seen.incoming.guests))
        released = frozenset(guest.uuid for guest in guests if seen.released.covers(*guest.run))
        return HostView(
            seen.cpus,
            placement.root.uuid,
            placement.root.name,
            placement.states,
            {} if seen.released.everyone else placement.templates,
            guests,
            self._parts.kernel.default_shares(),
            released.union(immovable),
            self._parts.metadata.requests(),
            self._history.assigned(guests),
            released,
            seen.unread,
            seen.starting,
        )


def _running(
    managed: Iterable[Guest], unmanaged: Iterable[RunningGuest], unread: Sequence[ObservedGuest]
) -> RunningGuests:
    problems = tuple(Problem(Reason.DOMAIN, server(guest), guest.identity.fault) for guest in unread)
    return RunningGuests(tuple(managed), tuple(unmanaged), tuple(unread), problems)


def _pinned_by(pin: Action, threads: Threads) -> Threads:
    """These threads after a pin of one of them."""
    if pin.kind is Kind.EMULATOR:
        return replace(threads, emulator=pin.cpus)
    if pin.kind is Kind.VCPU:
        return replace(threads, vcpus={**threads.vcpus, pin.index: pin.cpus})
    return replace(threads, iothreads={**threads.iothreads, pin.index: pin.cpus})


def _as_moved(last: ObservedGuest, domain: Domain) -> Threads:
    """Where the threads of a guest were seen last, or where libvirt has pinned them since, as the agent itself does."""
    before, now = _pins_by_libvirt(last.domain), _pins_by_libvirt(domain)

    def moved(seen: Mapping[int, CpuSet], then: Mapping[int, CpuSet], now: Mapping[int, CpuSet]) -> dict[int, CpuSet]:
        return {
            thread: now[thread] if now.get(thread) and then.get(thread) != now[thread] else cpus
            for thread, cpus in seen.items()
        }

    return Threads(
        moved(last.threads.vcpus, before.vcpus, now.vcpus),
        moved({0: last.threads.emulator}, {0: before.emulator}, {0: now.emulator})[0],
        moved(last.threads.iothreads, before.iothreads, now.iothreads),
    )


def _pins_by_libvirt(domain: Domain) -> Threads:
    """What is pinned by the XML of a domain, if there is one that can be read."""
    try:
        return libvirt_pins(domain, CpuSet())
    except (ET.ParseError, exceptions.InvalidCpuSet, exceptions.InvalidNumber):
        return _NO_THREADS
