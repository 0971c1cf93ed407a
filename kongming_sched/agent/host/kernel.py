# SPDX-License-Identifier: Apache-2.0
"""Reads /proc and /sys: a guest's threads, pages and control groups, as the kernel has them.

libvirt goes on to report a pin that the kernel has dropped, for example when a CPU went offline, so what it reports is
not enough.

It has one quota for all vCPUs of a guest, though it makes a control group for each. Quotas of single vCPUs are written
there. libvirt writes to these groups again only when a guest's quota is set (then all get it) or its period (which
keeps the quotas), and reports the quota of vCPU 0 as that of the guest.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kongming_sched import exceptions
from kongming_sched.agent.host.huge_pages import read_huge_pages
from kongming_sched.agent.model.guest import Domain, Threads
from kongming_sched.cpuset import CpuSet
from kongming_sched.pools import HugePages
from kongming_sched.texts.whole_number import read_whole_number

_VCPU_THREAD = re.compile(r"CPU ([0-9]{1,5})/(?:KVM|TCG)")
_IO_THREAD = re.compile(r"IO iothread([0-9]{1,5})")
_PAGES = re.compile(r"\bN([0-9]{1,5})=([0-9]{1,18})\b")
_PAGE_SIZE_KB = re.compile(r"\bkernelpagesize_kB=([0-9]{1,12})\b")
_PIDS = range(1, 2**22 + 1)
_QUOTAS_US = range(-1, 2**63)
_GUEST_FILE = re.compile(r"file=(/memfd:|/dev/(hugepages|shm)|\S*/libvirt/qemu/)")
"""Files that hold a guest's memory, where it is not anonymous."""


class Host:
    """The kernel's view of guests.

    :param proc: where the proc file system is
    :param run: where libvirt's QEMU driver keeps the ids of its processes
    :param cgroup: where the control groups are
    :param nodes: where the NUMA nodes are
    """

    def __init__(
        self,
        proc: Path = Path("/proc"),
        run: Path = Path("/run/libvirt/qemu"),
        cgroup: Path = Path("/sys/fs/cgroup"),
        nodes: Path = Path("/sys/devices/system/node"),
    ) -> None:
        self._proc = proc
        self._run = run
        self._cgroup = cgroup
        self._nodes = nodes

    def threads(self, domain: Domain) -> Threads:
        """The affinity of every thread of a guest.

        :raises GuestGone: if the guest's process is not there
        :raises KernelError: if it cannot be read
        """
        pid = self.find_pid(domain)
        tasks = f"{self._proc}/{pid}/task"
        vcpus: dict[int, CpuSet] = {}
        iothreads: dict[int, CpuSet] = {}
        with _reading(domain, "threads"):
            for number in sorted(os.listdir(tasks)):  # noqa: PTH208  # a host has thousands of threads, and is asked often
                thread = _read_text(f"{tasks}/{number}/comm").strip()
                if match := _VCPU_THREAD.fullmatch(thread):
                    vcpus[int(match[1])] = _affinity(f"{tasks}/{number}")
                elif match := _IO_THREAD.fullmatch(thread):
                    iothreads[int(match[1])] = _affinity(f"{tasks}/{number}")
            emulator = _affinity(f"{tasks}/{pid}")
        return Threads(vcpus, emulator, iothreads)

    def memory_nodes(self, domain: Domain) -> CpuSet:
        """The NUMA nodes on which the kernel lets a guest's memory lie, by its first vCPU.

        :raises GuestGone: if the guest's process is not there
        :raises KernelError: if it cannot be read
        """
        pid = self.find_pid(domain)
        with _reading(domain, "memory nodes"):
            for task in sorted((self._proc / str(pid) / "task").iterdir()):
                match = _VCPU_THREAD.fullmatch(_read_text(f"{task}/comm").strip())
                if match and match[1] == "0":
                    return _listed(str(task), b"Mems_allowed_list:")
        raise exceptions.GuestGone(domain.name)

    def controllers(self) -> frozenset[str]:
        """The controllers of control groups that the kernel has, be they of version 2 or mounted as version 1."""
        listed = self._cgroup / "cgroup.controllers"
        if listed.exists():
            return frozenset(listed.read_text().split())
        return frozenset(path.name for path in self._cgroup.glob("*") if path.is_dir())

    def default_shares(self) -> int:
        """The cpu shares of a guest for which none are set: cgroup v2 counts weights instead."""
        return 100 if (self._cgroup / "cgroup.controllers").exists() else 1024

    def huge_pages(self) -> dict[int, tuple[HugePages, ...]]:
        """The huge pages of each NUMA node; nodes and sizes without any are left out.

        :raises InvalidTopology: if they cannot be read
        """
        return read_huge_pages(self._nodes)

    def memory_mb(self, domain: Domain) -> dict[int, int]:
        """How many MiB of a guest's memory lie on each host NUMA node, that of QEMU itself included.

        Code and other pages of files do not count: the kernel shares them among processes and leaves them in place. The
        kernel walks through all pages for this, so it is nothing to be asked often.

        :raises GuestGone: if the guest's process is not there
        :raises KernelError: if it cannot be read
        """
        pid = self.find_pid(domain)
        with _reading(domain, "memory"):
            lines = (self._proc / str(pid) / "numa_maps").read_text(errors="replace").splitlines()
        found: Counter[int] = Counter()
        for line in lines:
            if " file=" not in line or _GUEST_FILE.search(line):
                size = _PAGE_SIZE_KB.search(line)
                for node, pages in _PAGES.findall(line):
                    found[int(node)] += int(pages) * (int(size[1]) if size else 4)
        return {node: kib // 1024 for node, kib in sorted(found.items()) if kib >= 1024}

    def vcpu_quotas(self, domain: Domain) -> dict[int, int]:
        """The CFS quota of each vCPU in microseconds per period, -1 for none.

        :returns: nothing where the host has no cpu controller for guests
        :raises GuestGone: if the guest's process is not there
        :raises KernelError: if it cannot be read
        """
        groups = self._vcpu_groups(domain)
        quotas = {}
        for vcpu, group in groups.items():
            with _reading(domain, "quotas"), contextlib.suppress(FileNotFoundError):
                quotas[vcpu] = group.read_quota_us()
        return quotas

    def set_vcpu_quota(self, domain: Domain, vcpu: int, quota_us: int) -> None:
        """Give a single vCPU another quota, in microseconds per period, -1 for none. The period stays as it is.

        :raises ControlGroupError: if the kernel refuses, or there is no such group
        :raises GuestGone: if the guest's process is not there
        :raises KernelError: if it cannot be read
        """
        action = f"set the quota of vCPU {vcpu} of {domain.name} to {quota_us}"
        group = self._vcpu_groups(domain).get(vcpu)
        if group is None:
            raise exceptions.ControlGroupError(action, "the vCPU has no control group of the controller cpu")
        try:
            group.write_quota_us(quota_us)
        except OSError as error:
            raise exceptions.ControlGroupError(action, str(error)) from error

    def _vcpu_groups(self, domain: Domain) -> dict[int, _CpuGroup]:
        """The control group of each vCPU, which libvirt has put its thread in."""
        pid = self.find_pid(domain)
        mount, controller = (self._cgroup / "cpu", "cpu") if (self._cgroup / "cpu").is_dir() else (self._cgroup, "")
        groups = {}
        with _reading(domain, "control groups"):
            tasks = f"{self._proc}/{pid}/task"
            for number in os.listdir(tasks):  # noqa: PTH208  # as in threads()
                if match := _VCPU_THREAD.fullmatch(_read_text(f"{tasks}/{number}/comm").strip()):
                    path = _group_of(f"{tasks}/{number}", controller)
                    if path.rpartition("/")[2] == f"vcpu{match[1]}":
                        groups[int(match[1])] = _CpuGroup(mount / path.lstrip("/"))
        return groups

    def find_pid(self, domain: Domain) -> int:
        """The id of a guest's QEMU process.

        :raises GuestGone: if there is none, or the number belongs to another process by now
        :raises KernelError: if it cannot be read
        """
        with _reading(domain, "process id"):
            try:
                pid = read_whole_number((self._run / f"{domain.name}.pid").read_text().strip(), _PIDS)
            except ValueError as error:
                raise exceptions.GuestGone(domain.name) from error
            command = (self._proc / str(pid) / "cmdline").read_bytes()
        if domain.uuid.encode() not in command.split(b"\0"):
            raise exceptions.GuestGone(domain.name)
        return pid


@contextlib.contextmanager
def _reading(domain: Domain, what: str) -> Iterator[None]:
    """Turn the kernel's errors into ours: of a process that has ended, and of one that cannot be read.

    :param what: of the guest is read
    """
    try:
        yield
    except (FileNotFoundError, ProcessLookupError) as error:
        raise exceptions.GuestGone(domain.name) from error
    except (OSError, ValueError, exceptions.InvalidCpuSet) as error:
        raise exceptions.KernelError(f"read the {what} of {domain.name}", str(error)) from error


@dataclass(frozen=True, slots=True)
class _CpuGroup:
    """A control group of the controller cpu: version 2 has cpu.max, version 1 has cpu.cfs_quota_us."""

    path: Path

    def read_quota_us(self) -> int:
        """The quota, -1 for none.

        :raises FileNotFoundError: if the controller is not there
        """
        if (self.path / "cpu.max").exists():
            quota = (self.path / "cpu.max").read_text().split()[0]
            return -1 if quota == "max" else read_whole_number(quota, _QUOTAS_US)
        return read_whole_number((self.path / "cpu.cfs_quota_us").read_text().strip(), _QUOTAS_US)

    def write_quota_us(self, quota_us: int) -> None:
        """Set the quota; written alone into cpu.max it leaves the period as it is.

        :raises OSError: if the kernel refuses
        """
        if (self.path / "cpu.max").exists():
            self._write("cpu.max", "max" if quota_us < 0 else str(quota_us))
        else:
            self._write("cpu.cfs_quota_us", str(quota_us))

    def _write(self, file: str, text: str) -> None:
        """Write to a file that must be there already."""
        with (self.path / file).open("r+") as stream:
            stream.write(text)


def _group_of(task: str, controller: str) -> str:
    """The path of a thread's control group.

    :param task: the path of the thread
    :param controller: of version 1; empty for version 2
    """
    for line in _read_text(f"{task}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return ""


def _affinity(task: str) -> CpuSet:
    """The CPUs that a thread may run on."""
    return _listed(task, b"Cpus_allowed_list:")


def _listed(task: str, field: bytes) -> CpuSet:
    """A set of numbers in the status of a thread, the path of which is given."""
    _, found, rest = _read(f"{task}/status").partition(b"\n" + field)
    if not found:
        raise ProcessLookupError(task)
    return _parse(rest.partition(b"\n")[0])


@functools.lru_cache(maxsize=4096)
def _parse(text: bytes) -> CpuSet:
    return CpuSet.parse(text.decode())


def _read_text(path: str) -> str:
    """The same as text. A process names its threads and groups as it likes, not in UTF-8 only."""
    return os.fsdecode(_read(path))


def _read(path: str) -> bytes:
    """A whole file of the kernel's, which gives it with one call."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 65536)
    finally:
        os.close(descriptor)
