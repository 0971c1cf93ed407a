# SPDX-License-Identifier: Apache-2.0
"""The emulated host as the proof uses it: its libvirt, the guests on it, the claims for them, and the agent."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import combinations
from pathlib import Path

from kongming_sched.nova_numa.markers import marker_lines, markers_of
from testbed.lab.hypervisor import URI, Connection, hypervisor
from testbed.lab.nova_api import placement_section
from testbed.lab.placement_api import PlacementApi
from testbed.lab.process import ChildProcess
from testbed.lab.screen import Screen
from testbed.numa_host import kernel_view, machine
from testbed.numa_host.cloud import Cloud
from testbed.numa_host.image import PARCEL
from testbed.numa_host.kernel_view import Affinity
from testbed.numa_host.proof_setup import DEDICATED, HOUSEKEEPING, SERVERS, TEMPLATES, UNIT

PATIENCE_SECONDS = 240
"""How long anything may take: an emulated machine now and then stalls for a minute or two."""

_AGENT = f"""\
[DEFAULT]
use_stderr = True
[kongming_agent]
dedicated_cpu_set = {DEDICATED}
housekeeping_cpu_set = {HOUSEKEEPING}
reserved_memory_mb = 256
libvirt_uri = {URI}
interval_seconds = 2
"""


def within_capabilities(unit: str) -> list[str]:
    """The words that start a program with no more of root's capabilities than a unit leaves to it."""
    allowed = next(line for line in unit.splitlines() if line.startswith("CapabilityBoundingSet=")).partition("=")[2]
    words = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in allowed.split())])
    return ["setpriv", f"--bounding-set={words}", "--no-new-privs", "--"]


class NumaHost:
    """A host with an agent.

    :param configuration: the agent's file
    :ivar running: the names of the servers that run
    """

    def __init__(
        self, connection: Connection, cloud: Cloud, screen: Screen, agent: ChildProcess, configuration: Path
    ) -> None:
        self._connection = connection
        self._agent = agent
        self._configuration = configuration
        self.cloud = cloud
        self.screen = screen
        self.running: list[str] = []

    def boot(self, *names: str) -> None:
        """Claim for servers, and start their guests, all at once: most of that is QEMU's."""
        for name in names:
            server = SERVERS[name]
            self.cloud.claim(server, server.nodes)
            where = " and ".join(f"node {node}" for node in server.nodes)
            self.screen.say(f"{name}, template {server.template}, claims of {where} and is started")
        with ThreadPoolExecutor() as at_once:
            list(at_once.map(self._start, names))
        self.running += names

    def _start(self, name: str) -> None:
        self._connection.defineXML((PARCEL / "domains" / f"{name}.xml").read_text()).create()

    def delete(self, *names: str) -> None:
        """Stop guests, and give back what their servers have."""
        with ThreadPoolExecutor() as at_once:
            list(at_once.map(self._stop, names))
        for name in names:
            self.cloud.release(SERVERS[name])
            self.running.remove(name)
        self.screen.say(f"{', '.join(names)}: deleted")

    def _stop(self, name: str) -> None:
        domain = self._connection.lookupByName(name)
        domain.destroy()
        domain.undefine()

    @contextmanager
    def agent_paused(self) -> Iterator[None]:
        """Let the agent do nothing for a while."""
        self._agent.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self._agent.send(signal.SIGCONT)

    def move(self, name: str, node: int) -> None:
        """Have the agent move a server, as an operator does."""
        program = PARCEL / "site/bin/kongming-host"
        self.screen.run("python3", program, "move", name, "--node", str(node), "--config-file", self._configuration)

    def xml(self, name: str) -> str:
        """A guest's live XML."""
        return str(self._connection.lookupByName(name).XMLDesc())

    def affinity(self, name: str) -> Affinity:
        """Where a guest's threads may run."""
        return kernel_view.affinity(self.pid(name))

    def pid(self, name: str) -> int:
        """A guest's QEMU process."""
        return int(Path(f"/run/libvirt/qemu/{name}.pid").read_text())

    def shared_cpus(self) -> list[str]:
        """Pairs of running servers whose vCPUs have a CPU of the dedicated pool in common."""
        on = {name: self.affinity(name).cpus & DEDICATED for name in self.running}
        return [f"{one} and {two} on {on[one] & on[two]}" for one, two in combinations(on, 2) if on[one] & on[two]]


@contextmanager
def numa_host(directory: Path, screen: Screen) -> Iterator[tuple[NumaHost, ChildProcess]]:
    """Start libvirt, Placement with every template, and the agent; stop them at the end."""
    with ThreadPoolExecutor(1) as aside, ExitStack() as stack:
        starting = aside.submit(stack.enter_context, PlacementApi(directory / "placement"))
        virtualization = stack.enter_context(hypervisor(directory))
        connection = virtualization.connect()
        stack.callback(connection.close)
        connection.getCapabilities()  # probes QEMU, which takes long, and remembers it for the agent
        placement = starting.result()
        screen.say(f"libvirtd and Placement answer; control groups: {', '.join(sorted(virtualization.controllers))}")
        cloud = Cloud(placement.endpoint)
        cloud.register_host(connection.getHostname(), 3072)
        for template in TEMPLATES.values():
            if not template.host_cpus:
                cloud.templates.create(template)
        configuration = directory / "kongming-agent.conf"
        configuration.write_text(
            "\n".join([_AGENT, *marker_lines(markers_of(machine.NODES)), placement_section(placement.endpoint)])
        )
        command: list[str | Path] = ["python3", PARCEL / "site/bin/kongming-agent", "--config-file", configuration]
        bounds = within_capabilities((PARCEL / UNIT).read_text())
        with ChildProcess("kongming-agent", [*bounds, *command], directory) as agent:
            yield NumaHost(connection, cloud, screen, agent, configuration), agent
