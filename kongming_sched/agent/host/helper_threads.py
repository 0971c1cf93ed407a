# SPDX-License-Identifier: Apache-2.0
"""The threads that work for a guest beside its vCPUs, I/O threads and QEMU's main thread: who they are, and where.

QEMU's own are in its process: workers, those of a migration, io_uring's, and since Linux 6.4 those of vhost. The
kernel's are children of kthreadd and have the id of the QEMU process in their names: vhost's before that, kvm-pit, and
KVM's recovery of huge pages.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path

from kongming_sched import exceptions
from kongming_sched.agent.host.proc_files import group_of, listed_cpus, read_file, read_text
from kongming_sched.agent.model.guest import HelperThread, Threads
from kongming_sched.cpuset import CpuSet

_KTHREADD = 2
_KTHREADD_NAME = "kthreadd"
"""One that has just been made is called so until it gets its own name."""
_KERNEL_THREAD = re.compile(r"(?:vhost-|kvm-pit/|kvm-nx-lpage-recovery-)([0-9]{1,7})")
_NO_SETAFFINITY = 0x0400_0000
"""PF_NO_SETAFFINITY of include/linux/sched.h: sched_setaffinity(2) fails for such a thread."""
_FLAGS = 6
"""Which field the flags are of those behind the name in /proc/PID/stat; see proc_pid_stat(5)."""


def helpers_of(threads: Threads, of_kernel: Mapping[int, Mapping[int, str]]) -> dict[int, str]:
    """The names of all helper threads of a guest, by the kernel's ids.

    :param of_kernel: the id of each QEMU process to the kernel's own threads for it
    """
    return {**threads.helpers, **of_kernel.get(threads.pid, {})}


class HelperReader:
    """Finds, reads and pins such threads.

    :param proc: where the proc file system is
    :param cgroup: where the control groups are
    """

    def __init__(self, proc: Path, cgroup: Path) -> None:
        self._proc = proc
        self._cgroup = cgroup
        self._known: dict[int, tuple[str, int]] = {}

    def kernel_threads(self) -> dict[int, dict[int, str]]:
        """The id of a QEMU process to the kernel's threads for it, by id with their names.

        A machine has thousands of kernel threads, so each is asked who it is once.
        """
        known, self._known = self._known, {}
        found: dict[int, dict[int, str]] = {}
        for number in self._children():
            name, pid = known.get(number) or self._identify(number)
            if name not in ("", _KTHREADD_NAME):
                self._known[number] = name, pid
            if pid:
                found.setdefault(pid, {})[number] = name
        return found

    def read(self, number: int, name: str) -> HelperThread | None:
        """A thread as it is; None if it has ended.

        :raises KernelError: if it cannot be read
        """
        task = f"{self._proc}/{number}"
        try:
            cpus = listed_cpus(task, b"Cpus_allowed_list:")
            fields = read_file(f"{task}/stat").rpartition(b")")[2].split()
            return HelperThread(number, name, cpus, bool(int(fields[_FLAGS]) & _NO_SETAFFINITY))
        except (FileNotFoundError, ProcessLookupError):
            return None
        except (OSError, ValueError, IndexError, exceptions.InvalidCpuSet) as error:
            raise exceptions.KernelError(f"read thread {name} ({number})", str(error)) from error

    def pin(self, thread: HelperThread, cpus: CpuSet, pid: int) -> None:
        """Let a thread run on these CPUs only; nothing is done for one that has ended.

        One that a vCPU has made, as KVM's recovery of huge pages, is in the control group of that vCPU, which has other
        CPUs. It is moved to the group of QEMU's main thread, where libvirt has put the others.

        :param pid: of the guest's QEMU process
        :raises KernelError: if the kernel refuses
        """
        try:
            try:
                os.sched_setaffinity(thread.number, cpus)
            except OSError as error:
                if error.errno != errno.EINVAL or thread.is_bound or not self._join_group(thread.number, pid):
                    raise
                os.sched_setaffinity(thread.number, cpus)
        except ProcessLookupError:
            return
        except OSError as error:
            raise exceptions.KernelError(f"let {thread} run on CPU {cpus} only", str(error)) from error

    def _join_group(self, number: int, pid: int) -> bool:
        """Move a thread to the cpuset group of another; gives whether it was in another one."""
        is_first = (self._cgroup / "cpuset").is_dir()
        controller, mount, file = ("cpuset", "cpuset", "tasks") if is_first else ("", "", "cgroup.threads")
        mine, wanted = (group_of(f"{self._proc}/{task}", controller) for task in (number, pid))
        if not wanted or mine == wanted:
            return False
        (self._cgroup / mount / wanted.lstrip("/") / file).write_text(str(number))
        return True

    def _children(self) -> list[int]:
        """The ids of the kernel's threads; of all processes where the kernel has no lists of children."""
        path = self._proc / f"{_KTHREADD}/task/{_KTHREADD}/children"
        with contextlib.suppress(OSError):
            return [int(number) for number in path.read_bytes().split() if number.isdigit()]
        with contextlib.suppress(OSError):
            return [int(path.name) for path in self._proc.iterdir() if path.name.isdecimal()]
        return []

    def _identify(self, number: int) -> tuple[str, int]:
        """The name of a thread, and the id of the QEMU process that it works for; 0 if that is none.

        Any process may give itself such a name, so its parent is asked for as well.
        """
        with contextlib.suppress(OSError):
            name = read_text(f"{self._proc}/{number}/comm").strip()
            match = _KERNEL_THREAD.fullmatch(name)
            if match and f"\nPPid:\t{_KTHREADD}\n".encode() in read_file(f"{self._proc}/{number}/status"):
                return name, int(match[1])
            return name, 0
        return "", 0
