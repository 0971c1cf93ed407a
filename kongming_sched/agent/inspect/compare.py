# SPDX-License-Identifier: Apache-2.0
"""The three views of a host's guests side by side: what Placement gives them, libvirt's pins, the kernel's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from kongming_sched.agent.decide.preview import Preview
from kongming_sched.agent.model.actions import Kind, Unit
from kongming_sched.agent.model.guest import Guest, ObservedGuest, Threads, libvirt_pins
from kongming_sched.cpuset import CpuSet


@dataclass(frozen=True, slots=True)
class Comparison:
    """One thread of a guest, or its memory, in all three views.

    :ivar subject: the server, or what else is wrong
    :ivar what: as in "vCPU 3"
    :ivar placement: the CPUs that it should have by what Placement holds; empty where Placement says nothing
    :ivar fault: which views do not agree; empty if all do
    """

    subject: str
    what: str
    placement: str
    libvirt: str
    kernel: str
    fault: str = ""


def compare(preview: Preview, others: Iterable[ObservedGuest], memory: Mapping[str, CpuSet]) -> list[Comparison]:
    """Everything that there is to compare, server by server.

    :param others: the guests without a template
    :param memory: server id to the NUMA nodes that the kernel lets the guest's memory lie on
    """
    found = [Comparison(str(item.subject), "its description", "", "", "", item.text) for item in preview.problems]
    found += [
        Comparison(f"provider {item.provider}", item.change, "", "", "", item.reason)
        for item in preview.provider_changes()
    ]
    comparer = _Comparer(preview)
    for managed in preview.guests:
        found += comparer.guest(managed, memory.get(managed.uuid))
    online = preview.cpus.topology.cpus
    for guest in others:
        pins = libvirt_pins(guest.domain, online)
        units = [Unit(guest.uuid, *thread, cpus, cpus) for thread, cpus in guest.threads.by_key().items()]
        found += [_row(f"server {guest}", unit, pins, online, None) for unit in units]
    return found


class _Comparer:
    """Compares the guests of templates."""

    def __init__(self, preview: Preview) -> None:
        self._preview = preview
        self._units = preview.units()
        self._online = preview.cpus.topology.cpus

    def guest(self, guest: Guest, memory: CpuSet | None) -> Iterator[Comparison]:
        subject = f"server {guest}"
        template = f"template {guest.request.template}"
        if problem := self._preview.layout.problems.get(guest.uuid) or self._preview.left.get(guest.uuid):
            yield Comparison(subject, template, "", "", "", problem.text)
        pins = libvirt_pins(guest.domain, self._online)
        for unit in self._units:
            if unit.guest == guest.uuid:
                yield _row(subject, unit, pins, self._online, unit.target, self._intruder(unit))
        yield from self._memory(subject, guest, memory)

    def _intruder(self, unit: Unit) -> str:
        """Another guest of a template that is on one of the dedicated CPUs of this thread."""
        dedicated = self._preview.cpus.pools.dedicated
        if unit.kind is not Kind.VCPU or not unit.current <= dedicated:
            return ""
        for other in self._units:
            both = other.current & unit.current
            if both and other.guest != unit.guest and other.kind is Kind.VCPU and other.current <= dedicated:
                name = next(guest for guest in self._preview.guests if guest.uuid == other.guest)
                return f"CPU {both} is used by server {name} too"
        return ""

    def _memory(self, subject: str, guest: Guest, kernel: CpuSet | None) -> Iterator[Comparison]:
        """The binding of its memory, where there is one or should be one."""
        bound = guest.identity.memory_nodes
        wanted = self._preview.layout.guests[guest.uuid].memory_nodes or bound
        if not wanted:
            return
        faults = []
        if wanted != bound:
            where = f"node {bound}" if bound else "no node"
            faults.append(f"libvirt has bound it to {where}, and it belongs on node {wanted}")
        if kernel is not None and bound and kernel != bound:
            faults.append(f"the kernel lets it lie on node {kernel}")
        placement, libvirt, seen = (f"node {nodes}" if nodes else "any node" for nodes in (wanted, bound, kernel))
        yield Comparison(subject, "memory", placement, libvirt, seen, "; ".join(faults))


def _row(
    subject: str, unit: Unit, pins: Threads, online: CpuSet, wanted: CpuSet | None, intruder: str = ""
) -> Comparison:
    """One thread. CPUs that are offline do not count: the kernel leaves them out, and libvirt may name them."""
    reported = pins.by_key().get(unit.thread, online) & online
    actual = unit.current & online
    faults = []
    if wanted is not None and actual != wanted:
        faults.append(f"the kernel has it on CPU {actual}, and it belongs on {wanted}")
    if reported != actual:
        faults.append(f"libvirt says CPU {reported or 'none that is online'}, and the kernel has {actual}")
    if intruder:
        faults.append(intruder)
    placement = "" if wanted is None else str(wanted)
    return Comparison(subject, str(unit.thread), placement, str(reported), str(actual), "; ".join(faults))
