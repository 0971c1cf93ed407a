# SPDX-License-Identifier: Apache-2.0
"""Which CPU pools a host can have."""

from __future__ import annotations

import pytest

from kongming_sched.cpuset import CpuSet
from kongming_sched.exceptions import ConfigurationError
from kongming_sched.pools import HostCpus, HostPools, HugePages, ReservedPages, check_pools, parse_reserved
from kongming_sched.topology import HostTopology
from testbed.topologies import (
    SHAPES,
    one_node_no_smt,
    one_node_smt2,
    one_node_smt4,
    pools,
    two_nodes_smt2,
    with_offline,
)

POOLS = pools("1-3,9-11,5-7,13-15", "4,12", "0,8", 1024)
"""Of two_nodes_smt2: three cores of each node dedicated, the fourth of node 1 shared, that of node 0 housekeeping."""


@pytest.mark.parametrize(
    ("shape", "dedicated", "expected"),
    [
        ("i7-14700", "2-27", 2),
        ("i7-14700", "16-27", 1),
        ("SMT off on all but two cores", "2-7", 1),
        ("SMT off on all but two cores", "", 2),
    ],
)
def test_threads_per_core_are_those_of_the_pool(shape: str, dedicated: str, expected: int) -> None:
    """Its widest core decides; without a dedicated pool that of the node."""
    cpus = HostCpus(SHAPES[shape], pools(dedicated))
    assert expected == cpus.threads_per_core(cpus.topology.nodes[0])


@pytest.mark.parametrize(
    ("topology", "chosen"),
    [
        pytest.param(two_nodes_smt2(), POOLS, id="three pools"),
        pytest.param(one_node_no_smt(), pools("1-3"), id="no shared pool"),
        pytest.param(one_node_no_smt(), pools("", "1-3"), id="no dedicated pool"),
        pytest.param(one_node_smt2(), pools("1,5", "0,4", "0,4"), id="housekeeping floats in the shared pool"),
        pytest.param(one_node_smt4(), pools("1,5,9,13"), id="a core of four threads"),
    ],
)
def test_pools_that_work_are_taken(topology: HostTopology, chosen: HostPools) -> None:
    """Whole cores, disjoint from the rest, and somewhere to run emulator threads."""
    assert check_pools(HostCpus(topology, chosen)) is None


@pytest.mark.parametrize(
    ("chosen", "option", "reason"),
    [
        pytest.param(pools("8"), "dedicated_cpu_set", "no CPU 8; it has 0-7", id="a dedicated CPU that is not there"),
        pytest.param(pools("1,5", "9-12"), "shared_cpu_set", "no CPU 9-12", id="shared CPUs that are not there"),
        pytest.param(
            pools("1,5", "", "0,99"), "housekeeping_cpu_set", "no CPU 99", id="housekeeping that is not there"
        ),
        pytest.param(
            pools("1-2,5-6", "2"), "shared_cpu_set", "CPU 2 is in dedicated_cpu_set too", id="shared overlaps"
        ),
        pytest.param(
            pools("0-1,4-5", "", "0"), "housekeeping_cpu_set", "CPU 0 is in dedicated", id="housekeeping overlaps"
        ),
        pytest.param(
            pools("1-2,5"), "dedicated_cpu_set", "CPU 2 is in the pool and its sibling 6 is not", id="half a core"
        ),
        pytest.param(pools("1,5", "2", ""), "housekeeping_cpu_set", "no online CPU is left", id="no housekeeping"),
    ],
)
def test_pools_that_cannot_work_are_refused(chosen: HostPools, option: str, reason: str) -> None:
    """On one_node_smt2, whose cores are 0,4 1,5 2,6 3,7; the error names the option and the CPUs."""
    with pytest.raises(ConfigurationError) as caught:
        check_pools(HostCpus(one_node_smt2(), chosen))
    assert option == caught.value.option
    assert reason in caught.value.reason


def test_housekeeping_must_be_online() -> None:
    """A CPU that is present but offline runs nothing."""
    online = one_node_no_smt()
    topology = HostTopology(online.nodes, CpuSet.parse("0-7"))
    with pytest.raises(ConfigurationError, match="no online CPU is left for emulator threads"):
        check_pools(HostCpus(topology, pools("1-3", "", "6")))


def test_a_sibling_that_is_offline_makes_no_half_core() -> None:
    """The pool names the whole core; that a thread sleeps is no mistake of the operator's."""
    assert check_pools(HostCpus(with_offline(two_nodes_smt2(), 9), POOLS)) is None


def test_housekeeping_cpus_that_are_offline_do_not_count() -> None:
    """A thread cannot be pinned there."""
    cpus = HostCpus(with_offline(two_nodes_smt2(), 8), POOLS)

    assert CpuSet.parse("0") == cpus.housekeeping


@pytest.mark.parametrize(("node_id", "shared"), [(0, ""), (1, "4,12"), (7, "")])
def test_shared_pool_of_a_node(node_id: int, shared: str) -> None:
    """The shared CPUs that the node has; none for a node that the host lacks."""
    assert CpuSet.parse(shared) == HostCpus(two_nodes_smt2(), POOLS).shared_of(node_id)


def test_pages_that_the_kernel_takes_back_do_not_last() -> None:
    """They hold memory, and are in no pool when their user has ended."""
    pages = HugePages(2048, 10, surplus=4)
    assert (6, 20480) == (pages.lasting, pages.memory_kib)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([], (), id="nothing"),
        pytest.param(["node:0,size:2048,count:64"], (ReservedPages(0, 2048, 64),), id="a size in KiB"),
        pytest.param(["node:1,size:1GB,count:2"], (ReservedPages(1, 1048576, 2),), id="a size with a unit"),
        pytest.param(["node:1,size:1G,count:2"], (ReservedPages(1, 1048576, 2),), id="half a unit"),
        pytest.param([" node: 0 , count:1,size : 2MiB"], (ReservedPages(0, 2048, 1),), id="space, another order"),
        pytest.param(
            ["node:0,size:2048,count:64", "node:0,size:2MB,count:8"], (ReservedPages(0, 2048, 8),), id="the last holds"
        ),
    ],
)
def test_what_nova_reserves(values: list[str], expected: tuple[ReservedPages, ...]) -> None:
    """The option is read as Nova reads it."""
    assert expected == parse_reserved(values)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "node:0",
        "node:0,size:2048",
        "node:0,size:large,count:1",
        "node:0,size:0,count:1",
        "node:x,size:2048,count:1",
        "node:0,size:2048,count:-1",
        "node 0, size 2048, count 1",
    ],
)
def test_a_reservation_that_cannot_be_read(value: str) -> None:
    """The error names the option, the value and how it is written."""
    with pytest.raises(ConfigurationError, match=r"reserved_huge_pages: .* is not as in node:0,size:2048"):
        parse_reserved([value])
