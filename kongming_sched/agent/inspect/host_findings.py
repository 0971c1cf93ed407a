# SPDX-License-Identifier: Apache-2.0
"""What facts of a host mean for the agent: pure, from values to findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from kongming_sched.agent.inspect.findings import Finding, Level
from kongming_sched.agent.settings import Settings
from kongming_sched.allocator import usable_cores
from kongming_sched.cpuset import CpuSet
from kongming_sched.page_sizes import size_name
from kongming_sched.pools import HostCpus, HostPools, pool_faults
from kongming_sched.topology import HostTopology, NumaNode

_TESTED = (9, 0, 0)
_BINDS_MEMORY = (7, 3, 0)
"""The first libvirt that knows the mode ``restrictive``, the only one that can be changed while a guest runs."""

_SMALL_PAGE_KIB = 4
_OPTION = "reserved_huge_pages of nova.conf"

_CONTROLLERS = {
    "cpuset": "the memory of running servers cannot be moved, so that memory: strict is not kept",
    "cpu": "shares and quotas of templates are not set",
}
"""What is lacking without a controller."""

_HOOK_STATES = {
    "not installed": (Level.WARN, "kongming-host hook install"),
    "outdated": (Level.WARN, "kongming-host hook install"),
    "not executable": (Level.WARN, "kongming-host hook install"),
    "not ours": (Level.ERROR, "move the file away, and run kongming-host hook install"),
}


def of_version(version: tuple[int, int, int]) -> Finding:
    """Of libvirt's release."""
    words = f"libvirt {'.'.join(map(str, version))} answers"
    if version < _BINDS_MEMORY:
        fact = f"{words}; before 7.3.0 it cannot bind the memory of running servers, so that memory: strict is not kept"
        return Finding(Level.WARN, "libvirt", fact, "upgrade libvirt, or use templates with memory: none here")
    if version < _TESTED:
        return Finding(Level.WARN, "libvirt", f"{words}; 9.0.0 is the oldest that is tested", "upgrade it if you can")
    return Finding(Level.OK, "libvirt", words)


def of_topology(topology: HostTopology) -> Iterator[Finding]:
    """Of nodes, cores and threads."""
    nodes = [node for node in topology.nodes if node.cores]
    threads = sorted({len(core.cpus) for node in nodes for core in node.cores})
    cores = sum(len(node.cores) for node in nodes)
    yield Finding(
        Level.OK,
        "topology",
        f"{_count(len(nodes), 'NUMA node')}, {_count(cores, 'core')}, {_count(len(topology.cpus), 'CPU')},"
        f" {' or '.join(map(str, threads))} per core",
    )


def of_pools(cpus: HostCpus) -> Iterator[Finding]:
    """Of the CPUs that the options give to templates."""
    topology, pools = cpus.topology, cpus.pools
    faults = list(pool_faults(cpus))
    yield from (Finding(Level.ERROR, "CPU pools", str(fault)) for fault in faults)
    if faults:
        return
    if not pools.dedicated | pools.shared:
        yield _no_pools(topology)
        return
    nodes = [node for node in topology.nodes if node.cores]
    if pools.dedicated:
        counts = [f"{_cores(node, pools)} on node {node.id}" for node in nodes]
        yield Finding(Level.OK, "dedicated pool", f"CPU {pools.dedicated}: {', '.join(counts)}")
        yield from _of_width(nodes, cpus)
    if pools.shared:
        shared = {node.id: len(pools.shared & node.cpus) for node in nodes}
        counts = [f"{int(n * pools.vcpu_allocation_ratio)} vCPUs on node {id}" for id, n in shared.items() if n]
        yield Finding(Level.OK, "shared pool", f"CPU {pools.shared}: {', '.join(counts)}")
    yield Finding(Level.OK, "housekeeping", f"CPU {cpus.housekeeping}")
    yield from _of_offline(topology, pools)
    yield from _of_memory(nodes, cpus)


def of_huge_pages(cpus: HostCpus) -> Iterator[Finding]:
    """Of the pools of huge pages, and of those pages in them that Nova's options keep for others."""
    pools = cpus.pools
    there = {(node, pages.size_kib): pages.lasting for node, found in cpus.huge_pages.items() for pages in found}
    words = []
    for (node, size_kib), count in there.items():
        reserved = pools.reserved_of(node, size_kib)
        kept = f", {reserved} of them reserved" if reserved else ""
        words.append(f"{count} of {size_name(size_kib)} on node {node}{kept}")
    if words:
        yield Finding(Level.OK, "huge pages", "; ".join(words))
    for pages in pools.reserved_pages:
        if pages.count > (count := there.get((pages.node_id, pages.size_kib), 0)) and pages.size_kib > _SMALL_PAGE_KIB:
            size = size_name(pages.size_kib)
            fact = f"{_OPTION} keeps {pages.count} of {size} on node {pages.node_id}, which has {count}"
            yield Finding(Level.WARN, "huge pages", fact, f"lower it, or give node {pages.node_id} more such pages")


def of_nova(settings: Settings, topology: HostTopology | None) -> Iterator[Finding]:
    """Of the CPUs that Nova gives to servers without a template."""
    clashes = list(settings.clashes())
    yield from (Finding(Level.ERROR, "nova.conf", str(clash)) for clash in clashes)
    if clashes:
        return
    novas = {"cpu_shared_set": settings.nova_shared, "cpu_dedicated_set": settings.nova_dedicated}
    if settings.nova_dedicated and settings.nova_dedicated == settings.dedicated:
        del novas["cpu_dedicated_set"]
        fact = "[compute] cpu_dedicated_set is the dedicated pool: no other servers of hw:cpu_policy=dedicated may come"
        yield Finding(Level.OK, "nova.conf", fact)
        if not settings.nova_shared:
            yield from _of_pinned_alone(settings, topology)
            return
    named = [f"{option} = {cpus}" for option, cpus in novas.items() if cpus]
    if named:
        state = "on" if settings.confine_unmanaged else "off"
        fact = f"[compute] {' and '.join(named)} shares no CPU with the pools; confine_unmanaged is {state}"
        yield Finding(Level.OK, "nova.conf", fact)
    elif settings.confine_unmanaged:
        fact = "names no CPUs; confine_unmanaged is on, and keeps servers without a template off the dedicated pool"
        yield Finding(Level.OK, "nova.conf", fact)
    elif settings.dedicated and topology is not None:
        left = topology.cpus - settings.dedicated - settings.shared
        yield Finding(
            Level.WARN,
            "nova.conf",
            "[compute] has neither cpu_shared_set nor cpu_dedicated_set, and confine_unmanaged is off: servers without"
            " a template run on every CPU, those of the dedicated pool too",
            "add the line 'confine_unmanaged = true' to [kongming_agent], which ends it at once; or set [compute]"
            f" cpu_shared_set = {left} in nova.conf, which holds for servers that start after nova-compute did",
        )


def _of_pinned_alone(settings: Settings, topology: HostTopology | None) -> Iterator[Finding]:
    """Of a host whose Nova has CPUs only for servers that it pins itself."""
    left = topology.cpus - settings.dedicated - settings.shared if topology is not None else CpuSet()
    if left:
        fact = (
            "[compute] has cpu_dedicated_set and no cpu_shared_set: Nova takes no servers without a template, and"
            " nova-compute does not start beside servers of templates without pages or guest_numa: visible"
        )
        yield Finding(Level.WARN, "nova.conf", fact, f"set [compute] cpu_shared_set = {left}")


def words_of_unmanaged(settings: Settings) -> str:
    """Whether confine_unmanaged is on, and where servers without a template may run by that and by nova.conf."""
    novas = settings.nova_shared | settings.nova_dedicated
    if settings.confine_unmanaged:
        return "confine_unmanaged is on: servers without a template are kept off the dedicated pool"
    if novas:
        return f"confine_unmanaged is off: by nova.conf servers without a template start on CPU {novas}"
    if not settings.dedicated:
        return "confine_unmanaged is off, and there is no dedicated pool"
    return "confine_unmanaged is off: servers without a template run on every CPU, those of the dedicated pool too"


def of_controllers(controllers: Collection[str]) -> Iterator[Finding]:
    """Of the kernel's control groups."""
    missing = [name for name in _CONTROLLERS if name not in controllers]
    for name in missing:
        remedy = "boot the kernel with it, and look at cgroup_controllers of libvirt's qemu.conf"
        yield Finding(Level.WARN, "cgroups", f"the controller {name} is not there: {_CONTROLLERS[name]}", remedy)
    if not missing:
        yield Finding(Level.OK, "cgroups", f"the kernel has the controllers {' and '.join(_CONTROLLERS)}")


def of_hook(path: str, state: str, others: Sequence[str]) -> Finding:
    """Of libvirt's hook.

    :param state: that of the HookFile
    """
    if state not in _HOOK_STATES:
        beside = f"; libvirt runs {', '.join(others)} too" if others else ""
        return Finding(Level.OK, "libvirt's hook", f"{path} is installed{beside}")
    level, remedy = _HOOK_STATES[state]
    words = "is not KongMing's" if state == "not ours" else f"is {state}"
    return Finding(
        level,
        "libvirt's hook",
        f"{path} {words}: servers that migrate here run with the pins of the host that they come from until the agent"
        " has seen them",
        remedy,
    )


def _cores(node: NumaNode, pools: HostPools) -> str:
    """As in "3 whole cores", or "8 whole cores of 2 threads and 12 of 1"."""
    widths = Counter(len(core.cpus) for core in usable_cores(node.cores, pools.dedicated))
    if len(widths) < 2:
        return _count(widths.total(), "whole core")
    (widest, cores), *others = sorted(widths.items(), reverse=True)
    rest = [f"{cores} of {width}" for width, cores in others]
    return f"{_count(cores, 'whole core')} of {widest} threads and {' and '.join(rest)}"


def _of_width(nodes: Sequence[NumaNode], cpus: HostCpus) -> Iterator[Finding]:
    widths = {cpus.threads_per_core(node) for node in nodes if node.cpus & cpus.pools.dedicated}
    if len(widths) > 1:
        yield Finding(
            Level.WARN,
            "dedicated pool",
            "the nodes have cores of different width, so that a flavor whose template takes whole cores fits on some"
            " of them only",
            "switch hardware threads on or off on all of them, or see 'openstack kongming flavor set"
            " --threads-per-core'",
        )


def _no_pools(topology: HostTopology) -> Finding:
    """What to set where nothing is: all but the first core of each node."""
    proposed = CpuSet.union(core.cpus for node in topology.nodes for core in node.cores[1:])
    remedy = "set [kongming_agent] dedicated_cpu_set to whole cores that Nova does not use"
    example = f", for example {proposed}, which leaves the first core of each node to the host" if proposed else ""
    fact = "dedicated_cpu_set and shared_cpu_set are empty, so that no template is offered here"
    return Finding(Level.WARN, "CPU pools", fact, remedy + example)


def _of_offline(topology: HostTopology, pools: HostPools) -> Iterator[Finding]:
    offline = (pools.dedicated | pools.shared) & topology.present - topology.cpus
    if offline:
        fact = f"CPU {offline} of the pools is offline, and is not counted"
        yield Finding(Level.WARN, "CPU pools", fact, f"bring it online (chcpu -e {offline}), or take it out")


def _of_memory(nodes: Sequence[NumaNode], cpus: HostCpus) -> Iterator[Finding]:
    pools = cpus.pools
    for node in [node for node in nodes if node.cpus & (pools.dedicated | pools.shared)]:
        if not node.memory_mb:
            fact = f"node {node.id} has no memory: templates with memory: strict are not offered there"
            yield Finding(Level.WARN, "memory", fact, "use memory: none for its CPUs, or put modules beside its socket")
        elif (memory_mb := cpus.small_pages_mb(node)) <= pools.reserved_memory_mb:
            outside = " outside its huge pages" if node.id in cpus.huge_pages else ""
            fact = (
                f"node {node.id} has {memory_mb} MiB{outside}, and reserved_memory_mb = {pools.reserved_memory_mb}"
                " leaves nothing: templates with memory: strict are not offered there"
            )
            fewer = ", or take pages out of its pools" if outside else ""
            yield Finding(Level.WARN, "memory", fact, f"lower [kongming_agent] reserved_memory_mb{fewer}")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"
