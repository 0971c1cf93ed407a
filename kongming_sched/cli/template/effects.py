# SPDX-License-Identifier: Apache-2.0
"""What a change of a template does to servers and hosts: pure, from what Placement and Nova know.

Which of a pool's CPUs a dedicated vCPU has is its host's agent's business, so that a report names CPUs only where a
template does; 'kongming-host plan' on the host says the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from kongming_sched.clauses.clause import write
from kongming_sched.cli.change_plan import Effect, Entry, changed
from kongming_sched.cloud.compute import Server
from kongming_sched.cloud.nodes import Node
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.template import CpuPolicy, Override, PinningTemplate


def differences(old: PinningTemplate, new: PinningTemplate) -> list[str]:
    """The fields that differ, as in ``cells[0].pins: 5-6 -> 7-8``."""
    before, after = dict(_fields(old.to_mapping())), dict(_fields(new.to_mapping()))
    paths = [*before, *(path for path in after if path not in before)]
    return [
        f"{path}: {changed(before.get(path), after.get(path))}" for path in paths if before.get(path) != after.get(path)
    ]


def _fields(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Each plain value with its path."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _fields(inner, f"{path}[{key}]" if isinstance(key, int) else f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _fields(inner, f"{path}[{index}]")
    else:
        yield path, value


def consequences(old: PinningTemplate, new: PinningTemplate) -> list[tuple[Effect, str]]:
    """What running servers of a template go through when it changes, if what they take stays the same."""
    found = [(Effect.MOVE, line) for line in _moves(old, new)]
    before, after = (dict(_limits(template)) for template in (old, new))
    found += [
        (Effect.LIMIT, f"{path}: {changed(before.get(path), after.get(path))}")
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    ]
    return found


def _limits(template: PinningTemplate) -> Iterator[tuple[str, object]]:
    """What a template says of CPU time, and what is other at which hours, each value with its path."""
    yield from _fields(template.qos.to_mapping())
    for index, period in enumerate(template.hours):
        yield from _fields(write(period), f"hours[{index}]")


def _moves(old: PinningTemplate, new: PinningTemplate) -> Iterator[str]:
    was = {vcpu: pin for cell in old.cells for vcpu, pin in zip(cell.vcpus, cell.pins, strict=False)}
    vcpus_by_move: dict[tuple[CpuSet, CpuSet], CpuSet] = {}
    for cell in new.cells:
        for vcpu, pin in zip(cell.vcpus, cell.pins, strict=False):  # only explicit cells have pins
            if vcpu in was and was[vcpu] != pin:
                move = (was[vcpu], pin)
                vcpus_by_move[move] = vcpus_by_move.get(move, CpuSet()) | CpuSet.of([vcpu])
    for (before, after), vcpus in vcpus_by_move.items():
        yield f"vCPU {vcpus}: CPU {before} -> {after}"
    for index, (mine, its) in enumerate(zip(old.cells, new.cells, strict=False)):
        if mine.vcpus != its.vcpus:
            yield f"cell {index}: vCPU {mine.vcpus} -> {its.vcpus}"
        if mine.shared_vcpus != its.shared_vcpus:
            yield f"cell {index}: shared vCPU {mine.shared_vcpus or 'none'} -> {its.shared_vcpus or 'none'}"
        if mine.cpus is its.cpus is CpuPolicy.DEDICATED and mine.threads is not its.threads:
            yield f"vCPU {its.vcpus}: threads {mine.threads} -> {its.threads}, if they lie otherwise now"
    if old.emulator is not new.emulator:
        yield f"emulator threads: {old.emulator} -> {new.emulator}"
    if old.override is not Override.DENIED and new.override is Override.DENIED:
        yield "pins of its own metadata, if it has any, give way to the template's"
    if old.override is Override.ALLOWED and new.override is not Override.ALLOWED:
        yield "another template of its own metadata, if it has one, gives way to its flavor's"


def of_servers(servers: Iterable[Server], old: PinningTemplate, new: PinningTemplate) -> Iterator[Entry]:
    """A line for each thing that each server goes through."""
    found = consequences(old, new)
    for server in servers:
        for effect, detail in found:
            yield Entry(effect, f"server {server.name} ({server.id})", detail, server.host or None)


def of_pools(subject: str, old: PinningTemplate | None, cpus: CpuSet, nodes: Iterable[Node]) -> Iterator[Entry]:
    """Who has to get out of the way of explicit host CPUs, and which hosts cannot set them aside.

    :param subject: what is to have the CPUs, in words
    :param old: the template whose CPUs are set aside instead of them now; None if they are those of new ones
    :param nodes: of the hosts that are offered it
    """
    by_host: dict[str, list[Node]] = {}
    for node in nodes:
        by_host.setdefault(node.host, []).append(node)
    for host, mine in by_host.items():
        held = old.host_cpus if old and any(old.name in node.templates for node in mine) else CpuSet()
        coming, going = cpus - held, held - cpus
        used = sum(node.summary.used.get(names.PCPU, 0) for node in mine)
        if not coming or not used:
            continue
        yield Entry(Effect.MOVE, "dedicated servers", f"those on CPU {coming} go to other CPUs of their node", host)
        threads = max(node.threads_per_core or 1 for node in mine)
        most = sum(node.summary.capacity.get(names.PCPU, 0) for node in mine) + threads * len(going) - len(coming)
        if used > most:
            reason = f"{used} CPUs of the dedicated pools are allocated, and at most {max(most, 0)} would be left"
            yield Entry(Effect.CONFLICT, subject, f"cannot set CPU {coming} aside: {reason}", host)
