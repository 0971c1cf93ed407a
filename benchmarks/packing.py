# SPDX-License-Identifier: Apache-2.0
"""Packing: one seeded trace of arrivals and departures for Nova's own CPU pinning and for KongMing.

Nova's side is its fitting code (``numa_fit_instance_to_host``, on each host whose counts admit the server) and its
accounting (``numa_usage_from_instance_numa``), with its thread policies. KongMing's side counts as Placement does,
orders as its filter and weigher do, and lets its allocator find the pins, so that a refusal of either would show. Both
take the host that the server fills best. Load grows until servers are refused all the time.
"""

from __future__ import annotations

import itertools
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nova.virt import hardware

from benchmarks import nova_numa, report
from kongming_sched.allocator import Demand, allocate
from kongming_sched.placement import names
from kongming_sched.request import CellRequest, NumaStrategy, PinningRequest
from kongming_sched.scheduler.ordering import Candidate, HostUse, order, stranded
from kongming_sched.template import ThreadPolicy, count_cpus
from testbed.topologies import make_topology

HOSTS, NODES, CORES, THREADS = 50, 2, 32, 2
CPUS = CORES * THREADS
SIZES = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24)
SIZE_WEIGHTS = (6, 10, 6, 12, 5, 6, 12, 5, 5, 2)
MIXES = {
    "prefer and require": {ThreadPolicy.PREFER: 3, ThreadPolicy.REQUIRE: 2},
    "with isolate": {ThreadPolicy.PREFER: 6, ThreadPolicy.REQUIRE: 3, ThreadPolicy.ISOLATE: 2},
}
"""How many servers have which thread policy. Nova refuses ``isolate`` on hosts with SMT altogether.

Those of ``require`` have an even number of vCPUs: of an odd one Nova would give the last sibling to others, and
KongMing leaves it idle, so that their counts would differ.
"""
LOAD = 1.5
"""How much the servers that are wanted at one time would take of all CPUs, in the mean."""


@dataclass(frozen=True)
class Server:
    """A server of the trace, on one NUMA node."""

    key: str
    vcpus: int
    threads: ThreadPolicy

    @property
    def cpus(self) -> int:
        """The host CPUs that it takes by the counts: whole cores for the policies that share none."""
        return count_cpus(self.vcpus, self.threads, THREADS)


@dataclass
class Tally:
    """What came of a trace.

    :ivar admitted: servers that got a place
    :ivar refused: servers that got none
    :ivar refused_in_vain: of these, the ones for which some node's count of free CPUs was enough
    :ivar stranded: at each refusal, free CPUs on nodes whose count was enough for the server and that could not take it
    :ivar idle: free CPUs after each arrival of the saturated part
    """

    admitted: int = 0
    refused: int = 0
    refused_in_vain: int = 0
    stranded: int = 0
    idle: int = 0
    samples: int = 0


class Cloud(ABC):
    """Hosts with the servers that they were given."""

    @abstractmethod
    def admit(self, server: Server) -> bool:
        """Give a server a place; False if there is none."""

    @abstractmethod
    def leave(self, server: Server) -> None:
        """Take a server away."""

    @abstractmethod
    def free(self) -> list[int]:
        """Free CPUs of all nodes."""


class NovasCloud(Cloud):
    """Hosts as Nova keeps them in its database."""

    def __init__(self) -> None:
        topology = make_topology(NODES, CORES, THREADS)
        self.hosts = [nova_numa.host_topology(topology) for _ in range(HOSTS)]
        self.places: dict[str, tuple[int, Any]] = {}

    def admit(self, server: Server) -> bool:
        """Ask the fullest host first, and only hosts that have the CPUs, as Placement gives them to Nova."""
        wanted = nova_numa.server_topology([server.vcpus], 1024, str(server.threads))
        free = {index: sum(len(cell.free_pcpus) for cell in host.cells) for index, host in enumerate(self.hosts)}
        for index in sorted((index for index in free if free[index] >= server.vcpus), key=lambda index: free[index]):
            fitted = hardware.numa_fit_instance_to_host(self.hosts[index], wanted, None)
            if fitted:
                self.hosts[index] = hardware.numa_usage_from_instance_numa(self.hosts[index], fitted)
                self.places[server.key] = index, fitted
                return True
        return False

    def leave(self, server: Server) -> None:
        """Free the CPUs that are pinned."""
        index, fitted = self.places.pop(server.key)
        self.hosts[index] = hardware.numa_usage_from_instance_numa(self.hosts[index], fitted, free=True)

    def free(self) -> list[int]:
        """Free CPUs of all nodes."""
        return [len(cell.free_pcpus) for host in self.hosts for cell in host.cells]


class OurCloud(Cloud):
    """Hosts as Placement counts them, with pins by the allocator."""

    def __init__(self) -> None:
        self.nodes = make_topology(NODES, CORES, THREADS).nodes
        self.left = [[CPUS] * NODES for _ in range(HOSTS)]
        self.demands: dict[tuple[int, int], dict[str, Demand]] = {}
        self.places: dict[str, tuple[int, int]] = {}

    def admit(self, server: Server) -> bool:
        """Order the nodes of each host, take the host that is left with the least, and find pins for everyone there."""
        cell = CellRequest("_KONGMING0", {names.PCPU: server.cpus}, frozenset())
        request = PinningRequest("gold", (cell,))
        best: tuple[int, int, int] | None = None
        for host, left in enumerate(self.left):
            fitting = [Candidate(node, (node,)) for node in range(NODES) if left[node] >= server.cpus]
            if not fitting:
                continue
            room = HostUse({node: {names.PCPU: free} for node, free in enumerate(left)})
            first = order(fitting, request, NumaStrategy.PACK, server.key, room)[0]
            rest = stranded(first, request, room)
            if rest is not None and (best is None or rest < best[0]):
                best = rest, host, first.nodes[0]
        if best is None:
            return False
        _, host, node = best
        demands = self.demands.setdefault((host, node), {})
        demands[server.key] = Demand(server.key, server.vcpus, server.threads)
        layout = allocate(self.nodes[node].cores, demands.values())
        if layout.unplaced:
            del demands[server.key]
            return False
        for key, pins in layout.pins.items():
            demands[key] = Demand(key, demands[key].vcpus, demands[key].threads, pins)
        self.left[host][node] -= server.cpus
        self.places[server.key] = host, node
        return True

    def leave(self, server: Server) -> None:
        """Give the counts back."""
        host, node = self.places.pop(server.key)
        del self.demands[host, node][server.key]
        self.left[host][node] += server.cpus

    def free(self) -> list[int]:
        """Free CPUs of all nodes."""
        return [free for left in self.left for free in left]


def trace(seed: int, arrivals: int, mix: Mapping[ThreadPolicy, int]) -> Iterator[tuple[Server, int]]:
    """Servers, and after how many more arrivals each leaves."""
    chance = random.Random(seed)
    mean_cpus = sum(
        weight * other * count_cpus(size + (size % 2 if policy is ThreadPolicy.REQUIRE else 0), policy, THREADS)
        for size, weight in zip(SIZES, SIZE_WEIGHTS, strict=True)
        for policy, other in mix.items()
    ) / (sum(SIZE_WEIGHTS) * sum(mix.values()))
    mean_stay = LOAD * HOSTS * NODES * CPUS / mean_cpus
    for index in range(arrivals):
        (size,) = chance.choices(SIZES, SIZE_WEIGHTS)
        (policy,) = chance.choices(list(mix), list(mix.values()))
        size += size % 2 if policy is ThreadPolicy.REQUIRE else 0
        yield Server(f"s{index:06}", size, policy), 1 + int(chance.expovariate(1 / mean_stay))


def play(cloud: Cloud, seed: int, arrivals: int, mix: Mapping[ThreadPolicy, int]) -> Tally:
    """Let the servers of a trace come and go. What is refused does not come back."""
    tally = Tally()
    leaving: dict[int, list[Server]] = {}
    for now, (server, stay) in zip(itertools.count(), trace(seed, arrivals, mix), strict=False):
        for gone in leaving.pop(now, ()):
            cloud.leave(gone)
        if cloud.admit(server):
            tally.admitted += 1
            leaving.setdefault(now + stay, []).append(server)
        else:
            tally.refused += 1
            enough = [free for free in cloud.free() if free >= server.cpus]
            tally.refused_in_vain += bool(enough)
            tally.stranded += sum(enough)
        if now >= arrivals // 2:
            tally.samples += 1
            tally.idle += sum(cloud.free())
    return tally


def main() -> None:
    """Play, print, and keep."""
    options = report.parser(__doc__)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--arrivals", type=int, default=4000)
    args = options.parse_args()
    logging.disable(logging.WARNING)  # Nova's, one for each host that it refuses
    rows: list[dict[str, Any]] = []
    for mix, seed in itertools.product(MIXES, range(args.seeds)):
        for name, cloud in (("Nova", NovasCloud()), ("KongMing", OurCloud())):
            tally = play(cloud, seed, args.arrivals, MIXES[mix])
            rows.append(
                {
                    "mix": mix,
                    "seed": seed,
                    "who": name,
                    "admitted": tally.admitted,
                    "refused": tally.refused,
                    "in_vain": tally.refused_in_vain,
                    "stranded_cpus": tally.stranded / max(tally.refused, 1),
                    "idle_cpus": tally.idle / tally.samples,
                }
            )
    report.table(
        f"{args.arrivals} arrivals at {HOSTS} hosts of {NODES} x {CORES} cores of {THREADS} threads",
        (
            "thread policies",
            "seed",
            "who",
            "admitted",
            "refused",
            "although counts fit",
            "stranded CPUs per refusal",
            "idle CPUs",
        ),
        [list(row.values()) for row in rows],
    )
    if args.write:
        report.keep("packing", {"arrivals": args.arrivals, "cpus": HOSTS * NODES * CPUS, "rows": rows})


if __name__ == "__main__":
    main()
