# SPDX-License-Identifier: Apache-2.0
"""Brings guests to where they belong, round by round: those that cannot be moved stay, and the others go round them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from kongming_sched import exceptions
from kongming_sched.agent.act.apply import Applier
from kongming_sched.agent.decide.occupancy import Occupancy
from kongming_sched.agent.decide.plan import plan
from kongming_sched.agent.host.ports import Hypervisor, Kernel
from kongming_sched.agent.model.actions import Action
from kongming_sched.agent.model.guest import Guest, ObservedGuest, Threads
from kongming_sched.agent.model.problem import Problem, Reason, server
from kongming_sched.agent.model.view import HostLayout, RunningGuests, units_of
from kongming_sched.cpuset import CpuSet

_ROUNDS = 4
"""How often the others are laid out anew in one pass because a guest turned out not to be movable."""

_BUSY = "it is migrating or being saved, and is pinned when that is over"


@dataclass(frozen=True, slots=True)
class Pinned:
    """What the rounds of a pass did.

    :ivar layout: the last one that was made
    :ivar occupancy: which guests are on which CPUs of the dedicated pool now
    :ivar done: the actions that hold now
    :ivar failed: server id to the problem, of guests that a change has just failed for
    :ivar left: server id to the problem, of guests that had to be left as they are, be it for an earlier failure
    :ivar seen: server id to the threads of guests that the kernel was asked for again
    :ivar guests: as they were when that layout was made; later rounds read them again
    """

    layout: HostLayout
    occupancy: Occupancy
    done: tuple[Action, ...]
    failed: Mapping[str, Problem]
    left: Mapping[str, Problem]
    seen: Mapping[str, Threads]
    guests: tuple[Guest, ...]

    def guests_now(self) -> Iterator[Guest]:
        """These guests with their threads as the kernel has them now."""
        return (replace(guest, threads=self.seen.get(guest.uuid, guest.threads)) for guest in self.guests)


class Pinner:
    """Pins the guests of one host during one pass.

    :param lay_out: makes the layout of these guests, of which some cannot be moved
    :param observe: reads the running guests again
    :param still: guests for which nothing is to be done: incoming ones that have their answer, and those that cannot
        be read
    :param dedicated: the host's dedicated pool
    :param housekeeping: where a thread waits while guests swap CPUs
    """

    def __init__(
        self,
        hypervisor: Hypervisor,
        kernel: Kernel,
        lay_out: Callable[[tuple[Guest, ...], frozenset[str]], HostLayout],
        observe: Callable[[], RunningGuests],
        still: Iterable[ObservedGuest],
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
        self._failed: dict[str, Problem] = {}
        self._left: dict[str, Problem] = {}
        self._untouched: frozenset[str] = frozenset()
        self._known_not_busy: set[str] = set()

    def run(
        self,
        layout: HostLayout,
        guests: tuple[Guest, ...],
        failed_before: Mapping[str, Problem],
        untouched: Collection[str] = (),
    ) -> Pinned:
        """Do what can be done.

        :param layout: the layout of all guests if each can be moved
        :param failed_before: server ids of guests that are left alone for a while, with what failed
        :param untouched: server ids of guests that are left alone without a problem
        :raises HypervisorUnavailable: if libvirtd went away; the next pass repairs what is half done
        """
        subjects = {guest.uuid: server(guest) for guest in guests}
        self._leave_alone(subjects, failed_before, untouched)
        kept_out: Mapping[str, str] = {}
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
            kept_out = applied.kept_out
            self._failed |= {
                uuid: Problem(Reason.REFUSED, subjects[uuid], text) for uuid, text in applied.failed.items()
            }
            if not round_left or not (applied.failed or kept_out):
                break
            guests = tuple(self._read_again(guests))
        waiting = {uuid: Problem(Reason.WAITING, subjects[uuid], text) for uuid, text in kept_out.items()}
        return Pinned(layout, applier.occupancy, tuple(done), self._failed, self._left | waiting, seen, guests)

    def first_plan(
        self,
        layout: HostLayout,
        guests: tuple[Guest, ...],
        failed_before: Mapping[str, Problem] = MappingProxyType({}),
        untouched: Collection[str] = (),
    ) -> tuple[HostLayout, tuple[Action, ...], Mapping[str, Problem]]:
        """What run would begin with: its layout, its actions, and why guests would be left alone, by server id."""
        self._leave_alone([guest.uuid for guest in guests], failed_before, untouched)
        planned, actions = self._plan(layout, guests)
        return planned, tuple(actions), dict(self._left)

    def _leave_alone(
        self, servers: Collection[str], failed_before: Mapping[str, Problem], untouched: Collection[str]
    ) -> None:
        self._left = {uuid: problem for uuid, problem in failed_before.items() if uuid in servers}
        self._untouched = frozenset(untouched) & frozenset(servers)

    def _read_again(self, guests: Iterable[Guest]) -> Iterator[Guest]:
        """These guests as they are now; one that cannot be read any more is left where it is."""
        running = self._observe()
        managed = {guest.uuid: guest for guest in running.managed}
        unread = {guest.uuid: guest for guest in running.unread}
        for guest in guests:
            if guest.uuid in managed:
                yield managed[guest.uuid]
            elif guest.uuid in unread:
                lost = unread[guest.uuid]
                self._left[guest.uuid] = Problem(Reason.DOMAIN, server(guest), lost.identity.fault)
                yield replace(guest, threads=lost.threads)

    def _immovable(self) -> frozenset[str]:
        return frozenset([*self._left, *self._failed, *self._untouched, *(guest.uuid for guest in self._still)])

    def _plan(self, layout: HostLayout, guests: tuple[Guest, ...]) -> tuple[HostLayout, list[Action]]:
        """Plan around immovable guests. libvirt is asked only about guests that the plan would change."""
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
            reason, text = Reason.BUSY, _BUSY
            try:
                is_busy = self._hypervisor.is_busy(guest.domain)
            except exceptions.GuestGone:
                continue
            except exceptions.HypervisorUnavailable:
                raise
            except exceptions.HypervisorError as error:
                is_busy, reason, text = True, Reason.REFUSED, str(error)
            if is_busy:
                self._left[guest.uuid] = Problem(reason, server(guest), text)
                found = True
            else:
                self._known_not_busy.add(guest.uuid)
        return found
