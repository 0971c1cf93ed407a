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
    exchange = _Exchange(pins, owned, cores)
    parts = exchange.parts_of(groups)
    broken = [part for part in parts if not exchange.is_together(part)]
    for part in parts:
        if part not in broken:
            exchange.stay(part)
    for part in sorted(broken, key=len, reverse=True):  # the largest first, while there are cores with so much room
        exchange.put_on_one_core(part)
    exchange.settle_rest()
    return tuple(exchange.placed[vcpu] for vcpu in range(len(pins)))


class _Exchange:
    """The CPUs of a guest while its vCPUs exchange them.

    :ivar rooms: the CPUs that the guest owns of each core
    :ivar placed: vCPU to its host CPU, of those that are settled
    :ivar free: CPUs on which no settled vCPU is
    """

    def __init__(self, pins: Sequence[int], owned: CpuSet, cores: Iterable[Core]) -> None:
        self.pins = pins
        self.rooms = [room for core in cores if (room := core.cpus & owned)]
        self.room_of = {cpu: room for room in self.rooms for cpu in room}
        self.placed: dict[int, int] = {}
        self.free = owned

    def parts_of(self, groups: Iterable[Sequence[int]]) -> list[Sequence[int]]:
        """The groups, cut into parts that one core can hold; a vCPU that is left alone is no part."""
        width = max(map(len, self.rooms), default=1)
        parts = [group[start : start + width] for group in groups for start in range(0, len(group), width)]
        return [part for part in parts if len(part) > 1]

    def is_together(self, part: Sequence[int]) -> bool:
        """Whether all vCPUs of a part are on one core."""
        return len({self.room_of[self.pins[vcpu]] for vcpu in part}) == 1

    def stay(self, vcpus: Iterable[int]) -> None:
        """Leave vCPUs where they are."""
        for vcpu in vcpus:
            self.settle(vcpu, self.pins[vcpu])

    def put_on_one_core(self, part: Sequence[int]) -> None:
        """Put a part on the core with the most of it that has room for all of it, if there is one."""
        roomy = [room & self.free for room in self.rooms if len(room & self.free) >= len(part)]
        if roomy:
            room = max(roomy, key=lambda room: (sum(self.pins[vcpu] in room for vcpu in part), -room.first))
            self.stay(vcpu for vcpu in part if self.pins[vcpu] in room)
            for vcpu in part:
                if vcpu not in self.placed:
                    self.settle(vcpu, (room & self.free).first)

    def settle_rest(self) -> None:
        """Let those that are in no part stay if they can, and give the others what is left."""
        rest = [vcpu for vcpu in range(len(self.pins)) if vcpu not in self.placed]
        for vcpu in sorted(rest, key=lambda vcpu: self.pins[vcpu] not in self.free):
            self.settle(vcpu, self.pins[vcpu] if self.pins[vcpu] in self.free else self.free.first)

    def settle(self, vcpu: int, cpu: int) -> None:
        """Give a CPU to a vCPU."""
        self.placed[vcpu] = cpu
        self.free -= CpuSet.of([cpu])
