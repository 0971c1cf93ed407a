# SPDX-License-Identifier: Apache-2.0
"""kongming-host: shows this host's CPUs and guests. Needs libvirt, but not Placement."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from cliff.app import App
from cliff.commandmanager import CommandManager
from cliff.lister import Lister
from oslo_config import cfg

from kongming_sched import exceptions
from kongming_sched.agent.guest import Domain, Identity, Threads, identify
from kongming_sched.agent.host import Host
from kongming_sched.agent.hypervisor import LibvirtHypervisor
from kongming_sched.agent.settings import read_settings
from kongming_sched.conf import agent as agent_conf
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.tree import HostPools
from kongming_sched.topology import HostTopology

Running = list[tuple[Domain, Identity, Threads]]


class Map(Lister):
    """Show the host's CPUs: node, core, pool, and which vCPUs the kernel lets run there.

    Example: kongming-host map --config-file /etc/nova/nova.conf --config-file /etc/kongming/kongming-agent.conf
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the agent's configuration files."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "--config-file",
            metavar="PATH",
            action="append",
            help="Configuration file of the agent (may be given several times; by default those that the agent finds)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Read everything, and give a line per CPU."""
        conf = cfg.ConfigOpts()
        agent_conf.register_opts(conf)
        conf([], project="kongming", prog="kongming-agent", default_config_files=parsed_args.config_file)
        settings = read_settings(conf)
        hypervisor = LibvirtHypervisor(settings.libvirt_uri)
        topology = hypervisor.topology()
        pools = settings.pools(topology)
        running: Running = []
        for domain in hypervisor.domains():
            try:
                running.append((domain, identify(domain), Host().threads(domain)))
            except exceptions.GuestGone:
                continue
        columns = ("Node", "Core", "CPU", "Pool", "Runs")
        return columns, list(_rows(topology, pools, running))


def _rows(topology: HostTopology, pools: HostPools, running: Running) -> Iterator[tuple[object, ...]]:
    for node in topology.nodes:
        for number, core in enumerate(node.cores):
            for cpu in core.cpus:
                yield node.id, number, cpu, _pool(cpu, pools), ", ".join(_who(cpu, topology, running)) or "-"


def _pool(cpu: int, pools: HostPools) -> str:
    kinds = {"dedicated": pools.dedicated, "shared": pools.shared, "housekeeping": pools.housekeeping}
    return "+".join(name for name, cpus in kinds.items() if cpu in cpus) or "-"


def _who(cpu: int, topology: HostTopology, running: Running) -> Iterator[str]:
    """The guests that the kernel lets run on a CPU; one that may run anywhere says so."""
    for _, identity, threads in running:
        vcpus = CpuSet.of(vcpu for vcpu, cpus in threads.vcpus.items() if cpu in cpus)
        parts = [f"vCPU {vcpus}"] if vcpus else []
        if cpu in threads.emulator:
            parts.append("emulator")
        floating = all(topology.cpus <= cpus for cpus in threads.vcpus.values())
        if parts:
            yield f"{identity.server} ({' and '.join(parts)}{', not pinned' if vcpus and floating else ''})"


class HostApp(App):
    """The command kongming-host."""

    def __init__(self) -> None:
        super().__init__(
            description="What the KongMing agent sees on this host.",
            version="",
            command_manager=CommandManager("kongming_sched.host"),
            deferred_help=True,
        )


def main(args: list[str] | None = None) -> int:
    """Run a command; 0 if it succeeded, 1 if it failed, 2 for wrong usage."""
    return int(HostApp().run(sys.argv[1:] if args is None else args))
