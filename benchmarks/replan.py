# SPDX-License-Identifier: Apache-2.0
"""Replanning: what the agent's pure part costs, from a layout of a whole host to the ordered list of its moves.

Three questions: what a full layout of the allocator costs and whether it grows linearly with the host; what a plan of
200 guests costs that all move; and what a steady pass costs, in which nothing is to be done, against that.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence

from benchmarks import report
from kongming_sched.agent.decide.plan import plan
from kongming_sched.agent.model.guest import Domain, Guest, Identity, Threads
from kongming_sched.agent.model.view import GuestLayout
from kongming_sched.allocator import Demand, allocate
from kongming_sched.cpuset import CpuSet
from kongming_sched.request import PinningRequest
from kongming_sched.template import ThreadPolicy
from kongming_sched.topology import Core
from testbed.topologies import make_topology

REPEATS = 15
NODE_CPUS = 128
HOSTS = (1, 2, 4, 8, 16)
"""NUMA nodes of hosts of 128 to 2,048 CPUs; each node is laid out for itself."""
LARGE_NODES = (256, 512)
VCPUS = 3
"""Of each guest of the allocator's host, whose guests are a quarter as many as its CPUs."""
GUESTS, GUEST_VCPUS = 200, 8
HOUSEKEEPING = CpuSet.parse("0-7")
REQUEST = PinningRequest("gold", ())


def crowd(cpus: int) -> tuple[Sequence[Core], list[Demand]]:
    """A node of so many CPUs, three quarters full of guests that lie anywhere, so that whole cores must be vacated."""
    rng = random.Random(cpus)
    cores = make_topology(1, cpus // 2, 2).nodes[0].cores
    free = [cpu for core in cores for cpu in core.cpus]
    rng.shuffle(free)
    demands = []
    for number in range(cpus // 4):
        whole = number % 4 == 0
        threads = ThreadPolicy.REQUIRE if whole else ThreadPolicy.ANY
        present = () if whole else tuple(free.pop() for _ in range(VCPUS))
        demands.append(Demand(f"guest-{number:04}", VCPUS, threads, present))
    return cores, demands


def guests(seed: int) -> tuple[list[Guest], dict[str, GuestLayout], CpuSet]:
    """Guests pinned to single CPUs, each of which belongs somewhere else: most of them wait for each other."""
    rng = random.Random(seed)
    dedicated = CpuSet.of(range(8, 8 + GUESTS * GUEST_VCPUS))
    now, then = list(dedicated), list(dedicated)
    rng.shuffle(now)
    rng.shuffle(then)
    found, layouts = [], {}
    for number in range(GUESTS):
        uuid = f"guest-{number:04}"
        seats = slice(number * GUEST_VCPUS, (number + 1) * GUEST_VCPUS)
        threads = Threads({vcpu: CpuSet.of([cpu]) for vcpu, cpu in enumerate(now[seats])}, HOUSEKEEPING)
        identity = Identity(uuid, GUEST_VCPUS, REQUEST)
        found.append(Guest(Domain(uuid, uuid, ""), identity, threads, REQUEST))
        layouts[uuid] = GuestLayout(tuple(CpuSet.of([cpu]) for cpu in then[seats]), HOUSEKEEPING)
    return found, layouts, dedicated


def floating(found: Sequence[Guest]) -> list[Guest]:
    """The same guests as they are when the agent is new on the host: nobody is pinned."""
    anywhere = CpuSet.of(range(8 + GUESTS * GUEST_VCPUS))
    threads = Threads(dict.fromkeys(range(GUEST_VCPUS), anywhere), anywhere)
    return [Guest(guest.domain, guest.identity, threads, REQUEST) for guest in found]


def settled(found: Sequence[Guest], layouts: dict[str, GuestLayout]) -> list[Guest]:
    """The same guests where they belong."""
    return [
        Guest(
            guest.domain,
            guest.identity,
            Threads(dict(enumerate(layouts[guest.uuid].vcpus)), layouts[guest.uuid].emulator),
            REQUEST,
        )
        for guest in found
    ]


def _layout_ms(nodes: int, cpus: int) -> float:
    """The median time of a layout of every node of a host."""
    cores, demands = crowd(cpus)
    return _median_ms(lambda: [allocate(cores, demands) for _ in range(nodes)])


def _median_ms(run: Callable[[], object]) -> float:
    return statistics.median(report.cpu_seconds(REPEATS, lambda: None, lambda _: run())) * 1000


def main() -> None:
    """Measure and print."""
    arguments = report.parser(__doc__).parse_args()
    layouts_ms = {(nodes, NODE_CPUS): _layout_ms(nodes, NODE_CPUS) for nodes in HOSTS}
    layouts_ms |= {(1, cpus): _layout_ms(1, cpus) for cpus in LARGE_NODES}
    report.table(
        "A full layout of the allocator, a quarter of the guests newcomers of whole cores",
        ("nodes", "CPUs of each", "guests", "ms", "times one node", "CPUs times one node"),
        [
            (nodes, cpus, nodes * cpus // 4, ms, ms / layouts_ms[1, NODE_CPUS], nodes * cpus / NODE_CPUS)
            for (nodes, cpus), ms in layouts_ms.items()
        ],
    )
    found, wanted, dedicated = guests(1)
    cases = {
        "all move": found,
        "none was pinned before": floating(found),
        "nothing to do": settled(found, wanted),
    }
    plans_ms, counts = {}, {}
    for name, case in cases.items():
        counts[name] = len(plan(case, wanted, dedicated, HOUSEKEEPING))
        plans_ms[name] = _median_ms(lambda: plan(case, wanted, dedicated, HOUSEKEEPING))  # noqa: B023  # called at once
    report.table(
        f"The ordered actions of {GUESTS} guests of {GUEST_VCPUS} vCPUs",
        ("case", "actions", "ms", "times a pass with nothing to do"),
        [(name, counts[name], ms, ms / plans_ms["nothing to do"]) for name, ms in plans_ms.items()],
    )
    if arguments.write:
        report.keep(
            "replan",
            {
                "layout_ms": {f"{nodes} x {cpus}": ms for (nodes, cpus), ms in layouts_ms.items()},
                "plan_ms": plans_ms,
                "actions": counts,
            },
        )


if __name__ == "__main__":
    main()
