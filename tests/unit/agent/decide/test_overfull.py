# SPDX-License-Identifier: Apache-2.0
"""Memory and huge pages of which more is claimed than a node has by now."""

from __future__ import annotations

from dataclasses import replace

from kongming_sched.agent.decide.overfull import find_overfull
from kongming_sched.placement import names
from kongming_sched.placement.tree import DesiredTree, NodeState, desired_tree
from kongming_sched.pools import HostCpus, HugePages, PagesByNode
from kongming_sched.topology import HostTopology
from tests.unit.agent.hosts import POOLS, ROOT, TOPOLOGY

GIB_KIB = 1024**2
SERVER = "5e4e0000-0000-4000-8000-000000000001"


def words(pages: PagesByNode, used: dict[str, int], topology: HostTopology = TOPOLOGY) -> list[str]:
    """The problems of a host with these huge pages where a server has claimed so much of node 0 before."""
    before = desired_tree(ROOT, "host", HostCpus(TOPOLOGY, POOLS, {0: (HugePages(GIB_KIB, 4),)}), (), {})
    states = {node.uuid: NodeState(node.uuid, node.name, 1, node.traits, node.inventories) for node in before.nodes}
    node = names.node_uuid(ROOT, 0)
    states[node] = replace(states[node], allocations={SERVER: used})
    tree: DesiredTree = desired_tree(ROOT, "host", HostCpus(topology, POOLS, pages), (), states)
    return [str(problem) for problem in find_overfull(tree, states)]


def test_what_is_there_is_no_problem() -> None:
    """A node may be full."""
    full = {names.MEMORY_MB: 12288, names.pages_class(GIB_KIB): 4}
    assert [] == words({0: (HugePages(GIB_KIB, 4),)}, full)


def test_less_memory_than_is_claimed() -> None:
    """The pools of huge pages have grown into memory that servers have claimed."""
    assert [
        "NUMA node 0: servers have claimed 12288 MiB of memory, and it has 8192 to give: migrate servers away, or"
        " change its pools of huge pages"
    ] == words({0: (HugePages(GIB_KIB, 8),)}, {names.MEMORY_MB: 12288})


def test_fewer_pages_than_are_claimed() -> None:
    """Pages of a guest are surplus to a pool that was made smaller, and hold memory until the guest ends."""
    assert [
        "NUMA node 0: servers have claimed 4 huge pages of 1GiB, and it has 1 to give: migrate servers away, or change"
        " its pools of huge pages"
    ] == words({0: (HugePages(GIB_KIB, 4, surplus=3),)}, {names.pages_class(GIB_KIB): 4, names.MEMORY_MB: 12288})


def test_no_page_is_left() -> None:
    """The class stays as long as a server has claimed some of it."""
    assert [
        "NUMA node 0: servers have claimed 4 huge pages of 1GiB, and it has 0 to give: migrate servers away, or change"
        " its pools of huge pages"
    ] == words({}, {names.pages_class(GIB_KIB): 4})


def test_a_retired_node() -> None:
    """What is left there is reported by its servers, which have no CPUs any more."""
    without_node_0 = replace(TOPOLOGY, nodes=TOPOLOGY.nodes[1:])
    assert [] == words({}, {names.MEMORY_MB: 4}, without_node_0)
