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
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from kongming_sched import exceptions
from kongming_sched.agent.host.cpu_groups import CpuGroup
from kongming_sched.agent.host.helper_threads import HelperReader
from kongming_sched.agent.host.huge_pages import read_huge_pages
from kongming_sched.agent.host.policies import read_policies, set_policy
from kongming_sched.agent.host.proc_files import VCPU_THREAD, group_of, listed_cpus, read_text, vcpu_tasks
from kongming_sched.agent.model.guest import Domain, HelperThread, Threads
from kongming_sched.agent.model.policy import Policy
from kongming_sched.cpuset import CpuSet
from kongming_sched.pools import HugePages
from kongming_sched.texts.whole_number import read_whole_number

_IO_THREAD = re.compile(r"IO iothread([0-9]{1,4})")
"""A longer id does not fit into the name of a thread, of 15 characters, and QEMU gives such a thread no name."""
_LONG_IOTHREAD = re.compile(r"<iothread id=['\"][0-9]{5}")
_IOTHREAD_GROUP = re.compile(r"/iothread([0-9]{5,10})$", re.MULTILINE)
"""What libvirt puts an I/O thread into, in the kernel's list of a thread's control groups."""
_PAGES = re.compile(r"\bN([0-9]{1,5})=([0-9]{1,18})\b")
_PAGE_SIZE_KB = re.compile(r"\bkernelpagesize_kB=([0-9]{1,12})\b")
_PIDS = range(1, 2**22 + 1)
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
        self._helpers = HelperReader(proc, cgroup)

    def threads(self, domain: Domain) -> Threads:
        """The affinity of every thread of a guest.

        :raises GuestGone: if the guest's process is not there
        :raises KernelError: if it cannot be read
        """
        pid = self.find_pid(domain)
        tasks = f"{self._proc}/{pid}/task"
        vcpus: dict[int, CpuSet] = {}
        iothreads: dict[int, CpuSet] = {}
        helpers: dict[int, str] = {}
        with _reading(domain, "threads"):
            for number in sorted(os.listdir(tasks)):  # noqa: PTH208  # a host has thousands of threads, and is asked often
                thread = read_text(f"{tasks}/{number}/comm").strip()
                if match := VCPU_THREAD.fullmatch(thread):
                    vcpus[int(match[1])] = _affinity(f"{tasks}/{number}")
                elif match := _IO_THREAD.fullmatch(thread):
                    iothreads[int(match[1])] = _affinity(f"{tasks}/{number}")
                else:
                    helpers[int(number)] = thread
            helpers.pop(pid, None)
            for iothread, task in _unnamed_iothreads(tasks, helpers, domain):
                iothreads[iothread] = _affinity(f"{tasks}/{task}")
                del helpers[task]
            emulator = _affinity(f"{tasks}/{pid}")
        return Threads(vcpus, emulator, iothreads, pid, helpers)

    def kernel_threads(self) -> dict[int, dict[int, str]]:
        """The id of a QEMU process to the kernel's own threads that work for it, by id with their names.

        These are no threads of that process: vhost's before Linux 6.4, and KVM's.
        """
        return self._helpers.kernel_threads()

    def helper(self, number: int, name: str) -> HelperThread | None:
        """A helper thread as it is; None if it has ended.

        :raises KernelError: if it cannot be read
        """
        return self._helpers.read(number, name)

    def pin_helper(self, thread: HelperThread, cpus: CpuSet, pid: int) -> None:
        """Let a helper thread run on these host CPUs only; see HelperReader.pin().

        :param pid: of the guest's QEMU process
        :raises KernelError: if the kernel refuses
        """
        self._helpers.pin(thread, cpus, pid)

    def memory_nodes(self, domain: Domain) -> CpuSet:
        """The NUMA nodes on which the kernel lets a guest's memory lie, by its first vCPU.

        :raises GuestGone: if the guest's process is not there
        :raises KernelError: if it cannot be read
        """
        pid = self.find_pid(domain)
        with _reading(domain, "memory nodes"):
            for task in sorted((self._proc / str(pid) / "task").iterdir()):
                match = VCPU_THREAD.fullmatch(read_text(f"{task}/comm").strip())
                if match and match[1] == "0":
                    return listed_cpus(str(task), b"Mems_allowed_list:")
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
        found: Counter[int] = Counter()
        for line in self._memory_lines(domain):
            if " file=" not in line or _GUEST_FILE.search(line):
                size = _PAGE_SIZE_KB.search(line)
                for node, pages in _PAGES.findall(line):
                    found[int(node)] += int(pages) * (int(size[1]) if size else 4)
        return {node: kib // 1024 for node, kib in sorted(found.items()) if kib >= 1024}

    def guest_pages(self, domain: Domain) -> dict[tuple[int, int], int]:
        """How many huge pages a guest has, by host NUMA node and size in KiB.

        :raises GuestGone: if the guest's process is not there
        :raises KernelError: if it cannot be read
        """
        found: Counter[tuple[int, int]] = Counter()
        for line in self._memory_lines(domain):
            size = _PAGE_SIZE_KB.search(line)
            if size and " huge " in line:
                for node, pages in _PAGES.findall(line):
                    found[int(node), int(size[1])] += int(pages)
        return dict(found)

    def _memory_lines(self, domain: Domain) -> list[str]:
        """Each mapping of a guest's process, with its pages on each node."""
        pid = self.find_pid(domain)
        with _reading(domain, "memory"):
            return (self._proc / str(pid) / "numa_maps").read_text(errors="replace").splitlines()

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

    def vcpu_policies(self, domain: Domain) -> dict[int, Policy]:
        """The scheduling policy of each vCPU.

        :raises GuestGone: if the guest's process is not there
        :raises KernelError: if it cannot be read
        """
        pid = self.find_pid(domain)
        with _reading(domain, "scheduling policies"):
            return read_policies(f"{self._proc}/{pid}/task")

    def set_vcpu_policy(self, domain: Domain, vcpu: int, policy: Policy) -> None:
        """Run a vCPU by another scheduling policy.

        :raises GuestGone: if the guest's process is not there
        :raises KernelError: if the kernel refuses
        """
        pid = self.find_pid(domain)
        with _reading(domain, "threads"):
            set_policy(f"{self._proc}/{pid}/task", vcpu, policy, self._cgroup, domain.name)

    def _vcpu_groups(self, domain: Domain) -> dict[int, CpuGroup]:
        """The control group of each vCPU, which libvirt has put its thread in."""
        pid = self.find_pid(domain)
        mount, controller = (self._cgroup / "cpu", "cpu") if (self._cgroup / "cpu").is_dir() else (self._cgroup, "")
        groups = {}
        with _reading(domain, "control groups"):
            for vcpu, task in vcpu_tasks(f"{self._proc}/{pid}/task"):
                path = group_of(task, controller)
                if path.rpartition("/")[2] == f"vcpu{vcpu}":
                    groups[vcpu] = CpuGroup(mount / path.lstrip("/"))
        return groups

    def guest_names(self) -> list[str]:
        """libvirt's names of the domains for which it has noted a process; some may have ended."""
        return sorted(path.stem for path in self._run.glob("*.pid"))

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


def _unnamed_iothreads(tasks: str, numbers: Iterable[int], domain: Domain) -> list[tuple[int, int]]:
    """libvirt's id of each I/O thread that is too long for a name, and the kernel's.

    They are known by their control groups. Where there are none they are no different from other threads of QEMU's.
    """
    if not _LONG_IOTHREAD.search(domain.xml):
        return []
    groups = {number: _IOTHREAD_GROUP.search(read_text(f"{tasks}/{number}/cgroup")) for number in numbers}
    return [(int(group[1]), number) for number, group in groups.items() if group]


def _affinity(task: str) -> CpuSet:
    """The CPUs that a thread may run on."""
    return listed_cpus(task, b"Cpus_allowed_list:")
