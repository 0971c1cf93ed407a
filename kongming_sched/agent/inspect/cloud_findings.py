# SPDX-License-Identifier: Apache-2.0
"""What Placement has of this host, and the servers that run here, mean for the agent: pure, from values to findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from kongming_sched.agent.decide.preview import Preview
from kongming_sched.agent.inspect.disturbances import of_unmanaged
from kongming_sched.agent.inspect.findings import Finding, Level
from kongming_sched.agent.model.guest import ObservedGuest
from kongming_sched.agent.model.problem import Reason
from kongming_sched.agent.settings import Settings
from kongming_sched.placement import names
from kongming_sched.placement.client import Provider
from kongming_sched.placement.offers.cores import takes_whole_cores
from kongming_sched.placement.tree import NodeState
from kongming_sched.pools import HostPools


def of_provider(root: Provider, states: Mapping[str, NodeState]) -> Finding:
    """Of the compute node's provider, and the providers of its NUMA nodes."""
    nodes = ", ".join(sorted(state.name for state in states.values()))
    below = f"with {nodes} below" if nodes else "with no NUMA node below yet; the agent makes them"
    return Finding(Level.OK, "Placement", f"answers; provider {root.name} ({root.uuid}) is there, {below}")


def of_templates(preview: Preview) -> Iterator[Finding]:
    """Of the templates that are offered to this host, and of what their servers have claimed."""
    yield from (
        Finding(Level.WARN, "templates", problem.text, "write it anew with 'openstack kongming template set --file'")
        for problem in preview.problems
        if problem.reason is Reason.TEMPLATE
    )
    yield from (
        Finding(Level.WARN, "memory", str(problem)) for problem in preview.problems if problem.reason is Reason.OVERFULL
    )
    yield from _of_narrow_cores(preview)
    if not preview.templates:
        yield Finding(Level.OK, "templates", "there is none for this host; see 'openstack kongming template create'")
        return
    tree = preview.layout.tree
    offered = sorted(
        name for name in preview.templates if any(names.template_trait(name) in node.traits for node in tree.nodes)
    )
    if offered:
        yield Finding(Level.OK, "templates", f"{', '.join(offered)} can be honoured here")
    for name in sorted(preview.templates.keys() - set(offered)):
        reasons = {item.node_id: item.reason for item in tree.refusals if item.template == name}
        words = "; ".join(f"node {node}: {reason}" for node, reason in sorted(reasons.items()))
        yield Finding(
            Level.WARN if not offered else Level.OK,
            "templates",
            f"{name} cannot be honoured here: {words or 'no node of this host has CPUs in the pools'}",
            "" if offered else "change the pools or the template, or give the template aggregates without this host",
        )


def _of_narrow_cores(preview: Preview) -> Iterator[Finding]:
    """Of dedicated CPUs that are not counted, because the other cores of their node's pool are wider."""
    tree, cpus = preview.layout.tree, preview.cpus
    takers = sorted(name for name, template in preview.templates.items() if takes_whole_cores(template))
    for node in cpus.topology.nodes:
        if narrow := tree.narrow.get(node.id):
            offered = [name for name in takers if tree.refusal(name, node.id) is None]
            yield Finding(
                Level.WARN,
                "dedicated pool",
                f"CPU {narrow} of node {node.id} is not counted: {', '.join(offered)} can have whole cores here, so"
                f" that the cores of {cpus.threads_per_core(node)} threads are counted alone",
                "give the templates of require and isolate aggregates without this host, or leave these CPUs to"
                " shared_cpu_set",
            )


def of_guests(
    running: Sequence[ObservedGuest],
    preview: Preview | None,
    settings: Settings,
    pools: HostPools,
    slow: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Finding]:
    """Of the servers that run.

    :param preview: what the agent would do; None if Placement does not say what is claimed
    :param slow: servers for which libvirt was too slow to say what can be done, by id, with the reason
    """
    mine = [guest for guest in running if guest.identity.request is not None]
    yield from (
        Finding(Level.WARN, "servers", f"server {guest}: {guest.identity.fault}", "the agent leaves it alone as it is")
        for guest in running
        if guest.identity.fault
    )
    yield from (
        Finding(Level.WARN, "servers", f"server {guest}: {reason}", "see whether its QEMU and its storage work")
        for guest in running
        if (reason := slow.get(guest.domain.uuid)) and not guest.identity.fault
    )
    if preview is not None:
        for problem in preview.layout.problems.values():
            yield Finding(Level.WARN, "servers", str(problem), "see 'kongming-host verify'")
    if running and not any(guest.domain.scheduler for guest in running):
        fact = "libvirt has no controller cpu for servers: shares and quotas of templates are not set"
        yield Finding(Level.WARN, "cgroups", fact, "look at cgroup_controllers of libvirt's qemu.conf")
    if not settings.confine_unmanaged:
        yield from (found.finding() for found in of_unmanaged(running, pools.dedicated))
    yield Finding(Level.OK, "servers", f"{len(running)} run here, {len(mine)} of a template{_work(preview)}")


def _work(preview: Preview | None) -> str:
    if preview is None:
        return ""
    count = len(preview.steps())
    words = f"{count} thing{'s' * (count != 1)} to do" if count else "nothing to do"
    return f"; the agent has {words} now, see 'kongming-host plan'"
