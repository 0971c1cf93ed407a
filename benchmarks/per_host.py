# SPDX-License-Identifier: Apache-2.0
"""Filter and order, per host: KongMing beside Nova's NUMATopologyFilter on equal hosts, in one process.

Both get the hosts that Placement offers, in Nova's own HostState, and run as Nova's scheduler runs them. Nova's filter
looks for CPUs; KongMing's two filters check each candidate's NUMA nodes and put the best first. Candidates that are
dropped are freed after the measurement, as Nova frees them at the end of a request anyhow.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence
from typing import Any

from nova import objects
from nova.scheduler import weights
from nova.scheduler.filters.numa_topology_filter import NUMATopologyFilter

from benchmarks import nova_numa, report
from kongming_sched.conf import scheduler as conf
from kongming_sched.filters.numa import KongmingNumaFilter
from kongming_sched.filters.template import KongmingTemplateFilter
from kongming_sched.placement import flavor, names
from kongming_sched.placement.summaries import ProviderSummary
from kongming_sched.scheduler import worker
from kongming_sched.scheduler.snapshot import CloudView
from kongming_sched.template import PinningTemplate
from kongming_sched.weighers.affinity import KongmingTemplateAffinityWeigher
from kongming_sched.weighers.packing import KongmingPackingWeigher
from kongming_sched.weighers.reserve import KongmingReserveWeigher
from testbed.nova_objects import make_host_state, make_spec
from testbed.topologies import make_topology

MEMORY_MB = 8192
MAX_CANDIDATES = 1000
"""Nova's ``[scheduler] max_placement_results``; here all of them are of one host."""
OUR_FILTERS = (KongmingTemplateFilter, KongmingNumaFilter)
OUR_WEIGHERS = (KongmingPackingWeigher, KongmingReserveWeigher, KongmingTemplateAffinityWeigher)


class FixedView:
    """A warm snapshot."""

    def __init__(self, view: CloudView) -> None:
        self._view = view

    def get(self) -> CloudView:
        """The view."""
        return self._view


class Case:
    """Equal hosts and servers for both.

    :param free: free CPUs of each NUMA node of 64 CPUs
    :param cells: vCPUs of each cell of the server
    """

    def __init__(self, hosts: int, free: Sequence[int], cells: Sequence[int]) -> None:
        self.hosts = hosts
        self.free = list(free)
        self.cells = list(cells)
        self.roots = [str(uuid.uuid5(uuid.NAMESPACE_DNS, f"c{index}")) for index in range(hosts)]
        first = 0
        data: list[dict[str, object]] = []
        for vcpus in cells:
            data.append({"vcpus": f"{first}-{first + vcpus - 1}", "cpus": "dedicated"})
            first += vcpus
        template = PinningTemplate.from_mapping({"name": "gold", "cells": data})
        self.spec = make_spec(flavor.extra_specs(template, {}, vcpus=first, memory_mb=MEMORY_MB))
        self.view = CloudView.of(self._summaries())

    def _summaries(self) -> list[ProviderSummary]:
        capacity = {names.PCPU: 64, names.MEMORY_MB: nova_numa.MEMORY_MB, names.NODE: 1}
        return [
            ProviderSummary(names.node_uuid(root, node), root, root, frozenset(), capacity, {names.PCPU: 64 - free})
            for root in self.roots
            for node, free in enumerate(self.free)
        ]

    def candidates(self, root: str) -> list[dict[str, Any]]:
        """As Placement gives them: each cell on each node that has room for it, also several on one."""
        memory_mb = MEMORY_MB // len(self.cells)
        fitting = [[node for node, free in enumerate(self.free) if free >= vcpus] for vcpus in self.cells]
        made = []
        for nodes in itertools.islice(itertools.product(*fitting), MAX_CANDIDATES):
            allocations: dict[str, Any] = {root: {"resources": {"MEMORY_MB": MEMORY_MB}}}
            mappings = {"": [root]}
            for index, (node, vcpus) in enumerate(zip(nodes, self.cells, strict=True)):
                provider = names.node_uuid(root, node)
                taken = allocations.setdefault(provider, {"resources": {names.PCPU: 0, names.MEMORY_MB: 0}})
                taken["resources"][names.PCPU] += vcpus
                taken["resources"][names.MEMORY_MB] += memory_mb
                mappings[f"_KONGMING{index}"] = [provider]
            made.append({"allocations": allocations, "mappings": mappings})
        return made

    def our_hosts(self) -> list[Any]:
        """Fresh hosts for KongMing's filters."""
        self.alive = [self.candidates(root) for root in self.roots]
        return [make_host_state(root, root, list(made)) for root, made in zip(self.roots, self.alive, strict=True)]

    def novas_hosts(self) -> list[Any]:
        """Fresh hosts for Nova's filter: the counts of the whole host are what Placement reports of them."""
        topology = nova_numa.host_topology(make_topology(len(self.free), 32, 2), self.free)
        made = []
        for root in self.roots:
            candidate = {
                "allocations": {root: {"resources": {"PCPU": sum(self.cells), "MEMORY_MB": MEMORY_MB}}},
                "mappings": {"": [root]},
            }
            host = make_host_state(root, root, [candidate])
            host.numa_topology = topology.obj_clone()
            host.cpu_allocation_ratio = host.ram_allocation_ratio = 1.0
            made.append(host)
        return made

    def novas_spec(self) -> objects.RequestSpec:
        """The same server as Nova pins it by itself."""
        return make_spec(
            {"hw:cpu_policy": "dedicated"},
            numa_topology=nova_numa.server_topology(self.cells, MEMORY_MB),
            image=objects.ImageMeta(properties=objects.ImageMetaProps()),
            pci_requests=None,
        )


def compare(hosts: int, free: Sequence[int], cells: Sequence[int], passes: bool, repeats: int) -> dict[str, float]:
    """Microseconds per host of both; ends the program if they do not agree on whether the server fits."""
    case = Case(hosts, free, cells)
    worker.SNAPSHOT = FixedView(case.view)  # type: ignore[assignment]  # serves what it would
    filters = [cls() for cls in OUR_FILTERS]
    expected = hosts if passes else 0

    def ours(states: list[Any]) -> None:
        for item in filters:
            states = list(item.filter_all(states, case.spec))
        assert len(states) == expected

    def novas(prepared: tuple[list[Any], objects.RequestSpec]) -> None:
        states, spec = prepared
        assert len(list(NUMATopologyFilter().filter_all(states, spec))) == expected

    our_us = report.best_us(repeats, case.our_hosts, ours, hosts)
    novas_us = report.best_us(repeats, lambda: (case.novas_hosts(), case.novas_spec()), novas, hosts)
    return {"hosts": hosts, "kongming_us": our_us, "nova_us": novas_us, "ratio": novas_us / our_us}


def without_template(hosts: int, repeats: int) -> float:
    """Microseconds per host of all filters and weighers for a server that asks nothing of KongMing."""
    case = Case(hosts, [32, 32], [8])
    spec = make_spec({})
    filters = [cls() for cls in OUR_FILTERS]
    weighers = [cls() for cls in OUR_WEIGHERS]

    def run(weighed: list[weights.WeighedHost]) -> None:
        states = [item.obj for item in weighed]
        for item in filters:
            states = list(item.filter_all(states, spec))
        for weigher in weighers:
            weigher.weigh_objects(weighed, spec)
            for state in states:
                weigher.weight_multiplier(state)

    aggregate = objects.Aggregate(metadata={"availability_zone": "nova"})

    def prepare() -> list[weights.WeighedHost]:
        states = case.our_hosts()
        for state in states:
            state.aggregates = [aggregate]
        return [weights.WeighedHost(state, 0.0) for state in states]

    return report.best_us(repeats, prepare, run, hosts)


def main() -> None:
    """Measure, print, and keep."""
    options = report.parser(__doc__)
    options.add_argument("--repeats", type=int, default=7)
    args = options.parse_args()
    conf.register_opts(worker.CONF)
    worker.CONF([], default_config_files=[])
    half = [32, 32]
    figures: dict[str, Any] = {
        "fits": compare(200, half, [8], True, args.repeats),
        "no_fit_8_cells": compare(5, [64, 4, 4, 4, 4, 4, 4, 4], [4] * 6 + [32] * 2, False, args.repeats),
        "by_hosts": [  # short runs are disturbed more easily, and so there are more of them
            compare(hosts, half, [8], True, args.repeats * max(1, 200 // hosts)) for hosts in (10, 100, 1000)
        ],
        "without_template_us": without_template(1000, args.repeats),
    }
    rows = [
        ("2 nodes of 64 CPUs, half full, 8 vCPUs", figures["fits"]),
        ("8 nodes, 8 cells, of which two fit on the same node alone", figures["no_fit_8_cells"]),
        *((f"the first, of {row['hosts']} hosts", row) for row in figures["by_hosts"]),
    ]
    report.table(
        "Filter and order, microseconds per host",
        ("case", "KongMing", "NUMATopologyFilter", "Nova / KongMing"),
        [(title, row["kongming_us"], row["nova_us"], row["ratio"]) for title, row in rows],
    )
    print(f"\nServers without a template, all filters and weighers: {figures['without_template_us']:.2f} us per host")
    if args.write:
        report.keep("per_host", figures)


if __name__ == "__main__":
    main()
