# SPDX-License-Identifier: Apache-2.0
"""An emulator with a CPU of its own, with kongming-agent as a process on real libvirt, real QEMU and real Placement."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kongming_sched.agent.host.kernel import Host
from kongming_sched.agent.host.libvirt_host import LibvirtHypervisor
from kongming_sched.agent.model.guest import Threads
from kongming_sched.cpuset import CpuSet
from kongming_sched.template import PinningTemplate
from testbed.lab.compute_host import ComputeHost, compute_host
from testbed.lab.guests import Guest

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start libvirtd and read the threads of its guests"),
    pytest.mark.xdist_group("libvirt"),
]

PATIENCE_SECONDS = 60

OWN = PinningTemplate.from_mapping(
    {"name": "own", "cells": [{"vcpus": "0", "cpus": "shared", "memory": "none"}], "emulator": "own"}
)
"""Its vCPU floats over the shared pool, so that a machine of two cores is enough."""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ComputeHost]:
    with compute_host(tmp_path) as host:
        if sum(len(node.cores) for node in host.topology.nodes) < 2:
            pytest.skip("this machine has one core")
        host.store(OWN)
        yield host


def until(condition: Callable[[], object]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def threads(guest: Guest) -> Threads:
    """What the agent reads of a guest's threads in /proc."""
    connection = LibvirtHypervisor("qemu:///system")
    try:
        return Host().threads(next(item for item in connection.domains() if item.uuid == guest.server.uuid))
    finally:
        connection.close()


def every_thread(guest: Guest) -> dict[str, str]:
    """The CPUs of each thread of the process by /proc, by the thread's name and number."""
    tasks = Path("/proc") / Path(f"/run/libvirt/qemu/{guest.domain}.pid").read_text().strip() / "task"
    found = {}
    for task in tasks.iterdir():
        status = (task / "status").read_text().splitlines()
        cpus = next(line.split()[1] for line in status if line.startswith("Cpus_allowed_list:"))
        found[f"{(task / 'comm').read_text().strip()} {task.name}"] = cpus
    return found


def test_every_thread_but_the_vcpu_is_on_the_emulators_own_cpu(host: ComputeHost) -> None:
    """The main thread, the I/O thread and whatever else QEMU has started; the vCPU is on the shared pool."""
    own = next(core.cpus for node in host.topology.nodes for core in node.cores if max(host.topology.cpus) in core.cpus)
    others = host.topology.cpus - own
    with host.agent(
        dedicated_cpu_set=own, shared_cpu_set=others, housekeeping_cpu_set=others, vcpu_allocation_ratio=100
    ) as agent:
        host.wait_until_offered(agent, own.first, OWN.name)
        guest = host.guests.spawn("web", host.server(OWN, own.first))
        try:
            until(lambda: threads(guest).emulator <= own)
            until(lambda: threads(guest).iothreads[1] <= own)
            seen, every = threads(guest), every_thread(guest)
        finally:
            host.delete(guest)

    assert 1 == len(seen.emulator)
    assert Threads({0: others}, seen.emulator, {1: seen.emulator}) == seen
    # KVM starts a worker of its own from the first vCPU that runs, and so on the vCPU's CPUs.
    rest = {name: CpuSet.parse(cpus) for name, cpus in every.items() if not name.startswith(("CPU ", "kvm-"))}
    assert dict.fromkeys(rest, seen.emulator) == rest
    assert 2 <= len(rest), "the main thread and the I/O thread"
