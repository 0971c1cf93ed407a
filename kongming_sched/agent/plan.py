# SPDX-License-Identifier: Apache-2.0
"""The way from how a host is to how it should be, as a list of single actions. Pure.

No CPU of the dedicated pool ever belongs to two guests, also halfway: a thread moves onto CPUs only after every other
guest has left them, and where guests wait for each other one of them goes to the housekeeping CPUs first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from kongming_sched.agent.guest import Guest
from kongming_sched.agent.layout import GuestLayout
from kongming_sched.cpuset import CpuSet


class Kind(StrEnum):
    """What of a guest an action changes."""

    VCPU = "vCPU"
    EMULATOR = "emulator"
    IOTHREAD = "I/O thread"
    MEMORY = "memory"
    SCHEDULER = "scheduler"


@dataclass(frozen=True, slots=True)
class Action:
    """One call of libvirt.

    :ivar guest: the server's id
    :ivar index: the number of the vCPU or I/O thread; 0 for the other kinds
    :ivar cpus: host CPUs to pin to; for the memory host NUMA nodes
    :ivar before: where it is now; empty if libvirt cannot be set back to that
    :ivar parameters: for the scheduler, what to set
    :ivar parameters_before: for the scheduler, what it is now
    """

    guest: str
    kind: Kind
    index: int = 0
    cpus: CpuSet = field(default_factory=CpuSet)
    before: CpuSet = field(default_factory=CpuSet)
    parameters: Mapping[str, int] = field(default_factory=dict)
    parameters_before: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_pin(self) -> bool:
        """True if it moves a thread."""
        return self.kind in (Kind.VCPU, Kind.EMULATOR, Kind.IOTHREAD)

    def __str__(self) -> str:
        if self.kind is Kind.SCHEDULER:
            changes = (
                f"{name} {self.parameters_before.get(name)} -> {value}" for name, value in self.parameters.items()
            )
            return ", ".join(changes)
        what = f"{self.kind} {self.index}" if self.kind in (Kind.VCPU, Kind.IOTHREAD) else str(self.kind)
        place = "node" if self.kind is Kind.MEMORY else "CPU"
        return f"{what}: {place} {self.before or 'any'} -> {self.cpus}"


@dataclass(frozen=True, slots=True)
class Unit:
    """A thread that can be pinned."""

    guest: str
    kind: Kind
    index: int
    current: CpuSet
    target: CpuSet


class Occupancy:
    """Which threads of which guests are on which CPUs of the dedicated pool, while they move."""

    def __init__(self, units: Iterable[Unit], dedicated: CpuSet) -> None:
        self._dedicated = dedicated
        self._on = {(unit.guest, unit.kind, unit.index): unit.current for unit in units}

    def blocker(self, guest: str, cpus: CpuSet) -> str | None:
        """Another guest that is on one of these CPUs of the dedicated pool."""
        wanted = cpus & self._dedicated
        if not wanted:
            return None
        return next((key[0] for key, on in self._on.items() if key[0] != guest and not on.isdisjoint(wanted)), None)

    def move(self, action: Action) -> None:
        """Book that a thread has moved."""
        self._on[action.guest, action.kind, action.index] = action.cpus

    def drop(self, guest: str) -> None:
        """A guest ended."""
        self._on = {key: on for key, on in self._on.items() if key[0] != guest}


def units_of(guests: Iterable[Guest], layouts: Mapping[str, GuestLayout]) -> list[Unit]:
    """Every thread of every guest with where it is and where it should be."""
    units = []
    for guest in sorted(guests, key=lambda guest: guest.uuid):
        layout, threads = layouts[guest.uuid], guest.threads
        for vcpu, current in sorted(threads.vcpus.items()):
            target = layout.vcpus[vcpu] if vcpu < len(layout.vcpus) else current
            units.append(Unit(guest.uuid, Kind.VCPU, vcpu, current, target))
        units.append(Unit(guest.uuid, Kind.EMULATOR, 0, threads.emulator, layout.emulator))
        for number, current in sorted(threads.iothreads.items()):
            units.append(Unit(guest.uuid, Kind.IOTHREAD, number, current, layout.emulator))
    return units


def plan(
    guests: Sequence[Guest], layouts: Mapping[str, GuestLayout], dedicated: CpuSet, housekeeping: CpuSet
) -> list[Action]:
    """The actions that lead from the guests as they are to their layouts, in an order that is safe.

    :param dedicated: the host's dedicated pool
    :param housekeeping: where a thread waits while guests swap CPUs
    """
    units = units_of(guests, layouts)
    actions = list(_order_pins(units, dedicated, housekeeping))
    for guest in sorted(guests, key=lambda guest: guest.uuid):
        actions += _other_actions(guest, layouts[guest.uuid])
    return actions


def _order_pins(units: Sequence[Unit], dedicated: CpuSet, housekeeping: CpuSet) -> Iterator[Action]:
    """First what leaves the pool, then whatever finds its CPUs free; if nothing does, one steps aside."""
    occupancy = Occupancy(units, dedicated)
    pending = [unit for unit in units if unit.current != unit.target]
    pending.sort(key=lambda unit: not unit.target.isdisjoint(dedicated))
    parked: set[Unit] = set()
    while pending:
        free = [unit for unit in pending if occupancy.blocker(unit.guest, unit.target) is None]
        if free:
            unit = free[0]
            pending.remove(unit)
            before = housekeeping if unit in parked else unit.current
            action = Action(unit.guest, unit.kind, unit.index, unit.target, before)
        else:
            waiting = [unit for unit in pending if unit not in parked and not unit.current.isdisjoint(dedicated)]
            if not waiting:
                return  # somebody stays who should not; the next look will find another way
            unit = waiting[0]
            parked.add(unit)
            action = Action(unit.guest, unit.kind, unit.index, housekeeping, unit.current)
        occupancy.move(action)
        yield action


def _other_actions(guest: Guest, layout: GuestLayout) -> Iterator[Action]:
    """Memory, once the vCPUs are there, and the scheduler's parameters."""
    bound = guest.identity.memory_nodes
    if layout.memory_nodes and layout.memory_nodes != bound:
        yield Action(guest.uuid, Kind.MEMORY, cpus=layout.memory_nodes, before=bound)
    actual = guest.domain.scheduler
    wanted = {name: value for name, value in sorted(layout.scheduler.items()) if actual.get(name) != value}
    if wanted:
        before = {name: actual[name] for name in wanted}
        yield Action(guest.uuid, Kind.SCHEDULER, parameters=wanted, parameters_before=before)
