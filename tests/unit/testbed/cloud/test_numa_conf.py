# SPDX-License-Identifier: Apache-2.0
"""The nova.conf of emulated hosts, as Nova and the agent's check read it."""

from __future__ import annotations

from pathlib import Path

import pytest
from oslo_config import cfg

from kongming_sched.agent.inspect.findings import Level
from kongming_sched.agent.inspect.nova_numa import findings_of, read_options, snippet
from kongming_sched.agent.settings import parse_settings
from kongming_sched.conf import agent as agent_conf
from kongming_sched.cpuset import CpuSet
from kongming_sched.pools import HostCpus, HostPools, ReservedPages, parse_reserved
from testbed.cloud import ini, numa_conf
from testbed.topologies import make_topology
from tests.unit.testbed.cloud.plans import make_plan

TOPOLOGY = make_topology(nodes=2, cores_per_node=2, threads=2)
POOLS = numa_conf.choose_emulated_pools(TOPOLOGY)


def test_nova_is_led_to_the_nodes_of_an_emulated_host(tmp_path: Path) -> None:
    """By the lines that the agent's own check asks for: with them it prints no more."""
    path = tmp_path / "nova.conf"
    ini.write(path, numa_conf.options(make_plan(numa_host=2), "numa-host", TOPOLOGY))
    conf = cfg.ConfigOpts()
    agent_conf.register_opts(conf)
    conf([], project="kongming", default_config_files=[str(path)])
    cpus = HostCpus(TOPOLOGY, HostPools(POOLS.dedicated, POOLS.shared, TOPOLOGY.cpus - POOLS.dedicated, 16.0, 0))

    options = read_options(conf, parse_settings(conf))

    assert "" == snippet(options, cpus)
    assert [Level.OK] == [finding.level for finding in findings_of(options, cpus, ["dpdk"])]


def test_servers_without_a_template_have_cpus() -> None:
    """On each node Nova has one, and the agent another."""
    lines = numa_conf.options(make_plan(numa_host=1), "numa-host", TOPOLOGY)["compute"]
    novas = CpuSet.parse(str(lines["cpu_shared_set"]))

    assert TOPOLOGY.cpus == novas | POOLS.shared | POOLS.dedicated
    assert [(1, 1)] * 2 == [(len(novas & node.cpus), len(POOLS.shared & node.cpus)) for node in TOPOLOGY.nodes]


@pytest.mark.parametrize(
    ("host", "large", "small"), [("numa-host", 0, 128), ("numa-host2", 1, 128)], ids=["first", "second"]
)
def test_hosts_in_one_machine_share_its_pages(host: str, large: int, small: int) -> None:
    """Each reserves what is the other's, as both see all of them."""
    reserved = parse_reserved(numa_conf.reserved_pages(make_plan(numa_host=2), host))

    counts = {size: count for size, count in ((2048, small), (1 << 20, large)) if count}
    assert [ReservedPages(node, size, count) for node in (0, 1) for size, count in counts.items()] == [*reserved]


def test_a_host_alone_has_all_pages() -> None:
    """It reserves none."""
    assert [] == numa_conf.reserved_pages(make_plan(numa_host=1), "numa-host")
