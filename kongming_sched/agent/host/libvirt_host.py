# SPDX-License-Identifier: Apache-2.0
"""The only caller of libvirt."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import libvirt
import tenacity

from kongming_sched import exceptions
from kongming_sched.agent.host.libvirt_events import silence_errors, start_event_loop
from kongming_sched.agent.host.machine import machine_mark, uuid_of
from kongming_sched.agent.host.ports import read_domains
from kongming_sched.agent.ipc import qemu_hook
from kongming_sched.agent.model.guest import Domain, DomainId
from kongming_sched.cpuset import CpuSet
from kongming_sched.topology import HostTopology

_LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
_SCHEDULER = ("cpu_shares", "vcpu_period", "vcpu_quota", "emulator_period", "emulator_quota")
_RESTRICTIVE = getattr(libvirt, "VIR_DOMAIN_NUMATUNE_MEM_RESTRICTIVE", 3)
_UNSUPPORTED = (
    libvirt.VIR_ERR_OPERATION_INVALID,  # no cgroup controller
    libvirt.VIR_ERR_NO_SUPPORT,
    libvirt.VIR_ERR_INVALID_ARG,  # the test driver's, which knows no flags
)

_NO_QUOTA = 17_592_186_044_415
"""VIR_DOMAIN_CGROUP_QUOTA_MAX in microseconds; on cgroup v1 libvirt reads larger numbers."""


class LibvirtHypervisor:
    """A host's libvirtd, reached anew whenever the connection was lost.

    Every method raises HypervisorError if libvirt refuses or cannot be reached, and GuestGone if the domain ended.

    :param uri: as in "qemu:///system"
    :param on_event: called from another thread whenever a domain started, stopped or was tuned, or the connection ended
    """

    def __init__(self, uri: str, on_event: Callable[[], None] | None = None) -> None:
        self._uri = uri
        self._on_event = on_event
        self._connection: Any = None
        self._connecting = threading.RLock()
        self._handles: dict[str, Any] = {}
        self._started: set[str] = set()
        self._unreadable: set[str] = set()
        self._topology: tuple[CpuSet, HostTopology] | None = None
        silence_errors()
        if on_event is not None:
            start_event_loop()

    def host_name(self) -> str:
        """The name that nova-compute registers this host under."""
        with self._errors("read the host's name"):
            return str(self._connect().getHostname())

    def machine_mark(self) -> str:
        """A short mark of this machine, by which agents know their nodes; empty if nothing is known."""
        with self._errors("read the host's UUID"):
            return machine_mark(uuid_of(self._connect().getCapabilities()))

    def version(self) -> tuple[int, int, int]:
        """The release of the libvirt that answers, as in (9, 0, 0)."""
        with self._errors("report its version"):
            number = int(self._connect().getLibVersion())
        return number // 1_000_000, number // 1000 % 1000, number % 1000

    def topology(self) -> HostTopology:
        """The host's cells and cores, of the CPUs that are online.

        :raises InvalidTopology: if libvirt's capabilities make no sense, as they may while CPUs come and go
        """
        with self._errors("read the host's capabilities"):
            connection = self._connect()
            count, online_map, _ = connection.getCPUMap()
            online = CpuSet.of(cpu for cpu, on in enumerate(online_map) if on)
            if self._topology is None or self._topology[0] != online:
                present = CpuSet.of(range(count))
                xml = connection.getCapabilities()
                self._topology = online, HostTopology.from_capabilities(xml, online, present)
            return self._topology[1]

    def domains(self) -> list[Domain]:
        """Every running domain by id, those that cannot be read included; see Domain.fault."""
        return read_domains(self, self.running())

    def running(self) -> list[DomainId]:
        """Every running domain, by one call of libvirt."""
        with self._errors("list the domains"):
            found = self._connect().listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        self._handles = {handle.UUIDString(): handle for handle in found}
        self._unreadable &= self._handles.keys()
        return [DomainId(uuid, handle.name(), str(handle.ID())) for uuid, handle in self._handles.items()]

    def running_of(self, names: Iterable[str]) -> list[DomainId]:
        """Those of these domains that run, asked for one by one: a list of all waits for each that is being started."""
        found = []
        for name in names:
            with contextlib.suppress(exceptions.GuestGone), self._errors(f"find domain {name}", name):
                handle = self._connect().lookupByName(name)
                if handle.isActive():
                    self._handles[handle.UUIDString()] = handle
                    found.append(DomainId(handle.UUIDString(), name, str(handle.ID())))
        return found

    def read(self, found: DomainId) -> Domain:
        """One running domain."""
        uuid, name = found.uuid, found.name
        read_scheduler = _read_once if uuid in self._unreadable else _read_patiently
        self._unreadable.add(uuid)
        with self._errors(f"read domain {name}", name):
            handle = self._handles[uuid]
            xml = handle.XMLDesc(0)
            scheduler = read_scheduler(handle.schedulerParametersFlags)
        self._unreadable.discard(uuid)
        known = {key: _signed(value) for key, value in scheduler.items() if key in _SCHEDULER}
        return Domain(uuid, name, xml, known, found.start)

    def find(self, names: Iterable[str]) -> list[Domain]:
        """Those of these domains that run; see running_of()."""
        return read_domains(self, self.running_of(names))

    def take_started(self) -> frozenset[str]:
        """The ids of the domains of which an event has said, since this was asked last, that they started."""
        started, self._started = self._started, set()
        return frozenset(started)

    def pin_vcpu(self, domain: Domain, vcpu: int, cpus: CpuSet) -> None:
        """Let a vCPU run on these host CPUs only."""
        with self._errors(f"pin vCPU {vcpu} of {domain.name} to {cpus}", domain):
            self._find(domain).pinVcpuFlags(vcpu, self._map(cpus), _LIVE)

    def pin_emulator(self, domain: Domain, cpus: CpuSet) -> None:
        """Let QEMU's own threads run on these host CPUs only."""
        with self._errors(f"pin the emulator of {domain.name} to {cpus}", domain):
            self._find(domain).pinEmulator(self._map(cpus), _LIVE)

    def pin_iothread(self, domain: Domain, iothread: int, cpus: CpuSet) -> None:
        """Let an I/O thread run on these host CPUs only."""
        with self._errors(f"pin I/O thread {iothread} of {domain.name} to {cpus}", domain):
            self._find(domain).pinIOThread(iothread, self._map(cpus), _LIVE)

    def bind_memory(self, domain: Domain, nodes: CpuSet) -> None:
        """Let a guest's memory lie on these host NUMA nodes only; what is elsewhere moves.

        The mode is always restrictive: with any other libvirt refuses every later change.
        """
        with self._errors(f"bind the memory of {domain.name} to node {nodes}", domain):
            self._find(domain).setNumaParameters({"numa_nodeset": str(nodes), "numa_mode": _RESTRICTIVE}, _LIVE)

    def set_scheduler(self, domain: Domain, parameters: Mapping[str, int]) -> None:
        """Set cpu_shares, periods (microseconds) or quotas (microseconds per period, -1 for none).

        Both can be set of all vCPUs together (vcpu_period, vcpu_quota) and of the emulator (emulator_period and so on).
        """
        words = ", ".join(f"{name}={value}" for name, value in sorted(parameters.items()))
        with self._errors(f"set {words} of {domain.name}", domain):
            self._find(domain).setSchedulerParametersFlags(dict(parameters), _LIVE)

    def is_busy(self, domain: Domain) -> bool:
        """Whether a guest migrates to or from this host, or is being saved: a change would wait for that, up to 30 s.

        libvirt refuses to report the job of an incoming guest, and its state is no way to know it: one that came back
        from a file and was not resumed yet is in the same.
        """
        with self._errors(f"read the job of {domain.name}", domain):
            handle = self._find(domain)
            try:
                return bool(handle.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE)
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID and handle.isActive():
                    return True
                raise

    def repair_definition(self, domain: Domain) -> bool | None:
        """Take pins out of the persistent definition, which are those of the host that a guest comes from.

        Pins are set on the running guest only, so that a definition has none of its own.

        :returns: whether there were any; None if the guest has no definition (yet)
        """
        with self._errors(f"repair the definition of {domain.name}", domain):
            handle = self._find(domain)
            if not handle.isPersistent():
                return None
            xml = handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
            repaired = qemu_hook.without_pins(xml.encode()).decode()
            if repaired == xml:
                return False
            self._connect().defineXML(repaired)
            return True

    def close(self) -> None:
        """Let the connection go; the next call makes a new one."""
        connection, self._connection = self._connection, None
        self._handles = {}
        self._topology = None
        if connection is not None:
            with contextlib.suppress(libvirt.libvirtError):
                connection.close()

    def _connect(self) -> Any:
        with self._connecting:  # while one thread waits for a list, the loop may make calls for single guests
            if self._connection is not None and not self._connection.isAlive():
                self.close()
            if self._connection is None:
                connection = libvirt.open(self._uri)
                if self._on_event is not None:
                    self._listen(connection)
                self._connection = connection
            return self._connection

    def _listen(self, connection: Any) -> None:
        with contextlib.suppress(libvirt.libvirtError):  # which drivers without a daemon do not have
            connection.setKeepAlive(5, 3)
        connection.registerCloseCallback(self._notice, None)
        connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._notice_life, None)
        connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_TUNABLE, self._notice, None)

    @contextlib.contextmanager
    def _errors(self, action: str, domain: Domain | str = "") -> Iterator[None]:
        """Turn libvirt's errors into ours."""
        try:
            yield
        except libvirt.libvirtError as error:
            code = error.get_error_code()
            if domain and (code == libvirt.VIR_ERR_NO_DOMAIN or self._has_stopped(domain, code)):
                raise exceptions.GuestGone(domain if isinstance(domain, str) else domain.name) from error
            if self._connection is None or not self._connection.isAlive():
                raise exceptions.HypervisorUnavailable(action, str(error), code) from error
            raise exceptions.HypervisorError(action, str(error), code) from error

    def _has_stopped(self, domain: Domain | str, code: int) -> bool:
        """Whether libvirt refused because a guest is defined but runs no longer."""
        if not isinstance(domain, Domain) or code != libvirt.VIR_ERR_OPERATION_INVALID or self._connection is None:
            return False
        try:
            return not self._connection.lookupByUUIDString(domain.uuid).isActive()
        except libvirt.libvirtError:
            return False

    def _notice_life(self, _connection: object, handle: Any, event: int, *_: object) -> None:
        if event == libvirt.VIR_DOMAIN_EVENT_STARTED:
            self._started.add(handle.UUIDString())
        self._notice()

    def _notice(self, *_: object) -> None:
        if self._on_event is not None:
            self._on_event()

    def _find(self, domain: Domain) -> Any:
        """A handle is no more than the id by which libvirtd finds the domain anew at each call."""
        connection = self._connect()
        if domain.uuid not in self._handles:
            self._handles[domain.uuid] = connection.lookupByUUIDString(domain.uuid)
        return self._handles[domain.uuid]

    def _map(self, cpus: CpuSet) -> tuple[bool, ...]:
        """A CPU map as libvirt wants it. CPUs that do not exist would be dropped in silence, so they are refused."""
        present = (self._topology[1] if self._topology else self.topology()).present
        if not cpus or cpus - present:
            raise exceptions.HypervisorError(f"make a CPU map of {cpus}", f"the host has CPUs {present}")
        return tuple(cpu in cpus for cpu in range(max(present) + 1))


def _is_starting(error: BaseException) -> bool:
    """Whether a control group is not there that libvirt is just making for a guest that starts."""
    return isinstance(error, libvirt.libvirtError) and error.get_error_code() == libvirt.VIR_ERR_SYSTEM_ERROR


def _read_once(read: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    """Call a function of libvirt's; gives nothing where the host has no cgroup controller for it."""
    try:
        return read(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() in _UNSUPPORTED:
            return {}
        raise


_read_patiently = tenacity.retry(
    retry=tenacity.retry_if_exception(_is_starting),
    stop=tenacity.stop_after_delay(1),
    wait=tenacity.wait_fixed(0.05),
    reraise=True,
)(_read_once)
"""Waits for the control groups of a guest that starts. One that could not be read last time is not waited for again."""


def _signed(value: int) -> int:
    """A quota as libvirt takes it: where there is none it reports the largest number that it takes on cgroup v2."""
    return value if value < _NO_QUOTA else -1
