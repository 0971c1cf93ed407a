# SPDX-License-Identifier: Apache-2.0
"""The single actions that lead from how a host is to how it should be, in an order that is safe. Pure.

No CPU of the dedicated pool belongs to two guests at any time: a thread moves onto CPUs only after every other guest
has left them, and where guests wait for each other one of them goes to the housekeeping CPUs first. Of guests that
cannot be moved now only those CPUs count to which they are pinned; see blocked.py.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace

from kongming_sched.agent.decide.occupancy import Occupancy
from kongming_sched.agent.model.actions import Action, Kind, Unit
from kongming_sched.agent.model.guest import Guest, ObservedGuest
from kongming_sched.agent.model.view import GuestLayout, units_of
from kongming_sched.cpuset import CpuSet


def plan(
    guests: Sequence[ObservedGuest],
    layouts: Mapping[str, GuestLayout],
    dedicated: CpuSet,
    housekeeping: CpuSet,
    immovable: Set[str] = frozenset(),
) -> list[Action]:
    """The actions that lead from the guests as they are to their layouts.

    Pins come first. Those that can never be done, because another guest stays on these CPUs, stand at the end of the
    pins: the one who applies the plan finds the CPUs taken and reports by which guest.

    :param guests: those of templates, and those that cannot be read, which are all immovable
    :param dedicated: the host's dedicated pool
    :param housekeeping: where a thread waits while guests swap CPUs
    :param immovable: server ids of guests that stay as they are
    """
    units = units_of(guests, layouts, immovable)
    actions, stuck = _order_pins(units, dedicated, housekeeping)
    impossible: list[Unit] = []
    while stuck:
        # A guest that cannot have all of its CPUs keeps what it has, and so may be in the way of others that were
        # ordered as if it left. These are found by ordering again; each turn takes at least one guest out.
        impossible += [unit for unit in units if unit.guest in stuck and unit.current != unit.target]
        units = [replace(unit, target=unit.current) if unit.guest in stuck else unit for unit in units]
        actions, stuck = _order_pins(units, dedicated, housekeeping)
    actions += [_pin(unit, unit.current, unit.target) for unit in impossible]
    for guest in sorted(guests, key=lambda guest: guest.uuid):
        if isinstance(guest, Guest) and guest.uuid not in immovable:
            actions += _other_actions(guest, layouts[guest.uuid])
    return actions


def _order_pins(units: Sequence[Unit], dedicated: CpuSet, housekeeping: CpuSet) -> tuple[list[Action], set[str]]:
    """First what leaves the pool, then each thread whose CPUs are free; when there is none, one steps aside.

    :returns: also the guests whose CPUs never become free, because another guest stays there
    """
    actions: list[Action] = []
    pending = [unit for unit in units if unit.current != unit.target]
    if not pending:
        return actions, set()
    occupancy = Occupancy(units, dedicated)
    # Threads that leave the pool wait for no other and make room, so they go first. The sort keeps the order of guests
    # within both parts, so that the plan is the same whenever it is made of the same state.
    pending.sort(key=lambda unit: not unit.target.isdisjoint(dedicated))
    wanting = _by_wanted_cpu(pending, dedicated)
    # The threads to try, as a heap, so that of those that can move the first by the order above does. One whose CPUs
    # are taken drops out, and is pushed again with each of its CPUs that becomes free: trying all that wait after each
    # move would take quadratic time on a full host. An ascending list is a heap as it is.
    to_try = list(range(len(pending)))
    moved: set[int] = set()
    # Threads that stepped aside: their last move starts at the housekeeping CPUs, not where they were seen.
    parked: set[int] = set()
    # Who steps aside next, when none can move. It is never rewound: what it has passed is on its CPUs or on the
    # housekeeping CPUs already, and leaves nothing free by stepping aside again. So the loop ends.
    may_step_aside = iter([index for index, unit in enumerate(pending) if not unit.current.isdisjoint(dedicated)])
    while True:
        if to_try:
            index = heapq.heappop(to_try)
            unit = pending[index]
            if index in moved or occupancy.blocker(unit.guest, unit.target) is not None:
                continue
            moved.add(index)
            action = _pin(unit, housekeeping if index in parked else unit.current, unit.target)
        else:
            index = next((index for index in may_step_aside if index not in moved), -1)
            if index < 0:
                return actions, {unit.guest for index, unit in enumerate(pending) if index not in moved}
            parked.add(index)
            action = _pin(pending[index], pending[index].current, housekeeping)
        for cpu in occupancy.move(action):
            for other in wanting.get(cpu, ()):
                heapq.heappush(to_try, other)
        actions.append(action)


def _by_wanted_cpu(pending: Sequence[Unit], dedicated: CpuSet) -> dict[int, list[int]]:
    """Host CPU of the pool to the threads that are to go there, by their indices."""
    wanting: dict[int, list[int]] = {}
    for index, unit in enumerate(pending):
        for cpu in unit.target & dedicated:
            wanting.setdefault(cpu, []).append(index)
    return wanting


def _pin(unit: Unit, before: CpuSet, cpus: CpuSet) -> Action:
    return Action(unit.guest, unit.kind, unit.index, cpus, before)


def _other_actions(guest: Guest, layout: GuestLayout) -> Iterator[Action]:
    """The binding of its memory, which follows the vCPUs, and then its shares, periods and quotas."""
    bound = guest.identity.memory_nodes
    if layout.memory_nodes and layout.memory_nodes != bound:
        yield Action(guest.uuid, Kind.MEMORY, cpus=layout.memory_nodes, before=bound)
    actual = guest.domain.scheduler
    wanted = {name: value for name, value in sorted(layout.scheduler.items()) if actual.get(name) != value}
    if "vcpu_quota" in layout.scheduler and len(set(guest.quotas.values())) > 1:
        # libvirt reports the quota of vCPU 0 as that of the guest. Where others differ it is set although it is right
        # already, for libvirt writes it to all of them.
        wanted["vcpu_quota"] = layout.scheduler["vcpu_quota"]
    if wanted:
        before = {name: actual[name] for name in wanted}
        yield Action(guest.uuid, Kind.SCHEDULER, parameters=wanted, parameters_before=before)
    for vcpu, quota_us in sorted(layout.quotas.items()):
        now_us = guest.quotas.get(vcpu, actual.get("vcpu_quota", -1))
        if now_us != quota_us:
            before, after = {"quota_us": now_us}, {"quota_us": quota_us}
            yield Action(guest.uuid, Kind.QUOTA, vcpu, parameters=after, parameters_before=before)
