# SPDX-License-Identifier: Apache-2.0
"""What may go wrong on a host, with kongming-agent as a process on real libvirt, real QEMU and real Placement.

Whatever it is, guests that were pinned keep their pins, and nobody has to clean up: once it is over everyone has what
the template says.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import libvirt_qemu
import pytest

from kongming_sched.agent.host.kernel import Host
from kongming_sched.agent.host.libvirt_host import LibvirtHypervisor
from kongming_sched.agent.loop.parts import ReconcilerParts
from kongming_sched.agent.loop.reconcile import Reconciler
from kongming_sched.agent.model.guest import Domain
from kongming_sched.agent.state.backoff import Backoff
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.pools import HostCpus, HostPools
from kongming_sched.template import PinningTemplate
from testbed.lab.compute_host import AGENT, ComputeHost, compute_host
from testbed.lab.guests import Affinity, Guest
from testbed.lab.placement_api import PlacementApi
from testbed.lab.process import ChildProcess

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start libvirtd and read the threads of its guests"),
    pytest.mark.xdist_group("libvirt"),
]

PATIENCE_SECONDS = 120

HOST = AGENT.with_name("kongming-host")


@dataclass
class Stage:
    """A host of which one core is dedicated; two templates: gold on a CPU of that core, bronze on the first CPU.

    :ivar cpu: gold's, and other bronze's, where the emulator threads are, too
    """

    host: ComputeHost
    dedicated: CpuSet
    cpu: int
    other: int

    def __post_init__(self) -> None:
        gold = {"vcpus": "0-1", "cpus": "explicit", "pins": str(self.cpu), "memory": "none"}
        bronze = {"vcpus": "0", "cpus": "shared", "memory": "none"}
        qos = {"shares": 512} if "cpu" in self.host.hypervisor.controllers else {}
        self.gold = PinningTemplate.from_mapping({"name": "gold", "cells": [gold], **({"qos": qos} if qos else {})})
        self.bronze = PinningTemplate.from_mapping({"name": "bronze", "cells": [bronze]})
        self.host.store(self.gold)
        self.host.store(self.bronze)
        self.pins = {
            "gold": Affinity({0: str(self.cpu), 1: str(self.cpu)}, str(self.other)),
            "bronze": Affinity({0: str(self.other)}, str(self.other)),
        }

    def agent(self, *program: str | Path, **options: object) -> ChildProcess:
        """The agent, not yet started, with an empty log."""
        pools = {"dedicated_cpu_set": self.dedicated, "shared_cpu_set": self.other, "housekeeping_cpu_set": self.other}
        agent = self.host.agent(program=program or (AGENT,), vcpu_allocation_ratio=100, **{**pools, **options})
        agent.log.write_text("")
        return agent

    @contextmanager
    def running(self, *program: str | Path, **options: object) -> Iterator[ChildProcess]:
        """An agent that has made a pass and offers both templates."""
        requests = self.host.placement.log
        before = len(requests.read_text())
        with self.agent(*program, **options) as agent:
            agent.wait_for(
                "a pass", lambda: "GET /resource_providers?required=" in requests.read_text()[before:] or None
            )
            self.host.wait_until_offered(agent, self.cpu, "gold")
            self.host.wait_until_offered(agent, self.other, "bronze")
            yield agent

    @contextmanager
    def guest(self, template: PinningTemplate) -> Iterator[Guest]:
        """A server that has claimed and runs."""
        cpu = self.cpu if template is self.gold else self.other
        guest = self.host.guests.spawn(template.name, self.host.server(template, cpu))
        try:
            yield guest
        finally:
            self.host.delete(guest)

    def is_pinned(self, guest: Guest) -> bool:
        """Whether the kernel has all its threads where its template says."""
        return self.host.guests.affinity(guest) == self.pins[guest.name]

    def wait_until_pinned(self, *guests: Guest) -> None:
        """Until all of these are."""
        until(lambda: all(map(self.is_pinned, guests)))

    def start_again(self, guest: Guest) -> None:
        """Stop and start a guest, which has no pins then."""
        connection = self.host.hypervisor.connect()
        try:
            domain = connection.lookupByUUIDString(guest.server.uuid)
            domain.destroy()
            domain.create()
        finally:
            connection.close()

    def pid(self, guest: Guest) -> int:
        """Its QEMU process."""
        return int(Path(f"/run/libvirt/qemu/{guest.domain}.pid").read_text())

    def misplace(self, guest: Guest, *cpus: int) -> None:
        """Move the emulator thread by other means than libvirt's, which is no event for anybody.

        :param cpus: where to; by default to gold's CPU
        """
        pid = self.pid(guest)
        groups = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
        paths = {controllers: path for _, controllers, path in groups}
        group = (
            Path("/sys/fs/cgroup")
            / ("cpuset" if "cpuset" in paths else "")
            / paths.get("cpuset", paths.get("", ""))[1:]
        )
        if "cpuset" in self.host.hypervisor.controllers:
            (group / "cpuset.cpus").write_text(str(CpuSet.of(cpus or (self.cpu,))))
        os.sched_setaffinity(pid, cpus or {self.cpu})
        assert not self.is_pinned(guest)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComputeHost]:
    with compute_host(tmp_path_factory.mktemp("host")) as host:
        yield host


@pytest.fixture(scope="module")
def stage(host: ComputeHost) -> Stage:
    cpu, other = max(host.topology.cpus), min(host.topology.cpus)
    dedicated = next(core.cpus for node in host.topology.nodes for core in node.cores if cpu in core.cpus)
    if other in dedicated:
        pytest.skip("this machine has one core")
    return Stage(host, dedicated, cpu, other)


def until(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_placement_away_for_a_whole_create(stage: Stage) -> None:
    """A guest that was created meanwhile is pinned when Placement is back; others keep theirs, or get them again."""
    placement = stage.host.placement
    with stage.running(interval_seconds=30) as agent, stage.guest(stage.bronze) as bronze:
        stage.wait_until_pinned(bronze)
        server = stage.host.server(stage.gold, stage.cpu)
        placement.stop()
        try:
            gold = stage.host.guests.spawn("gold", server)
            agent.wait_for("a word on Placement", lambda: "Placement could not" in agent.log.read_text() or None)
            kept = stage.is_pinned(bronze)
            stage.start_again(bronze)
            stage.wait_until_pinned(bronze)
            was_pinned = stage.is_pinned(gold)
        finally:
            placement.__enter__()
        stage.wait_until_pinned(bronze, gold)
        agent.wait_for("the end of that", lambda: "Placement: no problem any more" in agent.log.read_text() or None)
        stage.host.delete(gold)

    assert (True, False) == (kept, was_pinned)


def test_storm_of_conflicts(stage: Stage) -> None:
    """While others change the node's generation all the time, everybody is pinned and every template is offered."""
    over, bump = threading.Event(), {stage.host.node_uuid(stage.other): {names.VCPU: 1}}

    def storm(number: int) -> None:
        consumer, adapter = f"00000000-0000-4000-8000-{number:012}", stage.host.adapter
        while not over.is_set():
            stage.host.claim(consumer, bump)
            adapter.delete(f"/allocations/{consumer}", raise_exc=False)

    threads = [threading.Thread(target=storm, args=(number,)) for number in range(3)]
    store = TemplateStore(stage.host.client)
    stored = []
    with stage.running(interval_seconds=1) as agent:
        refused = conflicts(stage.host.placement)
        for thread in threads:
            thread.start()
        try:
            with stage.guest(stage.gold) as gold, stage.guest(stage.bronze) as bronze:
                for number in range(40):
                    stored.append(f"storm{number}")
                    cell = {"vcpus": "0", "cpus": "shared", "memory": "none"}
                    store.create(PinningTemplate.from_mapping({"name": stored[-1], "cells": [cell]}))
                    time.sleep(1)
                    if conflicts(stage.host.placement) > refused + 2:
                        break
                stage.wait_until_pinned(gold, bronze)
                during = conflicts(stage.host.placement)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        for name in stored:
            stage.host.wait_until_offered(agent, stage.other, name)
            store.delete(name)

    assert during > refused, "there was no conflict"


def conflicts(placement: PlacementApi) -> int:
    """How many writes of a provider's traits or inventories Placement has refused so far."""
    return len(re.findall(r'"PUT /resource_providers/\S+ HTTP/1.1" 409', placement.log.read_text(errors="replace")))


def test_libvirtd_killed(stage: Stage) -> None:
    """Guests keep their pins; what happened meanwhile is found when a new libvirtd is there."""
    if stage.host.hypervisor.process is None:
        pytest.skip("the libvirtd of this machine is not ours to be killed")
    with stage.running() as agent, stage.guest(stage.gold) as gold, stage.guest(stage.bronze) as bronze:
        stage.wait_until_pinned(gold, bronze)
        stage.host.hypervisor.kill()
        stage.host.guests.reconnect()
        kept = stage.is_pinned(gold)
        stage.misplace(bronze)
        stage.start_again(gold)
        stage.wait_until_pinned(gold, bronze)
        alive = agent.is_alive

    assert (True, True) == (kept, alive)


def test_agent_killed_at_each_action(stage: Stage) -> None:
    """Wherever that is, the next agent finishes what is half done."""
    with stage.guest(stage.gold) as gold:
        for number in itertools.count():
            was_killed = [kill_agent_at(stage, gold, moment, number) for moment in ("before", "after")]
            if not all(was_killed):
                break

    assert number >= len(["vCPU 0", "vCPU 1", "emulator", "I/O thread"])


def kill_agent_at(stage: Stage, guest: Guest, moment: str, number: int) -> bool:
    """Start a guest beside an agent that is killed at its n-th change, and then a whole agent; gives whether it was."""
    stage.start_again(guest)
    words = [sys.executable, "-m", "tests.functional.agent.doomed_agent", moment, str(number)]
    with stage.agent(*words, interval_seconds=1) as doomed:
        until(lambda: not doomed.is_alive or stage.is_pinned(guest))
        if doomed.is_alive:
            time.sleep(1)  # the scheduler's parameters come last
        was_killed = not doomed.is_alive
    with stage.agent(interval_seconds=1):
        stage.wait_until_pinned(guest)
        until(lambda: stage.host.guests.scheduler_parameters(guest).get("cpu_shares", 512) == 512)
    return was_killed


def test_guest_dies_between_observation_and_pin(stage: Stage) -> None:
    """The others are pinned in the same pass, and a dead guest is nobody's problem."""

    class Deadly(LibvirtHypervisor):
        """Kills a guest right before its first pin."""

        victim: Guest | None = None

        def pin_emulator(self, domain: Domain, cpus: CpuSet) -> None:
            if self.victim and domain.uuid == self.victim.server.uuid:
                os.kill(stage.pid(self.victim), signal.SIGKILL)
                self.victim = None
                time.sleep(0.5)
            super().pin_emulator(domain, cpus)

    libvirt = Deadly("qemu:///system")
    client = stage.host.client
    registry, store = NodeRegistry(client, stage.host.name), TemplateStore(client)
    reconciler = Reconciler(ReconcilerParts(libvirt, Host(), registry, store, Backoff(1)))
    housekeeping = CpuSet.of([stage.other])
    pools = HostPools(stage.dedicated, housekeeping, housekeeping, 100.0, 0)
    reconciler.run(HostCpus(libvirt.topology(), pools))
    with stage.guest(stage.gold) as gold, stage.guest(stage.bronze) as bronze:
        libvirt.victim = gold
        first = reconciler.run(HostCpus(libvirt.topology(), pools))
        survivor = stage.is_pinned(bronze)
        second = reconciler.run(HostCpus(libvirt.topology(), pools))
        libvirt.close()

    assert libvirt.victim is None
    assert survivor
    assert ((), ()) == (first.problems, second.problems)


def test_guest_without_control_groups(stage: Stage) -> None:
    """Another server is pinned and reported well, although libvirt cannot read the one whose groups are gone."""
    if "cpu" not in stage.host.hypervisor.controllers:
        pytest.skip("libvirt reads no control groups of guests here")
    with stage.running() as agent, stage.guest(stage.bronze) as bronze:
        stage.wait_until_pinned(bronze)
        remove_control_groups(stage.pid(bronze))
        with stage.guest(stage.gold) as gold:
            stage.wait_until_pinned(gold)
            words = f"({bronze.server.uuid}): the XML of domain"
            agent.wait_for("a word on it", lambda: words in agent.log.read_text() or None)


def remove_control_groups(pid: int) -> None:
    """Take a process out of its control groups of the controller cpu, and remove these."""
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    controllers, path = next(line[1:] for line in lines if "cpu" in line[1].split(",") or not line[1])
    mount = Path("/sys/fs/cgroup") / ("cpu" if controllers else "")
    scope = next(parent for parent in (mount / path[1:]).parents if not parent.name.startswith(("vcpu", "emulator")))
    for group in sorted([scope, *(item for item in scope.rglob("*") if item.is_dir())], reverse=True):
        for thread in (group / ("tasks" if controllers else "cgroup.threads")).read_text().split():
            (mount / ("tasks" if controllers else "cgroup.procs")).write_text(thread)
        group.rmdir()


LOCK_SECONDS = 30
"""How long libvirt waits for its lock of a guest before a call for it fails: VIR_JOB_WAIT_TIME of its source."""


def test_guest_that_hangs(stage: Stage, tmp_path: Path) -> None:
    """A new server is pinned within a pass beside one whose QEMU is stopped and answers none of libvirt's calls.

    Afterwards nobody waits for that guest, and it is pinned once it goes on and its time has come.
    """
    later = tmp_path / "later"
    program: list[str | Path] = [sys.executable, "-m", "tests.functional.agent.leaping_agent", later]
    with stage.running(*program, interval_seconds=1) as agent, stage.guest(stage.bronze) as bronze:
        stage.wait_until_pinned(bronze)
        with hanging(stage, bronze):
            stage.misplace(bronze, stage.cpu, stage.other)
            words = f"({bronze.server.uuid}): libvirt could not"
            agent.wait_for("a word on it", lambda: words in agent.log.read_text() or None)
            with stage.guest(stage.gold) as gold:
                until(lambda: stage.is_pinned(gold), LOCK_SECONDS)
                stage.start_again(gold)
                until(lambda: stage.is_pinned(gold), LOCK_SECONDS / 2)
            log = agent.log.read_text()
        later.touch()
        stage.wait_until_pinned(bronze)

    waited = re.search(r"\(after (\d+) s; it is tried again after a while\)", log)
    assert waited
    assert LOCK_SECONDS <= int(waited[1])


def timed(command: Sequence[str | Path]) -> tuple[float, subprocess.CompletedProcess[str]]:
    """How long a command takes, in seconds, and what it prints."""
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=10 * LOCK_SECONDS, check=False)
    return time.monotonic() - began, done


EXPECTED = {"plan": "", "verify": "this command asks for it no more", "--check": "this command asks for it no more"}
"""Commands that ask libvirt whether a guest can be changed, and a part of what each prints if that one hangs."""


@pytest.mark.parametrize("words", EXPECTED)
def test_command_beside_a_guest_that_hangs(stage: Stage, words: str) -> None:
    """It waits seconds for that guest, not for libvirt's lock, and works on the others."""
    with stage.running() as agent, stage.guest(stage.bronze) as bronze, stage.guest(stage.gold) as gold:
        stage.wait_until_pinned(bronze, gold)
        agent.stop()
        stage.misplace(bronze, stage.cpu, stage.other)
        program, *options = agent.command
        command = [program if words == "--check" else HOST, words, *options]
        usual, _ = timed(command)
        with hanging(stage, bronze):
            took, done = timed(command)

    assert took - usual < 2 * LOCK_SECONDS / 3
    assert "Traceback" not in done.stderr
    assert EXPECTED[words] in done.stdout


@contextmanager
def hanging(stage: Stage, guest: Guest) -> Iterator[None]:
    """Stop a guest's QEMU, while libvirt is asked for something that only QEMU can answer."""
    pid = stage.pid(guest)
    connection = stage.host.hypervisor.connect()
    domain = connection.lookupByUUIDString(guest.server.uuid)
    asking = threading.Thread(target=libvirt_qemu.qemuMonitorCommand, args=(domain, '{"execute": "query-status"}', 0))
    os.kill(pid, signal.SIGSTOP)
    try:
        asking.start()
        time.sleep(1)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
        asking.join()
        connection.close()


def test_disk_full_for_the_log(stage: Stage, tmp_path: Path) -> None:
    """Pins do not wait for a log that cannot be written, and it goes on when there is room again."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", tmp_path], check=True)
    try:
        log, ballast = tmp_path / "agent.log", tmp_path / "ballast"
        with stage.running(AGENT, "--log-file", log) as agent:
            with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(b"x")
            size = log.stat().st_size
            with stage.guest(stage.gold) as gold:
                stage.wait_until_pinned(gold)
                stage.start_again(gold)
                stage.wait_until_pinned(gold)
                grown = log.stat().st_size - size
                ballast.unlink()
                stage.start_again(gold)
                agent.wait_for("a line", lambda: log.stat().st_size > size + grown or None)
                stage.wait_until_pinned(gold)
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)

    assert grown < 4096


CLOCK = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset(void) { return access(getenv("CLOCK_SET_BACK"), F_OK) ? 0 : -3600; }

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME) now->tv_sec += offset();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now) *now = precise.tv_sec;
    return precise.tv_sec;
}
"""
"""The C library's clocks, of which that of the day goes back an hour once a file is there."""


def test_clock_set_back(stage: Stage, tmp_path: Path) -> None:
    """New guests are pinned and the timer finds what was moved, although the clock is an hour back."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler to make another clock with")
    (tmp_path / "clock.c").write_text(CLOCK)
    library, sign = tmp_path / "clock.so", tmp_path / "back"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "clock.c"], check=True)
    words: list[str | Path] = ["env", f"LD_PRELOAD={library}", f"CLOCK_SET_BACK={sign}", AGENT]
    with stage.running(*words, interval_seconds=2) as agent, stage.guest(stage.bronze) as bronze:
        stage.wait_until_pinned(bronze)
        before = agent.wait_for("a line", lambda: last_time(agent.log))
        sign.touch()
        with stage.guest(stage.gold) as gold:
            stage.wait_until_pinned(gold)
            stage.misplace(bronze)
            stage.wait_until_pinned(gold, bronze)
            agent.wait_for("a word on it", lambda: "it is put back" in agent.log.read_text() or None)
            after = last_time(agent.log)

    assert after is not None
    assert timedelta(minutes=50) < before - after


def last_time(log: Path) -> datetime | None:
    """The time of the last line of a log."""
    lines = log.read_text().splitlines()
    return datetime.fromisoformat(lines[-1][:23]) if lines else None
