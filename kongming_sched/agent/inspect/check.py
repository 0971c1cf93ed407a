# SPDX-License-Identifier: Apache-2.0
"""kongming-agent --check: what is right and wrong on this host, before anything is changed. Nothing is."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from oslo_config import cfg

from kongming_sched import exceptions
from kongming_sched.agent.decide.preview import Preview
from kongming_sched.agent.host.kernel import Host
from kongming_sched.agent.host.libvirt_host import LibvirtHypervisor
from kongming_sched.agent.host.noise import read_noise
from kongming_sched.agent.host.read_only import ReadOnly
from kongming_sched.agent.inspect import disturbances, findings, host_findings, nova_numa
from kongming_sched.agent.inspect.cloud_findings import of_guests, of_provider, of_templates
from kongming_sched.agent.inspect.findings import Finding, Level
from kongming_sched.agent.inspect.prompt import PromptHypervisor
from kongming_sched.agent.inspect.site import Site
from kongming_sched.agent.ipc.hook_file import DIRECTORY, HookFile
from kongming_sched.agent.own_directory import SOCKET_NAME, OwnDirectory
from kongming_sched.agent.settings import Settings, nova_adapter, parse_settings, placement_adapter
from kongming_sched.agent.telemetry.metrics_server import read_token
from kongming_sched.agent.triggers.base import TriggerContext, Triggers
from kongming_sched.conf import agent as agent_conf
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.pools import NO_HUGE_PAGES
from kongming_sched.topology import HostTopology

_PROBE_SECONDS = 1.0

_PATIENCE_SECONDS = 15.0
"""How long to wait for Keystone and Placement where ``[placement] timeout`` does not say; else it would be for ever."""


def check(conf: cfg.ConfigOpts, stream: TextIO = sys.stdout) -> int:
    """Check the host, and print what was found; 1 if the agent cannot work here, else 0."""
    logging.getLogger().addHandler(logging.NullHandler())  # what libraries warn of is found anyway, in other words
    checkup = Checkup(conf)
    found = checkup.run()
    if conf.brief:
        stream.write(findings.for_systemd(found))
    else:
        is_terminal = stream.isatty()
        width = shutil.get_terminal_size().columns if is_terminal else None
        stream.write(findings.for_people(found, width, colour=is_terminal and not os.environ.get("NO_COLOR")))
        if checkup.snippet:
            stream.write(f"\n{checkup.snippet}")
    return 0 if findings.is_well(found) else 1


class Checkup:
    """Checks the host part by part. A part that needs what an earlier one did not get is left out.

    :param conf: parsed options
    :param hooks: libvirt's directory of hooks
    :param patience_seconds: how long to wait for an answer over the network
    :param root: of the file system in which the kernel shows its interrupts and CPUs
    :ivar snippet: lines that nova.conf lacks for servers that Nova lays out on NUMA nodes
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        hooks: Path = DIRECTORY,
        patience_seconds: float = _PATIENCE_SECONDS,
        root: Path = Path("/"),
    ) -> None:
        self._conf = conf
        conf.set_default("timeout", patience_seconds, group=agent_conf.PLACEMENT)
        self._hooks = hooks
        self._root = root
        self._kernel = Host()
        self._settings: Settings | None = None
        self._hypervisor: LibvirtHypervisor | None = None
        self._topology: HostTopology | None = None
        self._huge_pages = NO_HUGE_PAGES
        self._site: Site | None = None
        self._preview: Preview | None = None
        self._is_served = False
        self.snippet = ""

    def run(self) -> list[Finding]:
        """Everything that was found, in the order in which an operator sets a host up."""
        parts = (
            self._configuration,
            self._libvirt,
            self._pools,
            self._controllers,
            self._noise,
            self._run_directory,
            self._hook,
            self._metrics,
            self._token,
            self._placement,
            self._nova_numa,
            self._guests,
        )
        found = [finding for part in parts for finding in part()]
        if self._hypervisor is not None:
            self._hypervisor.close()
        return found

    def _configuration(self) -> Iterator[Finding]:
        files = list(map(str, self._conf.config_file or ()))
        if not files:
            yield Finding(
                Level.ERROR,
                "configuration",
                "there is no configuration file",
                "name nova.conf and the agent's own: --config-file /etc/nova/nova.conf --config-file"
                " /etc/kongming/kongming-agent.conf",
            )
        try:
            self._settings = parse_settings(self._conf)
        except (exceptions.ConfigurationError, cfg.Error) as error:
            yield Finding(Level.ERROR, "configuration", str(error))
            return
        if files:
            yield Finding(Level.OK, "configuration", f"read from {' and '.join(files)}")
        yield from self._triggers(self._settings)

    def _triggers(self, settings: Settings) -> Iterator[Finding]:
        try:
            ask = (lambda _server: None) if nova_adapter(self._conf) else None
            context = TriggerContext(self._conf, settings.host or "", lambda: None, ask=ask)
            Triggers(settings.triggers, context).check()
        except exceptions.ConfigurationError as error:
            yield Finding(Level.ERROR, "configuration", str(error))

    def _libvirt(self) -> Iterator[Finding]:
        uri = str(self._conf.kongming_agent.libvirt_uri)
        hypervisor = LibvirtHypervisor(uri)
        try:
            yield host_findings.of_version(hypervisor.version())
            self._hypervisor = hypervisor
            self._topology = hypervisor.topology()
            self._huge_pages = self._kernel.huge_pages()
            yield from host_findings.of_topology(self._topology)
        except exceptions.HypervisorError as error:
            remedy = f"see that it runs (systemctl status libvirtd virtqemud) and that 'virsh -c {uri} list' works"
            yield Finding(Level.ERROR, "libvirt", str(error), remedy)
        except exceptions.InvalidTopology as error:
            yield Finding(Level.ERROR, "topology", str(error), "compare 'virsh capabilities' with 'lscpu -e'")

    def _pools(self) -> Iterator[Finding]:
        settings, topology = self._settings, self._topology
        if settings is None:
            return
        if topology is not None:
            cpus = settings.unchecked_cpus(topology, self._huge_pages)
            found = list(host_findings.of_pools(cpus))
            yield from found
            yield from host_findings.of_huge_pages(cpus)
            if self._hypervisor is not None and findings.is_well(found):
                prompt = PromptHypervisor(self._hypervisor, self._kernel)
                self._site = Site(self._conf, settings, prompt, self._kernel, cpus)
        yield from host_findings.of_nova(settings, topology)

    def _controllers(self) -> Iterator[Finding]:
        yield from host_findings.of_controllers(self._kernel.controllers())

    def _noise(self) -> Iterator[Finding]:
        if self._settings is None or self._topology is None:
            return
        cpus = self._settings.unchecked_cpus(self._topology)
        noise = read_noise(cpus.pools.dedicated & self._topology.cpus, self._root)
        found = [item.finding() for item in disturbances.of_host(noise, cpus)]
        if self._settings.move_irqs:
            found += [item.finding() for item in disturbances.of_irqbalance(noise, cpus.pools.dedicated)]
        yield from found
        if cpus.pools.dedicated and not found:
            fact = "neither isolcpus, interrupts, governor nor idle states disturb the dedicated pool"
            yield Finding(Level.OK, "quiet CPUs", fact)

    def _run_directory(self) -> Iterator[Finding]:
        if self._settings is None:
            return
        directory = self._settings.run_directory
        path = directory / SOCKET_NAME
        self._is_served = _is_listening(socket.AF_UNIX, str(path))
        try:
            OwnDirectory(directory).check()
        except (exceptions.ConfigurationError, OSError) as error:  # the first says what to do
            yield Finding(Level.ERROR, "run directory", str(error))
            return
        if self._is_served:
            yield Finding(Level.OK, "agent", f"runs, and listens at {path}")
        else:
            yield Finding(Level.OK, "agent", f"does not run yet; it will listen at {path}")

    def _hook(self) -> Iterator[Finding]:
        if self._settings is None:
            return
        settings = self._settings
        file = HookFile(
            self._hooks,
            settings.run_directory / SOCKET_NAME,
            refuses_starts=settings.refuse_starts_without_agent,
        )
        yield host_findings.of_hook(str(file.path), file.state(), file.others())

    def _metrics(self) -> Iterator[Finding]:
        settings = self._settings
        if settings is None or self._is_served or not settings.metrics_port:
            return
        place = (settings.metrics_address, settings.metrics_port)
        if _is_listening(socket.AF_INET6 if ":" in place[0] else socket.AF_INET, place):
            yield Finding(
                Level.WARN,
                "metrics",
                f"another program listens at {place[0]}:{place[1]}, so that Prometheus would not find the agent",
                "set [kongming_agent] metrics_port to a port that is free, or to 0 for no metrics",
            )

    def _token(self) -> Iterator[Finding]:
        if self._settings is None or not self._settings.metrics_port:
            return
        try:
            read_token(self._settings.metrics_token_file)
        except exceptions.ConfigurationError as error:
            remedy = "write the token there, which only root and Prometheus should be able to read"
            yield Finding(Level.WARN, "metrics", f"they are not served: {error}", remedy)

    def _placement(self) -> Iterator[Finding]:
        try:
            client = PlacementClient(ReadOnly(placement_adapter(self._conf)))
            name = self._name()
            if name is None:
                client.template_providers()
                yield Finding(Level.OK, "Placement", "answers")
                return
            root, _, states = NodeRegistry(client, name, self._machine()).observe()
            yield of_provider(root, states)
            if self._site is not None:
                self._preview = self._site.preview()
                yield from of_templates(self._preview)
        except (
            exceptions.ConfigurationError,
            exceptions.ProviderNotFound,
            exceptions.AnotherMachine,
        ) as error:  # which say what to do
            yield Finding(Level.ERROR, "Placement", str(error))
        except exceptions.PlacementError as error:
            remedy = "see that [placement] of the files above leads to a Placement that answers this host"
            yield Finding(Level.ERROR, "Placement", str(error), remedy)
        except (exceptions.HypervisorError, PermissionError) as error:
            yield Finding(Level.ERROR, "servers", f"cannot be looked at: {error}", "run this as root")

    def _nova_numa(self) -> Iterator[Finding]:
        if self._site is None:
            return
        settings = self._site.settings
        cpus = self._site.cpus
        try:
            options = nova_numa.read_options(self._conf, settings)
        except (ValueError, cfg.Error) as error:
            yield Finding(Level.ERROR, "nova.conf", str(error))
            return
        templates = self._preview.templates if self._preview else {}
        needing = sorted(name for name, template in templates.items() if template.needs_nova_numa)
        yield from nova_numa.findings_of(options, cpus, needing)
        if needing or options.nodes:  # other hosts need no line
            self.snippet = nova_numa.snippet(options, cpus)

    def _machine(self) -> str:
        """The mark of this machine; empty if libvirt does not answer, which another part says."""
        return "" if self._hypervisor is None else self._hypervisor.machine_mark()

    def _guests(self) -> Iterator[Finding]:
        if (site := self._site) is None:
            return
        try:
            running = site.running()
            slow = site.hypervisor.slow_guests()
            yield from of_guests(running, self._preview, site.settings, site.cpus.pools, slow)
        except (exceptions.HypervisorError, PermissionError) as error:
            yield Finding(Level.ERROR, "servers", f"cannot be looked at: {error}", "run this as root")

    def _name(self) -> str | None:
        """The name of the compute node's provider, if that is known."""
        if host := self._conf.kongming_agent.host:
            return str(host)
        return None if self._hypervisor is None else self._hypervisor.host_name()


def _is_listening(family: int, address: str | Sequence[object]) -> bool:
    """Whether a program takes connections there."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        return probe.connect_ex(address) == 0  # type: ignore[arg-type]  # a path, or a host and a port
