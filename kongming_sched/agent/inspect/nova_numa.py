# SPDX-License-Identifier: Apache-2.0
"""The lines of nova.conf that lead Nova to the nodes of a claim, and what is wrong with those that are there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from oslo_config import cfg

from kongming_sched.agent.inspect.findings import Finding, Level
from kongming_sched.cpuset import CpuSet
from kongming_sched.nova_numa.markers import marker, node_of_marker
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
    cpu_power_management: bool


def read_options(conf: cfg.ConfigOpts, cpu_dedicated_set: CpuSet) -> NovaNumaOptions:
    """The options in the files of the agent, if nova.conf is one of them.

    :param conf: parsed already
    """
    conf.register_opt(cfg.ListOpt("physnets", default=[]), group="neutron")
    conf.register_opt(cfg.BoolOpt("cpu_power_management", default=False), group="libvirt")
    physnets = tuple(conf.neutron.physnets)
    nodes: dict[str, tuple[int, ...]] = {}
    for name in physnets:
        if node_of_marker(name) is not None:
            group = f"neutron_physnet_{name}"
            conf.register_opt(cfg.ListOpt("numa_nodes", default=[], item_type=cfg.types.Integer()), group=group)
            nodes[name] = tuple(conf[group].numa_nodes)
    return NovaNumaOptions(physnets, nodes, cpu_dedicated_set, bool(conf.libvirt.cpu_power_management))


def findings_of(
    options: NovaNumaOptions, node_ids: Collection[int], dedicated: CpuSet, templates: Sequence[str]
) -> Iterator[Finding]:
    """Of the lines that lead Nova.

    :param node_ids: the host's NUMA nodes
    :param dedicated: the dedicated pool
    :param templates: those that are offered to the host and need the lines
    """
    needed = {marker(node): (node,) for node in node_ids}
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
    if dedicated and options.cpu_dedicated_set == dedicated and options.cpu_power_management:
        fact = "[libvirt] cpu_power_management turns CPUs of the dedicated pool off that Nova takes for unused"
        yield Finding(Level.WARN, _SUBJECT, fact, "set it to false")


def snippet(options: NovaNumaOptions, node_ids: Collection[int], dedicated: CpuSet) -> str:
    """The lines that nova.conf of this host lacks for servers that Nova lays out itself; empty if it lacks none."""
    needed = {marker(node): (node,) for node in sorted(node_ids)}
    lines: list[str] = []
    if any(options.nodes.get(name) != nodes for name, nodes in needed.items()) or options.nodes.keys() - needed:
        others = [name for name in options.physnets if node_of_marker(name) is None]
        lines += ["[neutron]", f"physnets = {','.join([*others, *needed])}"]
        for name, nodes in needed.items():
            lines += [f"[neutron_physnet_{name}]", f"numa_nodes = {nodes[0]}"]
    if dedicated and not options.cpu_dedicated_set:
        lines += ["[compute]", f"cpu_dedicated_set = {dedicated}"]
    if dedicated and options.cpu_power_management:
        lines += ["[libvirt]", "cpu_power_management = false"]
    if not lines:
        return ""
    head = [
        f"# For {_SERVERS} nova.conf of this host needs these lines too;",
        "# that of nova-scheduler needs [workarounds] disable_fallback_pcpu_query = true.",
    ]
    return "\n".join([*head, *lines, ""])
