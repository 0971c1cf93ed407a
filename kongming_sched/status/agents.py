# SPDX-License-Identifier: Apache-2.0
"""Agents that do not run, or do not do their work. Pure.

Each agent gives a sign of life once an hour, in Placement. One that is dead, or that reaches Placement or libvirt no
more, gives none. Sooner Placement shows what a running agent would have corrected within its interval: a node that
offers a template which does not exist any more, or that does not offer a template for which it has room. And it shows
hosts whose agent has never registered a node.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from kongming_sched.cloud.nodes import Node
from kongming_sched.cloud.signs import Sign
from kongming_sched.placement import names
from kongming_sched.placement.client import Provider
from kongming_sched.placement.flavor import memory_class
from kongming_sched.placement.offers.cores import takes_whole_cores
from kongming_sched.placement.templates import TemplateList
from kongming_sched.status.verdict import Problem, Verdict, warning
from kongming_sched.template import CachePolicy, PinningTemplate, ThreadPolicy
from kongming_sched.texts.counted import count, first

_REMEDY = (
    "if that lasts longer than the agent's interval (30 s), check kongming-agent on the host with 'systemctl status"
    " kongming-agent', and whether everything was released there ('kongming-host release --all')"
)


LATE_MINUTES = 3 * names.AGENT_SEEN_EVERY_MINUTES
"""A sign that is older is missed; two may be lost by a Placement that is away."""

_RESTART = "check kongming-agent there with 'systemctl status kongming-agent'"


@dataclass(frozen=True, slots=True)
class Seen:
    """When agents were seen.

    :ivar signs: the last sign of each agent, by host
    :ivar now: in minutes since 1970
    """

    signs: Mapping[str, Sign]
    now: int

    def hours(self, host: str) -> int:
        """How long ago an agent was seen, in whole hours."""
        return (self.now - self.signs[host].minute) // 60


def of_agents(
    nodes: Collection[Node],
    compute_nodes: Collection[Provider],
    templates: TemplateList,
    members: Mapping[str, frozenset[str]],
    seen: Seen,
) -> Verdict:
    """The check of hosts whose agent has not been seen, or has not done what a running one would have done.

    :param members: template to the hosts that its aggregates hold; only of templates that have aggregates
    """
    silent = {node.host_uuid: node.host for node in nodes}
    bare = {provider.uuid: provider.name for provider in compute_nodes if provider.uuid not in silent}
    in_use = sorted({node.host for node in nodes if node.templates or any(node.summary.used.values())})
    problems = [*_of_unseen(in_use, seen), *_of_bare_hosts(bare, members)]
    problems += _of_left_signs(seen.signs, {*silent.values(), *(provider.name for provider in compute_nodes)})
    for host, group in groupby(sorted(nodes, key=lambda node: (node.host, node.id)), lambda node: node.host):
        if reason := _left_undone(list(group), templates, members):
            problems.append(warning(f"the agent of {host} does not seem to run: {reason}", _REMEDY))
    fine = f"the agents of {count(len(in_use), 'host')} were seen in the last {LATE_MINUTES // 60} hours"
    if bare:
        fine += f"; no agent has registered {first(sorted(bare.values()))}"
    return Verdict.of(fine, problems)


def _of_unseen(hosts: Sequence[str], seen: Seen) -> Iterable[Problem]:
    """Hosts that offer templates, or have servers of them, and whose agent gives no sign."""
    never = [host for host in hosts if host not in seen.signs]
    if never:
        fact = f"the agent of {first(never)} has never been seen: it does not run, or is of an older release"
        yield warning(fact, f"{_RESTART}; a running one is seen after its first pass")
    late = [host for host in hosts if host in seen.signs and seen.now - seen.signs[host].minute > LATE_MINUTES]
    if late:
        words = [f"{host} ({seen.hours(host)} h)" for host in sorted(late, key=seen.hours, reverse=True)]
        yield warning(f"the agent has not been seen for hours on {first(words)}", _RESTART)


def _of_left_signs(signs: Mapping[str, Sign], hosts: Collection[str]) -> Iterable[Problem]:
    """Signs of hosts that are gone."""
    gone = sorted(signs.keys() - hosts)
    if gone:
        remedy = f"openstack resource provider delete {' '.join(signs[host].uuid for host in gone)}"
        yield warning(f"Placement holds signs of the agents of hosts that are gone: {first(gone)}", remedy)


def _of_bare_hosts(bare: Mapping[str, str], members: Mapping[str, frozenset[str]]) -> Iterable[Problem]:
    """Compute nodes that have no NUMA node registered, although a template's aggregates hold them."""
    for template, uuids in sorted(members.items()):
        if missing := sorted(name for uuid, name in bare.items() if uuid in uuids):
            fact = f"template {template!r} is offered to {first(missing)}, where no agent has registered a NUMA node"
            yield warning(fact, "start kongming-agent there; 'kongming-agent --check' names the obstacles")


def _left_undone(nodes: list[Node], templates: TemplateList, members: Mapping[str, frozenset[str]]) -> str:
    """The first thing that a running agent would have changed of a host's nodes; empty if there is none."""
    unreadable = {broken.name for broken in templates.broken}
    for node in nodes:
        for name in node.templates:
            if name not in templates.templates and name not in unreadable:
                return f"node {node.id} offers template {name!r}, which is not there any more"
            if name in members and node.host_uuid not in members[name]:
                return f"node {node.id} offers template {name!r}, whose aggregates do not hold this host"
    for name, stored in sorted(templates.templates.items()):
        if name in members and nodes[0].host_uuid not in members[name]:
            continue
        if not any(name in node.templates for node in nodes) and _could_offer(stored.template, nodes, templates):
            return f"it does not offer template {name!r}, for which it has room"
    return ""


def _could_offer(template: PinningTemplate, nodes: list[Node], templates: TemplateList) -> bool:
    """Whether a host's node can certainly honour a template, by what Placement shows of it.

    That is known only for templates with one dedicated cell: Placement shows neither which explicit CPUs a host has nor
    the size of its shared pool. Nor does it show how many of the CPUs are on whole cores, before some are offered, or
    in one last-level cache, and whether nova.conf leads Nova to the nodes.
    """
    if len(template.cells) != 1 or template.needs_nova_numa:
        return False
    if template.cells[0].dedicated_vcpus != template.cells[0].vcpus:
        return False
    if template.cells[0].caches is CachePolicy.ONE:
        return False
    enabled = [node for node in nodes if not node.is_disabled]
    if takes_whole_cores(template):
        enabled = [node for node in enabled if _counts_whole_cores(node, templates)]
    return any(_is_room(template, node) for node in enabled)


def _counts_whole_cores(node: Node, templates: TemplateList) -> bool:
    known = (templates.templates.get(name) for name in node.templates)
    return any(takes_whole_cores(stored.template) for stored in known if stored)


def _is_room(template: PinningTemplate, node: Node) -> bool:
    cell = template.cells[0]
    if node.threads_per_core is None or cell.node not in (None, node.id):
        return False
    if cell.threads is ThreadPolicy.REQUIRE and node.threads_per_core < 2:
        return False
    if (name := memory_class(cell)) and node.summary.capacity.get(name, 0) < 1:
        return False
    return template.dedicated_cpus(0, node.threads_per_core) <= node.summary.capacity.get(names.PCPU, 0)
