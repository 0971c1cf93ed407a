# SPDX-License-Identifier: Apache-2.0
"""What is promised of a host, as checks of the real state: each gives what is wrong, line by line."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
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
        explicit = [cell for cell in self.template.cells if cell.cpus is CpuPolicy.EXPLICIT]
        return demands(self.template) == demands(self.claimed) and not explicit


def demands(template: PinningTemplate) -> list[dict[str, int]]:
    """What each cell of a template claims beside its memory."""
    return [dict(cell.resources) for cell in cell_requests(template, 0, 2)]


def cpus_of_two(world: World, excused: Collection[str] = ()) -> Iterator[str]:
    """Promise 1: no CPU of the pool belongs to two guests.

    :param excused: server ids of guests of which the kernel has dropped a pin, so that nobody knows where they are
    """
    owners: dict[int, str] = {}
    for uuid, affinities in world.host.affinities().items():
        if uuid in excused:
            continue
        for cpu in CpuSet.union(cpus for cpus in affinities if cpus <= world.pools.dedicated):
            if owners.setdefault(cpu, uuid) != uuid:
                yield f"CPU {cpu} belongs to {owners[cpu]} and {uuid}"


def not_as_promised(
    world: World, server: str, expectation: Expectation, excused: Collection[str] = ()
) -> Iterator[str]:
    """Promise 2: a server that nothing is reported of is where its template and its claim say.

    :param excused: server ids of guests that may be on its cores, because the kernel has dropped a pin of theirs
    """
    template = expectation.template
    *texts, emulator, memory = world.host.pins()[server]
    vcpus = [CpuSet.parse(text) for text in texts]
    for cell, node_id in zip(template.cells, expectation.nodes, strict=True):
        mine = {vcpu: vcpus[vcpu] for vcpu in cell.vcpus}
        yield from (f"{server}: {wrong}" for wrong in _wrong_in_cell(world, {server, *excused}, cell, node_id, mine))
    if template.emulator is EmulatorPolicy.OWN:
        place = CpuSet.parse(emulator.removeprefix("emulator "))
        yield from (
            f"{server}: {wrong}" for wrong in _wrong_emulator(world, {server, *excused}, expectation, place, vcpus)
        )
    else:
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


def _wrong_emulator(
    world: World, may_be_there: Collection[str], expectation: Expectation, place: CpuSet, vcpus: Collection[CpuSet]
) -> Iterator[str]:
    """What is wrong with an emulator that has a CPU or a core of its own on the first cell's node.

    :param place: where it is
    :param vcpus: where the vCPUs of its server are
    """
    node = world.topology.node(expectation.nodes[0])
    cores = [core.cpus for core in node.cores if not core.cpus.isdisjoint(place)] if node else []
    is_whole = expectation.template.cells[0].needs_smt_trait
    if len(cores) != 1 or not place <= world.pools.dedicated or (place != cores[0] if is_whole else len(place) != 1):
        yield f"its emulator is on {place}, which is no {'core' if is_whole else 'CPU'} of its own"
    mine = CpuSet.union(cores) if is_whole else place
    if not mine.isdisjoint(CpuSet.union(vcpus)):
        yield f"its emulator is on {place}, beside its vCPUs"
    for other, cpus in _others(world, may_be_there).items():
        if not cpus.isdisjoint(mine):
            yield f"{other} is on the CPUs of its emulator: {cpus & mine}"


def _others(world: World, may_be_there: Collection[str]) -> dict[str, CpuSet]:
    """Server id to the dedicated CPUs to which threads of it are pinned, of all other servers."""
    return {
        other: CpuSet.union(cpus for cpus in affinities if cpus <= world.pools.dedicated)
        for other, affinities in world.host.affinities().items()
        if other not in may_be_there
    }


def _wrong_in_cell(
    world: World, may_be_there: Collection[str], cell: TemplateCell, node_id: int, mine: Mapping[int, CpuSet]
) -> Iterator[str]:
    node = world.topology.node(node_id)
    if node is None:
        yield f"node {node_id} is gone"
        return
    floating = {vcpu: cpus for vcpu, cpus in mine.items() if vcpu in cell.floating_vcpus}
    if any(cpus != world.pools.shared & node.cpus for cpus in floating.values()):
        yield f"shared vCPUs are on {floating}"
    mine = {vcpu: cpus for vcpu, cpus in mine.items() if vcpu not in floating}
    if not mine:
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
        for other, cpus in _others(world, may_be_there).items():
            if not cpus.isdisjoint(CpuSet.union(cores)):
                yield f"{other} is on a core of its: {cpus}"


def not_set_back(
    world: World, server: str, before: Mapping[str, list[CpuSet]], touched: Collection[int]
) -> Iterator[str]:
    """Promise 3: a server for which one change has failed is as it was.

    A thread that floated over the pool is off it now, if it was moved at all, and may be if that was what failed.

    :param before: server id to the affinity of each of its threads
    :param touched: which of its threads were moved since
    """
    pool = world.pools.dedicated
    for number, (now, then) in enumerate(zip(world.host.affinities()[server], before[server], strict=True)):
        allowed = {then} if then <= pool or number not in touched else set()
        if now not in allowed | ({then - pool} if not then <= pool else set()):
            yield f"{server}: thread {number} was on {then} before its change failed, and is on {now}"


def intruders(world: World, server: str, expectation: Expectation, before: Mapping[str, list[CpuSet]]) -> Iterator[str]:
    """Promise 5: a guest of whole cores that cannot be moved keeps them, with the threads that stay idle.

    :param before: server id to the affinity of each of its threads before a pass, in which it has not moved
    """
    after = world.host.affinities()
    if not expectation.is_honoured or server not in after or before.get(server) != after[server]:
        return
    for cell, node_id in zip(expectation.template.cells, expectation.nodes, strict=True):
        node = world.topology.node(node_id)
        if node is None or cell.threads not in (ThreadPolicy.ISOLATE, ThreadPolicy.REQUIRE):
            continue
        mine = CpuSet.union(cpus for vcpu in cell.vcpus if (cpus := after[server][vcpu]) <= world.pools.dedicated)
        cores = [core.cpus for core in node.cores if not core.cpus.isdisjoint(mine)]
        if len(cores) * node.threads_per_core <= cell.dedicated_cpus(node.threads_per_core):
            then, now = (_others_on(world, CpuSet.union(cores), server, on) for on in (before, after))
            yield from (f"{other} has come to a core of {server}" for other in now - then if not then)


def _others_on(world: World, cpus: CpuSet, server: str, affinities: Mapping[str, list[CpuSet]]) -> set[str]:
    return {
        other
        for other, threads in affinities.items()
        if other != server and any(on <= world.pools.dedicated and not on.isdisjoint(cpus) for on in threads)
    }
