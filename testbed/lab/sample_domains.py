# SPDX-License-Identifier: Apache-2.0
"""Domains of many shapes, written by Nova's own code and then by libvirt, as samples for what reads and edits XML.

``python -m testbed.lab.sample_domains DIRECTORY`` writes them anew. Those that this machine's libvirt cannot have are
kept as Nova writes them.
"""

from __future__ import annotations

import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import libvirt
from nova.virt.libvirt import config

from testbed.lab.guests import Guest, nova_metadata
from testbed.lab.hypervisor import Connection, hypervisor
from testbed.lab.scheduler import Flavor, Scheduled

Xml = Any
"""Nova's classes carry no types."""

GOLD = {
    "kongming:template": "gold",
    "resources:VCPU": "0",
    "resources_KONGMING0:CUSTOM_KONGMING_PCPU": "4",
    "resources_KONGMING0:CUSTOM_KONGMING_MEMORY_MB": "512",
    "trait_KONGMING0:CUSTOM_KONGMING_TEMPLATE_GOLD": "required",
}


def pin(xml: Xml, cpus: set[int] | None = None) -> None:
    """Pins as a running guest has them that the agent has pinned."""
    tune = xml.cputune or config.LibvirtConfigGuestCPUTune()
    for vcpu in range(xml.vcpus):
        vcpupin = config.LibvirtConfigGuestCPUTuneVCPUPin()
        vcpupin.id, vcpupin.cpuset = vcpu, cpus or {vcpu % 2}
        tune.vcpupin.append(vcpupin)
    tune.emulatorpin = config.LibvirtConfigGuestCPUTuneEmulatorPin()
    tune.emulatorpin.cpuset = {0, 1}
    for number in range(1, (xml.iothreads or 0) + 1):
        iothreadpin = config.LibvirtConfigGuestCPUTuneIOThreadPin()
        iothreadpin.iothread, iothreadpin.cpuset = number, {0}
        tune.iothreadpin.append(iothreadpin)
    xml.cputune = tune


def bind(xml: Xml, mode: str = "restrictive", cells: int = 0) -> None:
    """A binding of the memory, with those of single guest cells."""
    xml.numatune = config.LibvirtConfigGuestNUMATune()
    xml.numatune.memory = config.LibvirtConfigGuestNUMATuneMemory()
    xml.numatune.memory.mode, xml.numatune.memory.nodeset = mode, [0]
    for cell in range(cells):
        node = config.LibvirtConfigGuestNUMATuneMemNode()
        node.cellid, node.mode, node.nodeset = cell, mode, [0]
        xml.numatune.memnodes.append(node)


def quality_of_service(xml: Xml) -> None:
    """Shares, period and quota."""
    xml.cputune = xml.cputune or config.LibvirtConfigGuestCPUTune()
    xml.cputune.shares, xml.cputune.period, xml.cputune.quota = 2048, 100000, 50000


def real_time(xml: Xml) -> None:
    """Scheduling classes of vCPUs, between the pins and the end."""
    xml.cputune = xml.cputune or config.LibvirtConfigGuestCPUTune()
    sched = config.LibvirtConfigGuestCPUTuneVCPUSched()
    sched.vcpus, sched.scheduler, sched.priority = {0}, "fifo", 1
    xml.cputune.vcpusched.append(sched)


def cpu(xml: Xml, cells: int = 0) -> None:
    """A CPU model with features and a topology, and guest cells."""
    xml.cpu = model = config.LibvirtConfigGuestCPU()
    model.mode, model.model, model.match = "custom", "Nehalem", "exact"
    model.sockets, model.cores, model.threads = xml.vcpus, 1, 1
    model.add_feature(config.LibvirtConfigGuestCPUFeature("aes"))
    if cells:
        model.numa = config.LibvirtConfigGuestCPUNUMA()
        for number in range(cells):
            cell = config.LibvirtConfigGuestCPUNUMACell()
            share = xml.vcpus // cells
            cell.id, cell.memory = number, xml.memory // cells
            cell.cpus = set(range(number * share, (number + 1) * share))
            model.numa.cells.append(cell)


def disk(kind: str, number: int) -> Xml:
    """A disk of a file, a block device or Ceph."""
    found = config.LibvirtConfigGuestDisk()
    found.source_type, found.source_device, found.driver_name = kind, "disk", "qemu"
    found.driver_format, found.driver_cache, found.target_bus = "raw", "none", "virtio"
    found.target_dev = "vd" + chr(ord("a") + number)
    if kind == "file":
        found.source_path, found.driver_format = f"/var/lib/nova/instances/it's/disk{number}", "qcow2"
        found.disk_read_iops_sec, found.serial = 500, str(uuid.UUID(int=number))
    elif kind == "block":
        found.source_path, found.driver_io = "/dev/disk/by-path/ip-10.0.0.1:3260-iscsi-a", "native"
    else:
        found.source_protocol, found.source_name = "rbd", "volumes/volume-1"
        found.source_hosts, found.source_ports = ["10.0.0.1", "10.0.0.2"], ["6789", "6789"]
        found.auth_username, found.auth_secret_type, found.auth_secret_uuid = "cinder", "ceph", str(uuid.UUID(int=7))
    return found


def disks(xml: Xml) -> None:
    """One of each kind."""
    for number, kind in enumerate(("file", "block", "network")):
        xml.add_device(disk(kind, number))


def many_disks(xml: Xml) -> None:
    """As many as letters."""
    for number in range(26):
        xml.add_device(disk("file", number))


def network(xml: Xml) -> None:
    """Ports of Open vSwitch and of a Linux bridge."""
    for number in range(2):
        port = config.LibvirtConfigGuestInterface()
        port.net_type, port.mac_addr, port.source_dev = "bridge", f"fa:16:3e:00:00:0{number}", "br-int"
        port.target_dev, port.model, port.mtu = f"tap0000000{number}", "virtio", 1450
        if number:
            port.vporttype = "openvswitch"
            port.add_vport_param("interfaceid", str(uuid.UUID(int=number)))
        xml.add_device(port)


def consoles(xml: Xml) -> None:
    """Graphics with and without a password's place, serial ports, input and video."""
    graphics = config.LibvirtConfigGuestGraphics()
    graphics.type, graphics.listen, graphics.autoport = "vnc", "0.0.0.0", True  # noqa: S104  # as Nova's default is
    xml.add_device(graphics)
    video = config.LibvirtConfigGuestVideo()
    video.type, video.vram, video.heads = "vga", 16384, 1
    xml.add_device(video)
    serial = config.LibvirtConfigGuestSerial()
    serial.type, serial.target_port = "pty", 0
    xml.add_device(serial)
    tablet = config.LibvirtConfigGuestInput()
    tablet.type, tablet.bus = "tablet", "usb"
    xml.add_device(tablet)


def small_devices(xml: Xml) -> None:
    """Random numbers, watchdog, balloon, and a channel to the guest's agent."""
    random = config.LibvirtConfigGuestRng()
    random.backend, random.rate_bytes, random.rate_period = "/dev/urandom", 1024, 1000
    watchdog = config.LibvirtConfigGuestWatchdog()
    watchdog.action = "reset"
    balloon = config.LibvirtConfigMemoryBalloon()
    balloon.model, balloon.period = "virtio", 10
    channel = config.LibvirtConfigGuestChannel()
    channel.type, channel.target_name, channel.source_path = "unix", "org.qemu.guest_agent.0", "/var/lib/ga.sock"
    for device in (random, watchdog, balloon, channel):
        xml.add_device(device)


def firmware(xml: Xml) -> None:
    """SMBIOS tables and a clock with timers."""
    xml.sysinfo = config.LibvirtConfigGuestSysinfo()
    xml.sysinfo.system_manufacturer, xml.sysinfo.system_product = "OpenStack & Friends", 'Nova "34" <x>'
    xml.os_smbios = config.LibvirtConfigGuestSMBIOS()
    xml.clock = config.LibvirtConfigGuestClock()
    xml.clock.offset = "utc"
    for name, policy in (("pit", "delay"), ("rtc", "catchup")):
        timer = config.LibvirtConfigGuestTimer()
        timer.name, timer.tickpolicy = name, policy
        xml.clock.add_timer(timer)


def memory(xml: Xml) -> None:
    """Limits, and memory that is locked."""
    xml.memtune = config.LibvirtConfigGuestMemoryTune()
    xml.memtune.hard_limit = 2 * xml.memory
    xml.membacking = config.LibvirtConfigGuestMemoryBacking()
    xml.membacking.locked = True


def huge_pages(xml: Xml) -> None:
    """Memory in pages of 2 MiB."""
    page = config.LibvirtConfigGuestMemoryBackingPage()
    page.size_kb, page.nodeset = 2048, [0]
    cpu(xml, 1)
    xml.membacking = config.LibvirtConfigGuestMemoryBacking()
    xml.membacking.hugepages = [page]


def passed_through(xml: Xml) -> None:
    """A device of the host."""
    device = config.LibvirtConfigGuestHostdevPCI()
    device.domain, device.bus, device.slot, device.function = "0000", "3b", "0a", "1"
    device.managed = "yes"
    xml.add_device(device)


def shared_set(xml: Xml) -> None:
    """Where nova.conf has a cpu_shared_set, vCPUs without a pin of their own float over that."""
    xml.cpuset = {0, 1}


def io(xml: Xml) -> None:
    """Several I/O threads."""
    xml.iothreads = 4


def q35(xml: Xml) -> None:
    """The newer machine."""
    xml.os_mach_type = "q35"


def big(xml: Xml) -> None:
    """As many vCPUs as large servers have."""
    xml.vcpus = 64


Shape = Callable[[Xml], None]
SHAPES: Mapping[str, tuple[Shape, ...]] = {
    "plain": (),
    "pinned": (pin,),
    "bound": (bind,),
    "pinned-bound": (pin, bind),
    "pinned-strict": (pin, lambda xml: bind(xml, "strict")),
    "pinned-cells": (lambda xml: cpu(xml, 2), pin, lambda xml: bind(xml, "strict", 2)),
    "qos": (quality_of_service,),
    "qos-pinned": (quality_of_service, pin, bind),
    "real-time": (pin, real_time),
    "io": (io, pin),
    "io-qos": (io, quality_of_service, pin, bind),
    "big": (big, pin, bind),
    "shared-set": (shared_set, pin),
    "disks": (disks, pin),
    "many-disks": (many_disks, pin, bind),
    "network": (network, pin),
    "consoles": (consoles, pin, bind),
    "small-devices": (small_devices, pin),
    "firmware": (firmware, pin),
    "memory": (memory, pin, bind),
    "huge-pages": (huge_pages, pin, bind),
    "passed-through": (passed_through, pin),
    "q35": (q35, cpu, pin, bind),
    "q35-everything": (q35, io, disks, network, consoles, small_devices, firmware, quality_of_service, pin, bind),
    "everything": (cpu, io, disks, network, consoles, small_devices, firmware, memory, pin, bind),
}


def sample(name: str, number: int, extra_specs: Mapping[str, str]) -> str:
    """A domain of a shape as Nova writes it."""
    flavor = Flavor(f"flavor <{number}> & co", str(number), 4, 512, 0, 0, 0, extra_specs)
    server = Scheduled(str(uuid.UUID(int=(5 << 64) + number)), "host", flavor, {})
    guest = Guest("Füchse & 'Hasen' <孔明> ]]&gt;", f"instance-{number:08x}", server)
    xml = config.LibvirtConfigGuest()
    xml.virt_type, xml.name, xml.uuid = "qemu", guest.domain, guest.server.uuid
    xml.memory, xml.vcpus = flavor.memory_mb * 1024, flavor.vcpus
    xml.os_type, xml.os_mach_type = "hvm", "pc"
    xml.metadata.append(nova_metadata(guest))
    for change in SHAPES[name]:
        change(xml)
    return str(xml.to_xml())


def samples(connection: Connection) -> Iterator[tuple[str, str]]:
    """Each shape twice, for a guest of a template and for one without; as libvirt writes it, if it can have it."""
    for number, name in enumerate(SHAPES):
        for kind, specs in (("template", GOLD), ("other", {"hw:watchdog_action": "reset"})):
            xml = sample(name, 2 * number + (kind == "other") + 1, specs)
            try:
                domain = connection.defineXML(xml)
            except libvirt.libvirtError as error:
                print(f"{name}: {error}", file=sys.stderr)
                yield f"{kind}-{name}-by-nova", xml
                continue
            yield f"{kind}-{name}", domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_MIGRATABLE)
            domain.undefine()


def main(directory: Path) -> None:
    """Write every sample into a directory."""
    with tempfile.TemporaryDirectory() as scratch, hypervisor(Path(scratch)) as running:
        connection = running.connect()
        for name, xml in samples(connection):
            (directory / f"{name}.xml").write_text(xml)
        connection.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
