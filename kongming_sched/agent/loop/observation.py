# SPDX-License-Identifier: Apache-2.0
"""What was seen of a host at one time: its guests by libvirt and the kernel, and what Placement holds for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from kongming_sched.agent.model.guest import Guest, ObservedGuest, RunningGuest
from kongming_sched.agent.model.host_classes import HostClasses
from kongming_sched.agent.model.outcome import Basis
from kongming_sched.agent.model.problem import Problem
from kongming_sched.agent.state.released import Released
from kongming_sched.agent.state.reservations import IncomingMigrations
from kongming_sched.hours.calendar import in_force, next_change, period_at
from kongming_sched.placement.classes.request_ids import request_words
from kongming_sched.placement.client import Provider
from kongming_sched.placement.names import class_consumer
from kongming_sched.placement.tree import NodeState
from kongming_sched.pools import HostCpus
from kongming_sched.request import TEMPLATE_KEY
from kongming_sched.template import PinningTemplate


@dataclass(frozen=True, slots=True)
class PlacementView:
    """What Placement holds for a host.

    :ivar root: the compute node's provider
    :ivar states: the host's node providers, by provider id
    :ivar moment: when that is
    :ivar stored: the templates that are offered to the host, by name
    :ivar templates: what these say at this moment
    :ivar versions: name to version of these
    :ivar problems: the templates that cannot be read
    :ivar classes: of servers that have another template than their flavor's
    """

    root: Provider
    states: Mapping[str, NodeState]
    moment: datetime
    stored: Mapping[str, PinningTemplate]
    versions: Mapping[str, int]
    problems: tuple[Problem, ...]
    classes: HostClasses = field(default_factory=HostClasses)
    templates: Mapping[str, PinningTemplate] = field(init=False)

    def __post_init__(self) -> None:
        templates = {name: in_force(template, self.moment) for name, template in self.stored.items()}
        object.__setattr__(self, "templates", templates)  # the dataclass is frozen

    def at(self, moment: datetime) -> PlacementView:
        """The same at another moment, of which Placement itself knows nothing."""
        return replace(self, moment=moment)

    def basis(self, guest: Guest, granted: Mapping[str, str]) -> Basis:
        """On what the layout of a guest is based.

        :param granted: the metadata by which it is other than its flavor says
        """
        name = granted.get(TEMPLATE_KEY, guest.request.template)
        stored = self.stored.get(name)
        period = period_at(stored, self.moment) if stored else None
        version = self.versions.get(name, 0)
        found = self.classes.records.get(class_consumer(guest.uuid))
        request = request_words(found.request_mark) if found and found.template == name else ""
        identity, template = guest.identity, self.templates.get(name)
        of_flavor = identity.flavor_request if identity.server_class else identity.request
        own = of_flavor.template if of_flavor else ""
        return Basis(identity.start, name, template, version, granted, str(period or ""), request, own)

    def seconds_to_change(self, names: Collection[str], now: datetime) -> float | None:
        """How long it is until one of these templates says something else than at this moment; None if none does.

        :param now: a later moment, before which that may have happened already
        """
        found = (next_change(self.stored[name], self.moment) for name in names if name in self.stored)
        waits = (max((change.at - now).total_seconds(), 0.0) for change in found if change is not None)
        return min(waits, default=None)

    @property
    def consumers(self) -> set[str]:
        """The ids of all that has claimed something on the host."""
        return {consumer for state in self.states.values() for consumer in state.allocations}


@dataclass(frozen=True, slots=True)
class Observation:
    """What is seen on a host itself at one time.

    :ivar guests: the running guests of templates
    :ivar unmanaged: the running guests without a template
    :ivar unread: the running guests that cannot be read now
    :ivar incoming: the guests that migrate to it
    :ivar released: which guests are to be left alone
    :ivar problems: what cannot be read
    :ivar starting: the guests that start on CPUs which are kept for them, as if they ran there
    """

    cpus: HostCpus
    guests: tuple[Guest, ...]
    unmanaged: tuple[RunningGuest, ...]
    unread: tuple[ObservedGuest, ...]
    incoming: IncomingMigrations
    released: Released
    problems: tuple[Problem, ...]
    starting: tuple[Guest, ...] = ()

    @property
    def servers(self) -> list[str]:
        """The ids of the running guests that have a template, as far as is known."""
        return [guest.uuid for guest in (*self.guests, *self.unread)]

    @property
    def unread_servers(self) -> list[str]:
        """The ids of the running guests that cannot be read now."""
        return [guest.uuid for guest in self.unread]
