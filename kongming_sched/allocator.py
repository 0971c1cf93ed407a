# SPDX-License-Identifier: Apache-2.0
"""Which host CPUs the dedicated vCPUs of one NUMA node get: pure, and the same answer for the same input.

Counting is enough: let all cores be *t* threads wide and the counts of some demands (:func:`count_cpus`) add up to *t*
times the number of cores or less. Whole-core demands count full cores, so there are cores for all of them, whichever
they take. The other cores have at least as many threads as the other demands count, and those take any thread. So there
is a placement. Where some hold CPUs already it is reached by vacating cores that hold threads only, as many as lack:
whole-core demands need not move. The moves are then the vCPUs on those cores, so the emptiest cores make them fewest.

Whole-core demands that must lie in one cache get theirs first, each among cores that others leave for them if need be
(see caches/rooms.py). As cores are all alike to the other demands, counting is enough for these as it was before.

Among cores of several widths the widest are the whole ones: narrower cores take threads, and no whole-core demand. Then
counting is enough where all demands take threads, as any thread will do. Placement's tree sees to that.

Over 300 lines because one object hands the cores out, and each of its steps counts what those before have taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from kongming_sched.caches.choice import CacheCell, CacheChoice
from kongming_sched.cpuset import CpuSet
from kongming_sched.template import ThreadPolicy, count_cpus
from kongming_sched.topology import Core


@dataclass(frozen=True, slots=True)
class Demand:
    """Dedicated vCPUs of one guest on one NUMA node.

    :ivar key: names the guest (or its cell); unique among the demands of a node
    :ivar vcpus: how many vCPUs
    :ivar present: the host CPU that each vCPU is on now, None for one that is not on a single CPU; empty for a newcomer
    :ivar in_one_cache: whether all its cores must lie in one last-level cache; only of whole-core demands
    """

    key: str
    vcpus: int
    threads: ThreadPolicy
    present: tuple[int | None, ...] = ()
    in_one_cache: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be counted: see caches/rooms.py.

        :raises ValueError: if threads shall lie in one cache
        """
        if self.in_one_cache and not self.takes_whole_cores:
            raise ValueError("only whole cores are kept in one cache")

    @property
    def takes_whole_cores(self) -> bool:
        """True if no other guest may be on the cores of these vCPUs."""
        return self.threads in (ThreadPolicy.REQUIRE, ThreadPolicy.ISOLATE)


@dataclass(frozen=True, slots=True)
class Layout:
    """The host CPUs that each demand gets.

    :ivar pins: key to the host CPU of each vCPU
    :ivar unplaced: key to the reason, for demands that the counts do not admit
    :ivar reserved: key to all hardware threads that the demand owns, idle siblings included
    """

    pins: Mapping[str, tuple[int, ...]]
    unplaced: Mapping[str, str]
    reserved: Mapping[str, CpuSet]


def usable_cores(cores: Iterable[Core], pool: CpuSet) -> tuple[Core, ...]:
    """The cores that lie wholly in a pool, ordered by their first CPU.

    :param cores: all online cores of the node
    :param pool: dedicated CPUs
    """
    return tuple(sorted((core for core in cores if core.cpus <= pool), key=lambda core: core.cpus.first))


def allocate(cores: Sequence[Core], demands: Iterable[Demand], blocked: CpuSet = CpuSet()) -> Layout:
    """Place every demand that the counts admit, moving as few vCPUs as that takes.

    A guest that is placed well stays, also on a node that is overfull. It moves only if a whole-core demand needs room;
    then those cores are vacated that hold the fewest vCPUs. One of whole cores moves only for a demand that must lie in
    one cache. The order of the demands does not matter.

    Around CPUs that cannot be vacated, and among cores of several widths, counting is not enough any more: a whole-core
    demand needs as many of the widest cores without such a CPU, and is refused if there are fewer.

    :param cores: what :func:`usable_cores` returned
    :param blocked: host CPUs of guests that are not among the demands and cannot be moved
    :raises ValueError: if two demands have one key
    """
    ordered = sorted(demands, key=lambda demand: (not demand.takes_whole_cores, demand.key))
    if len({demand.key for demand in ordered}) < len(ordered):
        raise ValueError("two demands have the same key")
    accumulator = _Accumulator(cores, blocked)
    # The counts decide who gets a place, before anything moves; after that there is room for all of these. So no choice
    # below can fail, and each is free to be the one that moves the fewest vCPUs or keeps the most cores whole.
    unplaced = accumulator.admit(ordered)
    admitted = [demand for demand in ordered if demand.key not in unplaced]
    accumulator.take_caches([demand for demand in admitted if demand.in_one_cache], admitted)
    accumulator.vacate_cores(admitted)
    for demand in sorted(admitted, key=accumulator.turn):
        accumulator.take_cores(demand)
        accumulator.take_threads(demand)
    pins = {key: tuple(cpu for _, cpu in sorted(on.items())) for key, on in sorted(accumulator.pins.items())}
    return Layout(pins, unplaced, {key: accumulator.owned[key] for key in pins})


class _Accumulator:
    """The cores of a node while they are handed out.

    :ivar blocked: hardware threads of guests that cannot be moved
    :ivar threads_per_core: of the widest cores, which alone are whole cores
    :ivar whole: the whole cores without such a thread
    :ivar free: hardware threads that no demand owns, blocked ones left out
    :ivar pins: key to vCPU to host CPU
    :ivar owned: key to hardware threads, idle siblings included
    :ivar caches: which cache each demand has that must lie in one
    :ivar vcpus_on: how many vCPUs of demands that may lie anywhere are placed well on each core
    """

    def __init__(self, cores: Sequence[Core], blocked: CpuSet) -> None:
        self.cores = cores
        self.threads_per_core = max((len(core.cpus) for core in cores), default=1)
        self.core_of = {cpu: core for core in cores for cpu in core.cpus}
        self.blocked = blocked
        self.whole = [core for core in cores if self.is_widest(core) and core.cpus.isdisjoint(blocked)]
        self.free = CpuSet.union(core.cpus for core in cores) - blocked
        self.pins: dict[str, dict[int, int]] = {}
        self.owned: dict[str, CpuSet] = {}
        self.caches = CacheChoice(self.whole, self.others_in)
        self.vcpus_on: Counter[Core] = Counter()

    def is_widest(self, core: Core) -> bool:
        """Whether whole-core demands count a core."""
        return len(core.cpus) == self.threads_per_core

    def is_free(self, core: Core) -> bool:
        """Whether a whole-core demand can have a core."""
        return core.cpus <= self.free and self.is_widest(core)

    def count(self, demand: Demand) -> int:
        """How many hardware threads a demand counts, idle siblings included."""
        return count_cpus(demand.vcpus, demand.threads, self.threads_per_core)

    def needs_cores(self, demand: Demand) -> int:
        """How many whole cores a demand lacks."""
        lacking = self.count(demand) - len(self.owned[demand.key])
        return lacking // self.threads_per_core if demand.takes_whole_cores else 0

    def needs_pins(self, demand: Demand) -> list[int]:
        """The vCPUs of a demand that have no host CPU yet."""
        return [vcpu for vcpu in range(demand.vcpus) if vcpu not in self.pins[demand.key]]

    def turn(self, demand: Demand) -> tuple[int, int, str]:
        """The order in which demands choose: those that need siblings, then the largest, while there is a choice."""
        rank = 0 if demand.takes_whole_cores else 1 if demand.threads is ThreadPolicy.PREFER else 2
        return rank, -len(self.needs_pins(demand)), demand.key

    def admit(self, demands: Sequence[Demand]) -> dict[str, str]:
        """Let in what the counts allow and keep present pins; the rest comes back with its reason.

        Demands that are placed well come first and always fit, being disjoint; then those with some pin worth keeping.
        """
        rest = []
        in_cores = sum(len(core.cpus) for core in self.whole)
        # First those of which every pin can be kept. They take their threads out of ``free`` at once, so that what is
        # left can be counted for the others.
        for demand in demands:
            if len(self.find_keepable(demand)) == demand.vcpus and not self.refusal(demand, len(self.free), in_cores):
                cell = self.cell(demand) if demand.in_one_cache else None
                self.keep_pins(demand)
                if cell is not None:
                    self.caches.keep(cell, next(iter(self.homes(demand))))
                in_cores -= self.count(demand) if demand.takes_whole_cores else 0
            else:
                rest.append(demand)
        if any(demand.in_one_cache for demand in rest):
            anywhere = (on for key, on in self.pins.items() if key not in self.caches.chosen)
            self.vcpus_on = Counter(self.core_of[cpu] for on in anywhere for cpu in on.values())
        # The others only count here: which threads they get is decided when it is known who is admitted.
        left = len(self.free)
        unplaced = {}
        for demand in sorted(rest, key=lambda demand: (not self.find_keepable(demand), demand.key)):
            if reason := self.refusal(demand, left, in_cores) or self.refusal_of_caches(demand):
                unplaced[demand.key] = reason
            else:
                left -= self.count(demand)
                in_cores -= self.count(demand) if demand.takes_whole_cores else 0
        # Only now do they keep what they can: kept pins of a demand that is refused would block those that are not.
        leaving = [demand for demand in demands if demand.in_one_cache and self.leaves_cache(demand)]
        for demand in leaving:
            self.free |= self.owned[demand.key]
        for demand in [*leaving, *rest]:
            if demand.key not in unplaced:
                self.owned[demand.key] = CpuSet()
                self.keep_pins(demand)
        return unplaced

    def refusal(self, demand: Demand, left: int, in_cores: int) -> str | None:
        """Why a demand cannot be placed; None if it can.

        :param left: how many hardware threads are left to count
        :param in_cores: how many of these are on cores without a blocked thread
        """
        shape = f"vcpus={demand.vcpus}, threads={demand.threads}"
        if demand.threads is ThreadPolicy.REQUIRE and self.threads_per_core == 1:
            return f"asked: sibling threads ({shape}); available: cores of one thread each"
        if self.count(demand) > left:
            return f"asked: {self.count(demand)} dedicated CPUs ({shape}); available: {left} of {len(self.core_of)}"
        if demand.takes_whole_cores and self.count(demand) > in_cores:
            cores, wanted = in_cores // self.threads_per_core, self.count(demand) // self.threads_per_core
            why = "because some guests cannot be moved now" if self.blocked else "the others have fewer threads"
            return f"asked: {wanted} whole cores ({shape}); available: {cores}, {why}"
        return None

    def refusal_of_caches(self, demand: Demand) -> str | None:
        """Why a demand finds no room in one cache; None if it has got one, or needs none."""
        if not demand.in_one_cache or self.caches.add(self.cell(demand)):
            return None
        wanted, most = self.count(demand) // self.threads_per_core, max(self.caches.room.values(), default=0)
        return (
            f"asked: {wanted} whole cores of one cache (vcpus={demand.vcpus}, threads={demand.threads}); available:"
            f" none has so many left beside others that must lie in one; the largest has {most}"
        )

    def cell(self, demand: Demand) -> CacheCell:
        """A demand that must lie in one cache, with what it can keep of its pins in each."""
        on: Counter[int] = Counter()
        for core, vcpus in self.pins_by_core(demand, self.present_on(demand)).items():
            on[core.cache] += len(vcpus)
        return CacheCell(demand.key, self.count(demand) // self.threads_per_core, on)

    def homes(self, demand: Demand) -> set[int]:
        """The caches on which a demand owns threads."""
        return {self.core_of[cpu].cache for cpu in self.owned[demand.key]}

    def leaves_cache(self, demand: Demand) -> bool:
        """Whether a demand has kept its pins in another cache than it gets."""
        return demand.key in self.owned and self.homes(demand) != {self.caches.chosen[demand.key]}

    def others_in(self, cache: int, cores: int) -> int:
        """How many vCPUs of demands that may lie anywhere leave a cache in which others need so many whole cores."""
        return sum(sorted(self.vcpus_on[core] for core in self.whole if core.cache == cache)[:cores])

    def find_keepable(self, demand: Demand) -> dict[int, int]:
        """The largest part of the present pins that has the policy's shape and that is free; vCPU to host CPU."""
        on = self.present_on(demand)
        if not demand.takes_whole_cores:
            return {vcpu: cpu for cpu, vcpu in on.items()}
        # Of a whole-core demand a pin stays only on a core that is all its own, and no more cores stay than it counts:
        # the fullest, which leave the fewest vCPUs to be moved.
        by_core = self.pins_by_core(demand, on)
        if demand.in_one_cache:
            cache = self.caches.chosen.get(demand.key, _fullest_cache(by_core))
            by_core = {core: vcpus for core, vcpus in by_core.items() if core.cache == cache}
        fullest_first = sorted(by_core, key=lambda core: (-len(by_core[core]), core.cpus.first))
        stay = fullest_first[: self.count(demand) // self.threads_per_core]
        return {vcpu: cpu for core in stay for vcpu, cpu in by_core[core].items()}

    def present_on(self, demand: Demand) -> dict[int, int]:
        """The free host CPUs on which a demand is, with its vCPU there; of two vCPUs on one CPU the first stays."""
        on: dict[int, int] = {}
        for vcpu, cpu in enumerate(demand.present[: demand.vcpus]):
            if cpu is not None and cpu in self.free:
                on.setdefault(cpu, vcpu)
        return on

    def pins_by_core(self, demand: Demand, on: Mapping[int, int]) -> dict[Core, dict[int, int]]:
        """The vCPUs that a whole-core demand can keep on each free core, with their host CPUs.

        :param on: its vCPU on each host CPU
        """
        per_core = 1 if demand.threads is ThreadPolicy.ISOLATE else self.threads_per_core
        by_core: dict[Core, dict[int, int]] = {}
        for cpu, vcpu in on.items():
            core = self.core_of[cpu]
            if self.is_free(core) and len(by_core.setdefault(core, {})) < per_core:
                by_core[core][vcpu] = cpu
        return by_core

    def keep_pins(self, demand: Demand) -> None:
        """Leave a demand where it is, as far as that has its shape; the rest of its vCPUs is placed later."""
        pins = self.pins[demand.key] = self.find_keepable(demand)
        cores = CpuSet.union(self.core_of[cpu].cpus for cpu in pins.values())
        self.own(demand, cores if demand.takes_whole_cores else CpuSet.of(pins.values()))

    def own(self, demand: Demand, cpus: CpuSet) -> None:
        """Give hardware threads to a demand."""
        self.owned[demand.key] = self.owned.get(demand.key, CpuSet()) | cpus
        self.free -= cpus

    def take_caches(self, ours: Sequence[Demand], demands: Sequence[Demand]) -> None:
        """Give the demands that must lie in one cache their cores there, which others leave if they lack.

        :param demands: all that are admitted
        """
        others = [demand for demand in demands if not demand.in_one_cache]
        for cache in sorted({self.caches.chosen[demand.key] for demand in ours}):
            mine = [demand for demand in ours if self.caches.chosen[demand.key] == cache]
            free = [core for core in self.free_cores() if core.cache == cache]
            within = [core for core in self.whole if core.cache == cache]
            self.vacate(within, sum(map(self.needs_cores, mine)) - len(free), others)
            for demand in sorted(mine, key=self.turn):
                self.take_cores(demand)

    def vacate_cores(self, demands: Sequence[Demand]) -> None:
        """Empty as many cores as whole-core demands lack: those of the fewest vCPUs, then of the fewest guests."""
        lacking = sum(map(self.needs_cores, demands)) - len(self.free_cores())
        self.vacate(self.whole, lacking, [demand for demand in demands if not demand.takes_whole_cores])

    def vacate(self, cores: Sequence[Core], number: int, demands: Sequence[Demand]) -> None:
        """Empty so many of some cores of demands, with the fewest vCPUs that move.

        :param cores: whole ones without a blocked thread
        """
        if number <= 0:
            return
        among = set(cores)
        users: dict[Core, list[str]] = {}
        for demand in demands:
            for cpu in self.pins[demand.key].values():
                if (core := self.core_of[cpu]) in among:
                    users.setdefault(core, []).append(demand.key)
        # A guest that moves anyhow is the cheapest to take another vCPU from: it disturbs no further one.
        moved = {demand.key for demand in demands if self.needs_pins(demand)}
        for _ in range(number):
            core = _cheapest(users, moved)
            self.free |= core.cpus
            for key in users.pop(core):
                self.owned[key] -= core.cpus
                self.pins[key] = {vcpu: cpu for vcpu, cpu in self.pins[key].items() if cpu not in core.cpus}
                moved.add(key)

    def free_cores(self) -> list[Core]:
        """The whole cores of which all threads are free."""
        return [core for core in self.cores if self.is_free(core)]

    def take_cores(self, demand: Demand) -> None:
        """Own the lacking whole cores and put vCPUs on them, idle siblings of cores owned before first."""
        isolate = demand.threads is ThreadPolicy.ISOLATE
        cpus = [] if isolate else list(self.owned[demand.key] - CpuSet.of(self.pins[demand.key].values()))
        while lacking := self.needs_cores(demand):
            cache = self.caches.chosen.get(demand.key)
            supply = [core for core in self.free_cores() if cache in (None, core.cache)]
            core = self.choose(demand, supply, lacking * self.threads_per_core)
            self.own(demand, core.cpus)
            cpus += [core.cpus.first] if isolate else core.cpus
        # There may be more CPUs than vCPUs: an odd one leaves the sibling of its last idle.
        self.pins[demand.key].update(zip(self.needs_pins(demand), cpus, strict=False))

    def take_threads(self, demand: Demand) -> None:
        """Put the vCPUs that are left on any threads, core by core; on those of one cache if they fit there."""
        wanted = len(self.needs_pins(demand))
        if not wanted:
            return
        cache = self.choose_cache(demand, wanted)
        within = [core for core in self.cores if cache in (None, core.cache)]
        while vcpus := self.needs_pins(demand):
            core = self.choose(demand, self.supply(demand, len(vcpus), within), len(vcpus))
            cpus = list(core.cpus & self.free)[: len(vcpus)]
            self.own(demand, CpuSet.of(cpus))
            self.pins[demand.key].update(zip(vcpus, cpus, strict=False))

    def choose_cache(self, demand: Demand, wanted: int) -> int | None:
        """The cache that all vCPUs of a demand can share with no other guest moving; None if there is none.

        That is the one where it is already, if there is room. Of others it is the one that leaves the most cores whole,
        and of these the one with the least room, so that the larger rooms are left for larger guests.

        :param wanted: how many of its vCPUs have no host CPU yet
        """
        homes = self.homes(demand)
        if len(homes) > 1:
            return None
        free: dict[int, list[int]] = {}
        for core in self.cores:
            if not homes or core.cache in homes:
                free.setdefault(core.cache, []).append(len(core.cpus & self.free))
        rooms = [
            (broken, sum(counts), cache)
            for cache, counts in free.items()
            if (broken := self.breaks_cores(demand, wanted, counts)) is not None
        ]
        return min(rooms)[-1] if rooms else None

    def breaks_cores(self, demand: Demand, wanted: int, free: Sequence[int]) -> int | None:
        """How many free cores some vCPUs of a demand would take threads of; None if they do not fit.

        :param free: how many threads are free on each core on which they may be
        """
        width = self.threads_per_core
        whole = free.count(width)
        if demand.threads is ThreadPolicy.PREFER:  # siblings for each pair, and a place for what is left of them
            pairs, rest = divmod(wanted, width)
            shares = rest == 0 or any(rest <= count < width for count in free)
            needed = pairs if shares else pairs + 1
        else:
            partly_used = sum(free) - whole * width
            needed = max(0, -(-(wanted - partly_used) // width))
        return needed if needed <= whole else None

    def supply(self, demand: Demand, wanted: int, within: Sequence[Core]) -> list[Core]:
        """Partly used and narrow cores, to keep others whole; for ``prefer`` those with room for siblings, if any.

        :param within: the cores among which to choose
        """
        least = min(wanted, self.threads_per_core) if demand.threads is ThreadPolicy.PREFER else 1
        partly_used = [core for core in within if not self.is_free(core)]
        roomy = [core for core in partly_used if len(core.cpus & self.free) >= least]
        whole = [core for core in within if self.is_free(core)]
        return roomy or whole or [core for core in partly_used if core.cpus & self.free]

    def choose(self, demand: Demand, supply: Sequence[Core], wanted: int) -> Core:
        """The core to take next: beside the demand's own threads, in its own cache, else where it fits most closely."""
        mine, homes = self.owned[demand.key], self.homes(demand)
        room = Counter(core.cache for core in supply for _ in core.cpus & self.free)

        def rank(core: Core) -> tuple[object, ...]:
            """Of rooms the smallest that is large enough, else the largest."""
            in_cache, in_core = wanted - room[core.cache], wanted - len(core.cpus & self.free)
            cache = (core.cache not in homes, in_cache > 0, abs(in_cache), core.cache)
            return core.cpus.isdisjoint(mine), *cache, in_core > 0, abs(in_core), core.cpus.first

        return min(supply, key=rank)


def _fullest_cache(by_core: Mapping[Core, Mapping[int, int]]) -> int | None:
    """The cache with the most vCPUs; None if there are none."""
    on = Counter(core.cache for core, vcpus in by_core.items() for _ in vcpus)
    return min(on, key=lambda cache: (-on[cache], cache), default=None)


def _cheapest(users: Mapping[Core, Sequence[str]], moved: Set[str]) -> Core:
    """The core with the fewest vCPUs; then with the fewest guests not yet moved, those with the most such cores."""
    spread = Counter((len(keys), key) for keys in users.values() for key in set(keys))

    def cost(core: Core) -> tuple[int, int, int, int]:
        vcpus, keys = len(users[core]), set(users[core])
        return vcpus, len(keys - moved), -sum(spread[vcpus, key] for key in keys), core.cpus.first

    return min(users, key=cost)
