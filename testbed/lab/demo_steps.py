# SPDX-License-Identifier: Apache-2.0
"""The demonstration's story, act by act."""

from __future__ import annotations

from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from testbed.lab import demo_setup
from testbed.lab.commands import Commands
from testbed.lab.demo_setup import Pools
from testbed.lab.lab import Lab
from testbed.lab.process import ChildProcess
from testbed.lab.screen import Screen
from testbed.lab.servers import Servers


class Story:
    """Plays on a lab whose agent runs, and states what came of it.

    :ivar nodes: those that have dedicated CPUs
    :ivar housekeeping: the CPUs that are left to the host, for emulator threads
    :ivar memory: the memory policy that this machine can honour
    """

    def __init__(self, lab: Lab, pools: Pools, agent: ChildProcess, screen: Screen) -> None:
        self.lab = lab
        self.pools = pools
        self.agent = agent
        self.screen = screen
        self.servers = Servers(lab, pools, screen)
        self.commands = Commands(lab, screen)
        self.nodes = demo_setup.pool_nodes(lab.topology, pools)
        self.sharing = [node.id for node in lab.topology.nodes if node.cpus & pools.shared]
        self.housekeeping = lab.topology.cpus - pools.dedicated
        self.memory = "strict" if "cpuset" in lab.hypervisor.controllers else "none"
        self.gold_vcpus = demo_setup.gold_vcpus(lab.topology, pools)

    def play(self) -> None:
        """All acts in order."""
        self.register_host()
        self.make_templates()
        self.boot_one()
        self.fill_up()
        self.share()
        self.change_template()
        self.move_by_hand()
        self.leave_others_alone()
        self.make_room()
        self.span_nodes()
        self.isolate_core()
        self.pin_exactly()
        self.show_all()

    def register_host(self) -> None:
        """The agent makes the providers of the NUMA nodes."""
        self.screen.section("The agent registers the host's NUMA nodes")
        self.screen.file(self.lab.agent_conf)
        pools = {node.id: len(node.cpus & self.pools.dedicated) for node in self.nodes}
        self.screen.await_claim(
            f"Placement has the dedicated CPUs of every node: {pools}",
            lambda: {node: self.commands.total(node, names.PCPU) for node in pools},
            lambda seen: seen == pools,
        )
        self.commands.show("resource", "provider", "list", "-c", "uuid", "-c", "name")
        self.commands.show_inventory(self.nodes[0].id)
        self.commands.show_host()

    def make_templates(self) -> None:
        """Templates and flavors by the real commands."""
        self.screen.section("Templates and flavors")
        self.commands.create_template(demo_setup.gold(self.gold_vcpus, self.memory))
        self.commands.create_flavor("gold", self.gold_vcpus, "gold")
        self.commands.show("kongming", "flavor", "show", "gold")
        self.commands.create_template(demo_setup.bronze(50000))
        self.commands.create_flavor("bronze", 1, "bronze")
        self.commands.await_offered("gold", [node.id for node in self.nodes])
        self.commands.await_offered("bronze", self.sharing)
        self.commands.show("kongming", "host", "list")

    def boot_one(self) -> None:
        """One dedicated server."""
        self.screen.section("A server with dedicated CPUs")
        (guest,) = self.servers.boot("gold", "db-1")
        self.commands.show_allocation(guest.server.uuid)
        self.servers.await_dedicated(guest)
        self.servers.await_emulator(guest, self.housekeeping)
        if self.memory == "strict" and len(self.lab.topology.nodes) > 1:
            self.servers.await_memory(guest)
        self.commands.show_host()

    def fill_up(self) -> None:
        """As many as fit in one request, and one too many."""
        rooms = {node.id: self.commands.free(node.id, names.PCPU) // self.gold_vcpus for node in self.nodes}
        count = sum(rooms.values())
        if count:
            self.screen.section(f"All that fit beside it, {count} in one request")
            guests = self.servers.boot("gold", *(f"db-{number + 2}" for number in range(count)))
            took = {node: sum(node in self.servers.node_ids(guest) for guest in guests) for node in rooms}
            self.screen.claim("every node took as many as it had room for", took == rooms, f"by node: {took}")
            for guest in guests:
                self.servers.await_dedicated(guest)
            self.servers.claim_exclusive()
            self.servers.show_threads()
        self.screen.section("One more than fits")
        self.servers.claim_refused("gold", "db-x")
        for node in self.nodes:
            self.commands.show_usage(node.id)
            left = self.commands.free(node.id, names.PCPU)
            self.screen.claim(f"node {node.id} has no room for it", left < self.gold_vcpus, f"{left} CPUs are left")

    def share(self) -> None:
        """Shared servers with a limit, in one request."""
        self.screen.section("Three servers that share CPUs, in one request")
        guests = self.servers.boot("bronze", "web-1", "web-2", "web-3")
        for guest in guests:
            nodes = [node for node in self.lab.topology.nodes if node.id in self.servers.node_ids(guest)]
            self.servers.await_vcpus(guest, CpuSet.union(node.cpus for node in nodes) & self.pools.shared)
        self.servers.await_quota(guests, 50000, 512)
        self.commands.show_host()

    def change_template(self) -> None:
        """A template is changed, and its servers follow."""
        self.screen.section("The template of running servers is changed")
        guests = [guest for name, guest in self.servers.running.items() if name.startswith("web")]
        self.commands.change_template(demo_setup.bronze(20000))
        self.servers.await_quota(guests, 20000, 512)
        self.screen.say("But not into something that takes more than its flavors have claimed:")
        self.commands.change_template(demo_setup.gold(self.gold_vcpus + 1, self.memory), status=1)

    def move_by_hand(self) -> None:
        """A server is pinned by hand."""
        self.screen.section("A server is moved by hand")
        guest = self.servers.running["db-1"]
        before = self.servers.affinity(guest).vcpus
        self.screen.run("virsh", "-c", "qemu:///system", "vcpupin", guest.domain, "0", str(self.housekeeping), "--live")
        self.screen.await_claim(
            "db-1 is back on its CPUs", lambda: self.servers.affinity(guest).vcpus, lambda seen: seen == before
        )

    def leave_others_alone(self) -> None:
        """A server without a template."""
        self.screen.section("A server without a template")
        self.commands.create_flavor("plain", 1)
        (guest,) = self.servers.boot("plain", "plain-1")
        self.screen.claim("it takes nothing of any NUMA node", not self.servers.node_ids(guest))
        self.commands.show_host()
        self.servers.await_vcpus(guest, self.lab.topology.cpus)
        self.servers.delete("plain-1")

    def make_room(self) -> None:
        """Only one of the dedicated servers stays."""
        others = [name for name in self.servers.running if name.startswith("db-") and name != "db-1"]
        if others:
            self.screen.section("All dedicated servers but the first are deleted")
        for name in others:
            self.servers.delete(name)

    def span_nodes(self) -> None:
        """A server on two nodes, if two have room."""
        if sum(self.commands.free(node.id, names.PCPU) > 0 for node in self.nodes) < 2:
            return
        self.screen.section("A server on two NUMA nodes")
        self.commands.create_template(demo_setup.twin(self.memory))
        self.commands.create_flavor("twin", 2, "twin")
        self.commands.await_offered("twin", [node.id for node in self.nodes])
        (guest,) = self.servers.boot("twin", "twin-1")
        self.screen.claim("it claims of two nodes", len(self.servers.node_ids(guest)) == 2)
        self.servers.await_dedicated(guest)
        self.servers.claim_exclusive()
        self.servers.delete("twin-1")

    def isolate_core(self) -> None:
        """A whole core for one vCPU, if the cores have several threads and one is free."""
        smt = [node for node in self.nodes if node.threads_per_core > 1]
        if not any(self.commands.free(node.id, names.PCPU) >= node.threads_per_core for node in smt):
            return
        self.screen.section("A core of its own")
        self.commands.create_template(demo_setup.solo(self.memory))
        self.commands.await_offered("solo", [node.id for node in smt])
        self.commands.create_flavor("solo", 1, "solo")
        (guest,) = self.servers.boot("solo", "hpc-1")
        self.servers.await_dedicated(guest)
        self.servers.claim_siblings_idle(guest)
        self.servers.delete("hpc-1")

    def pin_exactly(self) -> None:
        """A template that names the host CPU on which db-1 is, and whose core has to be freed first."""
        self.screen.section("A template that names the host CPU")
        db1 = self.servers.running["db-1"]
        cpu = CpuSet.parse(self.servers.affinity(db1).vcpus[0])
        (node,) = (node for node in self.nodes if cpu <= node.cpus)
        (core,) = (core.cpus for core in node.cores if cpu <= core.cpus)
        self.commands.create_template(demo_setup.exact(cpu.first, "shared", self.memory))
        self.commands.create_flavor("exact", 1, "exact")
        can_move = len((node.cpus & self.pools.dedicated) - core) >= self.gold_vcpus
        if not can_move:
            self.screen.say(f"db-1 has CPU {cpu}, and the dedicated pool of its node has no other core:")
            self.await_in_log(f"template exact is not offered on node {node.id}")
            self.servers.claim_refused("exact", "rt-1")
            self.servers.delete("db-1")
        self.commands.await_offered("exact", [node.id])
        (guest,) = self.servers.boot("exact", "rt-1")
        self.servers.await_vcpus(guest, cpu)
        self.servers.await_emulator(guest, self.housekeeping)
        if can_move:
            self.screen.say(f"CPU {cpu} was db-1's, which has moved while it ran:")
            self.servers.await_dedicated(db1)
        self.servers.claim_exclusive()
        self.screen.say("The emulator thread of rt-1 shall run beside it:")
        self.commands.change_template(demo_setup.exact(cpu.first, "cell", self.memory))
        self.servers.await_emulator(guest, cpu)
        self.commands.show_host()

    def show_all(self) -> None:
        """How it is in the end."""
        self.screen.section("How it is now")
        self.commands.show("kongming", "template", "list")
        self.commands.show("kongming", "host", "show", self.lab.host)
        self.commands.show_host()
        self.servers.show_threads()
        self.servers.claim_exclusive()

    def give_all_back(self) -> None:
        """The last act, unless it shall stay up."""
        self.screen.section("All servers are deleted")
        for name in list(self.servers.running):
            self.servers.delete(name)
        for node in self.nodes:
            self.commands.show_usage(node.id)
            used = self.commands.used(node.id)
            self.screen.claim(f"nothing of node {node.id} is taken any more", not any(used.values()))

    def await_in_log(self, text: str) -> None:
        """State that the agent says something."""

        def observe() -> str:
            found = [line for line in self.agent.log.read_text().splitlines() if text in line]
            return found[-1].partition(text)[1] + found[-1].partition(text)[2] if found else "nothing"

        self.screen.await_claim("kongming-agent says so", observe, lambda seen: seen != "nothing")
