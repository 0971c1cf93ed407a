# SPDX-License-Identifier: Apache-2.0
"""The way from how a host is to how it should be, as a list of single actions. Pure.

No CPU of the dedicated pool ever belongs to two guests, also halfway: a thread moves onto CPUs only after every other
guest has left them, and where guests wait for each other one of them goes to the housekeeping CPUs first. Of guests
that cannot be moved now only those CPUs count to which they are pinned; see immovable.py.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace

from kongming_sched.agent.decide.occupancy import Occupancy
from kongming_sched.agent.model.actions import Action, Kind, Unit
from kongming_sched.agent.model.guest import Guest
from kongming_sched.agent.model.view import GuestLayout, units_of
from kongming_sched.cpuset import CpuSet


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
