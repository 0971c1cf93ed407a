# SPDX-License-Identifier: Apache-2.0
"""Many servers at once, scheduled by several workers: claims that Placement refuses, and nodes in use at the end.

Nova's own handlers run KongMing's filters and weighers beside Nova's weighers. Simulated is when things happen, so that
a run depends on its seed alone, and Placement's books are kept in memory, unless ``--real-placement`` asks for a real
one in this process. Each worker has a snapshot and requests of its own and does one thing at a time; Placement serves
four requests at a time, as one uWSGI process of four threads does. Of claims that overlap there, and share a provider,
the first wins and the others are refused, as by the generation of the provider in a database. Nova sends such a claim
again, up to three times, as its report client does.

Servers without a template are scheduled by Nova's weighers, which know of a claim when nova-compute begins to build.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import random
import statistics
import sys
import uuid
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import nova.conf
from nova.scheduler import filters, host_manager, weights
from nova.scheduler.weights.cpu import CPUWeigher
from nova.scheduler.weights.io_ops import IoOpsWeigher
from nova.scheduler.weights.ram import RAMWeigher

from benchmarks import report
from benchmarks.burst_books import Books
from benchmarks.burst_cloud import MEMORY_MB, SIZES, Cloud, running
from benchmarks.simulated_time import Clock, Slots, Step
from kongming_sched.conf import scheduler as conf
from kongming_sched.filters.numa import KongmingNumaFilter
from kongming_sched.filters.template import KongmingTemplateFilter
from kongming_sched.placement import flavor, names
from kongming_sched.scheduler import worker
from kongming_sched.scheduler.scheduler_worker import SchedulerWorker
from kongming_sched.scheduler.snapshot import NodeSnapshot
from kongming_sched.scheduler.under_way import UnderWay
from kongming_sched.template import PinningTemplate
from kongming_sched.weighers.packing import KongmingPackingWeigher
from testbed.nova_objects import make_host_state, make_spec

MIX = ("big", "big", "big", "big", "small")
KINDS = ("without a template", "pack", "scatter")
WHERE = ("1x1", "1x2", "2x2")
"""How many controllers there are, and workers of each."""

SERVER_MB = 64
SNAPSHOT_SECONDS = 5.0
"""How old a worker's snapshot may be."""


READ, CHECK, CLAIM, CHOOSE = (0.2, 0.5), (0.02, 0.08), (0.05, 0.15), (0.03, 0.1)
"""Seconds, from and to: Placement's for candidates, for what a server has, and for a claim; a worker's for a choice."""

BUILD = (0.5, 2.0)
"""After so many seconds Nova's scheduler knows of a claim: nova-compute has begun to build the server."""


@dataclass
class Worker:
    """One process of nova-scheduler, which does one thing at a time."""

    snapshot: NodeSnapshot
    under_way: UnderWay
    cpu: Slots = field(default_factory=lambda: Slots(1))


@dataclass
class Outcome:
    """What came of a burst.

    :ivar refused: claims that Placement has refused, by why
    :ivar nodes: node providers with a server at the end
    """

    running: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    nodes: int = 0
    seconds: float = 0.0


class Burst:
    """One burst.

    :param kind: of KINDS
    :param workers: of each controller
    """

    def __init__(self, cloud: Cloud | Books, kind: str, controllers: int, workers: int, seed: int) -> None:
        self.outcome = Outcome()
        self.servers: list[str] = []
        self._cloud, self._kind = cloud, kind
        self._clock = Clock()
        self._chance = random.Random(seed)
        self._placement = Slots(4)
        self._generations: Counter[str] = Counter()
        self._known: Counter[str] = Counter()  # what Nova's weighers know: vCPUs by root
        self._workers = [
            Worker(
                NodeSnapshot(lambda: cloud.client, lambda: SNAPSHOT_SECONDS, self._clock),
                UnderWay(self._clock, functools.partial(SchedulerWorker, f"controller{controller}", number, workers)),
            )
            for controller in range(controllers)
            for number in range(workers)
        ]

    def run(self, count: int, within: float) -> Outcome:
        """Let so many servers come and be scheduled.

        :param within: they come at random times within so many seconds
        """
        for number in range(count):
            step = self._request(MIX[number % len(MIX)], self._workers[number % len(self._workers)])
            self._clock.add(step, self._chance.uniform(0, within))
        self._clock.run()
        used = self._cloud.client.node_summaries()
        self.outcome.nodes = sum(bool(summary.used.get(names.PCPU)) for summary in used)
        self.outcome.seconds = self._clock.now
        self._cloud.clear(self.servers)
        return self.outcome

    def _request(self, size: str, of: Worker) -> Step:
        spec = make_spec(self._extra_specs(size))
        spec.flavor.vcpus, spec.flavor.memory_mb = SIZES[size], SERVER_MB
        spec.flavor.root_gb = spec.flavor.ephemeral_gb = spec.flavor.swap = 0
        server = spec.instance_uuid = str(uuid.UUID(int=self._chance.getrandbits(128)))
        yield from self._ask(READ)
        found = self._cloud.candidates(query(spec))
        yield of.cpu
        yield self._chance.uniform(*CHOOSE)
        hosts = self._choose(spec, of, found)
        self._clock.release(of.cpu)
        yield from self._ask(CHECK)
        for host in hosts:
            if (yield from self._claim(server, host)):
                host.num_instances += 1  # as HostState.consume_from_request does
                self.servers.append(server)
                self.outcome.running += 1
                self._clock.add(self._build(host.uuid, SIZES[size]))
                break
        del spec, hosts

    def _build(self, root: str, vcpus: int) -> Step:
        """Nova's scheduler learns that a server is on a host."""
        yield self._chance.uniform(*BUILD)
        self._known[root] += vcpus

    def _ask(self, seconds: tuple[float, float]) -> Step:
        """One request to Placement."""
        yield self._placement
        yield self._chance.uniform(*seconds)
        self._clock.release(self._placement)

    def _claim(self, server: str, host: host_manager.HostState) -> Generator[Slots | float, None, bool]:
        """As ``claim_resources`` of Nova's report client, with its retries."""
        wanted = host.allocation_candidates[0]["allocations"]
        for attempt in range(4):
            yield self._chance.uniform(0, attempt * 2)
            yield self._placement
            before = {provider: self._generations[provider] for provider in wanted}
            yield self._chance.uniform(*CLAIM)
            self._clock.release(self._placement)
            if any(self._generations[provider] != generation for provider, generation in before.items()):
                self.outcome.refused["generation"] += 1
                continue
            if not self._cloud.claim(server, wanted):
                self.outcome.refused["room"] += 1
                return False
            self._generations.update(dict.fromkeys(wanted, 1))
            return True
        return False

    def _choose(self, spec: Any, of: Worker, found: Sequence[Mapping[str, Any]]) -> list[host_manager.HostState]:
        worker.SNAPSHOT, worker.UNDER_WAY = of.snapshot, of.under_way
        of.snapshot.get()
        of.snapshot.wait(60)
        by_root: dict[str, list[Mapping[str, Any]]] = {root: [] for root in self._cloud.roots}
        for request in found:
            next(by_root[root] for root in request["allocations"] if root in by_root).append(request)
        hosts = [self._host(root, offers) for root, offers in by_root.items() if offers]
        ours = [KongmingTemplateFilter(), KongmingNumaFilter()]
        left = filters.HostFilterHandler().get_filtered_objects(ours, hosts, spec)
        weighers = [RAMWeigher(), CPUWeigher(), IoOpsWeigher(), KongmingPackingWeigher()]
        return [item.obj for item in weights.HostWeightHandler().get_weighed_objects(weighers, left, spec)]

    def _host(self, root: str, candidates: list[Any]) -> host_manager.HostState:
        state = make_host_state(self._cloud.roots[root], root, candidates)
        state.vcpus_total, state.vcpus_used = 64, self._known[root]
        state.total_usable_ram_mb, state.free_ram_mb = 2 * MEMORY_MB, 2 * MEMORY_MB - SERVER_MB * self._known[root]
        state.cpu_allocation_ratio = state.ram_allocation_ratio = 1.0
        return state

    def _extra_specs(self, size: str) -> dict[str, str]:
        if self._kind == "without a template":
            return {}
        cells = [{"vcpus": f"0-{SIZES[size] - 1}" if SIZES[size] > 1 else "0", "cpus": "dedicated", "memory": "none"}]
        template = PinningTemplate.from_mapping({"name": size, "cells": cells})
        asked = flavor.extra_specs(template, {}, vcpus=SIZES[size], memory_mb=SERVER_MB)
        return {**asked, "kongming:numa_strategy": self._kind}


def query(spec: Any) -> dict[str, str]:
    """What Nova asks Placement for by a flavor."""
    asked = {"resources": f"MEMORY_MB:{SERVER_MB}"}
    if not spec.flavor.extra_specs:
        asked["resources"] += f",VCPU:{spec.flavor.vcpus}"
    for key, value in spec.flavor.extra_specs.items():
        kind, _, name = key.partition(":")
        if kind.startswith("resources_"):
            asked[kind] = f"{asked[kind]},{name}:{value}" if kind in asked else f"{name}:{value}"
        elif kind.startswith("trait_"):
            required = kind.replace("trait_", "required_")
            asked[required] = f"{asked[required]},{name}" if required in asked else name
    return asked


def measure(cloud: Cloud | Books, kind: str, where: str, args: argparse.Namespace) -> dict[str, Any]:
    """Some bursts that differ by their seed.

    :param where: of WHERE
    """
    controllers, workers = map(int, where.split("x"))
    bursts = []
    for seed in range(args.bursts):
        bursts.append(Burst(cloud, kind, controllers, workers, seed).run(args.servers, args.within))
        print(f"{kind}, {where}, burst {seed}: {bursts[-1]}", file=sys.stderr)
    return {
        "kind": kind,
        "controllers": controllers,
        "workers": workers,
        "refused": [outcome.refused.total() for outcome in bursts],
        "for_lack_of_room": [outcome.refused["room"] for outcome in bursts],
        "nodes": [outcome.nodes for outcome in bursts],
        "seconds": [outcome.seconds for outcome in bursts],
        "without_a_host": sum(args.servers - outcome.running for outcome in bursts),
    }


def main() -> None:
    """Measure, print, and keep."""
    options = report.parser(__doc__)
    options.add_argument("--hosts", type=int, default=20)
    options.add_argument("--servers", type=int, default=50)
    options.add_argument("--within", type=float, default=5.0, help="seconds in which they come (default: 5)")
    options.add_argument("--bursts", type=int, default=5, help="how many of each, which differ by their seed")
    options.add_argument("--where", nargs="+", default=WHERE, metavar="CxW", help="controllers x workers of each")
    options.add_argument("--real-placement", action="store_true", help="instead of books in memory: slow")
    args = options.parse_args()
    conf.register_opts(nova.conf.CONF)
    nova.conf.CONF([], project="nova", default_config_files=[])
    with running(args.hosts) if args.real_placement else contextlib.nullcontext(Books(args.hosts)) as cloud:
        rows = [measure(cloud, kind, where, args) for where in args.where for kind in KINDS]
        one_by_one = Burst(cloud, "pack", 1, 1, 0).run(args.servers, args.servers * 100.0)
    report.table(
        f"{args.servers} servers within {args.within:g} s on {args.hosts} hosts, means of {args.bursts} bursts;"
        f" one after the other they need {one_by_one.nodes} nodes",
        ("servers", "controllers", "workers of each", "claims refused", "for lack of room", "nodes", "seconds"),
        [
            (
                row["kind"],
                row["controllers"],
                row["workers"],
                *(statistics.mean(row[key]) for key in ("refused", "for_lack_of_room", "nodes", "seconds")),
            )
            for row in rows
        ],
    )
    if args.write:
        figures = {"hosts": args.hosts, "servers": args.servers, "one_by_one": vars(one_by_one), "rows": rows}
        report.keep(f"burst_{args.servers}", figures)


if __name__ == "__main__":
    main()
