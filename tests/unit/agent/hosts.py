# SPDX-License-Identifier: Apache-2.0
"""A host with guests as values: its providers as the agent writes them, and the guests where a test puts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from kongming_sched.agent.decide.layout import lay_out
from kongming_sched.agent.decide.plan import plan
from kongming_sched.agent.decide.preview import Preview
from kongming_sched.agent.model.guest import Domain, Guest, Identity, Threads
from kongming_sched.agent.model.problem import Problem
from kongming_sched.agent.model.view import HostView
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.flavor import cell_requests
from kongming_sched.placement.tree import NodeState, desired_tree
from kongming_sched.pools import HostCpus, HostPools, PagesByNode
from kongming_sched.request import PinningRequest
from kongming_sched.template import PinningTemplate
from testbed.topologies import two_nodes_smt2

ROOT = "00000000-0000-0000-0000-000000000001"
TOPOLOGY = two_nodes_smt2()
EVERYWHERE = TOPOLOGY.cpus
POOLS = HostPools(CpuSet.parse("1-3,9-11,5-7,13-15"), CpuSet.parse("12"), CpuSet.parse("0,4,8"), 4.0)
"""Node 0 has the cores 1,9 2,10 3,11 in its dedicated pool, node 1 the cores 5,13 6,14 7,15 and a shared CPU."""
MEMORY_MB = 512
"""Of each guest."""


def template(name: str, *cells: Mapping[str, object], **clauses: object) -> PinningTemplate:
    """A template of these cells."""
    return PinningTemplate.from_mapping({"name": name, "cells": list(cells), **clauses})


TEMPLATES = {
    item.name: item
    for item in (
        template("gold", {"vcpus": "0-1", "cpus": "dedicated"}),
        template("large", {"vcpus": "0-3", "cpus": "dedicated"}),
        template("bronze", {"vcpus": "0", "cpus": "shared"}),
        template("exact", {"vcpus": "0", "cpus": "explicit", "pins": {0: "15"}}),
        template("first", {"vcpus": "0", "cpus": "dedicated", "node": 0}),
        template("cores", {"vcpus": "0-1", "cpus": "dedicated", "threads": "require"}),
        template("pairs", {"vcpus": "0-3", "cpus": "dedicated", "threads": "require"}),
        template("rather", {"vcpus": "0-3", "cpus": "dedicated", "threads": "prefer"}),
        template("alone", {"vcpus": "0", "cpus": "dedicated", "threads": "isolate"}),
        template("close", {"vcpus": "0-1", "cpus": "dedicated", "threads": "isolate", "caches": "one"}),
        template("inside", {"vcpus": "0", "cpus": "dedicated"}, emulator="cell"),
        template("own", {"vcpus": "0", "cpus": "dedicated"}, emulator="own"),
        template("apart", {"vcpus": "0", "cpus": "dedicated", "threads": "isolate"}, emulator="own"),
        template("loose", {"vcpus": "0", "cpus": "dedicated", "memory": "none"}),
        template("ran", {"vcpus": "0-1", "cpus": "dedicated"}, realtime={"vcpus": "1", "priority": 5}),
        template("open", {"vcpus": "0-1", "cpus": "dedicated"}, override="pins"),
        template("huge", {"vcpus": "0-1", "cpus": "dedicated", "pages": "2MiB"}),
        template("mixed", {"vcpus": "0-3", "cpus": "dedicated", "threads": "require", "shared_vcpus": "0,3"}),
        template("twin", {"vcpus": "0", "cpus": "dedicated"}, {"vcpus": "1", "cpus": "dedicated"}),
    )
}


@dataclass(frozen=True)
class Tenant:
    """A guest on its nodes.

    :ivar nodes: the node that each of its cells has claimed
    """

    guest: Guest
    nodes: tuple[int, ...]


def tenant(
    server: str, of: str, nodes: Sequence[int], *vcpus: str, emulator: str = "0,4,8", threads_per_core: int = 1
) -> Tenant:
    """A guest of a template, with the affinities of its vCPUs; its id is its name with an a in front.

    :param threads_per_core: of the cores that the guest sees
    """
    request = PinningRequest(of, cell_requests(TEMPLATES[of], MEMORY_MB, 2))
    threads = Threads(dict(enumerate(map(CpuSet.parse, vcpus))), CpuSet.parse(emulator))
    nodes_of_memory = CpuSet.of(nodes)
    identity = Identity(server, len(vcpus), request, {}, nodes_of_memory, "restrictive", "1", "", threads_per_core)
    domain = Domain(f"a-{server}", f"instance-{server}", domain_xml(threads))
    return Tenant(Guest(domain, identity, threads, request), tuple(nodes))


def domain_xml(threads: Threads, **words: str) -> str:
    """The part of a live XML that says where libvirt has pinned the threads.

    :param words: of a vCPU, as in ``vcpu0``, the CPUs that libvirt reports instead
    """
    pins = "".join(
        f"<vcpupin vcpu='{vcpu}' cpuset='{words.get(f'vcpu{vcpu}', cpus)}'/>" for vcpu, cpus in threads.vcpus.items()
    )
    emulator = f"<emulatorpin cpuset='{threads.emulator}'/>"
    return f"<domain><vcpu>{len(threads.vcpus)}</vcpu><cputune>{pins}{emulator}</cputune></domain>"


def host(
    *tenants: Tenant,
    templates: Sequence[str] = tuple(TEMPLATES),
    pools: HostPools = POOLS,
    pages: PagesByNode = MappingProxyType({}),
) -> HostView:
    """A host whose guests have claimed what their templates take, and whose providers are as the agent leaves them."""
    cpus = HostCpus(TOPOLOGY, pools, pages)
    offered = {name: TEMPLATES[name] for name in templates}
    states: dict[str, NodeState] = {}
    tree = desired_tree(ROOT, "host", cpus, offered.values(), states)
    guests = tuple(tenant.guest for tenant in tenants)
    states = {node.uuid: NodeState(node.uuid, node.name, 1, node.traits, node.inventories) for node in tree.nodes}
    view = HostView(cpus, ROOT, "host", states, offered, guests)
    for node_id, state in view.states_by_node().items():
        claims = {
            tenant.guest.uuid: tenant.guest.request.cells[tenant.nodes.index(node_id)].resources
            for tenant in tenants
            if node_id in tenant.nodes
        }
        states[state.uuid] = replace(state, allocations=claims)
    return view


def preview(view: HostView, *, left: Mapping[str, Problem] = MappingProxyType({}), **changes: object) -> Preview:
    """What the agent would do on a host.

    :param left: server id to why a guest cannot be moved now
    """
    layout, planned = lay_out(view), lay_out(replace(view, immovable=frozenset(left)))
    housekeeping = view.pools.housekeeping
    actions = tuple(plan(view.guests, planned.guests, view.pools.dedicated, housekeeping, left.keys()))
    found = Preview(view.cpus, view.guests, view.states, view.templates, layout, planned, actions, left, ())
    return replace(found, **changes)  # type: ignore[arg-type]  # whatever a test wants to be another
