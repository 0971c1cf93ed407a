# SPDX-License-Identifier: Apache-2.0
"""All parts of a one-host cloud together, as far as they run on one machine without OpenStack's other services."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kongming_sched.placement import names
from kongming_sched.topology import HostTopology
from testbed.lab.cloud import environment, write_clouds_yaml
from testbed.lab.demo_setup import Pools
from testbed.lab.guests import Guests
from testbed.lab.hypervisor import URI, Hypervisor, hypervisor, read_host
from testbed.lab.nova_api import NovaApi, placement_section
from testbed.lab.placement_api import PlacementApi
from testbed.lab.process import ChildProcess
from testbed.lab.scheduler import Scheduler

_AGENT = """\
[DEFAULT]
use_stderr = True
[kongming_agent]
dedicated_cpu_set = {dedicated}
shared_cpu_set = {shared}
reserved_memory_mb = 0
libvirt_uri = {uri}
interval_seconds = 2
run_directory = {directory}/run
lock_name = {directory}
history_file = {directory}/history.jsonl
"""


@dataclass(frozen=True)
class Lab:
    """Everything that runs but the agent.

    :ivar host: the name under which Nova and Placement know this machine
    :ivar root_uuid: its provider in Placement
    """

    directory: Path
    placement: PlacementApi
    nova: NovaApi
    scheduler: Scheduler
    hypervisor: Hypervisor
    topology: HostTopology
    guests: Guests
    host: str
    root_uuid: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def clouds_yaml(self) -> Path:
        """The file that names the cloud."""
        return self.directory / "clouds.yaml"

    @property
    def agent_conf(self) -> Path:
        """The agent's configuration file."""
        return self.directory / "kongming-agent.conf"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the ``openstack`` command wants."""
        return environment(self.clouds_yaml)

    def node_uuid(self, node_id: int) -> str:
        """The provider of one of the machine's NUMA nodes."""
        return names.node_uuid(self.root_uuid, node_id)

    def agent(self, pools: Pools) -> ChildProcess:
        """The agent of this host, not yet started."""
        options = _AGENT.format(dedicated=pools.dedicated, shared=pools.shared, uri=URI, directory=self.directory)
        self.agent_conf.write_text(options + placement_section(self.placement.endpoint))
        program = Path(sys.executable).with_name("kongming-agent")
        return ChildProcess("kongming-agent", [program, "--config-file", self.agent_conf], self.directory)


def _ignore(_text: str) -> None:
    """Takes lines that are not wanted."""


@contextmanager
def lab(directory: Path, report: Callable[[str], None] = _ignore) -> Iterator[Lab]:
    """Start everything but the agent, and stop it at the end.

    :param report: called with a line whenever a part stands
    """
    with ExitStack() as stack:
        virtualization = stack.enter_context(hypervisor(directory, report))
        report(f"libvirtd at {URI}, {'our own' if virtualization.is_own else 'which runs here already'}")
        guests = stack.enter_context(Guests(virtualization))
        with ThreadPoolExecutor(1) as aside:  # libvirt's first probe of QEMU takes some seconds
            reading = aside.submit(read_host, virtualization)
            placement = stack.enter_context(PlacementApi(directory / "placement"))
            report(f"Placement at {placement.endpoint}")
            nova = stack.enter_context(NovaApi(directory / "nova", placement.endpoint))
            report(f"Nova's API at {nova.endpoint}")
            scheduler = stack.enter_context(Scheduler(directory / "nova"))
            report("Nova's scheduler with KongMing's filters and weighers")
            host, topology = reading.result()
        running = Lab(directory, placement, nova, scheduler, virtualization, topology, guests, host)
        write_clouds_yaml(running.clouds_yaml, placement.endpoint, nova.endpoint)
        memory_mb = sum(node.memory_mb for node in topology.nodes)
        scheduler.register_host(host, running.root_uuid, len(topology.cpus), memory_mb)
        report(f"host {host}, registered as its nova-compute would")
        yield running
