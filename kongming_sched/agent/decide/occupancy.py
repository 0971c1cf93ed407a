# SPDX-License-Identifier: Apache-2.0
"""Which guests are on which CPUs of the dedicated pool while their threads move. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from kongming_sched.agent.model.actions import Action, ThreadOfHost, Unit
from kongming_sched.cpuset import CpuSet


class Occupancy:
    """Which threads of which guests are on which CPUs of the dedicated pool, while they move.

    Threads of equal affinity are counted together, so that a question costs the same however many guests there are.

    :param units: every thread of every guest
    :param dedicated: the host's dedicated pool
    """

    def __init__(self, units: Iterable[Unit], dedicated: CpuSet) -> None:
        self._dedicated = dedicated
        # A thread has two affinities while it is not known whether a call that failed has moved it; see doubt().
        self._on: dict[ThreadOfHost, tuple[CpuSet, ...]] = {}
        self._guests: dict[CpuSet, Counter[str]] = {}
        self._affinities: dict[int, dict[CpuSet, None]] = {}
        for unit in units:
            # A guest that cannot be moved and floats has no CPU of its own: all others would wait for it in vain.
            if not unit.is_fixed or unit.current <= dedicated:
                self._put(unit.key, unit.current)

    def blocker(self, guest: str, cpus: CpuSet) -> str | None:
        """Another guest with a thread that may be on one of these CPUs of the dedicated pool."""
        return next(self._others(guest, cpus, self._affinities), None)

    def owner(self, guest: str, cpus: CpuSet) -> str | None:
        """Another guest with a thread that is pinned to one of these CPUs; one that floats has no CPU of its own."""
        pinned = {
            cpu: [affinity for affinity in self._affinities.get(cpu, ()) if affinity <= self._dedicated] for cpu in cpus
        }
        return next(self._others(guest, cpus, pinned), None)

    def move(self, action: Action) -> CpuSet:
        """Note that a thread has moved; gives the CPUs that it has left and that may be free for others by now."""
        left = self._take(action.key)
        self._put(action.key, action.cpus)
        return left

    def doubt(self, action: Action) -> None:
        """Note that a thread may have moved or not, so that both its old and its new CPUs count as taken."""
        self._put(action.key, action.cpus)

    def drop(self, guest: str) -> None:
        """A guest ended."""
        for key in [key for key in self._on if key[0] == guest]:
            self._take(key)

    def _others(self, guest: str, cpus: CpuSet, affinities: Mapping[int, Iterable[CpuSet]]) -> Iterator[str]:
        for cpu in cpus & self._dedicated:
            for affinity in affinities.get(cpu, ()):
                for other in self._guests[affinity]:
                    if other != guest:
                        yield other

    def _put(self, key: ThreadOfHost, affinity: CpuSet) -> None:
        if affinity.isdisjoint(self._dedicated):
            return
        self._on[key] = (*self._on.get(key, ()), affinity)
        if affinity not in self._guests:
            self._guests[affinity] = Counter()
            for cpu in affinity & self._dedicated:
                self._affinities.setdefault(cpu, {})[affinity] = None
        self._guests[affinity][key[0]] += 1

    def _take(self, key: ThreadOfHost) -> CpuSet:
        """Take a thread off its CPUs; gives those that may be free for others by now.

        That is where at most one guest has this affinity still: it may be the one that waits for these CPUs, which its
        own threads do not take from it. Threads of other affinities may be there too; blocker() knows.
        """
        freed = CpuSet()
        for affinity in self._on.pop(key, ()):
            guests = self._guests[affinity]
            guests[key[0]] -= 1
            if guests[key[0]]:
                continue
            del guests[key[0]]
            if not guests:
                del self._guests[affinity]
                for cpu in affinity & self._dedicated:
                    del self._affinities[cpu][affinity]
            if len(guests) < 2:
                freed |= affinity
        return freed
