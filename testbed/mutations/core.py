# SPDX-License-Identifier: Apache-2.0
"""Mutations of the core: allocator, template, CPU sets."""

from __future__ import annotations

from testbed.mutations.mutation import Mutation

_ALLOCATOR = "kongming_sched/allocator.py"
_CELL = "kongming_sched/clauses/cell.py"
_TEMPLATE = "kongming_sched/template.py"
_TEST_ALLOCATOR = ("tests/unit/test_allocator.py",)

CORE = (
    Mutation(
        "allocator-gives-idle-siblings-away",
        _ALLOCATOR,
        "self.own(demand, cores if demand.takes_whole_cores else CpuSet.of(pins.values()))",
        "self.own(demand, CpuSet.of(pins.values()))",
        "a guest of whole cores that stays keeps its own CPUs only, and others get the idle siblings",
        _TEST_ALLOCATOR,
    ),
    Mutation(
        "allocator-uses-blocked-cpus",
        _ALLOCATOR,
        "self.free = CpuSet.union(core.cpus for core in cores) - blocked",
        "self.free = CpuSet.union(core.cpus for core in cores)",
        "guests are placed on CPUs of guests that cannot be moved",
        _TEST_ALLOCATOR,
    ),
    Mutation(
        "allocator-counts-blocked-cores-as-whole",
        _ALLOCATOR,
        "self.whole = [core for core in cores if self.is_widest(core) and core.cpus.isdisjoint(blocked)]",
        "self.whole = [core for core in cores if self.is_widest(core)]",
        "a guest of whole cores is admitted although guests that cannot be moved are on the cores",
        _TEST_ALLOCATOR,
    ),
    Mutation(
        "allocator-admits-one-too-many",
        _ALLOCATOR,
        "        if self.count(demand) > left:\n",
        "        if self.count(demand) > left + 1:\n",
        "a demand is admitted for which one CPU lacks",
        _TEST_ALLOCATOR,
    ),
    Mutation(
        "allocator-takes-cores-half-in-the-pool",
        _ALLOCATOR,
        "(core for core in cores if core.cpus <= pool)",
        "(core for core in cores if not core.cpus.isdisjoint(pool))",
        "a core counts of which a thread belongs to another guest",
        _TEST_ALLOCATOR,
    ),
    Mutation(
        "allocator-moves-who-could-stay",
        _ALLOCATOR,
        "            if cpu is not None and cpu in self.free:\n                on.setdefault(cpu, vcpu)\n",
        "            if cpu is not None and cpu in self.free and vcpu:\n                on.setdefault(cpu, vcpu)\n",
        "the first vCPU of a guest is placed anew in each pass",
        _TEST_ALLOCATOR,
    ),
    Mutation(
        "vcpus-that-float-take-dedicated-cpus",
        _CELL,
        "return count_cpus(len(self.dedicated_vcpus), self.threads, threads_per_core)",
        "return count_cpus(len(self.vcpus), self.threads, threads_per_core)",
        "a server claims dedicated CPUs for vCPUs that run on the shared pool",
        ("tests/unit/placement/test_flavor.py",),
    ),
    Mutation(
        "isolate-counts-no-siblings",
        _CELL,
        "        return vcpus * threads_per_core\n",
        "        return vcpus\n",
        "Placement has room for more guests of whole cores than the host has cores",
        ("tests/unit/placement/test_flavor.py",),
    ),
    Mutation(
        "require-counts-half-cores",
        _CELL,
        "return -(-vcpus // threads_per_core) * threads_per_core",
        "return vcpus",
        "an odd vCPU of a guest of whole cores claims half a core",
        ("tests/unit/placement/test_flavor.py",),
    ),
    Mutation(
        "emulator-of-its-own-is-not-counted",
        _TEMPLATE,
        "            count += count_cpus(1, self.emulator_threads, threads_per_core)\n",
        "            count += 0\n",
        "Placement gives the CPU of an emulator to a further server",
        ("tests/unit/placement/test_flavor.py",),
    ),
    Mutation(
        "emulator-of-its-own-counts-no-core",
        _TEMPLATE,
        "return ThreadPolicy.ISOLATE if self.cells[0].needs_smt_trait else ThreadPolicy.ANY",
        "return ThreadPolicy.ANY",
        "the emulator of a guest of whole cores shares its core with another guest",
        ("tests/unit/placement/test_flavor.py", "tests/unit/agent/decide/test_demands.py"),
    ),
    Mutation(
        "template-names-a-host-cpu-twice",
        _TEMPLATE,
        "if twice := hosts & cell.host_cpus:",
        "if twice := CpuSet():",
        "two cells of a template name one host CPU",
        ("tests/unit/test_template.py",),
    ),
    Mutation(
        "cells-of-one-cache-take-their-own-size-alone",
        "kongming_sched/caches/rooms.py",
        "    return {size: cores // size for size in divisors(cores)}\n",
        "    return {cores: 1} if cores > 1 else {}\n",
        "a cache is given to a cell of four cores and to two of two",
        ("tests/unit/caches/test_rooms.py",),
    ),
    Mutation(
        "caches-are-counted-as-one",
        "kongming_sched/caches/rooms.py",
        "sum(count // size for count in cores_by_cache(cores).values())",
        "sum(cores_by_cache(cores).values()) // size",
        "the cores that are left in several caches are counted together",
        ("tests/unit/caches/test_rooms.py",),
    ),
    Mutation(
        "cells-of-one-cache-lie-in-several",
        _ALLOCATOR,
        "supply = [core for core in self.free_cores() if cache in (None, core.cache)]",
        "supply = self.free_cores()",
        "a cell that must lie in one cache takes cores of others",
        ("tests/unit/caches/test_choice.py",),
    ),
    Mutation(
        "cells-leave-no-cache-for-larger-ones",
        "kongming_sched/caches/choice.py",
        "[other for other in inside if other.cores < cell.cores]",
        "[]",
        "a cell that the counts admit finds no cache because smaller ones lie in each",
        ("tests/unit/caches/test_choice.py",),
    ),
    Mutation(
        "sizes-that-do-not-divide-each-other-are-counted-together",
        "kongming_sched/placement/offers/caches.py",
        "    if misfit := first_misfit(sizes):\n",
        "    if (misfit := first_misfit(sizes)) and not size:\n",
        "cells of four and of six cores are offered on one node, whose counts say nothing of each other",
        ("tests/unit/placement/offers/test_caches.py",),
    ),
    Mutation(
        "explicit-cpus-cut-caches-in-use",
        "kongming_sched/placement/offers/caches.py",
        "if (left := count_rooms(cores, size)) < min(used[name], inventories[name].capacity):",
        "if (left := count_rooms(cores, size)) < 0:",
        "CPUs are set aside in a cache that a server has claimed",
        ("tests/unit/placement/offers/test_caches.py",),
    ),
)
