# SPDX-License-Identifier: Apache-2.0
"""What leading Nova to the nodes of a claim adds per host, beside one call of Nova's own fit on the same hosts.

CPU time, in turns within one process, for servers of one cell and of two with huge pages. The fit alone gets what
KongMing gives it: the server's NUMA topology, and limits with the markers, made before. KongMing's part makes the
limits, checks the markers, calls the fit for the first candidate and compares the nodes, and gives each host an object
of the pass.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from nova import objects
from nova.virt import hardware

from benchmarks import nova_numa
from kongming_sched.nova_numa.markers import marker
from kongming_sched.scheduler.numa_fit import NumaFit
from kongming_sched.scheduler.pass_state import own_states
from testbed.nova_objects import make_host_state, make_spec
from testbed.topologies import make_topology

_PAGE_KIB = 2048
_MEMORY_MB = 8192
_NODES = {(2, 1): (1,), (2, 2): (0, 1), (4, 1): (3,), (4, 2): (2, 3)}
"""Where the candidate leads, by the nodes of a host and the cells of the server; mostly where Nova tries last."""


def make_hosts(count: int, nodes: int, *, shared: bool) -> list[Any]:
    """Hosts of 128 CPUs with huge pages, whose nodes are marked."""
    made = []
    for index in range(count):
        topology = nova_numa.host_topology(make_topology(nodes, 64 // nodes, 2))
        for cell in topology.cells:
            cell.mempages.append(objects.NUMAPagesTopology(size_kb=_PAGE_KIB, total=65536, used=0, reserved=0))
            cell.network_metadata = objects.NetworkMetadata(physnets={marker(cell.id)}, tunneled=False)
            if shared:
                cell.cpuset, cell.pcpuset = cell.pcpuset, set()
        host = make_host_state(f"c{index}", f"c{index}", [{"mappings": {}}])
        host.numa_topology = topology
        host.cpu_allocation_ratio = host.ram_allocation_ratio = 1.0
        made.append(host)
    return made


def make_server(cells: int, *, shared: bool) -> objects.RequestSpec:
    """A server of eight vCPUs."""
    specs = {"hw:mem_page_size": str(_PAGE_KIB), "hw:numa_nodes": str(cells)}
    specs |= {} if shared else {"hw:cpu_policy": "dedicated"}
    flavor = objects.Flavor(name="f", vcpus=8, memory_mb=_MEMORY_MB, extra_specs=specs)
    topology = hardware.numa_get_constraints(flavor, objects.ImageMeta(properties=objects.ImageMetaProps()))
    return make_spec(specs, numa_topology=topology, pci_requests=None)


def seconds(work: Callable[[], None]) -> float:
    """The CPU time that a piece of work takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(hosts: list[Any], spec: objects.RequestSpec, nodes: Sequence[int], rounds: int) -> tuple[float, float]:
    """Microseconds per host: of the fit alone, and of all that KongMing does. The medians."""
    network = objects.NetworkMetadata(physnets={marker(node) for node in nodes}, tunneled=False)
    limits = objects.NUMATopologyLimits(cpu_allocation_ratio=1.0, ram_allocation_ratio=1.0, network_metadata=network)
    topology = spec.numa_topology.obj_clone()

    def fit() -> None:
        for host in hosts:
            found = hardware.numa_fit_instance_to_host(host.numa_topology, topology, None, limits=limits)
            assert [cell.id for cell in found.cells] == [*nodes]

    def lead() -> None:
        led = NumaFit(spec)
        for host in own_states(hosts):
            choice = led.choose(host, [(0, nodes)])
            assert not isinstance(choice, str), choice
            host.limits["numa_topology"] = choice.limits

    times = [(seconds(fit), seconds(lead)) for _ in range(rounds)]
    alone, whole = (statistics.median(each) / len(hosts) * 1e6 for each in zip(*times, strict=True))
    return alone, whole


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print("vCPUs of Nova  nodes  cells  fit alone (us)  led (us)  ratio")
    for (count, cells), nodes in _NODES.items():
        for shared in (True, False):
            hosts = make_hosts(options.hosts, count, shared=shared)
            alone, whole = measure(hosts, make_server(cells, shared=shared), nodes, options.rounds)
            name = "shared" if shared else "dedicated"
            print(f"{name:<13}  {count:5}  {cells:5}  {alone:14.1f}  {whole:8.1f}  {whole / alone:5.2f}")


if __name__ == "__main__":
    main()
