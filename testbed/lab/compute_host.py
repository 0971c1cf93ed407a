# SPDX-License-Identifier: Apache-2.0
"""This machine as a compute host: its libvirt, a real Placement, and the agent. Claims are written as Nova writes them.

Nova itself is not there: lab.py has its scheduler too.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from keystoneauth1 import adapter, session, token_endpoint

from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory, PlacementClient
from kongming_sched.placement.flavor import cell_requests, extra_specs
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import PinningTemplate
from kongming_sched.topology import HostTopology
from testbed.lab.guests import Guest, Guests
from testbed.lab.hypervisor import URI, Hypervisor, hypervisor, read_host
from testbed.lab.nova_api import placement_section
from testbed.lab.placement_api import TOKEN, PlacementApi
from testbed.lab.process import ChildProcess
from testbed.lab.scheduler import Flavor, Scheduled

AGENT = Path(sys.executable).with_name("kongming-agent")

MEMORY_MB = 16
"""Of each guest: enough for the firmware that it sits in."""


@dataclass
class ComputeHost:
    """Everything that runs but the agent.

    :ivar root_uuid: the machine's provider in Placement, as nova-compute would have made it
    """

    directory: Path
    placement: PlacementApi
    hypervisor: Hypervisor
    guests: Guests
    topology: HostTopology
    name: str
    root_uuid: str = field(default_factory=lambda: str(uuid.uuid4()))

    def __post_init__(self) -> None:
        self.register()

    @property
    def adapter(self) -> adapter.Adapter:
        """A new way to Placement."""
        auth = token_endpoint.Token(self.placement.endpoint, TOKEN)
        return adapter.Adapter(session.Session(auth), "placement", endpoint_override=self.placement.endpoint)

    @property
    def client(self) -> PlacementClient:
        """A new client of Placement."""
        return PlacementClient(self.adapter)

    def register(self) -> None:
        """Let Placement know the machine."""
        provider = self.client.create_provider(self.root_uuid, self.name)
        self.client.set_inventories(self.root_uuid, provider.generation, {"MEMORY_MB": Inventory(1 << 20)})

    def node_uuid(self, cpu: int) -> str:
        """The provider of the NUMA node that a host CPU is of."""
        node = next(node for node in self.topology.nodes if cpu in node.cpus)
        return names.node_uuid(self.root_uuid, node.id)

    def store(self, template: PinningTemplate) -> None:
        """Create a template."""
        TemplateStore(self.client).create(template)

    def agent(
        self, name: str = "kongming-agent", /, program: Sequence[str | Path] = (AGENT,), **options: object
    ) -> ChildProcess:
        """An agent with these options of [kongming_agent], not yet started.

        :param name: of its log, its configuration file and its run directory
        :param program: the words of the program
        """
        chosen = {
            "libvirt_uri": URI,
            "run_directory": self.directory / f"{name}.run",
            "lock_name": self.directory / name,
            "history_file": self.directory / f"{name}.jsonl",
            "reserved_memory_mb": 0,
            "interval_seconds": 2,
            "metrics_port": 0,
            **options,
        }
        lines = ["[DEFAULT]", "use_stderr = True", "[kongming_agent]", *(f"{key} = {chosen[key]}" for key in chosen)]
        conf = self.directory / f"{name}.conf"
        conf.write_text("\n".join(lines) + "\n" + placement_section(self.placement.endpoint))
        return ChildProcess(name, [*program, "--config-file", conf], self.directory)

    def wait_until_offered(self, agent: ChildProcess, cpu: int, template: str) -> None:
        """Until the agent offers a template on the NUMA node that a host CPU is of."""
        node, trait = self.node_uuid(cpu), names.template_trait(template)

        def is_offered() -> bool | None:
            return (
                node in {found.uuid for found in self.client.providers(in_tree=self.root_uuid, required=trait)} or None
            )

        try:
            self.client.ensure_traits([trait])
            agent.wait_for(f"offering template {template}", is_offered)
        except BaseException:
            agent.stop()
            raise

    def server(self, template: PinningTemplate, cpu: int, *, has_claim: bool = True) -> Scheduled:
        """A server of a template of one cell that has claimed its place on the NUMA node of a host CPU.

        :param has_claim: False for one that comes without a claim
        """
        node = next(node for node in self.topology.nodes if cpu in node.cpus)
        server = str(uuid.uuid4())
        resources = {
            self.node_uuid(cpu): dict(request.resources)
            for request in cell_requests(template, MEMORY_MB, node.threads_per_core)
        }
        if has_claim:
            self.claim(server, resources)
        specs = extra_specs(
            template, {}, vcpus=template.vcpus, memory_mb=MEMORY_MB, threads_per_core=node.threads_per_core
        )
        flavor = Flavor(f"{template.name}.{template.vcpus}", "1", template.vcpus, MEMORY_MB, 0, 0, 0, specs)
        return Scheduled(server, self.name, flavor, resources)

    def claim(self, server: str, resources: Mapping[str, Mapping[str, int]]) -> None:
        """Let a server have this in Placement, as nova-scheduler does before its guest is started."""
        body = {
            "allocations": {uuid: {"resources": dict(amounts)} for uuid, amounts in resources.items()},
            "project_id": "project",
            "user_id": "user",
            "consumer_generation": None,
            "consumer_type": "INSTANCE",
        }
        headers = {"OpenStack-API-Version": "placement 1.38"}
        self.adapter.put(f"/allocations/{server}", json=body, headers=headers)

    def delete(self, guest: Guest) -> None:
        """Delete a server as nova-compute does: first the guest, then its allocations."""
        self.guests.delete(guest)
        self.adapter.delete(f"/allocations/{guest.server.uuid}")


@contextmanager
def compute_host(directory: Path, report: Callable[[str], None] | None = None) -> Iterator[ComputeHost]:
    """Start everything but the agent, and stop it at the end.

    :param directory: of logs and configuration files
    :param report: called with a line if it has to wait for others on this machine
    """
    with (
        hypervisor(directory, report) as running,
        Guests(running) as guests,
        PlacementApi(directory / "placement") as placement,
    ):
        name, topology = read_host(running)
        yield ComputeHost(directory, placement, running, guests, topology, name)
