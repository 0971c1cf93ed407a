# SPDX-License-Identifier: Apache-2.0
"""Brings guests to where they belong, round by round: who cannot be moved stays, and the others go round it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from kongming_sched import exceptions
from kongming_sched.agent.act.apply import Applier
from kongming_sched.agent.decide.occupancy import Occupancy
from kongming_sched.agent.decide.plan import plan
from kongming_sched.agent.host.ports import Hypervisor, Kernel
from kongming_sched.agent.model.actions import Action
from kongming_sched.agent.model.guest import Guest, Threads
from kongming_sched.agent.model.view import HostLayout, units_of
from kongming_sched.cpuset import CpuSet

_ROUNDS = 4
"""How often the others are laid out anew in one look because a guest turned out not to be movable."""

BUSY = "it is migrating or being saved, and is pinned when that is over"


@dataclass(slots=True)
class Pinned:
    """What came of it.

    :ivar layout: the last one that was made
    :ivar occupancy: who is on which CPUs of the dedicated pool now
    :ivar done: the actions that hold now
    :ivar failed: server id to the reason for guests that a change failed for
    :ivar left: server id to the reason for guests that had to be left alone
    :ivar seen: server id to the threads of guests that the kernel was asked for again
    """

    layout: HostLayout
    occupancy: Occupancy
    done: list[Action] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    seen: dict[str, Threads] = field(default_factory=dict)


class Pinner:
    """Pins the guests of one host during one look.

    :param lay_out: makes the layout of these guests, of which some cannot be moved
    :param observe: reads the running guests again
    :param still: guests that nothing is to be done about: those on their way here that were told their CPUs
    :param dedicated: the host's dedicated pool
    :param housekeeping: where a thread waits while guests swap CPUs
    """

    def __init__(
        self,
        hypervisor: Hypervisor,
        kernel: Kernel,
        lay_out: Callable[[tuple[Guest, ...], frozenset[str]], HostLayout],
        observe: Callable[[], tuple[Guest, ...]],
        still: Iterable[Guest],
        dedicated: CpuSet,
        housekeeping: CpuSet,
    ) -> None:
        self._hypervisor = hypervisor
        self._kernel = kernel
        self._lay_out = lay_out
        self._observe = observe
        self._still = tuple(still)
        self._dedicated = dedicated
        self.housekeeping = housekeeping
        self._failed: dict[str, str] = {}
        self._left: dict[str, str] = {}
        self._known_not_busy: set[str] = set()

    def run(self, layout: HostLayout, guests: tuple[Guest, ...], waiting: Mapping[str, str]) -> Pinned:
        """Do what can be done.

        :param layout: the layout of all guests if each can be moved
        :param waiting: server ids of guests that are not to be touched, with the reason
        :raises HypervisorUnavailable: if libvirtd went away; the next look at the host repairs what is half done
        """
        here = {guest.uuid for guest in guests}
        self._left = {uuid: reason for uuid, reason in waiting.items() if uuid in here}
        done: list[Action] = []
        seen: dict[str, Threads] = {}
        for round_left in reversed(range(_ROUNDS)):
            layout, actions = self._plan(layout, guests)
            everyone = (*guests, *self._still)
            units = units_of(everyone, layout.guests, self._immovable())
            applier = Applier(self._hypervisor, self._kernel, everyone, units, self._dedicated)
            applied = applier.run(actions)
            done += applied.done
            seen |= applied.seen
            self._failed |= applied.failed
            if not round_left or not (applied.failed or applied.kept_out):
                break
            guests = tuple(guest for guest in self._observe() if guest.uuid in here)
        return Pinned(layout, applier.occupancy, done, self._failed, self._left | applied.kept_out, seen)

    def first_plan(
        self, layout: HostLayout, guests: tuple[Guest, ...]
    ) -> tuple[HostLayout, tuple[Action, ...], Mapping[str, str]]:
        """What run would begin with: its layout, its actions, and who would be left alone for which reason."""
        planned, actions = self._plan(layout, guests)
        return planned, tuple(actions), dict(self._left)

    def _immovable(self) -> frozenset[str]:
        return frozenset([*self._left, *self._failed, *(guest.uuid for guest in self._still)])

    def _plan(self, layout: HostLayout, guests: tuple[Guest, ...]) -> tuple[HostLayout, list[Action]]:
        """A plan that needs nobody who cannot be moved. Only those are asked about who are to be changed."""
        everyone = (*guests, *self._still)
        while True:
            immovable = self._immovable()
            if immovable:
                layout = self._lay_out(guests, immovable)
            actions = plan(everyone, layout.guests, self._dedicated, self.housekeeping, immovable)
            wanted = {action.guest for action in actions} - self._known_not_busy
            if not self._find_busy([guest for guest in guests if guest.uuid in wanted]):
                return layout, actions

    def _find_busy(self, guests: Iterable[Guest]) -> bool:
        """Whether one of these cannot be changed now, because it migrates; an event says when it can."""
        found = False
        for guest in guests:
            try:
                is_busy, reason = self._hypervisor.is_busy(guest.domain), BUSY
            except exceptions.GuestGone:
                continue
            except exceptions.HypervisorUnavailable:
                raise
            except exceptions.HypervisorError as error:
                is_busy, reason = True, str(error)
            if is_busy:
                self._left[guest.uuid] = reason
                found = True
            else:
                self._known_not_busy.add(guest.uuid)
        return found
