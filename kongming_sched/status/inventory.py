# SPDX-License-Identifier: Apache-2.0
"""Checks of Placement's and Nova's data against each other. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from kongming_sched.cloud.compute import Flavor, Hypervisor
from kongming_sched.cloud.flaws import find_flaw, is_ours
from kongming_sched.cloud.nodes import Node, node_host
from kongming_sched.placement.client import Provider
from kongming_sched.placement.overrides import choices_of_qos
from kongming_sched.placement.templates import TemplateList
from kongming_sched.status.verdict import Verdict, failure, warning
from kongming_sched.texts.counted import count, first


def of_gone_hosts(providers: Iterable[Provider], hypervisors: Collection[Hypervisor]) -> Verdict:
    """The check of node providers whose compute node Nova does not know."""
    known = {hypervisor.id: hypervisor.name for hypervisor in hypervisors}
    left: dict[str, list[Provider]] = {}
    for provider in providers:
        if provider.root_uuid not in known:
            left.setdefault(provider.root_uuid, []).append(provider)
    problems = []
    for root, nodes in sorted(left.items(), key=lambda item: item[1][0].name):
        fact = f"{first(sorted(node.name for node in nodes))}: Nova has no compute node {root}"
        now = sorted(uuid for uuid, name in known.items() if name == node_host(nodes[0].name))
        fact += f", and has {now[0]} of that name" if now else ""
        remedy = f"if its cell is not only down: openstack kongming host delete {root}"
        problems.append(warning(fact, remedy))
    return Verdict.of("Nova has the compute node of each NUMA node", problems)


def of_templates(templates: TemplateList, nodes: Collection[Node]) -> Verdict:
    """The check of templates that cannot be read, or that no node offers."""
    problems = [
        failure(str(broken), f"openstack kongming template set {broken.name} --file FILE")
        for broken in templates.broken
    ]
    offered = {template for node in nodes for template in node.templates}
    unused = sorted(templates.templates.keys() - offered)
    if unused and not nodes:
        fact = f"no NUMA node takes servers, so that no template is offered: {first(unused)}"
        problems.append(warning(fact, "start kongming-agent on the compute nodes; 'kongming-agent --check' helps"))
    elif unused:
        fact = f"no NUMA node offers {first(unused)}"
        remedy = (
            "'kongming-agent --check' on a host says why not there; change the template or the hosts, or 'openstack"
            f" kongming template delete {unused[0]}'"
        )
        problems.append(warning(fact, remedy))
    return Verdict.of(f"{count(len(templates.templates), 'template')}, each offered by some NUMA node", problems)


def of_open_templates(templates: TemplateList) -> Verdict:
    """The check of templates that let their servers choose other QoS, which the operator may not have meant."""
    stored = [item.template for item in templates.templates.values()]
    problems = [
        warning(
            f"servers of templates {first.name!r} and {second.name!r} may choose the other one by their own metadata,"
            " with its qos, for both have 'override: allowed'",
            "if tenants are not to choose that, write 'override: pins' into one of them, which lets them choose CPUs"
            " alone, or give both the same qos",
        )
        for first, second in choices_of_qos(stored, stored)
    ]
    return Verdict.of("no template lets its servers choose other QoS by their own metadata", problems)


def of_flavors(flavors: Iterable[Flavor], templates: TemplateList) -> Verdict:
    """The check of flavors that ask for something else than their templates take, or for a part of it."""
    ours = sorted(filter(is_ours, flavors), key=lambda flavor: flavor.name)
    flaws = [(flavor, find_flaw(flavor, templates.find)) for flavor in ours]
    problems = [failure(f"flavor {flavor.name}: {flaw.problem}", flaw.remedy) for flavor, flaw in flaws if flaw]
    return Verdict.of(f"{count(len(ours), 'flavor')} with a template, each as it should be", problems)


def not_checked(service: str) -> Verdict:
    """The verdict of a check that needs a service which does not answer."""
    return Verdict.of("", [warning(f"not checked, because {service} was not reached", "see the first of these checks")])
