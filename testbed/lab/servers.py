# SPDX-License-Identifier: Apache-2.0
"""The servers of the demonstration: scheduled, claimed, started, observed, and deleted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from rich.table import Table

from kongming_sched.cpuset import CpuSet
from kongming_sched.request import TEMPLATE_KEY
from testbed.lab.demo_setup import Pools
from testbed.lab.guests import Affinity, Guest
from testbed.lab.lab import Lab
from testbed.lab.scheduler import NoValidHostError
from testbed.lab.screen import Screen


class Servers:
    """What an operator's users do, and what the demonstration then finds in /proc and in Placement."""

    def __init__(self, lab: Lab, pools: Pools, screen: Screen) -> None:
        self._lab = lab
        self._pools = pools
        self._screen = screen
        self._node_ids = {lab.node_uuid(node.id): node.id for node in lab.topology.nodes}
        self.running: dict[str, Guest] = {}

    def boot(self, flavor: str, *names: str) -> list[Guest]:
        """Schedule servers in one request, and start them."""
        screen = self._screen
        request = f"{len(names)} servers in one request" if len(names) > 1 else names[0]
        screen.say(f"nova-scheduler: {request}, flavor {flavor}")
        placed = self._lab.scheduler.schedule(flavor, len(names))
        guests = []
        for name, server in zip(names, placed, strict=True):
            guest = self._lab.guests.spawn(name, server)
            self.running[name] = guest
            guests.append(guest)
            screen.quote(f"{name} = {server.uuid} claims {self.describe_claim(guest)}; runs as {guest.domain}")
        return guests

    def claim_refused(self, flavor: str, name: str) -> None:
        """State that the scheduler finds no place, and show what it says."""
        self._screen.say(f"nova-scheduler: {name}, flavor {flavor}")
        try:
            self._lab.scheduler.schedule(flavor)
        except NoValidHostError as error:
            self._screen.quote("\n".join([f"NoValidHost: {error}", *error.said]))
            self._screen.claim(f"{name} gets no host", True)
        else:
            self._screen.claim(f"{name} gets no host", False)

    def delete(self, name: str) -> None:
        """Delete a server, as nova-compute does: first the guest, then its allocations."""
        guest = self.running.pop(name)
        self._lab.guests.delete(guest)
        self._lab.scheduler.release(guest.server.uuid)
        self._screen.say(f"{name} is deleted")

    def node_ids(self, guest: Guest) -> list[int]:
        """The NUMA nodes on which a server has claimed something."""
        return sorted(self._node_ids[uuid] for uuid in guest.server.allocations if uuid in self._node_ids)

    def describe_claim(self, guest: Guest) -> str:
        """What a server has claimed, in words."""
        parts = []
        for uuid, resources in guest.server.allocations.items():
            where = f"node {self._node_ids[uuid]}" if uuid in self._node_ids else "the host"
            amounts = ", ".join(f"{name}={amount}" for name, amount in sorted(resources.items()))
            parts.append(f"{amounts} of {where}")
        return " and ".join(sorted(parts))

    def affinity(self, guest: Guest) -> Affinity:
        """Where the kernel lets the guest's threads run."""
        return self._lab.guests.affinity(guest)

    def await_dedicated(self, guest: Guest) -> None:
        """State that each vCPU has a CPU for itself, of the nodes that were claimed."""
        nodes = [node for node in self._lab.topology.nodes if node.id in self.node_ids(guest)]
        pool = CpuSet.union(node.cpus for node in nodes) & self._pools.dedicated

        def is_dedicated(affinity: Affinity) -> bool:
            cpus = [CpuSet.parse(text) for text in affinity.vcpus.values()]
            whole = CpuSet.union(cpus)
            return all(len(one) == 1 for one in cpus) and len(whole) == len(cpus) and whole <= pool

        where = " and ".join(f"node {node.id}" for node in nodes)
        self._screen.await_claim(
            f"{guest.name}: each vCPU has a CPU of its own of {where}, says /proc",
            lambda: self.affinity(guest),
            is_dedicated,
        )

    def await_vcpus(self, guest: Guest, cpus: CpuSet) -> None:
        """State where all vCPUs of a guest may run."""
        self._screen.await_claim(
            f"{guest.name}: vCPUs may run on CPU {cpus}, says /proc",
            lambda: self.affinity(guest),
            lambda seen: {CpuSet.parse(text) for text in seen.vcpus.values()} == {cpus},
        )

    def await_emulator(self, guest: Guest, cpus: CpuSet) -> None:
        """State where a guest's emulator thread may run."""
        self._screen.await_claim(
            f"{guest.name}: the emulator may run on CPU {cpus}, says /proc",
            lambda: f"CPU {self.affinity(guest).emulator}",
            lambda seen: seen == f"CPU {cpus}",
        )

    def await_memory(self, guest: Guest) -> None:
        """State that a guest's memory is bound to the nodes that it has claimed."""
        nodes = CpuSet.of(self.node_ids(guest))
        self._screen.await_claim(
            f"{guest.name}: memory is bound to node {nodes}, says libvirt",
            lambda: self._lab.guests.memory_nodes(guest),
            lambda seen: CpuSet.parse(seen) == nodes,
        )

    def claim_siblings_idle(self, guest: Guest) -> None:
        """State that no other server is on the cores of a guest."""
        mine = CpuSet.union(map(CpuSet.parse, self.affinity(guest).vcpus.values()))
        cores = [core for node in self._lab.topology.nodes for core in node.cores if core.cpus & mine]
        whole = CpuSet.union(core.cpus for core in cores)
        others = [f"{name} on {vcpus}" for name, vcpus in self._vcpus().items() if name != guest.name and vcpus & whole]
        self._screen.claim(f"nobody else is on its core, CPUs {whole}", not others, "; ".join(others))

    def await_quota(self, guests: Sequence[Guest], quota_us: int, shares: int) -> None:
        """State what CPU time guests get, if this machine can limit it."""
        if "cpu" not in self._lab.hypervisor.controllers:
            self._screen.say("This machine gives libvirt no cpu controller, so there is no quality of service to see.")
            return

        def observe() -> set[tuple[int, int]]:
            seen = [self._lab.guests.scheduler_parameters(guest) for guest in guests]
            return {(values["vcpu_quota"], values["cpu_shares"]) for values in seen}

        text = f"{', '.join(guest.name for guest in guests)}: quota {quota_us} us and shares {shares}, says libvirt"
        self._screen.await_claim(text, observe, lambda seen: seen == {(quota_us, shares)})

    def claim_exclusive(self) -> None:
        """State the first promise of all: no dedicated CPU belongs to two servers."""
        on = self._vcpus()
        twice = [
            f"{one} and {two} on {on[one] & on[two] & self._pools.dedicated}"
            for one, two in combinations(on, 2)
            if on[one] & on[two] & self._pools.dedicated
        ]
        self._screen.claim("no dedicated CPU belongs to two servers", not twice, "; ".join(twice))

    def _vcpus(self) -> dict[str, CpuSet]:
        """Where the vCPUs of each server with a template may run."""
        return {
            name: CpuSet.union(map(CpuSet.parse, self.affinity(guest).vcpus.values()))
            for name, guest in self.running.items()
            if TEMPLATE_KEY in guest.server.flavor.extra_specs
        }

    def show_threads(self) -> None:
        """A table of all threads and where they may run."""
        table = Table(title="Cpus_allowed_list in /proc", title_justify="left", title_style="dim")
        for column in ("Server", "Flavor", "NUMA nodes", "vCPU threads", "Emulator"):
            table.add_column(column)
        for name, guest in self.running.items():
            affinity = self.affinity(guest)
            threads = ", ".join(f"{vcpu}: {cpus}" for vcpu, cpus in affinity.vcpus.items())
            nodes = ", ".join(map(str, self.node_ids(guest))) or "-"
            table.add_row(name, guest.server.flavor.name, nodes, threads, affinity.emulator)
        self._screen.console.print(table)
