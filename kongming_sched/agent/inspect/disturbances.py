# SPDX-License-Identifier: Apache-2.0
"""What disturbs the CPUs of the dedicated pool, and what to do: one disturbance of each kind. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kongming_sched.agent.inspect.findings import Finding, Level
from kongming_sched.agent.model.guest import ObservedGuest
from kongming_sched.agent.model.noise import HostNoise, IdleState, Interrupt
from kongming_sched.cpuset import CpuSet
from kongming_sched.pools import HostCpus
from kongming_sched.texts.counted import count, first

_DEEP_US = 10
"""A CPU that needs longer to wake is late, in microseconds: C1 and C1E of x86 need up to 10, C6 needs 85 or more."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Something that keeps guests from having their CPUs to themselves, or from having them at once.

    :ivar kind: as in "interrupts"
    :ivar cpus: those that it concerns
    :ivar fact: what is there, and what follows from it
    """

    kind: str
    cpus: CpuSet
    fact: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.fact}; {self.remedy}"

    def finding(self) -> Finding:
        """The same as a finding of a check: the agent works all the same."""
        return Finding(Level.WARN, self.kind, self.fact, self.remedy)


def of_host(noise: HostNoise, cpus: HostCpus) -> Iterator[Disturbance]:
    """What the host itself does."""
    dedicated = cpus.pools.dedicated & cpus.topology.cpus
    yield from _of_isolation(noise, cpus)
    yield from _of_interrupts(noise.interrupts, dedicated, cpus.topology.cpus - cpus.pools.dedicated)
    yield from _of_governors(noise.governors, dedicated)
    yield from _of_idle_states(noise.idle_states, dedicated)


def of_irqbalance(noise: HostNoise, dedicated: CpuSet) -> Iterator[Disturbance]:
    """What undoes the moves of interrupts, where the agent is to make them."""
    if noise.banned is not None and (open_to_it := dedicated - noise.banned):
        yield Disturbance(
            "irqbalance",
            open_to_it,
            f"move_irqs is on, and irqbalance runs and may move interrupts back to CPU {open_to_it}",
            f"write IRQBALANCE_BANNED_CPULIST={dedicated | noise.banned} to /etc/default/irqbalance, or to"
            " /etc/sysconfig/irqbalance, and restart irqbalance",
        )


def of_unmanaged(running: Sequence[ObservedGuest], dedicated: CpuSet) -> Iterator[Disturbance]:
    """The guests without a template that may run on CPUs of the dedicated pool."""
    there = [
        (guest, inside)
        for guest in running
        if guest.identity.request is None
        and not guest.identity.fault
        and (inside := CpuSet.union((*guest.threads.vcpus.values(), guest.threads.emulator)) & dedicated)
    ]
    if there:
        names = first([f"server {guest}" for guest, _ in there])
        yield Disturbance(
            "servers",
            CpuSet.union(inside for _, inside in there),
            f"without a template, and may run on CPUs of the dedicated pool: {names}",
            "keep such servers off it: [compute] cpu_shared_set of nova.conf (they keep what they have until they are"
            " started anew), or [kongming_agent] confine_unmanaged = true, which acts at once",
        )


def _of_isolation(noise: HostNoise, cpus: HostCpus) -> Iterator[Disturbance]:
    """``isolcpus`` is for CPUs that have one thread each: the kernel balances nothing over them."""
    floating = {"shared_cpu_set": cpus.pools.shared, "the housekeeping CPUs": cpus.housekeeping}
    inside = {name: found for name, pool in floating.items() if (found := pool & noise.isolated)}
    if not inside:
        return
    where = CpuSet.union(inside.values())
    named = " and ".join(f"CPU {found} of {name}" for name, found in inside.items())
    yield Disturbance(
        "isolcpus",
        where,
        f"isolcpus holds {named}: the kernel moves no thread between these, so that all that float stay on the first",
        f"take CPU {where} out of isolcpus of the kernel's command line, and boot; only dedicated CPUs belong there",
    )


def _of_interrupts(interrupts: Sequence[Interrupt], dedicated: CpuSet, rest: CpuSet) -> Iterator[Disturbance]:
    """Those that the pool serves now, and those that it may serve: a daemon or the kernel moves them at any time.

    :param rest: the CPUs that may serve them instead
    """
    served = [interrupt for interrupt in interrupts if interrupt.effective & dedicated]
    others = [interrupt for interrupt in interrupts if interrupt.allowed & dedicated and interrupt not in served]
    if not served and not others:
        return
    where = CpuSet.union((interrupt.allowed | interrupt.effective) & dedicated for interrupt in (*served, *others))
    facts = []
    if served:
        now = CpuSet.union(interrupt.effective & dedicated for interrupt in served)
        names = first([str(interrupt) for interrupt in served])
        facts.append(f"CPU {now} of the dedicated pool serves {count(len(served), 'interrupt')}: {names}")
    if others:
        facts.append(f"{count(len(others), 'interrupt')}{' more' * bool(served)} may come to CPU {where} of it")
    yield Disturbance(
        "interrupts",
        where,
        "; ".join(facts),
        f"write {rest} to /proc/irq/*/smp_affinity_list, which the kernel takes of those that can be moved, and set"
        f" IRQBALANCE_BANNED_CPULIST={dedicated} for irqbalance; or boot with irqaffinity={rest} and, for the queues of"
        f" devices, isolcpus=managed_irq,{dedicated}",
    )


def _of_governors(governors: Mapping[str, CpuSet], dedicated: CpuSet) -> Iterator[Disturbance]:
    slow = {name: on & dedicated for name, on in governors.items() if name != "performance" and on & dedicated}
    if slow:
        where = CpuSet.union(slow.values())
        names = " and ".join(f"{name} on CPU {on}" for name, on in sorted(slow.items()))
        yield Disturbance(
            "governor",
            where,
            f"the clock of the dedicated pool follows its load ({names}), and is slow when a server begins to work",
            f"cpupower -c {where} frequency-set -g performance, now and at each boot",
        )


def _of_idle_states(states: Mapping[IdleState, CpuSet], dedicated: CpuSet) -> Iterator[Disturbance]:
    deep = {state: on & dedicated for state, on in states.items() if state.latency_us > _DEEP_US and on & dedicated}
    if deep:
        where = CpuSet.union(deep.values())
        names = ", ".join(f"{state.name} ({state.latency_us} us)" for state in sorted(deep, key=_latency_and_name))
        yield Disturbance(
            "idle states",
            where,
            f"CPU {where} of the dedicated pool may sleep so deeply that it wakes late: {names}",
            f"cpupower -c {where} idle-set -D {_DEEP_US + 1}, now and at each boot",
        )


def _latency_and_name(state: IdleState) -> tuple[int, str]:
    return state.latency_us, state.name
