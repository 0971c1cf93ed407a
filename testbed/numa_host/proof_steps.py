# SPDX-License-Identifier: Apache-2.0
"""What is proven, act by act. Every claim is checked against the kernel or Placement, never the agent's own word."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from testbed.lab.process import LabError
from testbed.numa_host import kernel_view
from testbed.numa_host.host import PATIENCE_SECONDS, NumaHost
from testbed.numa_host.kernel_view import Affinity
from testbed.numa_host.proof_setup import (
    DEDICATED,
    EXACT,
    HOUSEKEEPING,
    LARGE_MB,
    LIMITED_PAIR,
    OWN_QUOTA_US,
    PAIR,
    PERIOD_US,
    QUOTA_US,
    SERVERS,
    exact_on,
)

_T = TypeVar("_T")


class Acts:
    """Plays on a host whose agent runs."""

    def __init__(self, host: NumaHost) -> None:
        self.host = host
        self.cloud = host.cloud
        self.screen = host.screen

    def play(self) -> None:
        """All acts in order."""
        self.register()
        self.pin_on_both_nodes()
        self.limit()
        self.isolate()
        self.fill_cores()
        self.span_nodes()
        self.move_large_memory()
        self.switch_nodes()
        self.lose_explicit_cpu()
        self.lose_pool_cpu()

    def register(self) -> None:
        """The agent makes the node providers."""
        self.screen.section("The agent registers two NUMA nodes of cores with two threads")
        pool = {node: len(kernel_view.node_cpus(node) & DEDICATED) for node in (0, 1)}
        self.await_claim(
            f"Placement has the dedicated CPUs of both nodes: {pool}", partial(self.totals, names.PCPU), pool.__eq__
        )
        if self.screen.broken:
            raise LabError("without its nodes there is nothing to prove")
        for template in ("core", "twin"):
            self.await_offered(template, [0, 1])

    def pin_on_both_nodes(self) -> None:
        """A server on each node, with its memory."""
        self.screen.section("A server on each node")
        self.host.boot("whole", "right")
        for name in ("whole", "right"):
            self.await_dedicated(name)
            self.await_memory(name, SERVERS[name].nodes[0])
        self.claim_on_siblings("whole", "require")
        self.claim_exclusive()

    def limit(self) -> None:
        """Quotas for a running server, and another for one of its vCPUs, on control groups of version 2."""
        self.screen.section("A template limits its server while that runs, one vCPU more than the other")
        before = kernel_view.vcpu_limits(self.host.pid("right"))
        self.cloud.templates.update(LIMITED_PAIR)
        self.await_limits({0: f"{QUOTA_US} {PERIOD_US}", 1: f"{OWN_QUOTA_US} {PERIOD_US}"})
        self.cloud.templates.update(PAIR)
        self.await_limits(before)
        self.host.delete("right")

    def isolate(self) -> None:
        """A whole core for one vCPU, for which another server has to move."""
        self.screen.section("isolate: a core of its own, out of two that are half taken")
        singles = ["one", "two", "three"]
        self.host.boot(*singles)
        for name in singles:
            self.await_dedicated(name)
        cores = [kernel_view.siblings(self.host.affinity(name).cpus.first) for name in singles]
        gone = next(name for name, core in zip(singles, cores, strict=True) if cores.count(core) == 2)
        self.host.delete(gone)
        left = [name for name in singles if name != gone]
        before = {name: self.host.affinity(name).cpus for name in left}
        apart = len({kernel_view.siblings(cpus.first) for cpus in before.values()}) == 2
        self.screen.claim("the two that are left are on two cores", apart, f"CPUs {CpuSet.union(before.values())}")
        self.host.boot("lone")
        core = self.await_claim(
            "lone has a core of node 1, and nobody else is on any of its threads",
            partial(self.core_of, "lone"),
            lambda core: len(core) == 2 and core <= kernel_view.node_cpus(1) and not self.others_on("lone", core),
        )
        moved = [name for name in left if self.host.affinity(name).cpus != before[name]]
        self.screen.claim("one of the others has moved for it while it ran, and one has not", len(moved) == 1, *moved)
        self.screen.claim("both share the other core", self.core_of(*left) == kernel_view.node_cpus(1) - core)
        self.claim_exclusive()
        self.host.delete(*left)

    def fill_cores(self) -> None:
        """A core for two vCPUs, beside the isolated one."""
        self.screen.section("prefer: two vCPUs on the two threads of the core that is left")
        self.host.boot("near")
        self.await_dedicated("near")
        self.claim_on_siblings("near", "prefer")
        self.claim_on_siblings("whole", "require")
        core = self.core_of("lone")
        self.screen.claim("lone still has its core for itself", not self.others_on("lone", core), f"CPUs {core}")
        self.claim_exclusive()
        self.host.delete("near", "whole", "lone")

    def span_nodes(self) -> None:
        """One server with a cell on each node."""
        self.screen.section("A server with a cell on each node")
        self.host.boot("both")
        self.await_claim(
            "both: vCPU 0 has a CPU of node 0 and vCPU 1 one of node 1",
            partial(self.host.affinity, "both"),
            lambda seen: seen.is_pinned and all(seen.vcpus[node] <= kernel_view.node_cpus(node) for node in (0, 1)),
        )
        self.host.delete("both")

    def move_large_memory(self) -> None:
        """A large server whose memory lies on both nodes gets it together, and an order moves it to the other node."""
        self.screen.section(f"A server of {LARGE_MB} MiB, of which one half lies on each node")
        with self.host.agent_paused():
            self.host.boot("large")
            kernel_view.spread_memory(self.host.pid("large"))
            seen = kernel_view.memory_pages(self.host.pid("large"))
            self.screen.claim("large: its memory lies on both nodes", list(seen) == [0, 1], f"pages by node: {seen}")
        self.await_dedicated("large")
        self.await_memory("large", 1)
        self.host.move("large", 0)
        pages = kernel_view.memory_pages(self.host.pid("large"))
        self.screen.claim(
            "large: all memory is on node 0 once the order is carried out",
            list(pages) == [0],
            f"pages by node: {pages}",
        )
        cpus, claimed = self.host.affinity("large").cpus, self.cloud.claimed(SERVERS["large"])
        self.screen.claim("its vCPUs are on node 0", cpus == DEDICATED & kernel_view.node_cpus(0), f"CPUs {cpus}")
        self.screen.claim("and so is its claim", claimed == [0], f"nodes {claimed}")
        self.host.delete("large")

    def switch_nodes(self) -> None:
        """A template goes from the explicit CPUs of one node to those of the other, and its server follows."""
        self.screen.section("A template is switched from CPUs of node 0 to CPUs of node 1 while its server runs")
        self.cloud.templates.create(EXACT)
        self.await_offered("exact", [0])
        self.host.boot("named")
        self.await_pins("named", "2", "3")
        self.await_memory("named", 0)
        self.await_totals(names.PCPU, {0: 0, 1: 4})
        self.cloud.templates.update(exact_on(6, 7))
        self.await_offered("exact", [1])
        self.screen.say("The server's claim is still of node 0, and so it stays there until that is moved:")
        self.claim_pins("named", "2", "3")
        self.cloud.claim(SERVERS["named"], (1,))
        self.screen.say("its allocation is set to node 1, in one request of Placement")
        self.await_pins("named", "6", "7")
        self.await_memory("named", 1)
        self.await_totals(names.PCPU, {0: 2, 1: 2})
        self.await_totals(names.slot_class("exact"), {0: 0, 1: 1})

    def lose_explicit_cpu(self) -> None:
        """A CPU that a template names goes offline and comes back."""
        self.screen.section("A CPU that a template names goes offline and online again")
        self.host.boot("right")
        self.await_dedicated("right")
        before = self.host.affinity("right").vcpus
        self.set_online(7, False)
        self.await_offered("exact", [])
        self.await_claim(
            f"vCPU 1 of named is on the housekeeping CPUs {HOUSEKEEPING}, vCPU 0 where it was",
            partial(self.host.affinity, "named"),
            lambda seen: seen.vcpus == {0: CpuSet.parse("6"), 1: HOUSEKEEPING},
        )
        self.screen.claim("right has not moved", self.host.affinity("right").vcpus == before)
        self.set_online(7, True)
        self.await_pins("named", "6", "7")
        self.await_offered("exact", [1])
        self.screen.claim("right has not moved", self.host.affinity("right").vcpus == before)
        self.claim_exclusive()
        self.host.delete("named")
        self.cloud.templates.delete("exact")
        self.await_totals(names.PCPU, {0: 2, 1: 4})

    def lose_pool_cpu(self) -> None:
        """A CPU of the pool goes offline and comes back."""
        self.screen.section("A CPU of the dedicated pool goes offline and online again")
        lost = self.host.affinity("right").vcpus[1].first
        self.set_online(lost, False)
        self.screen.say("What is left of its core is not given away either, because only whole cores can be counted:")
        self.await_totals(names.PCPU, {0: 2, 1: 2})
        self.await_dedicated("right")
        self.set_online(lost, True)
        self.await_totals(names.PCPU, {0: 2, 1: 4})
        self.await_dedicated("right")
        self.await_memory("right", 1)
        self.host.delete("right")

    # What is read

    def totals(self, resource_class: str) -> dict[int, int]:
        """How much of a class each node has."""
        return {node: self.cloud.total(node, resource_class) for node in (0, 1)}

    def core_of(self, *servers: str) -> CpuSet:
        """The threads of the cores that servers are on."""
        cpus = CpuSet.union(self.host.affinity(name).cpus for name in servers)
        return CpuSet.union(kernel_view.siblings(cpu) for cpu in cpus)

    def others_on(self, name: str, cpus: CpuSet) -> list[str]:
        """The other servers that may run on CPUs."""
        return [other for other in self.host.running if other != name and self.host.affinity(other).cpus & cpus]

    def set_online(self, cpu: int, online: bool) -> None:
        """Switch a CPU on or off."""
        kernel_view.set_online(cpu, online)
        self.screen.say(f"CPU {cpu} is {'online' if online else 'offline'}")

    # What is claimed

    def await_claim(self, text: str, observe: Callable[[], _T], expected: Callable[[_T], bool]) -> _T:
        """State something that comes true in time."""
        return self.screen.await_claim(text, observe, expected, PATIENCE_SECONDS)

    def await_totals(self, resource_class: str, totals: dict[int, int]) -> None:
        """State how much of a class the nodes have."""
        observe = partial(self.totals, resource_class)
        self.await_claim(f"Placement has of {resource_class} by node {totals}", observe, totals.__eq__)

    def await_offered(self, template: str, nodes: list[int]) -> None:
        """State which nodes offer a template."""
        where = ", ".join(map(str, nodes)) or "none"
        self.await_claim(
            f"template {template} is offered by node {where}", partial(self.cloud.offered, template), nodes.__eq__
        )

    def await_dedicated(self, name: str) -> None:
        """State that each vCPU has a CPU for itself on the node that is claimed, and the emulator housekeeping CPUs."""
        node = SERVERS[name].nodes[0]
        pool = kernel_view.node_cpus(node) & DEDICATED
        self.await_claim(
            f"{name}: each vCPU has a CPU of its own of node {node}, the emulator those for housekeeping",
            partial(self.host.affinity, name),
            lambda seen: seen.is_pinned and seen.cpus <= pool and seen.emulator == HOUSEKEEPING,
        )

    def await_pins(self, name: str, *cpus: str) -> None:
        """State on which CPU each vCPU is."""
        self.await_claim(self._pins_text(name, cpus), partial(self.host.affinity, name), partial(_is_on, cpus))

    def claim_pins(self, name: str, *cpus: str) -> None:
        """State the same of this very moment."""
        self.screen.claim(self._pins_text(name, cpus), _is_on(cpus, self.host.affinity(name)))

    def await_memory(self, name: str, node: int) -> None:
        """State that all pages of a guest's memory lie on a node."""
        self.await_claim(
            f"{name}: all memory is on node {node}, says numa_maps",
            lambda: {
                f"node {node}": f"{pages} pages"
                for node, pages in kernel_view.memory_pages(self.host.pid(name)).items()
            },
            lambda seen: list(seen) == [f"node {node}"],
        )

    def await_limits(self, limits: dict[int, str]) -> None:
        """State the quota and period of each vCPU of the second server."""
        words = ", ".join(f"vCPU {vcpu} has {limit}" for vcpu, limit in limits.items())
        self.await_claim(
            f"right: {words}, says cpu.max", lambda: kernel_view.vcpu_limits(self.host.pid("right")), limits.__eq__
        )

    def claim_on_siblings(self, name: str, policy: str) -> None:
        """State that a server has the threads of one core."""
        cpus = self.host.affinity(name).cpus
        self.screen.claim(f"{name} ({policy}) is on siblings", cpus == kernel_view.siblings(cpus.first), f"CPUs {cpus}")

    def claim_exclusive(self) -> None:
        """State the first promise of all."""
        twice = self.host.shared_cpus()
        self.screen.claim("no dedicated CPU belongs to two servers", not twice, "; ".join(twice))

    def _pins_text(self, name: str, cpus: tuple[str, ...]) -> str:
        return f"{name}: " + ", ".join(f"vCPU {vcpu} is on CPU {cpu}" for vcpu, cpu in enumerate(cpus))


def _is_on(cpus: tuple[str, ...], seen: Affinity) -> bool:
    return seen.vcpus == {vcpu: CpuSet.parse(cpu) for vcpu, cpu in enumerate(cpus)}
