# SPDX-License-Identifier: Apache-2.0
"""What disturbs the CPUs of the dedicated pool: each kind once, with its CPUs, the reason and the remedy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kongming_sched.agent.inspect.disturbances import Disturbance, of_host, of_irqbalance, of_unmanaged
from kongming_sched.agent.inspect.findings import Finding, Level
from kongming_sched.agent.model.guest import Domain, Identity, ObservedGuest, Threads
from kongming_sched.agent.model.noise import HostNoise, IdleState, Interrupt
from kongming_sched.cpuset import CpuSet
from kongming_sched.pools import HostCpus, HostPools
from tests.unit.agent.hosts import EVERYWHERE, POOLS, TOPOLOGY

CPUS = HostCpus(TOPOLOGY, POOLS)
"""Dedicated: 1-3,5-7,9-11,13-15; shared: 12; housekeeping: 0,4,8."""


def interrupt(number: int, allowed: str, effective: str) -> Interrupt:
    """An interrupt of a network card."""
    return Interrupt(number, (f"eth0-{number}",), CpuSet.parse(allowed), CpuSet.parse(effective))


def only(noise: HostNoise, cpus: HostCpus = CPUS) -> Disturbance:
    """The one disturbance that there is."""
    (found,) = of_host(noise, cpus)
    return found


def test_quiet_host() -> None:
    """Everything is where it should be."""
    noise = HostNoise(
        CpuSet.parse("1-3"),
        (interrupt(9, "0,4,8,12", "0"),),
        {"performance": EVERYWHERE, "powersave": CpuSet.parse("0,4")},
        {IdleState("C1E", 10): EVERYWHERE, IdleState("C6", 133): CpuSet.parse("0,4,8,12")},
    )
    assert [] == list(of_host(noise, CPUS))


def test_isolated_cpus_that_threads_float_over() -> None:
    """Those of the shared pool and of the housekeeping are named; dedicated ones belong there."""
    assert Disturbance(
        "isolcpus",
        CpuSet.parse("8,12"),
        "isolcpus holds CPU 12 of shared_cpu_set and CPU 8 of the housekeeping CPUs: the kernel moves no thread between"
        " these, so that all that float stay on the first",
        "take CPU 8,12 out of isolcpus of the kernel's command line, and boot; only dedicated CPUs belong there",
    ) == only(HostNoise(CpuSet.parse("1-3,8,12")))


def test_interrupts_that_are_served_there() -> None:
    """They are named, and those that may come are counted."""
    noise = HostNoise(interrupts=(interrupt(24, "0-15", "5"), interrupt(25, "0-15", "0"), interrupt(26, "0,2", "0")))

    assert Disturbance(
        "interrupts",
        CpuSet.parse("1-3,5-7,9-11,13-15"),
        "CPU 5 of the dedicated pool serves 1 interrupt: 24 (eth0-24); 2 interrupts more may come to CPU"
        " 1-3,5-7,9-11,13-15 of it",
        "write 0,4,8,12 to /proc/irq/*/smp_affinity_list, which the kernel takes of those that can be moved, and set"
        " IRQBALANCE_BANNED_CPULIST=1-3,5-7,9-11,13-15 for irqbalance; or boot with irqaffinity=0,4,8,12 and, for the"
        " queues of devices, isolcpus=managed_irq,1-3,5-7,9-11,13-15",
    ) == only(noise)


def test_interrupts_that_may_come() -> None:
    """None is served there now."""
    found = only(HostNoise(interrupts=(interrupt(26, "0,2", "0"),)))

    assert (CpuSet.of([2]), "1 interrupt may come to CPU 2 of it") == (found.cpus, found.fact)


def test_clock_that_follows_the_load() -> None:
    """Every governor but performance, on dedicated CPUs."""
    noise = HostNoise(governors={"powersave": CpuSet.parse("0-2"), "ondemand": CpuSet.of([3])})

    assert Disturbance(
        "governor",
        CpuSet.parse("1-3"),
        "the clock of the dedicated pool follows its load (ondemand on CPU 3 and powersave on CPU 1-2), and is slow"
        " when a server begins to work",
        "cpupower -c 1-3 frequency-set -g performance, now and at each boot",
    ) == only(noise)


def test_deep_idle_states() -> None:
    """Those from which a CPU takes more than 10 microseconds to wake, the quickest first."""
    states = {IdleState("C6", 133): CpuSet.parse("0-2"), IdleState("C3", 40): CpuSet.of([9])}

    assert Disturbance(
        "idle states",
        CpuSet.parse("1-2,9"),
        "CPU 1-2,9 of the dedicated pool may sleep so deeply that it wakes late: C3 (40 us), C6 (133 us)",
        "cpupower -c 1-2,9 idle-set -D 11, now and at each boot",
    ) == only(HostNoise(idle_states=states))


def test_host_without_dedicated_cpus() -> None:
    """Nothing can disturb them; the shared pool wants no isolated CPUs all the same."""
    pools = HostPools(CpuSet(), POOLS.shared, POOLS.housekeeping, 4.0)
    noise = HostNoise(
        EVERYWHERE,
        (interrupt(24, "0-15", "5"),),
        {"powersave": EVERYWHERE},
        {IdleState("C6", 133): EVERYWHERE},
    )
    assert ["isolcpus"] == [found.kind for found in of_host(noise, HostCpus(TOPOLOGY, pools))]


@pytest.mark.parametrize(
    ("banned", "expected"),
    [
        pytest.param(None, [], id="it does not run"),
        pytest.param(CpuSet.parse("1-7"), [], id="it leaves them alone"),
        pytest.param(CpuSet.parse("0-1"), ["2-3"], id="it leaves some alone"),
        pytest.param(CpuSet(), ["1-3"], id="it leaves none alone"),
    ],
)
def test_irqbalance_that_would_undo_moves(banned: CpuSet | None, expected: list[str]) -> None:
    """It is named with the CPUs that it may use, and with the line for its file, which keeps what it leaves alone."""
    found = list(of_irqbalance(HostNoise(banned=banned), CpuSet.parse("1-3")))

    assert expected == [str(item.cpus) for item in found]
    assert all(f"IRQBALANCE_BANNED_CPULIST={CpuSet.parse('1-3') | present(banned)}" in item.remedy for item in found)


def present(cpus: CpuSet | None) -> CpuSet:
    """These CPUs, if there are any."""
    return CpuSet() if cpus is None else cpus


def server(name: str, vcpu: str, emulator: str) -> ObservedGuest:
    """A guest without a template."""
    threads = Threads({0: CpuSet.parse(vcpu)}, CpuSet.parse(emulator))
    return ObservedGuest(Domain(f"u-{name}", name, ""), Identity(name, 1, None), threads)


def test_servers_without_a_template() -> None:
    """One finding names those that may run there, and the CPUs of all."""
    running = [server("a", "0-3", "0"), server("b", "0", "0,5"), server("c", "0", "12")]

    (found,) = of_unmanaged(running, POOLS.dedicated)

    assert CpuSet.parse("1-3,5") == found.cpus
    assert found.fact.endswith("dedicated pool: server a (u-a), server b (u-b)")
    assert [] == list(of_unmanaged(running, CpuSet()))


@pytest.mark.parametrize("remedy", ["do this", "do that"])
def test_words(remedy: str) -> None:
    """A check warns of it, and a table has both in one line."""
    found = replace(Disturbance("governor", CpuSet(), "it is slow", ""), remedy=remedy)

    assert f"it is slow; {remedy}" == str(found)
    assert Finding(Level.WARN, "governor", "it is slow", remedy) == found.finding()
