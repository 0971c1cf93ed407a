# SPDX-License-Identifier: Apache-2.0
"""What facts of a host mean for the agent."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from kongming_sched.agent.inspect import host_findings
from kongming_sched.agent.inspect.findings import Finding, Level
from kongming_sched.agent.settings import Settings
from kongming_sched.cpuset import CpuSet
from kongming_sched.pools import HostCpus, HostPools, HugePages, PagesByNode, ReservedPages
from kongming_sched.topology import HostTopology
from testbed.topologies import SHAPES, describe_host, make_topology, one_node_no_smt, one_node_smt2, two_nodes_smt2

SETTINGS = Settings(
    dedicated=CpuSet.parse("1-3,5-7"),
    shared=CpuSet(),
    housekeeping=None,
    nova_dedicated=CpuSet(),
    vcpu_allocation_ratio=4.0,
    reserved_memory_mb=512,
    host=None,
    libvirt_uri="test:///default",
    interval_seconds=30,
    run_directory=Path("/run/kongming"),
    confine_unmanaged=False,
    metrics_address="127.0.0.1",
    metrics_port=0,
)


def pools(dedicated: str, shared: str = "", housekeeping: str = "0", reserved_memory_mb: int = 0) -> HostPools:
    """Pools by their texts."""
    free, floating, kept = map(CpuSet.parse, (dedicated, shared, housekeeping))
    return HostPools(free, floating, kept, vcpu_allocation_ratio=4.0, reserved_memory_mb=reserved_memory_mb)


def found(topology: HostTopology, asked: HostPools) -> list[tuple[str, str]]:
    """Level and fact of each finding about pools."""
    return [(finding.level, finding.fact) for finding in host_findings.of_pools(HostCpus(topology, asked))]


@pytest.mark.parametrize(
    ("version", "level", "words"),
    [
        ((9, 0, 0), Level.OK, "libvirt 9.0.0 answers"),
        ((10, 1, 2), Level.OK, "libvirt 10.1.2 answers"),
        ((8, 10, 0), Level.WARN, "libvirt 8.10.0 answers; 9.0.0 is the oldest that is tested"),
        ((7, 2, 0), Level.WARN, "libvirt 7.2.0 answers; before 7.3.0 it cannot bind the memory of running servers"),
    ],
)
def test_releases_of_libvirt(version: tuple[int, int, int], level: Level, words: str) -> None:
    """What is tested is right, and what cannot bind memory says so."""
    finding = host_findings.of_version(version)
    assert (level, words) == (finding.level, finding.fact[: len(words)])


def test_topology_in_numbers() -> None:
    """One line, with singular and plural."""
    facts = [
        finding.fact for host in (two_nodes_smt2(), one_node_no_smt()) for finding in host_findings.of_topology(host)
    ]
    assert ["2 NUMA nodes, 8 cores, 16 CPUs, 2 per core", "1 NUMA node, 4 cores, 4 CPUs, 1 per core"] == facts


def test_nodes_of_different_width() -> None:
    """A flavor counts for one number of threads per core, so that is worth a warning if both have a dedicated pool."""
    host = describe_host({0: "0,4 1,5", 1: "2 3 6 7"})
    assert (Level.OK, "CPU 1,3,5-7: 1 whole core on node 0, 3 whole cores on node 1") == found(host, pools("1,3,5-7"))[
        0
    ]
    assert [Level.OK, Level.WARN, Level.OK] == [level for level, _ in found(host, pools("1,3,5-7"))]
    assert [Level.OK, Level.OK] == [level for level, _ in found(host, pools("1,5"))]


def test_cores_of_two_widths() -> None:
    """They are counted apart, and how many threads a core may have is said of all."""
    host = SHAPES["i7-14700"]
    [finding] = host_findings.of_topology(host)
    assert "1 NUMA node, 20 cores, 28 CPUs, 1 or 2 per core" == finding.fact
    words = "CPU 2-27: 7 whole cores of 2 threads and 12 of 1 on node 0"
    assert (Level.OK, words) == found(host, pools("2-27"))[0]


def test_smt_off_on_the_dedicated_cores() -> None:
    """They are as wide as each other, and nothing is wrong."""
    facts = found(SHAPES["SMT off on all but two cores"], pools("2-7", "", "0-1,8-9"))
    assert [(Level.OK, "CPU 2-7: 6 whole cores on node 0"), (Level.OK, "CPU 0-1,8-9")] == facts


def test_pools_that_can_be() -> None:
    """Each with its CPUs, and what a node has of it."""
    assert [
        (Level.OK, "CPU 1-3,9-11: 3 whole cores on node 0, 0 whole cores on node 1"),
        (Level.OK, "CPU 5,13: 8 vCPUs on node 1"),
        (Level.OK, "CPU 0,4"),
    ] == found(two_nodes_smt2(), pools("1-3,9-11", "5,13", "0,4"))


def test_every_fault_of_the_pools_is_told() -> None:
    """Not only the first, at which the agent would stop."""
    facts = found(one_node_smt2(), pools("1,2,6,20", "6", ""))
    assert [
        (Level.ERROR, "option dedicated_cpu_set: this host has no CPU 20; it has 0-7"),
        (Level.ERROR, "option shared_cpu_set: CPU 6 is in dedicated_cpu_set too"),
        (
            Level.ERROR,
            "option dedicated_cpu_set: CPU 1 is in the pool and its sibling 5 is not; take whole cores",
        ),
        (
            Level.ERROR,
            "option housekeeping_cpu_set: no online CPU is left for emulator threads; leave some out of"
            " dedicated_cpu_set",
        ),
    ] == facts


def test_no_pools_at_all() -> None:
    """What to set is proposed: whole cores, and the first of each node left out."""
    [finding] = host_findings.of_pools(HostCpus(two_nodes_smt2(), pools("")))
    assert Level.WARN == finding.level
    assert "for example 1-3,5-7,9-11,13-15, which" in finding.remedy


def test_an_offline_cpu_of_the_pool() -> None:
    """It does not count, and how to bring it back is said."""
    topology = replace(one_node_no_smt(), present=CpuSet.parse("0-4"))
    findings = list(host_findings.of_pools(HostCpus(topology, pools("2-4"))))
    assert "CPU 4 of the pools is offline, and is not counted" == findings[-1].fact
    assert "chcpu -e 4" in findings[-1].remedy


@pytest.mark.parametrize("shape", SHAPES)
def test_proposed_pools_are_right_on_hosts_of_every_shape(shape: str) -> None:
    """Whole cores of each node that has more than one, and CPUs left for the host."""
    topology = SHAPES[shape]
    [finding] = host_findings.of_pools(HostCpus(topology, pools("", "", str(topology.cpus))))
    proposed = re.search(r"for example (\S+),", finding.remedy)
    dedicated = CpuSet.parse(proposed[1]) if proposed else CpuSet()
    assert sum(max(len(node.cores) - 1, 0) for node in topology.nodes) == sum(
        core.cpus <= dedicated for node in topology.nodes for core in node.cores
    )
    chosen = HostPools(dedicated, CpuSet(), topology.cpus - dedicated)
    levels = {item.level for item in host_findings.of_pools(HostCpus(topology, chosen))}
    assert Level.ERROR not in levels


def test_a_node_without_memory_to_give() -> None:
    """reserved_memory_mb takes all of it."""
    *_, last = host_findings.of_pools(HostCpus(one_node_smt2(), pools("1,5", reserved_memory_mb=1 << 20)))
    assert (Level.WARN, "memory") == (last.level, last.subject)
    assert "lower [kongming_agent] reserved_memory_mb" == last.remedy


def test_a_node_without_memory() -> None:
    """It is said that the host has none there, and not to lower an option that is 0."""
    *_, last = host_findings.of_pools(HostCpus(make_topology(1, 4, 2, memory_mb=0), pools("1,5")))
    assert (Level.WARN, "memory") == (last.level, last.subject)
    assert "node 0 has no memory: templates with memory: strict are not offered there" == last.fact
    assert "reserved_memory_mb" not in last.remedy


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        (
            {"nova_shared": "0,4"},
            Level.OK,
            "[compute] cpu_shared_set = 0,4 shares no CPU with the pools; confine_unmanaged is off",
        ),
        (
            {"nova_shared": "0,4", "confine_unmanaged": True},
            Level.OK,
            "[compute] cpu_shared_set = 0,4 shares no CPU with the pools; confine_unmanaged is on",
        ),
        ({"nova_shared": "0-1"}, Level.ERROR, "option [kongming_agent] dedicated_cpu_set: CPU 1 is in nova.conf's"),
        (
            {"nova_dedicated": "3,7"},
            Level.ERROR,
            "option [kongming_agent] dedicated_cpu_set: CPU 3,7 is in nova.conf's",
        ),
        (
            {},
            Level.WARN,
            "[compute] has neither cpu_shared_set nor cpu_dedicated_set, and confine_unmanaged is off: servers without",
        ),
        (
            {"nova_dedicated": "1-3,5-7", "dedicated": "1-3,5-7", "shared": "0,4"},
            Level.OK,
            "[compute] cpu_dedicated_set is the dedicated pool: no other servers",
        ),
        ({"confine_unmanaged": True}, Level.OK, "names no CPUs; confine_unmanaged is on, and keeps servers without"),
    ],
)
def test_novas_own_cpus(changes: dict[str, object], level: Level, words: str) -> None:
    """They lie outside the pools, or else something has to be done."""
    sets = {name: CpuSet.parse(value) if isinstance(value, str) else value for name, value in changes.items()}
    [finding] = host_findings.of_nova(replace(SETTINGS, **sets), one_node_smt2())  # type: ignore[arg-type]
    assert (level, words) == (finding.level, finding.fact[: len(words)])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {},
            "confine_unmanaged is off: servers without a template run on every CPU, those of the dedicated pool too",
        ),
        (
            {"nova_shared": CpuSet.parse("0,4"), "nova_dedicated": CpuSet.parse("3")},
            "confine_unmanaged is off: by nova.conf servers without a template start on CPU 0,3-4",
        ),
        (
            {"nova_shared": CpuSet.parse("0,4"), "confine_unmanaged": True},
            "confine_unmanaged is on: servers without a template are kept off the dedicated pool",
        ),
        ({"dedicated": CpuSet()}, "confine_unmanaged is off, and there is no dedicated pool"),
    ],
)
def test_map_says_where_servers_without_a_template_may_run(changes: dict[str, object], words: str) -> None:
    """By the agent's option first, then by Nova's sets, else everywhere."""
    assert words == host_findings.words_of_unmanaged(replace(SETTINGS, **changes))  # type: ignore[arg-type]


def test_what_to_give_to_nova_is_named() -> None:
    """All CPUs but those of the pools."""
    [finding] = host_findings.of_nova(replace(SETTINGS, shared=CpuSet.parse("4")), one_node_smt2())
    assert "set [compute] cpu_shared_set = 0 in nova.conf" in finding.remedy


def test_a_nova_that_pins_every_server_takes_no_others() -> None:
    """It even refuses to start where one is, so that this is said before it is restarted."""
    found = list(host_findings.of_nova(replace(SETTINGS, nova_dedicated=SETTINGS.dedicated), one_node_smt2()))
    assert [Level.OK, Level.WARN] == [finding.level for finding in found]
    assert "nova-compute does not start beside servers of templates without pages" in found[1].fact
    assert "set [compute] cpu_shared_set = 0,4" == found[1].remedy


@pytest.mark.parametrize(
    ("controllers", "levels"),
    [({"cpu", "cpuset", "io"}, ["ok"]), ({"cpu"}, ["warn"]), ({"io"}, ["warn", "warn"])],
)
def test_controllers(controllers: set[str], levels: list[str]) -> None:
    """A line for each that is missing."""
    assert levels == [finding.level for finding in host_findings.of_controllers(controllers)]


@pytest.mark.parametrize(
    ("state", "level"),
    [
        ("installed", Level.OK),
        ("not installed", Level.WARN),
        ("outdated", Level.WARN),
        ("not executable", Level.WARN),
        ("not ours", Level.ERROR),
    ],
)
def test_the_hook(state: str, level: Level) -> None:
    """Whatever is not the installed hook has a remedy."""
    finding: Finding = host_findings.of_hook("/hooks/qemu.d/90-kongming", state, ["/hooks/qemu"])
    assert (level, level is not Level.OK) == (finding.level, bool(finding.remedy))
    assert ("/hooks/qemu" in finding.fact.replace("/hooks/qemu.d", "")) is (level is Level.OK)


def pages_found(pages: PagesByNode, *reserved: ReservedPages) -> list[tuple[str, str]]:
    """Level and fact of each finding about huge pages."""
    asked = replace(pools("1,5"), reserved_pages=reserved)
    return [(item.level, item.fact) for item in host_findings.of_huge_pages(HostCpus(one_node_smt2(), asked, pages))]


def test_huge_pages_in_numbers() -> None:
    """What each node has of each size, and what of that is for others; nothing where there is none."""
    pages = {0: (HugePages(2048, 512), HugePages(1048576, 4, surplus=1))}
    assert [(Level.OK, "512 of 2MiB on node 0, 64 of them reserved; 3 of 1GiB on node 0")] == pages_found(
        pages, ReservedPages(0, 2048, 64)
    )
    assert [] == pages_found({})


def test_pages_reserved_that_are_not_there() -> None:
    """Nova's option names pages that the node lacks; of the usual size there are always some."""
    assert [(Level.WARN, "reserved_huge_pages of nova.conf keeps 64 of 2MiB on node 1, which has 0")] == pages_found(
        {}, ReservedPages(1, 2048, 64), ReservedPages(0, 4, 1000)
    )


def test_a_node_whose_memory_is_in_huge_pages() -> None:
    """What is left for other servers is named, and what to do."""
    cpus = HostCpus(one_node_smt2(), pools("1,5", reserved_memory_mb=512), {0: (HugePages(1048576, 16),)})
    *_, last = host_findings.of_pools(cpus)
    assert (
        "node 0 has 0 MiB outside its huge pages, and reserved_memory_mb = 512 leaves nothing: templates with memory:"
        " strict are not offered there"
    ) == last.fact
    assert "lower [kongming_agent] reserved_memory_mb, or take pages out of its pools" == last.remedy
