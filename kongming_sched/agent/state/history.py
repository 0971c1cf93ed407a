# SPDX-License-Identifier: Apache-2.0
"""What somebody else has changed of a guest since it was as it should be. Pure, but for what it remembers."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from kongming_sched.agent.model.guest import Guest
from kongming_sched.agent.model.view import GuestLayout, units_of
from kongming_sched.cpuset import CpuSet


@dataclass(frozen=True, slots=True)
class Drift:
    """Something of a guest that is not where it was put.

    :ivar server: the guest, as people know it
    :ivar what: as in "vCPU 0" or "memory"
    :ivar found: where it is, or what its value is
    :ivar wanted: where it should be
    """

    server: str
    what: str
    found: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.what} is on {self.found} and should be on {self.wanted}"


@dataclass(frozen=True, slots=True)
class _Held:
    """What a run of a guest was seen to have."""

    start: str
    layout: GuestLayout


class History:
    """How each guest was when it was last as it should be. A guest that started anew has no past.

    It is kept in memory only: after a restart of the agent a guest that is placed well is taken to be where it belongs.
    """

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    def seats(self, guests: Iterable[Guest]) -> dict[str, tuple[CpuSet, ...]]:
        """The host CPUs that each guest was given, by server id: there it stays, whoever has moved it since."""
        return {guest.uuid: held.layout.vcpus for guest in guests if (held := self._of(guest)) is not None}

    def knows(self, uuid: str, start: str) -> bool:
        """Whether this run of a guest once had what its template says."""
        return uuid in self._held and self._held[uuid].start == start

    def drift(self, guests: Iterable[Guest], layouts: Mapping[str, GuestLayout]) -> list[Drift]:
        """What is not as it was left, of that which shall be as it was."""
        return [
            Drift(str(guest), what, found, wanted)
            for guest in guests
            if (held := self._of(guest)) is not None
            for what, found, wanted, was in _compare(guest, layouts[guest.uuid], held.layout)
            if wanted == was
        ]

    def record(self, guests: Iterable[Guest], layouts: Mapping[str, GuestLayout]) -> None:
        """Remember what guests have that are as they should be; of the others the last that was right is kept."""
        for guest in guests:
            layout = layouts[guest.uuid]
            nodes = layout.memory_nodes or guest.identity.memory_nodes
            self._held[guest.uuid] = _Held(guest.identity.start, replace(layout, memory_nodes=nodes))

    def forget(self, uuid: str) -> None:
        """A guest is no longer the agent's business."""
        self._held.pop(uuid, None)

    def keep_only(self, running: Container[str]) -> None:
        """Forget guests that do not run any more."""
        self._held = {uuid: held for uuid, held in self._held.items() if uuid in running}

    def _of(self, guest: Guest) -> _Held | None:
        held = self._held.get(guest.uuid)
        return held if held is not None and held.start == guest.identity.start else None


def _compare(guest: Guest, layout: GuestLayout, was: GuestLayout) -> Iterator[tuple[str, str, str, str]]:
    """What is not as it should be, where it is, where it should be, where it was put."""
    before = units_of([guest], {guest.uuid: was})
    for unit, old in zip(units_of([guest], {guest.uuid: layout}), before, strict=True):
        if unit.current == unit.target:
            continue
        what = f"{unit.kind} {unit.index}" if unit.kind != "emulator" else str(unit.kind)
        yield what, f"CPU {unit.current}", f"CPU {unit.target}", f"CPU {old.target}"
    if layout.memory_nodes and layout.memory_nodes != guest.identity.memory_nodes:
        found = guest.identity.memory_nodes or "any"
        yield "memory", f"node {found}", f"node {layout.memory_nodes}", f"node {was.memory_nodes}"
    for name, value in sorted(layout.scheduler.items()):
        actual = guest.domain.scheduler.get(name)
        if actual != value:
            yield "QoS", f"{name} {actual}", f"{name} {value}", f"{name} {was.scheduler.get(name)}"
    for vcpu, value in sorted(layout.quotas.items()):
        actual = guest.quotas.get(vcpu, value)
        if actual != value:
            yield f"QoS of vCPU {vcpu}", f"quota {actual}", f"quota {value}", f"quota {was.quotas.get(vcpu)}"
