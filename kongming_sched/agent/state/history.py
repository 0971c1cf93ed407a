# SPDX-License-Identifier: Apache-2.0
"""How each guest was when it was last as it should be, and what has drifted since. Pure, but for what it remembers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from kongming_sched.agent.model.actions import Action, Kind
from kongming_sched.agent.model.guest import Guest
from kongming_sched.agent.model.outcome import Drift, DriftReport, Pins
from kongming_sched.agent.model.problem import Subject, SubjectKind, server
from kongming_sched.agent.model.view import GuestLayout
from kongming_sched.cpuset import CpuSet

_Item = tuple[Kind, int | str]
"""Something of a guest that can drift: a thread by its number, its memory, a scheduler parameter, a vCPU's quota."""

_Value = CpuSet | int | None


@dataclass(frozen=True, slots=True)
class _Settled:
    """A run of a guest, and the layout that it had when all of it was last as it should be."""

    start: str
    layout: GuestLayout


class History:
    """The past of each run of a guest, kept in memory only.

    After a start of the agent a guest that is placed well is taken to be where it belongs.
    """

    def __init__(self) -> None:
        self._settled: dict[str, _Settled] = {}
        self._left: dict[str, tuple[str, dict[_Item, _Value]]] = {}
        self._drifted: set[tuple[str, _Item]] = set()

    def assigned(self, guests: Iterable[Guest]) -> dict[str, GuestLayout]:
        """Server id to the layout that it was given last, wherever its threads have been moved since."""
        return {
            guest.uuid: settled.layout
            for guest in guests
            if (settled := self._settled.get(guest.uuid)) is not None and settled.start == guest.identity.start
        }

    def knows(self, uuid: str, start: str) -> bool:
        """Whether this run of a guest once had what its template says."""
        return uuid in self._settled and self._settled[uuid].start == start

    def forget(self, uuid: str) -> None:
        """Forget a guest that asks for no template any more."""
        self._settled.pop(uuid, None)
        self._left.pop(uuid, None)

    def lose_track(self) -> None:
        """Forget where items were left, because a pass was cut off: what it has moved meanwhile is no drift."""
        self._left = {}

    def follow(self, pins: Iterable[Action]) -> None:
        """Take over pins that were changed between two passes: there the threads belong from now on."""
        for pin in pins:
            if pin.guest in self._left:
                self._left[pin.guest][1][pin.kind, pin.index] = pin.cpus
            if settled := self._settled.get(pin.guest):
                self._settled[pin.guest] = replace(settled, layout=settled.layout.with_pin(pin))

    def record(
        self,
        guests: Sequence[Guest],
        targets: Mapping[str, GuestLayout],
        pins: Pins,
        settled: Collection[str],
        unread: Iterable[str] = (),
    ) -> DriftReport:
        """Find what had drifted before a pass, and remember how the pass left everything.

        An item has drifted if it is neither where the agent left it, in the same run of the guest, nor where it should
        be now. Each drift is reported once: an item that could not be repaired is not known to be right any more.

        :param guests: all running guests of templates as they were before the pass
        :param targets: server id to how each of them should be
        :param pins: their threads before and after the pass
        :param settled: server ids of those that are as they should be in every respect
        :param unread: server ids of further guests that run, of which is remembered what was; of all others nothing is
        """
        found = [*self._drifted_threads(pins), *self._drifted_values(guests, targets)]
        self._drifted |= {(guest, item) for guest, item, drift in found if drift.is_thread}
        self._remember(guests, targets, pins, settled, unread)
        right = {(guest, item) for guest, item in self._drifted if item in self._left.get(guest, ("", {}))[1]}
        there = {(unit.guest, (unit.kind, unit.index)) for unit in pins.after} if self._drifted else set()
        self._drifted = (self._drifted & there) - right
        return DriftReport(tuple(drift for _, _, drift in found), len(right))

    def _drifted_threads(self, pins: Pins) -> Iterator[tuple[str, _Item, Drift]]:
        for unit in pins.before:
            if unit.current == unit.target:
                continue
            was = self._was(unit.guest, pins.starts[unit.guest], (unit.kind, unit.index))
            if was is not None and was != unit.current:
                subject = Subject(SubjectKind.SERVER, pins.servers[unit.guest], unit.guest)
                places = (f"CPU {cpus}" for cpus in (was, unit.current, unit.target))
                yield unit.guest, (unit.kind, unit.index), Drift(subject, unit.kind, str(unit.thread), *places)

    def _drifted_values(
        self, guests: Iterable[Guest], targets: Mapping[str, GuestLayout]
    ) -> Iterator[tuple[str, _Item, Drift]]:
        for guest in guests:
            for item, found, wanted in _values(guest, targets[guest.uuid]):
                was = self._was(guest.uuid, guest.identity.start, item)
                if found != wanted and was is not None and was != found:
                    what = {Kind.MEMORY: "memory", Kind.QUOTA: f"QoS of vCPU {item[1]}"}.get(item[0], "QoS")
                    values = (_value_in_words(item, value) for value in (was, found, wanted))
                    yield guest.uuid, item, Drift(server(guest), item[0], what, *values)

    def _was(self, guest: str, start: str, item: _Item) -> _Value:
        """Where the agent left an item; None if it has not left it right in this run of the guest."""
        known_start, items = self._left.get(guest, ("", {}))
        return items.get(item) if known_start == start else None

    def _remember(
        self,
        guests: Iterable[Guest],
        targets: Mapping[str, GuestLayout],
        pins: Pins,
        settled: Collection[str],
        unread: Iterable[str],
    ) -> None:
        left = {uuid: self._left[uuid] for uuid in unread if uuid in self._left}
        kept = {uuid: self._settled[uuid] for uuid in unread if uuid in self._settled}
        for guest in guests:
            uuid, start = guest.uuid, guest.identity.start
            items: dict[_Item, _Value] = {}
            if uuid in settled:
                items = {item: wanted for item, _, wanted in _values(guest, targets[uuid])}
                kept[uuid] = _Settled(start, targets[uuid])
            elif uuid in self._settled:
                kept[uuid] = self._settled[uuid]
            left[uuid] = start, items
        for unit in pins.after:
            if unit.current == unit.target:
                left[unit.guest][1][unit.kind, unit.index] = unit.current
        self._left, self._settled = left, kept


def _values(guest: Guest, layout: GuestLayout) -> Iterator[tuple[_Item, _Value, _Value]]:
    """Everything but threads that a layout sets of a guest: what it is, what was found, what it should be."""
    bound = guest.identity.memory_nodes
    yield (Kind.MEMORY, 0), bound, layout.memory_nodes or bound
    for name, value in sorted(layout.scheduler.items()):
        yield (Kind.SCHEDULER, name), guest.domain.scheduler.get(name), value
    for vcpu, value in sorted(layout.quotas.items()):
        yield (Kind.QUOTA, vcpu), guest.quotas.get(vcpu, value), value


def _value_in_words(item: _Item, value: _Value) -> str:
    if item[0] is Kind.MEMORY:
        return f"node {value or 'any'}"
    return f"quota {value}" if item[0] is Kind.QUOTA else f"{item[1]} {value}"
