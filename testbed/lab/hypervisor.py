# SPDX-License-Identifier: Apache-2.0
"""A real libvirt on this machine: the one that runs, or else one of the lab's own."""

from __future__ import annotations

import fcntl
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt

from kongming_sched.cpuset import CpuSet
from kongming_sched.topology import HostTopology
from testbed.lab.libvirtd import usable_controllers
from testbed.lab.process import ChildProcess, LabError

URI = "qemu:///system"

Connection = Any
"""libvirt-python carries no types."""


@dataclass(frozen=True)
class Hypervisor:
    """A libvirt daemon that answers.

    :ivar virt_type: what guests shall be, "kvm" where that really runs one, else "qemu"
    :ivar is_own: whether the lab started it, and so stops it
    :ivar controllers: those of "cpu" and "cpuset" that it can use; without them there is no QoS and no memory policy
    :ivar process: what runs it, if it is the lab's own
    """

    virt_type: str
    is_own: bool
    controllers: frozenset[str]
    process: ChildProcess | None = None

    def kill(self) -> None:
        """Kill libvirtd as the kernel does it, and wait until a new one has its guests back."""
        if self.process is None:
            raise LabError("the libvirtd of this machine is not the lab's to be killed")
        connection = self.connect()
        self.process.send(signal.SIGUSR1)
        self.process.wait_for("the end of libvirtd", lambda: None if _is_served(connection) else True)
        self.process.wait_for("a connection", lambda: _answers() or None)
        connection = self.connect()
        for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
            domain.memoryStats()  # waits for libvirtd to have reached the guest's monitor
        connection.close()

    def connect(self) -> Connection:
        """A new connection, to be closed by the caller."""
        return libvirt.open(URI)


@contextmanager
def hypervisor(directory: Path, report: Callable[[str], None] | None = None) -> Iterator[Hypervisor]:
    """The machine's libvirtd if it answers, else one that runs as long as the context.

    :param directory: where an own libvirtd keeps its files and log
    :param report: called with a line if it has to wait
    """
    libvirt.registerErrorHandler(lambda _context, _error: None, None)  # it would print what the caller handles
    virt_type = "kvm" if kvm_runs_firmware() else "qemu"
    with only_lab_on_this_machine(report):
        yield from _running_or_own(directory, virt_type)


def _running_or_own(directory: Path, virt_type: str) -> Iterator[Hypervisor]:
    if _answers():
        yield Hypervisor(virt_type, is_own=False, controllers=usable_controllers())
        return
    if os.geteuid():
        raise LabError(f"no libvirtd answers at {URI}, and only root can start one")
    command = ["unshare", "--mount", "--propagation", "private", "--", sys.executable, "-m", "testbed.lab.libvirtd"]
    with ChildProcess("libvirtd", [*command, directory, virt_type], directory, stop_seconds=30) as daemon:
        daemon.wait_for("a connection", lambda: _answers() or None)
        yield Hypervisor(virt_type, is_own=True, controllers=usable_controllers(), process=daemon)


def read_host(running: Hypervisor) -> tuple[str, HostTopology]:
    """The name by which nova-compute would register this machine, and its cells and cores."""
    connection = running.connect()
    try:
        _, online_map, _ = connection.getCPUMap()
        online = CpuSet.of(cpu for cpu, is_online in enumerate(online_map) if is_online)
        return str(connection.getHostname()), HostTopology.from_capabilities(connection.getCapabilities(), online)
    finally:
        connection.close()


@contextmanager
def only_lab_on_this_machine(
    report: Callable[[str], None] | None = None, patience_seconds: float = 900
) -> Iterator[None]:
    """Wait until no other lab has libvirtd, whose socket has one place on a machine.

    :raises LabError: if another keeps it
    """
    descriptor = os.open("/run", os.O_RDONLY)
    try:
        deadline = time.monotonic() + patience_seconds
        while not _locks(descriptor):
            if report:
                report("waiting until another demonstration or test on this machine gives libvirtd free")
                report = None
            if time.monotonic() > deadline:
                raise LabError("another lab on this machine keeps libvirtd; wait for it to end")
            time.sleep(0.5)
        yield
    finally:
        os.close(descriptor)


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def kvm_runs_firmware() -> bool:
    """Whether a KVM guest really executes: /dev/kvm may be there and still run nothing.

    SeaBIOS writes its name to the debug port as one of the first things it does.
    """
    if platform.machine() != "x86_64" or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    command = ["qemu-system-x86_64", "-accel", "kvm", "-machine", "pc", "-display", "none", "-nodefaults", "-m", "64"]
    debug_port = ["-chardev", "stdio,id=log", "-device", "isa-debugcon,iobase=0x402,chardev=log"]
    with subprocess.Popen(
        ["timeout", "10", *command, *debug_port],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as guest:
        assert guest.stdout
        spoken = b"SeaBIOS" in guest.stdout.readline()
        guest.terminate()
    return spoken


def _is_served(connection: Connection) -> bool:
    try:
        connection.getLibVersion()
        connection.numOfDomains()
    except libvirt.libvirtError:
        return False
    return True


def _answers() -> bool:
    try:
        connection = libvirt.open(URI)
    except libvirt.libvirtError:
        return False
    connection.close()
    return True
