# SPDX-License-Identifier: Apache-2.0
"""Which of its host CPUs each vCPU of a guest gets, so that what it takes for threads of one core are that. Pure.

A guest that was given a topology with threads (``hw:cpu_threads``) schedules by it: it spreads work over what it takes
for cores, and counts on the cache that two threads share. All this only exchanges the CPUs of one guest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kongming_sched.cpuset import CpuSet
from kongming_sched.topology import Core


def groups_of(vcpus: CpuSet, threads_per_core: int) -> tuple[tuple[int, ...], ...]:
    """The vCPUs of a cell that are threads of one core to the guest, by their positions in the cell.

    QEMU numbers the threads of a core one after the other. Of a core that is cut by cells only those in this one count.

    :param threads_per_core: as the guest sees them
    """
    groups: dict[int, list[int]] = {}
    for position, vcpu in enumerate(vcpus):
        groups.setdefault(vcpu // threads_per_core, []).append(position)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def put_together(
    pins: Sequence[int], owned: CpuSet, cores: Iterable[Core], groups: Iterable[Sequence[int]]
) -> tuple[int, ...]:
    """The same vCPUs on CPUs that the guest owns, each group on one core as far as that can be.

    A group that is on one core stays. Of another one those vCPUs stay that are where it can be; a group that is larger
    than what the guest owns of any core is cut into parts that are not.

    :param pins: the host CPU of each vCPU
    :param owned: all CPUs that may be used
    :param groups: as positions in ``pins``
    """
    rooms = [room for core in cores if (room := core.cpus & owned)]
    width = max(map(len, rooms), default=1)
    parts = [group[start : start + width] for group in groups for start in range(0, len(group), width)]
    room_of = {cpu: room for room in rooms for cpu in room}
    placed: dict[int, int] = {}
    free = owned

    def settle(vcpu: int, cpu: int) -> None:
        nonlocal free
        placed[vcpu] = cpu
        free -= CpuSet.of([cpu])

    broken = []
    for part in (part for part in parts if len(part) > 1):
        if len({room_of[pins[vcpu]] for vcpu in part}) > 1:
            broken.append(part)
            continue
        for vcpu in part:
            settle(vcpu, pins[vcpu])
    # The largest come first, while there are cores with so much room.
    for part in sorted(broken, key=len, reverse=True):
        roomy = [room for room in rooms if len(room & free) >= len(part)]
        if not roomy:
            continue
        room = max(roomy, key=lambda room: (sum(pins[vcpu] in room & free for vcpu in part), -room.first))
        moving = [vcpu for vcpu in part if pins[vcpu] not in room & free]
        for vcpu in part:
            if vcpu not in moving:
                settle(vcpu, pins[vcpu])
        for vcpu in moving:
            settle(vcpu, (room & free).first)
    rest = [vcpu for vcpu in range(len(pins)) if vcpu not in placed]
    for vcpu in sorted(rest, key=lambda vcpu: pins[vcpu] not in free):
        settle(vcpu, pins[vcpu] if pins[vcpu] in free else free.first)
    return tuple(placed[vcpu] for vcpu in range(len(pins)))
