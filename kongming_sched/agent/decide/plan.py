# SPDX-License-Identifier: Apache-2.0
"""The way from how a host is to how it should be, as a list of single actions. Pure.

No CPU of the dedicated pool ever belongs to two guests, also halfway: a thread moves onto CPUs only after every other
guest has left them, and where guests wait for each other one of them goes to the housekeeping CPUs first. Of guests
that cannot be moved now only those CPUs count to which they are pinned; see immovable.py.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace

from kongming_sched.agent.model.actions import Action, Kind, Unit
from kongming_sched.agent.model.guest import Guest
from kongming_sched.agent.model.view import GuestLayout, units_of
from kongming_sched.cpuset import CpuSet

_Thread = tuple[str, Kind, int]


class Occupancy:
    """Which threads of which guests are on which CPUs of the dedicated pool, while they move.

    Threads of equal affinity are counted together, so that a question costs the same however many guests there are.
    """

    def __init__(self, units: Iterable[Unit], dedicated: CpuSet) -> None:
        self._dedicated = dedicated
        self._on: dict[_Thread, tuple[CpuSet, ...]] = {}
        self._guests: dict[CpuSet, Counter[str]] = {}
        self._affinities: dict[int, dict[CpuSet, None]] = {}
        for unit in units:
            if not unit.is_fixed or unit.current <= dedicated:
                self._put((unit.guest, unit.kind, unit.index), unit.current)

    def blocker(self, guest: str, cpus: CpuSet) -> str | None:
        """Another guest with a thread that may be on one of these CPUs of the dedicated pool."""
        return next(self._others(guest, cpus, self._affinities), None)

    def owner(self, guest: str, cpus: CpuSet) -> str | None:
        """Another guest with a thread that is pinned there; one that floats has no CPU of its own."""
        pinned = {
            cpu: [affinity for affinity in self._affinities.get(cpu, ()) if affinity <= self._dedicated] for cpu in cpus
        }
        return next(self._others(guest, cpus, pinned), None)

    def move(self, action: Action) -> CpuSet:
        """Book that a thread has moved; gives the CPUs for which others need no longer wait, as far as that goes."""
        key = action.guest, action.kind, action.index
        left = self._take(key)
        self._put(key, action.cpus)
        return left

    def doubt(self, action: Action) -> None:
        """Book that a thread may have moved or not."""
        self._put((action.guest, action.kind, action.index), action.cpus)

    def drop(self, guest: str) -> None:
        """A guest ended."""
        for key in [key for key in self._on if key[0] == guest]:
            self._take(key)

    def _others(self, guest: str, cpus: CpuSet, affinities: Mapping[int, Iterable[CpuSet]]) -> Iterator[str]:
        for cpu in cpus & self._dedicated:
            for affinity in affinities.get(cpu, ()):
                for other in self._guests[affinity]:
                    if other != guest:
                        yield other

    def _put(self, key: _Thread, affinity: CpuSet) -> None:
        if affinity.isdisjoint(self._dedicated):
            return
        self._on[key] = (*self._on.get(key, ()), affinity)
        if affinity not in self._guests:
            self._guests[affinity] = Counter()
            for cpu in affinity & self._dedicated:
                self._affinities.setdefault(cpu, {})[affinity] = None
        self._guests[affinity][key[0]] += 1

    def _take(self, key: _Thread) -> CpuSet:
        """Let a thread go; gives the CPUs that one guest uses at most now, if these were more."""
        freed = CpuSet()
        for affinity in self._on.pop(key, ()):
            guests = self._guests[affinity]
            guests[key[0]] -= 1
            if guests[key[0]]:
                continue
            del guests[key[0]]
            if not guests:
                del self._guests[affinity]
                for cpu in affinity & self._dedicated:
                    del self._affinities[cpu][affinity]
            if len(guests) < 2:
                freed |= affinity
        return freed


def plan(
    guests: Sequence[Guest],
    layouts: Mapping[str, GuestLayout],
    dedicated: CpuSet,
    housekeeping: CpuSet,
    immovable: Set[str] = frozenset(),
) -> list[Action]:
    """The actions that lead from the guests as they are to their layouts, in an order that is safe.

    What can never be done, because somebody stays on these CPUs, comes last, for whoever applies it to say so.

    :param dedicated: the host's dedicated pool
    :param housekeeping: where a thread waits while guests swap CPUs
    :param immovable: server ids of guests that stay as they are
    """
    units = units_of(guests, layouts, immovable)
    actions, stranded = _order_pins(units, dedicated, housekeeping)
    vain: list[Unit] = []
    while stranded:
        vain += [unit for unit in units if unit.guest in stranded and unit.current != unit.target]
        units = [replace(unit, target=unit.current) if unit.guest in stranded else unit for unit in units]
        actions, stranded = _order_pins(units, dedicated, housekeeping)
    actions += [Action(unit.guest, unit.kind, unit.index, unit.target, unit.current) for unit in vain]
    for guest in sorted(guests, key=lambda guest: guest.uuid):
        if guest.uuid not in immovable:
            actions += _other_actions(guest, layouts[guest.uuid])
    return actions


def _order_pins(units: Sequence[Unit], dedicated: CpuSet, housekeeping: CpuSet) -> tuple[list[Action], set[str]]:
    """First what leaves the pool, then whatever finds its CPUs free; if nothing does, one steps aside.

    :returns: also the guests whose CPUs never become free, because somebody stays there
    """
    actions: list[Action] = []
    pending = [unit for unit in units if unit.current != unit.target]
    if not pending:
        return actions, set()
    occupancy = Occupancy(units, dedicated)
    pending.sort(key=lambda unit: not unit.target.isdisjoint(dedicated))
    wanting: dict[int, list[int]] = {}
    for index, unit in enumerate(pending):
        for cpu in unit.target & dedicated:
            wanting.setdefault(cpu, []).append(index)
    to_look_at = list(range(len(pending)))  # a heap; who is not free when looked at is put back when a CPU of its is
    arrived: set[int] = set()
    parked: set[int] = set()
    might_park = iter([index for index, unit in enumerate(pending) if not unit.current.isdisjoint(dedicated)])
    while True:
        if to_look_at:
            index = heapq.heappop(to_look_at)
            unit = pending[index]
            if index in arrived or occupancy.blocker(unit.guest, unit.target) is not None:
                continue
            arrived.add(index)
            before = housekeeping if index in parked else unit.current
            action = Action(unit.guest, unit.kind, unit.index, unit.target, before)
        else:
            index = next((index for index in might_park if index not in arrived), -1)
            if index < 0:
                return actions, {unit.guest for index, unit in enumerate(pending) if index not in arrived}
            unit = pending[index]
            parked.add(index)
            action = Action(unit.guest, unit.kind, unit.index, housekeeping, unit.current)
        for cpu in occupancy.move(action):
            for other in wanting.get(cpu, ()):
                heapq.heappush(to_look_at, other)
        actions.append(action)


def _other_actions(guest: Guest, layout: GuestLayout) -> Iterator[Action]:
    """Memory, once the vCPUs are there, and the scheduler's parameters."""
    bound = guest.identity.memory_nodes
    if layout.memory_nodes and layout.memory_nodes != bound:
        yield Action(guest.uuid, Kind.MEMORY, cpus=layout.memory_nodes, before=bound)
    actual = guest.domain.scheduler
    wanted = {name: value for name, value in sorted(layout.scheduler.items()) if actual.get(name) != value}
    if "vcpu_quota" in layout.scheduler and len(set(guest.quotas.values())) > 1:
        wanted["vcpu_quota"] = layout.scheduler["vcpu_quota"]  # which libvirt writes to all vCPUs
    if wanted:
        before = {name: actual[name] for name in wanted}
        yield Action(guest.uuid, Kind.SCHEDULER, parameters=wanted, parameters_before=before)
    for vcpu, quota_us in sorted(layout.quotas.items()):
        now_us = guest.quotas.get(vcpu, actual.get("vcpu_quota", -1))
        if now_us != quota_us:
            before, after = {"quota_us": now_us}, {"quota_us": quota_us}
            yield Action(guest.uuid, Kind.QUOTA, vcpu, parameters=after, parameters_before=before)
