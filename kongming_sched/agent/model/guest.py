# SPDX-License-Identifier: Apache-2.0
"""A running guest as values: what libvirt and the kernel report of it, and what its flavor asks for."""

from __future__ import annotations

import functools
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from kongming_sched import exceptions
from kongming_sched.agent.model.actions import Kind, ThreadKey
from kongming_sched.agent.model.domain_xml import cell_nodes, threads_per_core
from kongming_sched.agent.model.flavor_copy import NOVA, FlavorCopy, read_extra_specs, read_flavor, read_quota
from kongming_sched.cpuset import CpuSet
from kongming_sched.request import PinningRequest
from kongming_sched.texts.whole_number import (
    CPUS,
    IOTHREAD_IDS,
    VCPU_COUNTS,
    find_whole_number,
    read_whole_number,
)

_REALTIME = ("fifo", "rr")


@dataclass(frozen=True, slots=True)
class DomainId:
    """What is known of a running domain without reading it.

    :ivar start: libvirt's number of this run of the domain
    """

    uuid: str
    name: str
    start: str

    def unread(self, fault: str) -> Domain:
        """The domain if it cannot be read.

        :param fault: why not
        """
        return Domain(self.uuid, self.name, "", start=self.start, fault=fault)


@dataclass(frozen=True, slots=True)
class Domain:
    """A running domain as libvirt hands it out.

    :ivar xml: the live domain XML; empty if libvirt could not read the domain
    :ivar scheduler: cpu_shares, vcpu_period, vcpu_quota (that of vCPU 0), emulator_period and emulator_quota; empty
        where the host has no cpu controller
    :ivar start: libvirt's number of this run of the domain, which is known without reading it
    :ivar fault: why libvirt could not read it; empty if it could
    """

    uuid: str
    name: str
    xml: str
    scheduler: Mapping[str, int] = field(default_factory=dict)
    start: str = ""
    fault: str = ""


_thread = functools.cache(ThreadKey)
_EMULATOR = ThreadKey(Kind.EMULATOR)


@dataclass(frozen=True, slots=True)
class Threads:
    """The affinity of a guest's threads, as the kernel has it.

    :ivar vcpus: vCPU to host CPUs
    :ivar emulator: host CPUs of QEMU's main thread
    :ivar iothreads: libvirt's id of an I/O thread to host CPUs
    :ivar pid: of QEMU's process; 0 where the kernel was not asked
    :ivar helpers: the kernel's id of every other thread of QEMU's process to its name; they come and go, and where they
        run is read apart (HelperThread)
    """

    vcpus: Mapping[int, CpuSet]
    emulator: CpuSet
    iothreads: Mapping[int, CpuSet] = field(default_factory=dict)
    pid: int = field(default=0, compare=False)
    helpers: Mapping[int, str] = field(default_factory=dict, compare=False)

    def by_key(self) -> dict[ThreadKey, CpuSet]:
        """The affinity of each thread: vCPUs by number, then the emulator, then I/O threads by id."""
        found = {_thread(Kind.VCPU, vcpu): cpus for vcpu, cpus in sorted(self.vcpus.items())}
        found[_EMULATOR] = self.emulator
        if self.iothreads:
            found |= {_thread(Kind.IOTHREAD, number): cpus for number, cpus in sorted(self.iothreads.items())}
        return found


@dataclass(frozen=True, slots=True)
class HelperThread:
    """A thread that works for a guest and that libvirt does not pin by itself.

    These are QEMU's workers, those of a migration, and the kernel's of vhost and KVM.

    :ivar number: the kernel's id of it
    :ivar name: by the kernel
    :ivar is_bound: whether the kernel lets nobody change its affinity (PF_NO_SETAFFINITY)
    """

    number: int
    name: str
    cpus: CpuSet
    is_bound: bool = False

    def __str__(self) -> str:
        return f"thread {self.name} ({self.number})"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a domain's XML says: whose it is, what its flavor asks for, and where its memory lies.

    :ivar server: the server's name in Nova; the domain's name if Nova did not make it
    :ivar request: what the guest has asked of KongMing, by its flavor or by its class; None for one without a template
    :ivar quota: the flavor's own ``quota:cpu_*`` values by libvirt's parameter names
    :ivar memory_nodes: host NUMA nodes that its memory is bound to; empty if it is not bound
    :ivar memory_mode: libvirt's mode of that binding; only "restrictive" can be changed while it runs
    :ivar start: libvirt's number of this run of the guest, another one after each start; empty if it does not run
    :ivar fault: why its XML or its flavor cannot be read; empty if they can
    :ivar threads_per_core: of the cores that the guest sees
    :ivar realtime: the vCPUs that the kernel runs by a real-time policy
    :ivar cell_nodes: host NUMA nodes of each node that the guest sees, in the guest's order; empty if Nova has laid out
        none
    :ivar flavor: None if the XML does not say it
    :ivar flavor_request: what the flavor asks of KongMing, of a guest that has a class; else ``request`` is that
    :ivar server_class: the template that it is to have instead of its flavor's; empty if there is none
    """

    server: str
    vcpus: int
    request: PinningRequest | None
    quota: Mapping[str, int] = field(default_factory=dict)
    memory_nodes: CpuSet = field(default_factory=CpuSet)
    memory_mode: str = ""
    start: str = ""
    fault: str = ""
    threads_per_core: int = 1
    realtime: CpuSet = field(default_factory=CpuSet)
    cell_nodes: tuple[CpuSet, ...] = ()
    flavor: FlavorCopy | None = None
    flavor_request: PinningRequest | None = None
    server_class: str = ""


@dataclass(frozen=True, slots=True)
class RunningGuest:
    """A running guest, of a template or not."""

    domain: Domain
    identity: Identity

    @property
    def uuid(self) -> str:
        """The server's id, which is the domain's."""
        return self.domain.uuid

    @property
    def run(self) -> tuple[str, str]:
        """The server's id and the number of this run: another pair once the guest was started anew."""
        return self.domain.uuid, self.identity.start

    def __str__(self) -> str:
        return f"{self.identity.server} ({self.uuid})"


@dataclass(frozen=True, slots=True)
class ObservedGuest(RunningGuest):
    """A running guest, and where its threads run."""

    threads: Threads


@dataclass(frozen=True, slots=True)
class Guest(ObservedGuest):
    """A running guest of a flavor that names a template.

    :ivar quotas: the CFS quota of each vCPU by the kernel; empty if all are known to have libvirt's vcpu_quota
    """

    request: PinningRequest
    quotas: Mapping[int, int] = field(default_factory=dict)


_AnyGuest = TypeVar("_AnyGuest", bound=RunningGuest)


def find_guests(guests: Iterable[_AnyGuest], name: str) -> list[_AnyGuest]:
    """The guest of this server id; without one, all that have this name in Nova or in libvirt."""
    running = list(guests)
    by_id = [guest for guest in running if guest.uuid == name]
    return by_id or [guest for guest in running if name in (guest.identity.server, guest.domain.name)]


def identify(domain: Domain) -> Identity:
    """Read Nova's metadata in a domain's XML.

    :raises InvalidDomain: if there is no XML, or it is broken
    :raises InvalidRequest: if the flavor in it names a template and asks for what cannot be
    """
    if domain.fault:
        raise exceptions.InvalidDomain(domain.name, domain.fault)
    try:
        root = ET.fromstring(domain.xml)
        vcpu = root.find("vcpu")
        if vcpu is None:
            raise exceptions.InvalidDomain(domain.name, "it has no <vcpu>")
        vcpus = read_whole_number((vcpu.get("current") or vcpu.text or "").strip(), VCPU_COUNTS)
        memory = root.find("numatune/memory")
        nodes = CpuSet() if memory is None else CpuSet.parse(memory.get("nodeset", ""))
        policies = [item for item in root.iterfind("cputune/vcpusched") if item.get("scheduler") in _REALTIME]
        realtime = CpuSet.union(CpuSet.parse(item.get("vcpus", "")) for item in policies)
        cells = cell_nodes(root)
    except (ET.ParseError, ValueError, exceptions.InvalidCpuSet) as error:
        raise exceptions.InvalidDomain(domain.name, str(error)) from error
    mode = "" if memory is None else memory.get("mode", "strict")
    start = root.get("id", "")
    instance = root.find(f"metadata/{NOVA}instance")
    if instance is None:
        return Identity(domain.name, vcpus, None, {}, nodes, mode, start, realtime=realtime)
    specs = read_extra_specs(instance)
    server, quota = instance.findtext(f"{NOVA}name") or domain.name, read_quota(specs)
    request, threads = PinningRequest.from_extra_specs(specs), threads_per_core(root)
    flavor = read_flavor(instance, specs)
    return Identity(server, vcpus, request, quota, nodes, mode, start, "", threads, realtime, cells, flavor)


def libvirt_pins(domain: Domain, anywhere: CpuSet) -> Threads:
    """The pins of a running domain as libvirt reports them in the live XML.

    :param anywhere: the CPUs of a thread that libvirt has not pinned
    :raises ParseError: if the XML is broken
    :raises InvalidCpuSet: if pins in it are no CPUs
    :raises InvalidNumber: if a thread's number is none
    """
    root = ET.fromstring(domain.xml)
    vcpu = root.find("vcpu")
    text = "" if vcpu is None else vcpu.get("cpuset", "")
    default = CpuSet.parse(text) if text else anywhere

    def pins(tag: str, index: str, allowed: range = CPUS) -> dict[int, CpuSet]:
        return {
            read_whole_number(pin.get(index, "0"), allowed): CpuSet.parse(pin.get("cpuset", ""))
            for pin in root.iterfind(f"cputune/{tag}")
        }

    text = "" if vcpu is None else (vcpu.get("current") or vcpu.text or "").strip()
    count = find_whole_number(text, VCPU_COUNTS) or 0
    vcpus = dict.fromkeys(range(count), default) | pins("vcpupin", "vcpu")
    emulator = pins("emulatorpin", "emulator").get(0, default)
    return Threads(vcpus, emulator, pins("iothreadpin", "iothread", IOTHREAD_IDS))


def identify_or_fault(domain: Domain) -> Identity:
    """Read Nova's metadata in a domain's XML; if that cannot be, the domain's own name with the fault."""
    try:
        return identify(domain)
    except (exceptions.InvalidDomain, exceptions.InvalidRequest) as error:
        return Identity(domain.name, 0, None, start=domain.start, fault=str(error))


class Identities:
    """What the XML of domains says, read again only where it has changed since."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, Identity]] = {}

    def of(self, domains: Iterable[Domain]) -> Iterator[tuple[Domain, Identity | exceptions.KongMingError]]:
        """Each of these domains with its identity, or why it has none; all others are forgotten."""
        known, self._known = self._known, {}
        for domain in domains:
            xml, identity = known.get(domain.uuid, ("", None))
            if identity is None or xml != domain.xml:
                try:
                    identity = identify(domain)
                except (exceptions.InvalidDomain, exceptions.InvalidRequest) as error:
                    yield domain, error
                    continue
            self._known[domain.uuid] = domain.xml, identity
            yield domain, identity
