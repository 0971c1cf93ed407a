# SPDX-License-Identifier: Apache-2.0
"""What is promised of a host, as checks of the real state: each gives what is wrong, line by line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.flavor import cell_requests
from kongming_sched.template import CpuPolicy, EmulatorPolicy, MemoryPolicy, PinningTemplate, TemplateCell, ThreadPolicy
from tests.functional.agent.world import World


@dataclass(frozen=True)
class Expectation:
    """What a server was promised when it was scheduled.

    :ivar template: as it is now
    :ivar claimed: as it was when the server's claim was made
    :ivar nodes: the node of each cell
    """

    template: PinningTemplate
    claimed: PinningTemplate
    nodes: tuple[int, ...]

    @property
    def is_honoured(self) -> bool:
        """Whether the template still takes what the server has claimed, where it has claimed it."""

        def demands(template: PinningTemplate) -> list[object]:
            return [dict(cell.resources) for cell in cell_requests(template, 0, 2)]

        explicit = [cell for cell in self.template.cells if cell.cpus is CpuPolicy.EXPLICIT]
        return demands(self.template) == demands(self.claimed) and not explicit


def cpus_of_two(world: World) -> Iterator[str]:
    """Promise 1: no CPU of the pool belongs to two guests."""
    owners: dict[int, str] = {}
    for uuid, affinities in world.host.affinities().items():
        for cpu in CpuSet.union(cpus for cpus in affinities if cpus <= world.pools.dedicated):
            if owners.setdefault(cpu, uuid) != uuid:
                yield f"CPU {cpu} belongs to {owners[cpu]} and {uuid}"


def not_as_promised(world: World, server: str, expectation: Expectation) -> Iterator[str]:
    """Promise 2: a server that nothing is reported of is where its template and its claim say."""
    template = expectation.template
    *texts, emulator, memory = world.host.pins()[server]
    vcpus = [CpuSet.parse(text) for text in texts]
    for cell, node_id in zip(template.cells, expectation.nodes, strict=True):
        mine = {vcpu: vcpus[vcpu] for vcpu in cell.vcpus}
        yield from (f"{server}: {wrong}" for wrong in _wrong_in_cell(world, server, cell, node_id, mine))
    wanted = CpuSet.union(vcpus) if template.emulator is EmulatorPolicy.CELL else world.pools.housekeeping
    if emulator != f"emulator {wanted}":
        yield f"{server}: {emulator} and not {wanted}"
    strict = all(cell.memory is MemoryPolicy.STRICT for cell in template.cells)
    if strict and memory != f"memory {CpuSet.of(expectation.nodes)}" and memory != "memory anywhere":
        yield f"{server}: {memory} and not {expectation.nodes}"
    if strict and len(set(expectation.nodes)) == 1 and memory == "memory anywhere":
        yield f"{server}: its memory is not bound"
    for name, value in {"cpu_shares": template.qos.shares, "vcpu_quota": template.qos.quota_us}.items():
        if value is not None and world.host.scheduler_of(server)[name] != value:
            yield f"{server}: {name} is {world.host.scheduler_of(server)[name]} and not {value}"


def _wrong_in_cell(
    world: World, server: str, cell: TemplateCell, node_id: int, mine: Mapping[int, CpuSet]
) -> Iterator[str]:
    node = world.topology.node(node_id)
    if node is None:
        yield f"node {node_id} is gone"
        return
    if cell.cpus is CpuPolicy.SHARED:
        if any(cpus != world.pools.shared & node.cpus for cpus in mine.values()):
            yield f"shared vCPUs are on {mine}"
        return
    if cell.cpus is CpuPolicy.EXPLICIT:
        if list(mine.values()) != list(cell.pins):
            yield f"explicit vCPUs are on {mine}"
        return
    seats = CpuSet.union(mine.values())
    if len(seats) != len(mine) or not seats <= world.pools.dedicated & node.cpus:
        yield f"dedicated vCPUs are on {mine}"
    cores = [core.cpus for core in node.cores if not core.cpus.isdisjoint(seats)]
    if cell.threads is ThreadPolicy.ISOLATE and len(cores) != len(mine):
        yield f"isolated vCPUs share cores: {mine}"
    if cell.threads in (ThreadPolicy.ISOLATE, ThreadPolicy.REQUIRE):
        pinned = {
            other: CpuSet.union(cpus for cpus in affinities if cpus <= world.pools.dedicated)
            for other, affinities in world.host.affinities().items()
            if other != server
        }
        for other, cpus in pinned.items():
            if not cpus.isdisjoint(CpuSet.union(cores)):
                yield f"{other} is on a core of its: {cpus}"
