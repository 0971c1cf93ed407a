# SPDX-License-Identifier: Apache-2.0
"""Live migration of a server, and what the kernel and Placement show of it meanwhile and afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import libvirt

from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from testbed.numa_host import kernel_view
from tests.scenario.actions import Subject

Sample = tuple[float, CpuSet]
"""When, and where the vCPU was allowed to run."""


@contextmanager
def watched(subject: Subject) -> Iterator[list[Sample]]:
    """Sample the kernel all the time while a guest gets a new process."""
    samples: list[Sample] = []
    over = threading.Event()
    before = subject.guest.pid

    def sample() -> None:
        pid = None
        while not over.is_set():
            pid = pid or next((found for found in kernel_view.find_guests(subject.server) if found != before), None)
            with suppress(FileNotFoundError, ProcessLookupError):
                if pid is not None and (seen := kernel_view.affinity(pid).vcpus):
                    samples.append((time.monotonic(), seen[0]))
            time.sleep(0.001)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def migrate(subject: Subject, target: str) -> None:
    """Migrate live."""
    cloud = subject.cloud
    cloud.compute.live_migrate_server(subject.server, host=target, block_migration="auto")
    cloud.wait_for("the server is on the other host", lambda: subject.host == target)
    subject.wait("ACTIVE")


def left_at(subject: Subject, source: str) -> list[str]:
    """What is left of the server on a host that it left."""
    cloud, left = subject.cloud, []
    with suppress(libvirt.libvirtError):
        left.append(f"domain {cloud.hosts.libvirts[source].lookupByUUIDString(subject.server).name()}")
    (root,) = cloud.placement.providers(name=source)
    nodes = {root.uuid, *(names.node_uuid(root.uuid, node) for node in cloud.hosts.cpus(source).nodes)}
    left += [f"claim of {uuid}" for uuid in cloud.allocations(subject.server) if uuid in nodes]
    return left + [f"process {pid}" for pid in kernel_view.find_guests(subject.server) if pid != subject.guest.pid]
