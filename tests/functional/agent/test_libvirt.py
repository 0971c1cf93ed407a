# SPDX-License-Identifier: Apache-2.0
"""The agent's edges on a real libvirtd, with real QEMU guests that carry Nova's own metadata."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.act.confine import Confinement
from kongming_sched.agent.act.helpers import HelperThreads
from kongming_sched.agent.decide.layout import SCHEDULER_DEFAULTS
from kongming_sched.agent.host.kernel import Host
from kongming_sched.agent.host.libvirt_host import LibvirtHypervisor
from kongming_sched.agent.model.guest import (
    Domain,
    ObservedGuest,
    RunningGuest,
    Threads,
    identify,
    libvirt_pins,
)
from kongming_sched.cpuset import CpuSet
from testbed.lab import hypervisor as lab_hypervisor
from testbed.lab.guests import Guest, Guests
from testbed.lab.scheduler import Flavor, Scheduled
from testbed.waiting import PATIENCE_SECONDS

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start libvirtd and read the threads of its guests"),
    pytest.mark.xdist_group("libvirt"),
]

SPECS = {
    "kongming:template": "gold",
    "resources_KONGMING0:CUSTOM_KONGMING_PCPU": "2",
    "trait_KONGMING0:CUSTOM_KONGMING_TEMPLATE_GOLD": "required",
    "quota:cpu_shares": "512",
}


@pytest.fixture(scope="module")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guests]:
    """A hypervisor that starts guests."""
    with lab_hypervisor.hypervisor(tmp_path_factory.mktemp("libvirt")) as running, Guests(running) as guests:
        yield guests


@pytest.fixture
def guest(guests: Guests) -> Iterator[Guest]:
    """A running guest of two vCPUs."""
    flavor = Flavor("gold.2", "1", 2, 64, 0, 0, 0, SPECS)
    guest = guests.spawn("web", Scheduled(str(uuid.uuid4()), "host", flavor, {}))
    yield guest
    if guest.server.uuid in guests.running:
        guests.delete(guest)


@pytest.fixture
def libvirt(guests: Guests) -> Iterator[LibvirtHypervisor]:  # noqa: ARG001  # which runs the daemon
    """The agent's connection."""
    connection = LibvirtHypervisor("qemu:///system")
    yield connection
    connection.close()


def find(libvirt: LibvirtHypervisor, guest: Guest) -> Domain:
    """A guest as the agent sees it."""
    return next(domain for domain in libvirt.domains() if domain.uuid == guest.server.uuid)


def test_topology_is_this_hosts(libvirt: LibvirtHypervisor) -> None:
    """The topology's CPUs are those that the kernel has online."""
    online = os.popen("cat /sys/devices/system/cpu/online").read()  # noqa: S605  # a constant

    assert CpuSet.parse(online) == libvirt.topology().cpus


def test_reads_novas_metadata(libvirt: LibvirtHypervisor, guest: Guest) -> None:
    """What Nova 34 writes into a domain is read back: the server's name, the request, the flavor's quota."""
    identity = identify(find(libvirt, guest))

    assert identity.request is not None
    assert ("web", 2, "gold") == (identity.server, identity.vcpus, identity.request.template)
    assert {"CUSTOM_KONGMING_PCPU": 2} == identity.request.cells[0].resources
    assert {"cpu_shares": 512} == identity.quota


def test_new_guest_may_run_anywhere(libvirt: LibvirtHypervisor, guest: Guest) -> None:
    """Before it is pinned every thread of a guest has all CPUs."""
    everywhere = libvirt.topology().cpus

    threads = Host().threads(find(libvirt, guest))

    assert {0: everywhere, 1: everywhere} == threads.vcpus
    assert everywhere == threads.emulator
    assert {1: everywhere} == threads.iothreads


def test_pins_reach_the_kernel(libvirt: LibvirtHypervisor, guest: Guest) -> None:
    """Pins of vCPUs, emulator and I/O thread are what the kernel then says of the threads."""
    domain, cpus = find(libvirt, guest), libvirt.topology().cpus
    first, last = CpuSet.of([min(cpus)]), CpuSet.of([max(cpus)])

    libvirt.pin_vcpu(domain, 1, last)
    libvirt.pin_emulator(domain, first)
    libvirt.pin_iothread(domain, 1, last)

    threads = Host().threads(domain)
    assert {0: cpus, 1: last} == threads.vcpus
    assert first == threads.emulator
    assert {1: last} == threads.iothreads


def test_long_id_of_an_io_thread(libvirt: LibvirtHypervisor, guest: Guest, guests: Guests) -> None:
    """It does not fit into the thread's name, and it is pinned all the same, where libvirt has control groups."""
    number, last = 123456789, CpuSet.of([max(libvirt.topology().cpus)])
    guests.add_iothread(guest, number)
    domain = find(libvirt, guest)
    if not domain.scheduler:
        pytest.skip("this machine has no control groups for guests")

    libvirt.pin_iothread(domain, number, last)

    changed = find(libvirt, guest)
    assert last == Host().threads(changed).iothreads[number]
    assert last == libvirt_pins(changed, CpuSet()).iothreads[number]


def let_run_anywhere(number: int, cpus: CpuSet) -> None:
    """Take a thread out of its group of the controller cpuset, as one of the kernel's, and let it run on these CPUs."""
    for tasks in (Path("/sys/fs/cgroup/cpuset/tasks"), Path("/sys/fs/cgroup/cgroup.threads")):
        if tasks.exists():
            tasks.write_text(str(number))
    os.sched_setaffinity(number, cpus)


def test_other_threads_follow_the_emulator(libvirt: LibvirtHypervisor, guest: Guest) -> None:
    """Each thread of the process, and of the kernel for it, is on the emulator's CPUs in the end, wherever it was."""
    everywhere = libvirt.topology().cpus
    domain, host, first = find(libvirt, guest), Host(), CpuSet.of([min(everywhere)])
    libvirt.pin_emulator(domain, first)
    threads = host.threads(domain)
    for number in threads.helpers:
        let_run_anywhere(number, everywhere)
    helpers = HelperThreads(host)

    followed = helpers.run([ObservedGuest(domain, identify(domain), threads)])
    again = helpers.run([ObservedGuest(domain, identify(domain), threads)])

    found = {**threads.helpers, **host.kernel_threads().get(threads.pid, {})}
    now = [thread for number, name in found.items() if (thread := host.helper(number, name))]
    assert now
    assert {first} == {thread.cpus for thread in now}
    assert len(threads.helpers) <= len(followed.done)
    assert ([], [], []) == (followed.refused, again.done, again.refused)


def test_scheduler_parameters(libvirt: LibvirtHypervisor, guest: Guest) -> None:
    """Shares, period and quota are set live, and -1 lifts a quota."""
    domain = find(libvirt, guest)
    if not domain.scheduler:
        pytest.skip("this machine has no cgroup cpu controller for guests")
    default = {**SCHEDULER_DEFAULTS, "cpu_shares": Host().default_shares()}
    wanted = {"cpu_shares": 300, "vcpu_period": 50_000, "vcpu_quota": 20_000}
    wanted |= {"emulator_period": 40_000, "emulator_quota": 10_000}

    libvirt.set_scheduler(domain, wanted)
    changed = find(libvirt, guest).scheduler
    libvirt.set_scheduler(domain, default)

    assert default == domain.scheduler
    assert wanted == changed
    assert default == find(libvirt, guest).scheduler


def test_quotas_of_single_vcpus(libvirt: LibvirtHypervisor, guest: Guest) -> None:
    """A vCPU's own quota is kept through shares and periods that libvirt sets, and ends with a quota of the guest."""
    domain = find(libvirt, guest)
    if not domain.scheduler:
        pytest.skip("this machine has no cgroup cpu controller for guests")
    host, seen = Host(), []

    seen.append(host.vcpu_quotas(domain))
    host.set_vcpu_quota(domain, 1, 25_000)
    seen.append(host.vcpu_quotas(domain))
    libvirt.set_scheduler(domain, {"cpu_shares": 300, "vcpu_period": 50_000, "emulator_quota": 10_000})
    seen.append(host.vcpu_quotas(domain))
    reported = find(libvirt, guest).scheduler["vcpu_quota"]
    libvirt.set_scheduler(domain, {"vcpu_quota": 20_000})
    seen.append(host.vcpu_quotas(domain))
    host.set_vcpu_quota(domain, 0, 30_000)

    assert [{0: -1, 1: -1}, {0: -1, 1: 25_000}, {0: -1, 1: 25_000}, {0: 20_000, 1: 20_000}] == seen
    assert -1 == reported
    assert 30_000 == find(libvirt, guest).scheduler["vcpu_quota"], "libvirt reports the quota of vCPU 0"


def test_quota_that_the_kernel_refuses(libvirt: LibvirtHypervisor, guest: Guest) -> None:
    """A quota that is too small is refused with the vCPU's number and the kernel's reason."""
    domain = find(libvirt, guest)
    if not domain.scheduler:
        pytest.skip("this machine has no cgroup cpu controller for guests")

    with pytest.raises(exceptions.ControlGroupError, match=r"kernel could not set the quota of vCPU 1 .*Invalid argu"):
        Host().set_vcpu_quota(domain, 1, 1)


def test_memory_of_a_guest(libvirt: LibvirtHypervisor, guest: Guest) -> None:
    """The kernel shows on which of the host's nodes the guest's memory lies."""
    nodes = {node.id for node in libvirt.topology().nodes}

    memory_mb = Host().memory_mb(find(libvirt, guest))

    assert memory_mb.keys() <= nodes
    assert 2 <= sum(memory_mb.values()) <= 512


def test_guest_is_confined_and_given_back(libvirt: LibvirtHypervisor, guest: Guest, tmp_path: Path) -> None:
    """All its threads leave the pool, and another process gives them back what they had."""
    domain, cpus = find(libvirt, guest), libvirt.topology().cpus
    if len(cpus) < 2:
        pytest.skip("this machine has one CPU")
    pool = CpuSet.of([max(cpus)])
    running, host = RunningGuest(domain, identify(domain)), Host()
    before = host.threads(domain)

    Confinement(libvirt, host, tmp_path / "confined.json").run([running], pool, cpus, lambda _: True)
    confined = host.threads(domain)
    Confinement(libvirt, host, tmp_path / "confined.json").run([running], pool, cpus, lambda _: False)

    rest = cpus - pool
    assert Threads({0: rest, 1: rest}, rest, {1: rest}) == confined
    assert before == host.threads(domain)


def test_binds_memory_again_and_again(libvirt: LibvirtHypervisor, guest: Guest) -> None:
    """Memory is bound restrictive, which libvirt lets be changed later."""
    domain = find(libvirt, guest)
    node = CpuSet.of([libvirt.topology().nodes[0].id])
    if not domain.scheduler:
        pytest.skip("this machine has no cgroup controllers for guests")

    libvirt.bind_memory(domain, node)
    libvirt.bind_memory(domain, node)

    identity = identify(find(libvirt, guest))
    assert (node, "restrictive") == (identity.memory_nodes, identity.memory_mode)


def test_missing_cpu_is_refused(libvirt: LibvirtHypervisor, guest: Guest) -> None:
    """libvirt would drop a CPU that the host lacks in silence; the agent refuses it and nothing changes."""
    domain = find(libvirt, guest)

    with pytest.raises(exceptions.HypervisorError, match="the host has CPUs"):
        libvirt.pin_vcpu(domain, 0, CpuSet.parse("0,8000"))

    assert libvirt.topology().cpus == Host().threads(domain).vcpus[0]


def test_refused_call_names_guest_and_reason(libvirt: LibvirtHypervisor, guest: Guest) -> None:
    """A vCPU that the guest lacks gives an error with libvirt's number."""
    with pytest.raises(exceptions.HypervisorError, match=rf"pin vCPU 7 of {guest.domain} to 0") as caught:
        libvirt.pin_vcpu(find(libvirt, guest), 7, CpuSet.of([0]))

    assert 8 == caught.value.code


def test_guest_that_ended(libvirt: LibvirtHypervisor, guest: Guest, guests: Guests) -> None:
    """A guest that ended since it was listed is no failure."""
    domain = find(libvirt, guest)
    guests.delete(guest)

    with pytest.raises(exceptions.GuestGone):
        libvirt.pin_vcpu(domain, 0, CpuSet.of([0]))
    with pytest.raises(exceptions.GuestGone):
        Host().threads(domain)


def test_guest_that_stopped(libvirt: LibvirtHypervisor, guest: Guest, guests: Guests) -> None:
    """So is one that is defined still but does not run."""
    domain = find(libvirt, guest)
    guests.stop(guest)

    with pytest.raises(exceptions.GuestGone):
        libvirt.pin_vcpu(domain, 0, CpuSet.of([0]))


def wait_for(event: threading.Event, act: Callable[[], object]) -> bool:
    """Whether something that is done leads to an event."""
    time.sleep(0.5)  # what happened before may still arrive
    event.clear()
    act()
    return event.wait(PATIENCE_SECONDS)


def test_events_wake_the_agent(guests: Guests, guest: Guest) -> None:
    """The start of a guest is an event, and so is a pin that is set."""
    event = threading.Event()
    watching = LibvirtHypervisor("qemu:///system", event.set)
    domain = find(watching, guest)
    flavor = Flavor("small", "2", 1, 64, 0, 0, 0, {})
    second = Scheduled(str(uuid.uuid4()), "host", flavor, {})

    pinned = wait_for(event, lambda: watching.pin_vcpu(domain, 0, CpuSet.of([0])))
    started = wait_for(event, lambda: guests.spawn("second", second))
    watching.close()
    guests.delete(guests.running[second.uuid])

    assert (True, True) == (pinned, started)


def test_libvirtd_away() -> None:
    """Without a libvirtd the error says so, and is no refusal."""
    with pytest.raises(exceptions.HypervisorUnavailable, match="read the host's name"):
        LibvirtHypervisor("qemu:///system?socket=/nowhere/libvirt-sock").host_name()


def test_guest_is_not_busy(libvirt: LibvirtHypervisor, guest: Guest) -> None:
    """A guest that just runs may be changed."""
    assert not libvirt.is_busy(find(libvirt, guest))


def test_definition_without_pins_is_not_touched(libvirt: LibvirtHypervisor, guest: Guest) -> None:
    """A definition as Nova writes it holds no pins, and pins of the running guest do not get into it."""
    domain = find(libvirt, guest)

    libvirt.pin_vcpu(domain, 0, CpuSet.of([0]))

    assert libvirt.repair_definition(domain) is False
