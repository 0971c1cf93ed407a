# SPDX-License-Identifier: Apache-2.0
"""What is seen of a host: its guests, the incoming ones, Placement, and what of that cannot be read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from kongming_sched import exceptions
from kongming_sched.agent.loop.parts import ReconcilerParts
from kongming_sched.agent.model.guest import Guest, Identities, RunningGuest
from kongming_sched.agent.model.problem import RELEASED_GUESTS, Problem, Reason, Subject, SubjectKind
from kongming_sched.agent.model.view import HostView
from kongming_sched.agent.state.history import History
from kongming_sched.agent.state.released import Released
from kongming_sched.agent.state.reservations import IncomingMigrations
from kongming_sched.placement.client import Provider
from kongming_sched.placement.tree import NodeState
from kongming_sched.pools import HostCpus
from kongming_sched.template import PinningTemplate


@dataclass(frozen=True, slots=True)
class PlacementView:
    """What Placement holds for a host.

    :ivar root: the compute node's provider
    :ivar states: the host's node providers, by provider id
    :ivar templates: those that are offered to the host, by name
    :ivar problems: the templates that cannot be read
    """

    root: Provider
    states: Mapping[str, NodeState]
    templates: Mapping[str, PinningTemplate]
    problems: tuple[Problem, ...]

    @property
    def consumers(self) -> set[str]:
        """The ids of all that has claimed something on the host."""
        return {consumer for state in self.states.values() for consumer in state.allocations}


@dataclass(frozen=True, slots=True)
class RunningGuests:
    """What runs on a host by libvirt and the kernel.

    :ivar managed: the guests of templates
    :ivar unmanaged: those without a template
    :ivar problems: of guests whose XML or flavor cannot be read
    """

    managed: tuple[Guest, ...]
    unmanaged: tuple[RunningGuest, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Observation:
    """What is seen on a host itself at one time.

    :ivar guests: the running guests of templates
    :ivar unmanaged: the running guests without a template
    :ivar incoming: the guests that migrate to it
    :ivar released: which guests are to be left alone
    :ivar problems: what cannot be read
    """

    cpus: HostCpus
    guests: tuple[Guest, ...]
    unmanaged: tuple[RunningGuest, ...]
    incoming: IncomingMigrations
    released: Released
    problems: tuple[Problem, ...]


class Observer:
    """Sees a host as it is, and changes nothing on it or in Placement.

    :param history: of the guests, which knows the CPUs that each was given
    """

    def __init__(self, parts: ReconcilerParts, history: History) -> None:
        self._parts = parts
        self._history = history
        self._identities = Identities()

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
        running = self.guests(evenly_limited)
        here = [guest.uuid for guest in running.managed]
        incoming = self._parts.reservations.expect(questions, here, cpus.topology.cpus)
        problems += running.problems
        released = self._parts.released.last
        return Observation(cpus, running.managed, running.unmanaged, incoming, released, tuple(problems))

    def guests(self, evenly_limited: Collection[str] = ()) -> RunningGuests:
        """See the running guests.

        :param evenly_limited: server ids of guests whose vCPUs are known to have one quota, which is not read again
        :raises HypervisorError: if libvirt does not say what runs
        """
        managed: list[Guest] = []
        unmanaged: list[RunningGuest] = []
        problems: list[Problem] = []
        for domain, identity in self._identities.of(self._parts.hypervisor.domains()):
            if isinstance(identity, exceptions.KongMingError):
                subject = Subject(SubjectKind.SERVER, domain.name, domain.uuid)
                problems.append(Problem(Reason.DOMAIN, subject, str(identity)))
                continue
            if identity.request is None:
                unmanaged.append(RunningGuest(domain, identity))
                continue
            try:
                threads = self._parts.kernel.threads(domain)
                quotas = {} if domain.uuid in evenly_limited else self._parts.kernel.vcpu_quotas(domain)
            except exceptions.GuestGone:
                continue
            managed.append(Guest(domain, identity, threads, identity.request, quotas))
        return RunningGuests(tuple(managed), tuple(unmanaged), tuple(problems))

    def placement(self) -> PlacementView:
        """Read Placement.

        :raises PlacementError: if it does not answer
        """
        root, aggregates, states = self._parts.registry.observe()
        stored = self._parts.store.list()
        templates = {name: item.template for name, item in stored.templates.items() if item.is_offered_to(aggregates)}
        broken = (
            Problem(Reason.TEMPLATE, Subject(SubjectKind.TEMPLATE, error.name), str(error)) for error in stored.broken
        )
        return PlacementView(root, states, templates, tuple(broken))

    def view(self, seen: Observation, placement: PlacementView, immovable: Collection[str] = frozenset()) -> HostView:
        """The host as decisions see it, with the incoming guests.

        :param immovable: server ids of further guests that cannot be changed now
        """
        guests = (*seen.guests, *seen.incoming.guests)
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
        )
