# SPDX-License-Identifier: Apache-2.0
"""The only reader of /proc and /sys: the affinity of a guest's threads, as the kernel has it.

libvirt goes on to report a pin that the kernel has dropped, for example when a CPU went offline, so its word is not
enough.
"""

from __future__ import annotations

import re
from pathlib import Path

from kongming_sched import exceptions
from kongming_sched.agent.guest import Domain, Threads
from kongming_sched.cpuset import CpuSet

_VCPU_THREAD = re.compile(r"CPU (\d+)/(?:KVM|TCG)")
_IO_THREAD = re.compile(r"IO iothread(\d+)")


class Host:
    """The kernel's view of guests.

    :param proc: where the proc file system is
    :param run: where libvirt's QEMU driver keeps the ids of its processes
    :param cgroup: where the control groups are
    """

    def __init__(
        self,
        proc: Path = Path("/proc"),
        run: Path = Path("/run/libvirt/qemu"),
        cgroup: Path = Path("/sys/fs/cgroup"),
    ) -> None:
        self._proc = proc
        self._run = run
        self._cgroup = cgroup

    def threads(self, domain: Domain) -> Threads:
        """The affinity of every thread of a guest.

        :raises GuestGone: if the guest's process is not there
        """
        pid = self.find_pid(domain)
        vcpus: dict[int, CpuSet] = {}
        iothreads: dict[int, CpuSet] = {}
        try:
            for task in sorted((self._proc / str(pid) / "task").iterdir()):
                thread = (task / "comm").read_text().strip()
                if match := _VCPU_THREAD.fullmatch(thread):
                    vcpus[int(match[1])] = _affinity(task)
                elif match := _IO_THREAD.fullmatch(thread):
                    iothreads[int(match[1])] = _affinity(task)
            emulator = _affinity(self._proc / str(pid) / "task" / str(pid))
        except (FileNotFoundError, ProcessLookupError) as error:
            raise exceptions.GuestGone(domain.name) from error
        return Threads(vcpus, emulator, iothreads)

    def memory_nodes(self, domain: Domain) -> CpuSet:
        """The NUMA nodes on which the kernel lets a guest's memory lie, by its first vCPU.

        :raises GuestGone: if the guest's process is not there
        """
        pid = self.find_pid(domain)
        try:
            for task in sorted((self._proc / str(pid) / "task").iterdir()):
                match = _VCPU_THREAD.fullmatch((task / "comm").read_text().strip())
                if match and match[1] == "0":
                    return _listed(task, "Mems_allowed_list:")
        except (FileNotFoundError, ProcessLookupError) as error:
            raise exceptions.GuestGone(domain.name) from error
        raise exceptions.GuestGone(domain.name)

    def default_shares(self) -> int:
        """The cpu shares of a guest that nobody has given others: cgroup v2 counts weights instead."""
        return 100 if (self._cgroup / "cgroup.controllers").exists() else 1024

    def find_pid(self, domain: Domain) -> int:
        """The id of a guest's QEMU process.

        :raises GuestGone: if there is none, or the number belongs to another process by now
        """
        try:
            pid = int((self._run / f"{domain.name}.pid").read_text())
            command = (self._proc / str(pid) / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, ValueError) as error:
            raise exceptions.GuestGone(domain.name) from error
        if domain.uuid.encode() not in command.split(b"\0"):
            raise exceptions.GuestGone(domain.name)
        return pid


def _affinity(task: Path) -> CpuSet:
    """The CPUs that a thread may run on."""
    return _listed(task, "Cpus_allowed_list:")


def _listed(task: Path, field: str) -> CpuSet:
    """A set of numbers in the status of a thread."""
    for line in (task / "status").read_text().splitlines():
        if line.startswith(field):
            return CpuSet.parse(line.partition(":")[2])
    raise ProcessLookupError(task)
