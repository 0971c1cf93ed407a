# SPDX-License-Identifier: Apache-2.0
"""Files of the proc file system, read by as few calls as there can be: a host has thousands of threads."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator

from kongming_sched.cpuset import CpuSet

VCPU_THREAD = re.compile(r"CPU ([0-9]{1,5})/(?:KVM|TCG)")
"""How QEMU names the thread of a vCPU."""


def read_file(path: str) -> bytes:
    """A whole file of the kernel's, which gives it with one call.

    :raises OSError: if it cannot be read
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 65536)
    finally:
        os.close(descriptor)


def listed_cpus(task: str, field: bytes) -> CpuSet:
    """A set of numbers in the status of a thread, the path of which is given.

    :raises ProcessLookupError: if the status lacks it
    :raises InvalidCpuSet: if it is none
    """
    _, found, rest = read_file(f"{task}/status").partition(b"\n" + field)
    if not found:
        raise ProcessLookupError(task)
    return _parse(rest.partition(b"\n")[0])


def read_text(path: str) -> str:
    """A whole file as text. A process names its threads and groups as it likes, not in UTF-8 only.

    :raises OSError: if it cannot be read
    """
    return os.fsdecode(read_file(path))


def vcpu_tasks(tasks: str) -> Iterator[tuple[int, str]]:
    """Each vCPU with the path of its thread.

    :param tasks: the path of the threads of QEMU's process
    :raises OSError: if a thread cannot be read
    """
    for number in os.listdir(tasks):  # noqa: PTH208  # a host has thousands of threads, and is asked often
        if match := VCPU_THREAD.fullmatch(read_text(f"{tasks}/{number}/comm").strip()):
            yield int(match[1]), f"{tasks}/{number}"


def group_of(task: str, controller: str) -> str:
    """The path of a thread's control group.

    :param task: the path of the thread
    :param controller: of version 1; empty for version 2
    """
    for line in read_text(f"{task}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return ""


@functools.lru_cache(maxsize=4096)
def _parse(text: bytes) -> CpuSet:
    return CpuSet.parse(text.decode())
