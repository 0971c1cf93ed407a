# SPDX-License-Identifier: Apache-2.0
"""A host without libvirt, QEMU and kernel, for tests that fail each of their calls in turn.

It stands for LibvirtHypervisor and Host at once: guests start with the affinity of a guest that Nova has just spawned,
and pins do what libvirt's do.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from kongming_sched import exceptions
from kongming_sched.agent.host.ports import read_domains
from kongming_sched.agent.model.guest import Domain, DomainId, HelperThread, Threads
from kongming_sched.agent.model.policy import ORDINARY, Policy, fifo
from kongming_sched.cpuset import CpuSet
from kongming_sched.pools import NO_HUGE_PAGES, PagesByNode
from kongming_sched.topology import HostTopology

_NOVA = "http://openstack.org/xmlns/libvirt/nova/1.1"
_T = TypeVar("_T")
_DEFAULTS = {
    "cpu_shares": 1024,
    "vcpu_period": 100_000,
    "vcpu_quota": -1,
    "emulator_period": 100_000,
    "emulator_quota": -1,
}


def domain_xml(
    name: str,
    uuid: str,
    vcpus: int,
    extra_specs: Mapping[str, str],
    memory_nodes: str = "",
    memory_mode: str = "restrictive",
    start: int | None = None,
    pins: Threads | None = None,
) -> str:
    """The parts of a domain's XML that the agent reads, as Nova 34 and libvirt write them."""
    ET.register_namespace("nova", _NOVA)
    domain = ET.Element("domain", {"type": "qemu"} | ({"id": str(start)} if start else {}))
    ET.SubElement(domain, "name").text = name
    ET.SubElement(domain, "uuid").text = uuid
    instance = ET.SubElement(ET.SubElement(domain, "metadata"), f"{{{_NOVA}}}instance")
    ET.SubElement(instance, f"{{{_NOVA}}}name").text = f"server-{name}"
    flavor = ET.SubElement(instance, f"{{{_NOVA}}}flavor", name="a-flavor")
    ET.SubElement(flavor, f"{{{_NOVA}}}memory").text = "512"
    ET.SubElement(flavor, f"{{{_NOVA}}}vcpus").text = str(vcpus)
    specs = ET.SubElement(flavor, f"{{{_NOVA}}}extraSpecs")
    for key, value in sorted(extra_specs.items()):
        ET.SubElement(specs, f"{{{_NOVA}}}extraSpec", name=key).text = value
    ET.SubElement(domain, "vcpu", placement="static").text = str(vcpus)
    if pins:
        tune = ET.SubElement(domain, "cputune")
        for vcpu, cpus in pins.vcpus.items():
            ET.SubElement(tune, "vcpupin", vcpu=str(vcpu), cpuset=str(cpus))
        ET.SubElement(tune, "emulatorpin", cpuset=str(pins.emulator))
        for iothread, cpus in pins.iothreads.items():
            ET.SubElement(tune, "iothreadpin", iothread=str(iothread), cpuset=str(cpus))
        if realtime := realtime_vcpus(extra_specs):
            ET.SubElement(tune, "vcpusched", vcpus=str(realtime), scheduler="fifo", priority="1")
    if memory_nodes:
        ET.SubElement(ET.SubElement(domain, "numatune"), "memory", mode=memory_mode, nodeset=memory_nodes)
    return ET.tostring(domain, encoding="unicode")


def realtime_vcpus(extra_specs: Mapping[str, str]) -> CpuSet:
    """The vCPUs that Nova runs in real time, with the priority 1 unless nova.conf has another."""
    return CpuSet.parse(extra_specs["hw:cpu_realtime_mask"]) if "hw:cpu_realtime" in extra_specs else CpuSet()


@dataclass
class _Running:
    name: str
    extra_specs: Mapping[str, str]
    vcpus: list[CpuSet]
    emulator: CpuSet
    iothreads: dict[int, CpuSet]
    start: int
    memory_nodes: str = ""
    memory_mode: str = "restrictive"
    memory_mb: dict[int, int] = field(default_factory=lambda: {0: 256, 1: 256})
    scheduler: dict[str, int] = field(default_factory=lambda: dict(_DEFAULTS))
    quotas: dict[int, int] = field(default_factory=dict)
    helpers: dict[int, HelperThread] = field(default_factory=dict)
    policies: dict[int, Policy] = field(default_factory=dict)


class SimulatedHost:
    """A host whose guests live in this process.

    :ivar log: every call, by name
    :ivar on_call: called with a call's name before it has an effect and with "after <name>" then; may raise
    :ivar stale_definitions: server ids of guests whose persistent definition has the pins of another host
    :ivar migrating: server ids of guests that libvirt lets nobody change
    :ivar without_definition: server ids of guests that have none
    :ivar pages_stay: server ids of guests whose pages stay where they are, whatever libvirt says
    :ivar changing: server id of the guest that was to be changed last
    :ivar drops_pins: server ids of guests whose pins the kernel drops, though libvirt says that it has set them
    :ivar unreadable: server ids of guests that libvirt cannot read
    :ivar slow: server ids of guests for which libvirt waits 30 seconds for a lock, and then fails
    :ivar waited_seconds: how long it has waited for them
    :ivar opaque: server ids of guests whose threads the kernel does not show
    :ivar pages: its huge pages
    :ivar shared_at_any_time: CPUs of the pool that at some time belonged to two guests
    """

    def __init__(self, topology: HostTopology, dedicated: CpuSet) -> None:
        self._topology = topology
        self._dedicated = dedicated
        self._running: dict[str, _Running] = {}
        self.log: list[str] = []
        self.on_call: Callable[[str], None] = lambda _name: None
        self.shared_at_any_time = CpuSet()
        self.stale_definitions: set[str] = set()
        self.without_definition: set[str] = set()
        self.migrating: set[str] = set()
        self.pages_stay: set[str] = set()
        self.drops_pins: set[str] = set()
        self.unreadable: set[str] = set()
        self.opaque: set[str] = set()
        self.changing = ""
        self._written: dict[str, tuple[object, str]] = {}
        self.slow: set[str] = set()
        self.waited_seconds = 0.0
        self.pages: PagesByNode = NO_HUGE_PAGES
        self._starts = 0
        self._started: set[str] = set()

    # What Nova and an administrator do

    def spawn(self, uuid: str, vcpus: int, extra_specs: Mapping[str, str], iothreads: int = 0) -> None:
        """Start a guest, which may run on every CPU at first."""
        anywhere = self._topology.cpus
        io = dict.fromkeys(range(1, iothreads + 1), anywhere)
        self._starts += 1
        self._started.add(uuid)
        name = f"instance-{uuid[-8:]}"
        guest = _Running(name, extra_specs, [anywhere] * vcpus, anywhere, io, self._starts)
        guest.policies = dict.fromkeys(range(vcpus), ORDINARY) | dict.fromkeys(realtime_vcpus(extra_specs), fifo(1))
        self._running[uuid] = guest

    def respawn(self, uuid: str) -> None:
        """Reboot a guest the hard way: its XML is written anew."""
        guest = self._running[uuid]
        self.spawn(uuid, len(guest.vcpus), guest.extra_specs, len(guest.iothreads))

    def destroy(self, uuid: str) -> None:
        """End a guest."""
        del self._running[uuid]
        self._written.pop(uuid, None)
        self.migrating.discard(uuid)

    def add_helper(self, uuid: str, thread: HelperThread) -> None:
        """A thread of QEMU appears."""
        self._running[uuid].helpers[thread.number] = thread

    def set_affinity(self, uuid: str, vcpu: int, cpus: CpuSet) -> None:
        """Pin a vCPU behind everybody's back."""
        self._running[uuid].vcpus[vcpu] = cpus

    def arrive(
        self, uuid: str, extra_specs: Mapping[str, str], vcpus: Sequence[CpuSet], emulator: CpuSet, memory_nodes: str
    ) -> None:
        """Start a guest that migrates here, with the pins and the memory that its XML has after the hook."""
        self.spawn(uuid, len(vcpus), extra_specs)
        guest = self._running[uuid]
        guest.vcpus, guest.emulator, guest.memory_nodes = list(vcpus), emulator, memory_nodes
        self._note_shared_cpus()

    def bind_strictly(self, uuid: str, nodes: str) -> None:
        """What Nova does at the start of a guest that has a NUMA topology."""
        guest = self._running[uuid]
        guest.memory_nodes, guest.memory_mode = nodes, "strict"
        guest.memory_mb = dict.fromkeys(CpuSet.parse(nodes), 512)

    def migrate_pages(self, uuid: str, memory_mb: dict[int, int]) -> None:
        """Move pages by other means than libvirt's."""
        self._running[uuid].memory_mb = memory_mb

    def set_flavor(self, uuid: str, extra_specs: Mapping[str, str]) -> None:
        """Change what the metadata of a guest say while it runs."""
        self._running[uuid].extra_specs = extra_specs

    def replace_topology(self, topology: HostTopology) -> None:
        """Other CPUs are online."""
        self._topology = topology

    def take_offline(self, cpus: CpuSet, topology: HostTopology) -> None:
        """CPUs go offline; a thread that has none left floats over all others, and does so when they come back.

        :param topology: without them
        """
        self._topology = topology
        for guest in self._running.values():
            guest.vcpus = [on - cpus or topology.cpus for on in guest.vcpus]
            guest.emulator = guest.emulator - cpus or topology.cpus
            guest.iothreads = {number: on - cpus or topology.cpus for number, on in guest.iothreads.items()}

    def affinities(self) -> dict[str, list[CpuSet]]:
        """Server id to the affinity of each of its threads."""
        return {
            uuid: [*guest.vcpus, guest.emulator, *guest.iothreads.values()] for uuid, guest in self._running.items()
        }

    def pins(self) -> dict[str, tuple[str, ...]]:
        """Server id to the affinity of its vCPUs, its emulator, and the nodes of its memory."""
        return {
            uuid: (*map(str, guest.vcpus), f"emulator {guest.emulator}", f"memory {guest.memory_nodes or 'anywhere'}")
            for uuid, guest in sorted(self._running.items())
        }

    def scheduler_of(self, uuid: str) -> dict[str, int]:
        """Libvirt's scheduler parameters of a guest."""
        return dict(self._running[uuid].scheduler)

    def quotas_of(self, uuid: str) -> list[int]:
        """The quota of each vCPU."""
        guest = self._running[uuid]
        return [guest.quotas.get(vcpu, guest.scheduler["vcpu_quota"]) for vcpu in range(len(guest.vcpus))]

    def policies_of(self, uuid: str) -> list[str]:
        """The scheduling policy of each vCPU."""
        return [str(policy) for _, policy in sorted(self._running[uuid].policies.items())]

    # LibvirtHypervisor

    def host_name(self) -> str:
        return self._call("host_name", lambda: "host")

    def machine_mark(self) -> str:
        """None: a simulated host is no machine, and the one that it runs on is another wherever tests run."""
        return self._call("machine_mark", lambda: "")

    def topology(self) -> HostTopology:
        return self._call("topology", lambda: self._topology)

    def domains(self) -> list[Domain]:
        return read_domains(self, self.running())

    def running(self) -> list[DomainId]:
        return self._call("domains", lambda: [self._id(uuid) for uuid in sorted(self._running)])

    def running_of(self, names: Iterable[str]) -> list[DomainId]:
        found = [uuid for name in names for uuid, guest in self._running.items() if guest.name == name]
        return self._call("find", lambda: [self._id(uuid) for uuid in found])

    def find(self, names: Iterable[str]) -> list[Domain]:
        return read_domains(self, self.running_of(names))

    def guest_names(self) -> list[str]:
        return sorted({guest.name for guest in self._running.values()})

    def read(self, found: DomainId) -> Domain:
        return self._call("read", lambda: self._locked(found.uuid, lambda: self._read(found)))

    def take_started(self) -> frozenset[str]:
        started, self._started = self._started, set()
        return frozenset(started)

    def pin_vcpu(self, domain: Domain, vcpu: int, cpus: CpuSet) -> None:
        self._pin("pin_vcpu", domain, cpus, lambda guest: guest.vcpus.__setitem__(vcpu, cpus))

    def pin_emulator(self, domain: Domain, cpus: CpuSet) -> None:
        self._pin("pin_emulator", domain, cpus, lambda guest: setattr(guest, "emulator", cpus))

    def pin_iothread(self, domain: Domain, iothread: int, cpus: CpuSet) -> None:
        self._pin("pin_iothread", domain, cpus, lambda guest: guest.iothreads.__setitem__(iothread, cpus))

    def bind_memory(self, domain: Domain, nodes: CpuSet) -> None:
        self._change("bind_memory", domain, lambda guest: self._bind(domain.uuid, guest, nodes))

    def set_scheduler(self, domain: Domain, parameters: Mapping[str, int]) -> None:
        self._change("set_scheduler", domain, lambda guest: self._set_scheduler(guest, parameters))

    def is_busy(self, domain: Domain) -> bool:
        def effect() -> bool:
            return bool(self._guest(domain)) and domain.uuid in self.migrating

        return self._call("is_busy", lambda: self._locked(domain.uuid, effect))

    def repair_definition(self, domain: Domain) -> bool | None:
        return self._call("repair_definition", lambda: self._locked(domain.uuid, lambda: self._repair(domain)))

    def close(self) -> None:
        """Nothing is open."""

    # Host

    def threads(self, domain: Domain) -> Threads:
        return self._call("threads", lambda: self._threads(domain))

    def kernel_threads(self) -> dict[int, dict[int, str]]:
        return {}

    def helper(self, number: int, name: str) -> HelperThread | None:  # noqa: ARG002  # the name is that of the number
        return next((guest.helpers[number] for guest in self._running.values() if number in guest.helpers), None)

    def pin_helper(self, thread: HelperThread, cpus: CpuSet, pid: int) -> None:  # noqa: ARG002  # which has no group to go to
        self._call("pin_helper", lambda: self._pin_helper(thread, cpus))

    def default_shares(self) -> int:
        return 1024

    def huge_pages(self) -> PagesByNode:
        return self.pages

    def memory_mb(self, domain: Domain) -> dict[int, int]:
        return self._call("memory_mb", lambda: dict(self._guest(domain).memory_mb))

    def memory_nodes(self, domain: Domain) -> CpuSet:
        everywhere = self._topology.memory_nodes
        return self._call("memory_nodes", lambda: CpuSet.parse(self._guest(domain).memory_nodes) or everywhere)

    def vcpu_quotas(self, domain: Domain) -> dict[int, int]:
        return self._call("vcpu_quotas", lambda: self._vcpu_quotas(domain))

    def set_vcpu_quota(self, domain: Domain, vcpu: int, quota_us: int) -> None:
        self._call("set_vcpu_quota", lambda: self._guest(domain).quotas.__setitem__(vcpu, quota_us))

    def vcpu_policies(self, domain: Domain) -> dict[int, Policy]:
        return self._call("vcpu_policies", lambda: dict(self._guest(domain).policies))

    def set_vcpu_policy(self, domain: Domain, vcpu: int, policy: Policy) -> None:
        self._call("set_vcpu_policy", lambda: self._guest(domain).policies.__setitem__(vcpu, policy))

    # Plumbing

    def _locked(self, uuid: str, effect: Callable[[], _T]) -> _T:
        """Do what needs libvirt's lock of a guest."""
        if uuid in self.slow:
            self.waited_seconds += 30
            raise exceptions.HypervisorError("do this", "cannot acquire state change lock", 68)
        return effect()

    def _id(self, uuid: str) -> DomainId:
        guest = self._running[uuid]
        return DomainId(uuid, guest.name, str(guest.start))

    def _read(self, found: DomainId) -> Domain:
        if found.uuid in self.unreadable:
            raise exceptions.HypervisorError(f"read domain {found.name}", "its control group is gone", 38)
        uuid = found.uuid
        if uuid not in self._running:
            raise exceptions.GuestGone(found.name)
        guest = self._running[uuid]
        scheduler = {**guest.scheduler, "vcpu_quota": self.quotas_of(uuid)[0]}
        return Domain(uuid, guest.name, self._xml(uuid, guest), scheduler, found.start)

    def _xml(self, uuid: str, guest: _Running) -> str:
        """Its XML, which is written anew when something in it has changed only."""
        pins = (*guest.vcpus, guest.emulator, *guest.iothreads.items())
        key = (guest.start, guest.memory_nodes, guest.memory_mode, tuple(guest.extra_specs.items()), pins)
        if self._written.get(uuid, ("", ""))[0] != key:
            memory, threads = (guest.memory_nodes, guest.memory_mode), self._pins(guest)
            xml = domain_xml(guest.name, uuid, len(guest.vcpus), guest.extra_specs, *memory, guest.start, threads)
            self._written[uuid] = key, xml
        return self._written[uuid][1]

    def _bind(self, uuid: str, guest: _Running, nodes: CpuSet) -> None:
        """Set the nodes; as in the kernel only pages on nodes that a guest loses move."""
        if guest.memory_nodes and guest.memory_mode != "restrictive":
            raise exceptions.HypervisorError("bind the memory", "change of nodeset requires restrictive mode", 55)
        if without := nodes - self._topology.memory_nodes:
            raise exceptions.HypervisorError("bind the memory", f"NUMA node {without} is unavailable", 67)
        lost = (CpuSet.parse(guest.memory_nodes) if guest.memory_nodes else CpuSet.of(guest.memory_mb)) - nodes
        guest.memory_nodes = str(nodes)
        for node in lost if uuid not in self.pages_stay else ():
            guest.memory_mb[nodes.first] = guest.memory_mb.get(nodes.first, 0) + guest.memory_mb.pop(node, 0)

    def _set_scheduler(self, guest: _Running, parameters: Mapping[str, int]) -> None:
        """As libvirt, which gives a quota to all vCPUs and does not know of others."""
        guest.scheduler.update(parameters)
        if "vcpu_quota" in parameters:
            guest.quotas.clear()

    def _threads(self, domain: Domain) -> Threads:
        if domain.uuid in self.opaque:
            raise exceptions.KernelError(f"read the threads of {domain.name}", "Input/output error")
        return self._pins(self._guest(domain))

    def _pin_helper(self, thread: HelperThread, cpus: CpuSet) -> None:
        if thread.is_bound:
            raise exceptions.KernelError(f"let {thread} run on CPU {cpus} only", "Invalid argument")
        for guest in self._running.values():
            if thread.number in guest.helpers:
                guest.helpers[thread.number] = replace(thread, cpus=cpus)

    @staticmethod
    def _pins(guest: _Running) -> Threads:
        names = {number: thread.name for number, thread in guest.helpers.items()}
        return Threads(dict(enumerate(guest.vcpus)), guest.emulator, dict(guest.iothreads), guest.start, names)

    def _vcpu_quotas(self, domain: Domain) -> dict[int, int]:
        self._guest(domain)
        return dict(enumerate(self.quotas_of(domain.uuid)))

    def _repair(self, domain: Domain) -> bool | None:
        self._guest(domain)
        if domain.uuid in self.without_definition:
            return None
        was_stale = domain.uuid in self.stale_definitions
        self.stale_definitions.discard(domain.uuid)
        return was_stale

    def _guest(self, domain: Domain) -> _Running:
        if domain.uuid not in self._running:
            raise exceptions.GuestGone(domain.name)
        return self._running[domain.uuid]

    def _pin(self, name: str, domain: Domain, cpus: CpuSet, change: Callable[[_Running], object]) -> None:
        def pin(guest: _Running) -> None:
            if not cpus <= self._topology.cpus:
                raise exceptions.HypervisorError("pin", f"CPU {cpus - self._topology.cpus} is offline", 38)
            if domain.uuid not in self.drops_pins:
                change(guest)

        self._change(name, domain, pin)

    def _change(self, name: str, domain: Domain, change: Callable[[_Running], object]) -> None:
        assert domain.uuid not in self.migrating, "libvirt would wait for 30 seconds"
        self.changing = domain.uuid
        self._call(name, lambda: self._locked(domain.uuid, lambda: change(self._guest(domain))))
        self._note_shared_cpus()

    def _call(self, name: str, effect: Callable[[], _T]) -> _T:
        self.log.append(name)
        self.on_call(name)
        result = effect()
        self.on_call(f"after {name}")
        return result

    def _note_shared_cpus(self) -> None:
        """Promise: no CPU of the pool belongs to two guests, at any time."""
        seen = CpuSet()
        for guest in self._running.values():
            mine = CpuSet.union(cpus for cpus in guest.vcpus if cpus <= self._dedicated)
            self.shared_at_any_time |= seen & mine
            seen |= mine
