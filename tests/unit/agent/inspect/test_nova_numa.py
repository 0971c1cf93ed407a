# SPDX-License-Identifier: Apache-2.0
"""The lines of nova.conf that lead Nova to the nodes of a claim."""

from __future__ import annotations

from dataclasses import replace

import pytest
from oslo_config import cfg

from kongming_sched.agent.inspect.findings import Level
from kongming_sched.agent.inspect.nova_numa import NovaNumaOptions, findings_of, further_file, read_options, snippet
from kongming_sched.cpuset import CpuSet
from kongming_sched.pools import HostCpus
from testbed.topologies import pools, two_nodes_no_smt
from tests.unit.agent.inspect.test_host_findings import SETTINGS

POOL = CpuSet.parse("2-7")
CPUS = HostCpus(two_nodes_no_smt(), pools("2-7", "1"))
NOTHING = NovaNumaOptions((), {}, CpuSet(), CpuSet(), cpu_power_management=False)
MARKED = NovaNumaOptions(
    ("physnet1", "kongming_numa0", "kongming_numa1"),
    {"kongming_numa0": (0,), "kongming_numa1": (1,)},
    POOL,
    CpuSet.parse("0"),
    cpu_power_management=False,
)


def facts(options: NovaNumaOptions, *templates: str) -> list[tuple[Level, str]]:
    """What is found on a host of two nodes."""
    return [(finding.level, finding.fact) for finding in findings_of(options, CPUS, templates)]


def test_a_host_whose_nodes_are_marked_is_right() -> None:
    """And lacks no line."""
    assert [(Level.OK, "leads Nova to the nodes of servers with pages or guest_numa: visible")] == facts(MARKED, "dpdk")
    assert "" == snippet(MARKED, CPUS)


def test_a_host_without_markers_is_right_until_a_template_needs_them() -> None:
    """Then the template is named."""
    assert [] == facts(NOTHING)
    ((level, fact),) = facts(NOTHING, "dpdk")
    assert Level.WARN is level
    assert "lacks kongming_numa0, kongming_numa1" in fact
    assert "as those of template dpdk" in fact


def test_the_snippet_is_that_of_this_very_host() -> None:
    """It keeps the physical networks that are there, and takes the pool for Nova's own."""
    options = replace(NOTHING, physnets=("physnet1", "kongming_numa7"), nodes={"kongming_numa7": (7,)})
    lines = snippet(options, CPUS).splitlines()
    assert [
        "[neutron]",
        "physnets = physnet1,kongming_numa0,kongming_numa1",
        "[neutron_physnet_kongming_numa0]",
        "numa_nodes = 0",
        "[neutron_physnet_kongming_numa1]",
        "numa_nodes = 1",
        "[compute]",
        "cpu_dedicated_set = 2-7",
        "cpu_shared_set = 0",
    ] == lines[2:]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, ["cpu_dedicated_set = 2-7"], id="all is there"),
        pytest.param({"cpu_dedicated_set": CpuSet()}, ["cpu_dedicated_set = 2-7"], id="no set for pinned servers"),
        pytest.param(
            {"cpu_shared_set": CpuSet()}, ["cpu_dedicated_set = 2-7", "cpu_shared_set = 0"], id="none for others"
        ),
        pytest.param({"cpu_dedicated_set": CpuSet.parse("0")}, [], id="another set"),
    ],
)
def test_a_further_file_has_all_lines_each_time(changes: dict[str, CpuSet], expected: list[str]) -> None:
    """It replaces the one of before; a set of Nova's own stays what it is."""
    lines = further_file(replace(MARKED, **changes), CPUS).splitlines()  # type: ignore[arg-type]
    assert "physnets = physnet1,kongming_numa0,kongming_numa1" in lines
    assert expected == [line for line in lines if line.startswith("cpu_")]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(
            replace(MARKED, nodes={**MARKED.nodes, "kongming_numa2": (2,)}),
            "names kongming_numa2, and the host has no such node: nova-compute does not start",
            id="a marker too many",
        ),
        pytest.param(
            replace(MARKED, nodes={**MARKED.nodes, "kongming_numa1": (0, 1)}),
            "lacks kongming_numa1",
            id="a marker near two nodes",
        ),
        pytest.param(
            replace(MARKED, cpu_power_management=True),
            "[libvirt] cpu_power_management turns CPUs of the dedicated pool off",
            id="power management",
        ),
    ],
)
def test_what_is_wrong_is_a_warning(options: NovaNumaOptions, expected: str) -> None:
    """With the name of what is wrong."""
    assert any(Level.WARN is level and expected in fact for level, fact in facts(options))


def test_the_options_are_those_of_the_files(tmp_path: object) -> None:
    """A later file's physnets replaces an earlier one's, as for nova-compute."""
    file = f"{tmp_path}/nova.conf"
    with open(file, "w") as stream:  # noqa: PTH123  # a path of pytest's
        stream.write("[neutron]\nphysnets = a,kongming_numa1\n[neutron_physnet_kongming_numa1]\nnuma_nodes = 0,1\n")
    conf = cfg.ConfigOpts()
    conf([], project="kongming", default_config_files=[file])
    shared = CpuSet.parse("0")
    settings = replace(SETTINGS, nova_dedicated=POOL, nova_shared=shared)
    expected = NovaNumaOptions(
        ("a", "kongming_numa1"), {"kongming_numa1": (0, 1)}, POOL, shared, cpu_power_management=False
    )
    assert expected == read_options(conf, settings)
