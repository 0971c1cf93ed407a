# SPDX-License-Identifier: Apache-2.0
"""Servers as libvirt guests, whose XML Nova's own code writes.

They have no disk: a guest that sits in its firmware has threads to be pinned, and needs next to nothing.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import libvirt
import libvirt_qemu
from nova import monkey_patch

monkey_patch.patch(backend="threading")

from nova import version  # noqa: E402  # Nova must choose its threads before anything else of it is imported
from nova.network import model  # noqa: E402
from nova.virt import driver  # noqa: E402
from nova.virt.libvirt import config  # noqa: E402
from nova.virt.libvirt.driver import LibvirtDriver  # noqa: E402

from testbed.lab.hypervisor import Connection, Hypervisor  # noqa: E402
from testbed.lab.process import LabError  # noqa: E402
from testbed.lab.scheduler import PROJECT, USER, Scheduled  # noqa: E402

PROJECT_NAME = f"kongming-lab-{os.getpid()}"
"""Marks the guests of this process."""
FIRST_DOMAIN = 1 << 30 | os.getpid() << 8
"""The number in the first guest's name: different in each process, and higher than those of a Nova on this machine."""

_PROJECT = re.compile(r">kongming-lab-(\d+)</nova:project>")
_THREAD = re.compile(r"CPU (\d+)/(?:KVM|TCG)")
_LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE


@dataclass(frozen=True)
class Guest:
    """A server that runs.

    :ivar name: the server's name in Nova
    :ivar domain: libvirt's name
    """

    name: str
    domain: str
    server: Scheduled


@dataclass(frozen=True)
class Affinity:
    """Where the kernel lets a guest's threads run, in the words of /proc."""

    vcpus: Mapping[int, str]
    emulator: str

    def __str__(self) -> str:
        return ", ".join(f"vCPU {vcpu} on CPU {cpus}" for vcpu, cpus in self.vcpus.items())


class Guests:
    """The guests of the lab on a hypervisor, started and stopped as nova-compute does it."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._virt_type = hypervisor.virt_type
        self._hypervisor = hypervisor
        self._connection: Connection = hypervisor.connect()
        self._count = 0
        self.running: dict[str, Guest] = {}
        self._remove_abandoned()

    def __enter__(self) -> Guests:
        return self

    def __exit__(self, *_: object) -> None:
        for guest in list(self.running.values()):
            self.delete(guest)
        self._connection.close()

    def reconnect(self) -> None:
        """Reach a libvirtd that was started anew."""
        self._connection = self._hypervisor.connect()

    def spawn(self, name: str, server: Scheduled, pins: Sequence[int] = ()) -> Guest:
        """Define and start the guest of a server.

        :param pins: the host CPU of each vCPU, as Nova pins a server of hw:cpu_policy=dedicated; none by default
        """
        guest = Guest(name, f"instance-{FIRST_DOMAIN + self._count:08x}", server)
        self._count += 1
        domain = self._connection.defineXML(domain_xml(guest, self._virt_type, pins))
        self.running[server.uuid] = guest
        domain.create()
        return guest

    def stop(self, guest: Guest) -> None:
        """Stop a guest, which stays defined."""
        self._connection.lookupByUUIDString(guest.server.uuid).destroy()

    def delete(self, guest: Guest) -> None:
        """Stop and undefine a guest."""
        del self.running[guest.server.uuid]
        for domain in self._connection.listAllDomains():
            if domain.UUIDString() == guest.server.uuid:
                _remove(domain)

    def affinity(self, guest: Guest) -> Affinity:
        """Where a guest's threads may run, as the kernel says."""
        process = Path("/proc") / Path(f"/run/libvirt/qemu/{guest.domain}.pid").read_text().strip()
        vcpus = {}
        for task in process.glob("task/*"):
            if match := _THREAD.fullmatch((task / "comm").read_text().strip()):
                vcpus[int(match[1])] = _allowed_cpus(task)
        return Affinity(dict(sorted(vcpus.items())), _allowed_cpus(process))

    def add_iothread(self, guest: Guest, number: int) -> None:
        """Give a running guest one more I/O thread, of this id."""
        self._connection.lookupByUUIDString(guest.server.uuid).addIOThread(number, _LIVE)

    def monitor(self, guest: Guest, command: str, **arguments: object) -> None:
        """Send a command to the monitor of a guest's QEMU, which libvirt knows nothing of."""
        domain = self._connection.lookupByUUIDString(guest.server.uuid)
        order = json.dumps({"execute": command, "arguments": arguments})
        answer = json.loads(libvirt_qemu.qemuMonitorCommand(domain, order, 0))
        if "error" in answer:
            raise LabError(f"QEMU refuses {command}: {answer['error'].get('desc')}")

    def scheduler_parameters(self, guest: Guest) -> dict[str, int]:
        """A guest's CPU shares, period and quota as libvirt reads them from its control groups; empty without these."""
        domain = self._connection.lookupByUUIDString(guest.server.uuid)
        try:
            return dict(domain.schedulerParametersFlags(_LIVE))
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:
                return {}
            raise

    def memory_nodes(self, guest: Guest) -> str:
        """The host NUMA nodes to which the guest's memory is bound; empty if it is not."""
        domain = self._connection.lookupByUUIDString(guest.server.uuid)
        return str(domain.numaParameters(_LIVE).get("numa_nodeset", ""))

    def _remove_abandoned(self) -> None:
        """Remove the guests of labs that were killed."""
        for domain in self._connection.listAllDomains():
            owner = _PROJECT.search(domain.XMLDesc())
            if owner and not Path(f"/proc/{owner[1]}").exists():
                _remove(domain)


def domain_xml(guest: Guest, virt_type: str, pins: Sequence[int] = ()) -> str:
    """A guest as Nova defines it: its metadata, memory, a plain number of vCPUs, one I/O thread.

    :param pins: the host CPU of each vCPU, if Nova pins it
    """
    flavor = guest.server.flavor
    xml = config.LibvirtConfigGuest()
    xml.virt_type = virt_type
    xml.name = guest.domain
    xml.uuid = guest.server.uuid
    xml.memory = flavor.memory_mb * 1024
    xml.vcpus = flavor.vcpus
    xml.iothreads = 1
    if pins:
        xml.cputune = _cputune(pins)
    xml.metadata.append(nova_metadata(guest))
    xml.os_type = "hvm"
    if platform.machine() == "x86_64":
        xml.os_mach_type = "pc"
        xml.features.append(config.LibvirtConfigGuestFeatureACPI())
    return str(xml.to_xml())


def _cputune(pins: Sequence[int]) -> Any:
    """Pins as nova-compute writes them: QEMU's own threads have the CPUs of all vCPUs."""
    tune = config.LibvirtConfigGuestCPUTune()
    for vcpu, cpu in enumerate(pins):
        pin = config.LibvirtConfigGuestCPUTuneVCPUPin()
        pin.id, pin.cpuset = vcpu, {cpu}
        tune.vcpupin.append(pin)
    tune.emulatorpin = config.LibvirtConfigGuestCPUTuneEmulatorPin()
    tune.emulatorpin.cpuset = set(pins)
    thread = config.LibvirtConfigGuestCPUTuneIOThreadPin()
    thread.iothread, thread.cpuset = 1, set(pins)
    tune.iothreadpin.append(thread)
    return tune


def nova_metadata(guest: Guest) -> Any:
    """The metadata that nova-compute writes into a domain, by nova-compute's own code."""
    flavor = guest.server.flavor
    metadata = driver.InstanceDriverMetadata(
        root_type="image",
        root_id="1ab00000-0000-0000-0000-000000000003",
        instance_meta=driver.NovaInstanceMeta(guest.name, guest.server.uuid),
        owner=driver.OwnerMeta(USER, "admin", PROJECT, PROJECT_NAME),
        image=driver.ImageMeta("1ab00000-0000-0000-0000-000000000003", "blank", "bare", "raw", 0, 0, {}),
        flavor=driver.FlavorMeta(**asdict(flavor) | {"extra_specs": dict(flavor.extra_specs)}),
        network_info=model.NetworkInfo(),
        nova_package=version.version_string(),
    )
    return LibvirtDriver._get_guest_config_meta(None, metadata)


def _remove(domain: Any) -> None:
    if domain.isActive():
        domain.destroy()
    if domain.isPersistent():
        domain.undefine()


def _allowed_cpus(task: Path) -> str:
    status = (task / "status").read_text()
    return next(line.split()[1] for line in status.splitlines() if line.startswith("Cpus_allowed_list:"))
