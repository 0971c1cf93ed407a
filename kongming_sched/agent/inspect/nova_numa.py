# SPDX-License-Identifier: Apache-2.0
"""The lines of nova.conf that lead Nova to the nodes of a claim, and what is wrong with those that are there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from oslo_config import cfg

from kongming_sched.agent.inspect.findings import Finding, Level
from kongming_sched.agent.settings import Settings
from kongming_sched.conf import nova_markers
from kongming_sched.cpuset import CpuSet
from kongming_sched.nova_numa.markers import marker_lines, markers_of
from kongming_sched.pools import HostCpus
from kongming_sched.texts.counted import first

_SUBJECT = "nova.conf"
_SERVERS = "servers with pages or guest_numa: visible"


@dataclass(frozen=True, slots=True)
class NovaNumaOptions:
    """What nova-compute reads about NUMA nodes.

    :ivar physnets: all physical networks that have options of their own
    :ivar nodes: marker to the nodes that it is near
    """

    physnets: tuple[str, ...]
    nodes: Mapping[str, tuple[int, ...]]
    cpu_dedicated_set: CpuSet
    cpu_shared_set: CpuSet
    cpu_power_management: bool


def read_options(conf: cfg.ConfigOpts, settings: Settings) -> NovaNumaOptions:
    """The options in the files of the agent, if nova.conf is one of them.

    :param conf: parsed already
    :param settings: of the same files
    """
    nodes = nova_markers.read_markers(conf)
    conf.register_opt(cfg.BoolOpt("cpu_power_management", default=False), group="libvirt")
    return NovaNumaOptions(
        tuple(conf.neutron.physnets),
        nodes,
        settings.nova_dedicated,
        settings.nova_shared,
        bool(conf.libvirt.cpu_power_management),
    )


def findings_of(options: NovaNumaOptions, cpus: HostCpus, templates: Sequence[str]) -> Iterator[Finding]:
    """Of the lines that lead Nova.

    :param templates: those that are offered to the host and need the lines
    """
    needed = _markers(cpus)
    for name in sorted(options.nodes.keys() - needed):
        fact = f"[neutron] physnets names {name}, and the host has no such node: nova-compute does not start"
        yield Finding(Level.WARN, _SUBJECT, fact, f"take {name} out, in the file that is read last")
    wrong = sorted(name for name in needed if options.nodes.get(name) != needed[name])
    if wrong and (templates or options.nodes):
        fact = f"lacks {first(wrong)}, so that no {_SERVERS} come here"
        if templates:
            fact += f", as those of template {first(list(templates))}"
        yield Finding(
            Level.WARN, _SUBJECT, fact, "add the lines that this check prints at its end, and restart nova-compute"
        )
    elif not wrong:
        yield Finding(Level.OK, _SUBJECT, f"leads Nova to the nodes of {_SERVERS}")
    dedicated = cpus.pools.dedicated
    if dedicated and options.cpu_dedicated_set == dedicated and options.cpu_power_management:
        fact = "[libvirt] cpu_power_management turns CPUs of the dedicated pool off that Nova takes for unused"
        yield Finding(Level.WARN, _SUBJECT, fact, "set it to false")


def snippet(options: NovaNumaOptions, cpus: HostCpus) -> str:
    """The lines that nova.conf of this host lacks for servers that Nova lays out itself; empty if it lacks none."""
    lines: list[str] = []
    markers = _markers(cpus)
    if options.nodes != markers:
        lines += marker_lines(markers, options.physnets)
    if not options.cpu_dedicated_set:
        lines += _pool_lines(options, cpus)
    lines += _power_lines(options, cpus)
    if not lines:
        return ""
    head = [
        f"# For {_SERVERS} nova.conf of this host needs these lines too;",
        "# that of nova-scheduler needs [workarounds] disable_fallback_pcpu_query = true.",
    ]
    return "\n".join([*head, *lines, ""])


def further_file(options: NovaNumaOptions, cpus: HostCpus) -> str:
    """All lines for servers that Nova lays out itself, for a file that nova-compute reads after its others.

    :param options: of the files that nova-compute reads before it
    """
    head = f"# For {_SERVERS}; printed by kongming-agent --nova-conf."
    lines = [*marker_lines(_markers(cpus), options.physnets), *_pool_lines(options, cpus), *_power_lines(options, cpus)]
    return "\n".join([head, *lines, ""])


def _markers(cpus: HostCpus) -> dict[str, tuple[int, ...]]:
    return markers_of([node.id for node in cpus.topology.nodes])


def _pool_lines(options: NovaNumaOptions, cpus: HostCpus) -> list[str]:
    """The pool as Nova's own set, unless Nova has another one, beside which such servers float.

    Where Nova has a set for servers that it pins and none for others, it takes none of the others, and does not start
    where one is.
    """
    dedicated = cpus.pools.dedicated
    if not dedicated or options.cpu_dedicated_set not in (CpuSet(), dedicated):
        return []
    lines = ["[compute]", f"cpu_dedicated_set = {dedicated}"]
    left = cpus.topology.cpus - dedicated - cpus.pools.shared
    if left and not options.cpu_shared_set:
        lines.append(f"cpu_shared_set = {left}")
    return lines


def _power_lines(options: NovaNumaOptions, cpus: HostCpus) -> list[str]:
    if not cpus.pools.dedicated or not options.cpu_power_management:
        return []
    return ["[libvirt]", "cpu_power_management = false"]
