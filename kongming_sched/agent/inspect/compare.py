# SPDX-License-Identifier: Apache-2.0
"""The three views of a host's guests side by side: what Placement gives them, libvirt's pins, the kernel's. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from kongming_sched.agent.decide.preview import Preview
from kongming_sched.agent.inspect.notes import WITH_EMULATOR, Notes, describe_pages, pages_in_xml
from kongming_sched.agent.model.actions import Unit
from kongming_sched.agent.model.guest import Guest, HelperThread, ObservedGuest, Threads, libvirt_pins
from kongming_sched.agent.model.policy import Policy, wanted_policies, wrong_policies
from kongming_sched.cpuset import CpuSet


@dataclass(frozen=True, slots=True)
class Comparison:
    """One thread of a guest, or its memory, in all three views.

    :ivar subject: the server, or what else is wrong
    :ivar what: as in "vCPU 3"
    :ivar placement: the CPUs that it should have by what Placement holds; empty where Placement says nothing
    :ivar fault: which views do not agree; empty if all do
    :ivar note: why it is where it should be; or what disturbs the CPUs of guests and is no fault, with what to do
    """

    subject: str
    what: str
    placement: str
    libvirt: str
    kernel: str
    fault: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class KernelView:
    """What the kernel says of guests beside the affinity of the threads that libvirt pins.

    :ivar memory: server id to the NUMA nodes that the guest's memory may lie on
    :ivar helpers: server id to the guest's other threads
    :ivar policies: server id to the scheduling policy of each vCPU
    :ivar pages: server id to the huge pages that the guest has, by host NUMA node and size in KiB
    """

    memory: Mapping[str, CpuSet] = field(default_factory=dict)
    helpers: Mapping[str, Sequence[HelperThread]] = field(default_factory=dict)
    policies: Mapping[str, Mapping[int, Policy]] = field(default_factory=dict)
    pages: Mapping[str, Mapping[tuple[int, int], int]] = field(default_factory=dict)


def compare(
    preview: Preview, others: Iterable[ObservedGuest], kernel: KernelView, kept_off: Set[str] = frozenset()
) -> list[Comparison]:
    """Everything that there is to compare, server by server.

    :param others: the guests without a template
    :param kept_off: server ids of those of them that are to be kept off the dedicated pool
    """
    found = [Comparison(str(item.subject), "its description", "", "", "", item.text) for item in preview.problems]
    found += [
        Comparison(f"provider {item.provider}", item.change, "", "", "", item.reason)
        for item in preview.provider_changes()
    ]
    comparer = _Comparer(preview, kernel)
    for managed in preview.guests:
        found += comparer.guest(managed)
    for guest in others:
        found += comparer.other(guest, guest.uuid in kept_off)
    return found


class _Comparer:
    """Compares guest by guest."""

    def __init__(self, preview: Preview, kernel: KernelView) -> None:
        self._preview = preview
        self._kernel = kernel
        self._names = {guest.uuid: str(guest) for guest in preview.guests}
        self._units = preview.units()
        self._notes = Notes(preview)
        self._online = preview.cpus.topology.cpus

    def guest(self, guest: Guest) -> Iterator[Comparison]:
        """One of a template."""
        subject = f"server {guest}"
        template = f"template {guest.request.template}"
        if problem := self._preview.layout.problems.get(guest.uuid) or self._preview.left.get(guest.uuid):
            yield Comparison(subject, template, "", "", "", problem.text)
        pins = libvirt_pins(guest.domain, self._online)
        for unit in self._units:
            if unit.guest == guest.uuid:
                row = _row(subject, unit, pins, self._online, unit.target, self._intruder(unit))
                yield replace(row, note=self._notes.of_thread(guest, unit.thread))
        target = self._preview.layout.guests[guest.uuid].emulator
        yield from self._helpers(guest, str(target), pins, guest.threads.emulator)
        yield from self._policies(subject, guest, self._kernel.policies.get(guest.uuid, {}))
        yield from self._memory(subject, guest, self._kernel.memory.get(guest.uuid))
        yield from self._pages(subject, guest)

    def other(self, guest: ObservedGuest, is_kept_off: bool) -> Iterator[Comparison]:
        """One without a template, which Placement says nothing of."""
        pins = libvirt_pins(guest.domain, self._online)
        for thread, cpus in guest.threads.by_key().items():
            intruder = self._shared_with(guest.uuid, cpus) if is_kept_off else ""
            yield _row(f"server {guest}", Unit(guest.uuid, *thread, cpus, cpus), pins, self._online, None, intruder)
        yield from self._helpers(guest, "", pins, None if is_kept_off else self._online)

    def _intruder(self, unit: Unit) -> str:
        """Another guest of a template that has one of the CPUs of this thread alone."""
        is_pinned = unit.current <= self._preview.cpus.pools.dedicated
        return self._shared_with(unit.guest, unit.current) if is_pinned else ""

    def _shared_with(self, uuid: str, cpus: CpuSet) -> str:
        """Which guest of a template, other than this one, has a thread on these CPUs that is pinned to the pool."""
        dedicated = self._preview.cpus.pools.dedicated
        for other in self._units:
            both = other.current & cpus
            if both and other.guest != uuid and other.current <= dedicated:
                return f"CPU {both} is used by server {self._names[other.guest]} too"
        return ""

    def _helpers(
        self, guest: ObservedGuest, placement: str, pins: Threads, emulator: CpuSet | None
    ) -> Iterator[Comparison]:
        """The threads that libvirt does not pin by themselves, those of one affinity in one line.

        They belong to where the emulator is. One that a vCPU has made may be where that is, which hurts no other guest.

        :param emulator: where the kernel has it; None if only the dedicated CPUs of others are not for these threads
        """
        own = CpuSet.union(guest.threads.vcpus.values())
        lines: dict[tuple[CpuSet, str], Counter[str]] = {}
        for thread in self._kernel.helpers.get(guest.uuid, ()):
            cpus = thread.cpus & self._online
            fault = ""
            if emulator is None or not cpus <= emulator:
                fault = self._shared_with(guest.uuid, cpus)
            if not fault and emulator is not None and not thread.is_bound and not cpus <= emulator | own:
                fault = f"the kernel has it on CPU {cpus}, and the emulator on {emulator & self._online}"
            if fault and thread.is_bound:
                fault += ", and the kernel lets nobody change where it runs (PF_NO_SETAFFINITY)"
            lines.setdefault((cpus, fault), Counter())[thread.name] += 1
        libvirt = str(pins.emulator & self._online)
        for (cpus, fault), names in lines.items():
            words = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in sorted(names.items()))
            note = WITH_EMULATOR if placement and not fault else ""
            yield Comparison(f"server {guest}", f"threads {words}", placement, libvirt, str(cpus), fault, note)

    def _policies(self, subject: str, guest: Guest, found: Mapping[int, Policy]) -> Iterator[Comparison]:
        """The scheduling policies of a guest of which a vCPU runs in real time, or should, those of one kind together.

        libvirt knows the one that it has set at the start, and not the one that the agent has set since.
        """
        layout = self._preview.layout.guests[guest.uuid]
        wanted = wanted_policies(guest, layout, self._preview.cpus.pools.dedicated)
        wrong = wrong_policies(wanted, found)
        lines: dict[tuple[Policy, Policy, bool], CpuSet] = {}
        for vcpu, policy in sorted(found.items()):
            if vcpu in wrong or (vcpu in wanted and policy.is_realtime):
                line = wanted[vcpu], policy, vcpu in wrong
                lines[line] = lines.get(line, CpuSet()) | CpuSet.of([vcpu])
        for (right, policy, is_wrong), vcpus in lines.items():
            fault = f"the kernel runs it by {policy}, and it belongs to {right}" if is_wrong else ""
            note = "realtime of the template" if right.is_realtime else ""
            yield Comparison(subject, f"policy of vCPU {vcpus}", str(right), "", str(policy), fault, note)

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
        yield Comparison(subject, "memory", placement, libvirt, seen, "; ".join(faults), self._notes.of_memory(guest))

    def _pages(self, subject: str, guest: Guest) -> Iterator[Comparison]:
        """The huge pages of a guest that has claimed some."""
        claimed = self._notes.claimed_pages(guest)
        if not claimed:
            return
        views = {"libvirt": pages_in_xml(guest), "the kernel": self._kernel.pages.get(guest.uuid)}
        faults = [
            f"{who} has {describe_pages(pages)}, and {describe_pages(claimed)} is claimed"
            for who, pages in views.items()
            if pages is not None and pages != claimed
        ]
        libvirt, kernel = ("" if pages is None else describe_pages(pages) for pages in views.values())
        yield Comparison(subject, "huge pages", describe_pages(claimed), libvirt, kernel, "; ".join(faults))


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
