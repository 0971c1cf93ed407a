# SPDX-License-Identifier: Apache-2.0
"""HostTopology reads what libvirt says of a host."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.cpuset import CpuSet
from kongming_sched.exceptions import InvalidTopology
from kongming_sched.topology import Core, HostTopology, NumaNode
from testbed import topologies


@given(
    st.integers(1, 4), st.integers(1, 8), st.sampled_from([1, 2, 4]), st.sampled_from([None, 1, 2, 4]), st.just(2048)
)
def test_capabilities_are_read_back(
    nodes: int, cores: int, threads: int, cores_per_cache: int | None, memory_mb: int
) -> None:
    """Nodes, memory, cores, siblings and caches come out as the host has them."""
    topology = topologies.make_topology(nodes, cores, threads, cores_per_cache, memory_mb)
    xml = topologies.capabilities_xml(topology)
    assert topology == HostTopology.from_capabilities(xml, topology.cpus)


@pytest.mark.parametrize("shape", topologies.SHAPES)
def test_hosts_of_every_shape_are_read_back(shape: str) -> None:
    """Also those whose nodes have no CPUs, no memory or no level 3 cache, or whose ids have gaps."""
    topology = topologies.SHAPES[shape]
    xml = topologies.capabilities_xml(topology, without_cache=topologies.WITHOUT_LEVEL_3.get(shape, CpuSet()))
    assert topology == HostTopology.from_capabilities(xml, topology.cpus, topology.present)


@pytest.mark.parametrize("shape", topologies.SHAPES)
def test_hosts_of_every_shape_are_read_from_all_that_libvirt_lists(shape: str) -> None:
    """CPUs that are offline are listed too, as cores of their own."""
    topology = topologies.SHAPES[shape]
    without_cache = topologies.WITHOUT_LEVEL_3.get(shape, CpuSet())
    xml = topologies.capabilities_xml(topology, topology.present - topology.cpus, without_cache)
    assert topology == HostTopology.from_capabilities(xml, topology.cpus)


def test_a_host_knows_its_nodes_and_cpus() -> None:
    """Two nodes with SMT, numbered as Linux does: siblings are half the host apart."""
    topology = topologies.two_nodes_smt2()
    assert CpuSet.parse("0-15") == topology.cpus == topology.present
    assert CpuSet.parse("4-7,12-15") == topology.nodes[1].cpus
    assert CpuSet.parse("4,12") == topology.nodes[1].cores[0].cpus
    assert topology.nodes[1] == topology.node(1)
    assert CpuSet.parse("0-1") == topology.memory_nodes
    assert topology.node(2) is None


@pytest.mark.parametrize(("threads", "cores"), [(1, 4), (2, 4), (4, 4), (1, 0)])
def test_threads_per_core_is_that_of_the_widest(threads: int, cores: int) -> None:
    """A node without an online CPU counts as one without SMT."""
    assert threads == topologies.make_topology(1, cores, threads).nodes[0].threads_per_core


def test_one_offline_sibling_narrows_its_core_only() -> None:
    """The sibling that is left stands alone; the node is as wide as its other cores."""
    topology = topologies.one_node_smt2()
    xml = topologies.capabilities_xml(topology)
    node = HostTopology.from_capabilities(xml, topology.cpus - CpuSet.of([5])).nodes[0]
    assert [Core(CpuSet.parse(text), 0) for text in ("0,4", "1", "2,6", "3,7")] == list(node.cores)
    assert 2 == node.threads_per_core


def test_offline_cpus_are_present_but_not_used() -> None:
    """libvirt lists them as if they were cores of their own; only the online map counts."""
    topology = topologies.one_node_no_smt()
    xml = topologies.capabilities_xml(topology, offline=[4, 5])
    host = HostTopology.from_capabilities(xml, topology.cpus)
    assert topology.nodes == host.nodes
    assert CpuSet.parse("0-5") == host.present


def test_a_node_without_online_cpus_stays_with_its_memory() -> None:
    """Its id must not go to another node."""
    topology = topologies.two_nodes_no_smt()
    xml = topologies.capabilities_xml(topology)
    host = HostTopology.from_capabilities(xml, CpuSet.parse("0-3"))
    assert (topology.nodes[0], NumaNode(1, 16384, ())) == host.nodes


def test_present_cpus_may_be_given() -> None:
    """The kernel's own list outweighs the document."""
    topology = topologies.one_node_no_smt()
    present = CpuSet.parse("0-31")
    assert (
        present == HostTopology.from_capabilities(topologies.capabilities_xml(topology), topology.cpus, present).present
    )


def test_nodes_come_in_the_order_of_their_ids() -> None:
    """Whatever the order of the document."""
    xml = _capabilities(_cell(3, [6, 7]) + _cell(1, [0, 1]))
    assert [1, 3] == [node.id for node in HostTopology.from_capabilities(xml, CpuSet.parse("0-7")).nodes]


def test_without_caches_a_node_is_one_cache() -> None:
    """Some machines describe none, virtual ones above all."""
    xml = _capabilities(_cell(0, [0, 1]) + _cell(1, [4, 5]))
    host = HostTopology.from_capabilities(xml, CpuSet.parse("0-7"))
    assert [[0, 0], [4, 4]] == [[core.cache for core in node.cores] for node in host.nodes]


@pytest.mark.parametrize(
    ("banks", "expected"),
    [
        pytest.param([(2, "0-1"), (3, "0-3"), (2, "2-3")], [0, 0, 0, 0], id="level 3 before level 2"),
        pytest.param([(3, "0-1"), (4, "0-3"), (3, "2-3")], [0, 0, 2, 2], id="level 3 before level 4"),
        pytest.param([(2, "0-1"), (2, "2-3")], [0, 0, 2, 2], id="level 2 where there is no level 3"),
        pytest.param([(4, "0-1"), (4, "2-3"), (5, "0-3")], [0, 0, 2, 2], id="level 4 where there is nothing below"),
        pytest.param([(3, "0-1")], [0, 0, 2, 2], id="cores without a cache are apart from those with one"),
        pytest.param([(3, "2-3")], [0, 0, 2, 2], id="also if they come first"),
        pytest.param([(3, "0-1"), (2, "2-3"), (2, "0-1")], [0, 0, 2, 2], id="each core by its own highest level"),
    ],
)
def test_cores_are_kept_together_by_their_level_3_cache(banks: list[tuple[int, str]], expected: list[int]) -> None:
    """By the next one where there is none, and never with cores of another cache."""
    cache = "".join(f"<bank level='{level}' cpus='{cpus}'/>" for level, cpus in banks)
    xml = _capabilities(_cell(0, [0, 1, 2, 3]), f"<cache>{cache}</cache>")
    host = HostTopology.from_capabilities(xml, CpuSet.parse("0-3"))
    assert expected == [core.cache for core in host.nodes[0].cores]


@pytest.mark.parametrize(
    ("memory", "memory_mb"),
    [
        pytest.param("<memory unit='KiB'>2097152</memory>", 2048, id="KiB"),
        pytest.param("<memory>2097152</memory>", 2048, id="no unit means KiB"),
        pytest.param("<memory unit='MiB'>2048</memory>", 2048, id="MiB"),
        pytest.param("<memory unit='GiB'>2</memory>", 2048, id="GiB"),
        pytest.param("<memory unit='TiB'>1</memory>", 1048576, id="TiB"),
        pytest.param("<memory unit='b'>2147483648</memory>", 2048, id="bytes"),
        pytest.param("<memory unit='KiB'>2097151</memory>", 2047, id="rounded down"),
        pytest.param("", 0, id="a node of CPUs only"),
    ],
)
def test_memory_is_in_mib(memory: str, memory_mb: int) -> None:
    """Whatever unit libvirt chose."""
    xml = _capabilities(f"<cell id='0'>{memory}<cpus><cpu id='0' siblings='0'/></cpus></cell>")
    assert memory_mb == HostTopology.from_capabilities(xml, CpuSet.of([0])).nodes[0].memory_mb


def test_nodes_with_memory() -> None:
    """A node of CPUs only has none, and neither has one whose memory is less than 1 MiB."""
    bare = "<cell id='{}'>{}<cpus/></cell>"
    cells = _cell(0, [0]) + bare.format(1, "") + bare.format(2, "<memory>1023</memory>") + _cell(3, [3])
    assert CpuSet.parse("0,3") == HostTopology.from_capabilities(_capabilities(cells), CpuSet.parse("0,3")).memory_nodes


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        pytest.param("", "not XML", id="empty"),
        pytest.param("<capabilities>", "not XML", id="cut off"),
        pytest.param("<capabilities/>", "no <host>", id="no host"),
        pytest.param("<capabilities><host/></capabilities>", "no NUMA node", id="no topology"),
        pytest.param(
            "<capabilities><host><topology><cells/></topology></host></capabilities>", "no NUMA", id="no cell"
        ),
        pytest.param(
            "<capabilities><host><topology><cells><cell><cpus/></cell></cells></topology></host></capabilities>",
            "'id'",
            id="a cell without an id",
        ),
        pytest.param(
            "<capabilities><host><topology><cells><cell id='0'><memory unit='furlong'>1</memory></cell></cells>"
            "</topology></host></capabilities>",
            "furlong",
            id="an unknown unit",
        ),
        pytest.param(
            "<capabilities><host><topology><cells><cell id='0'><cpus><cpu id='0' siblings='x'/></cpus></cell></cells>"
            "</topology></host></capabilities>",
            "'x' is not a CPU set",
            id="siblings that are no CPU set",
        ),
        pytest.param(
            "<capabilities><host><topology><cells><cell id='0'><cpus><cpu id='zero'/></cpus></cell></cells>"
            "</topology></host></capabilities>",
            "zero",
            id="a CPU id that is no number",
        ),
        pytest.param(
            "<capabilities><host><topology><cells><cell id='0'><cpus><cpu id='0'/></cpus></cell></cells>"
            "</topology><cache><bank level='3' cpus='0-'/></cache></host></capabilities>",
            "'0-' is not a CPU set",
            id="a cache whose CPUs are no CPU set",
        ),
        pytest.param(
            "<capabilities><host><topology><cells><cell id='0'><cpus><cpu id='0'/></cpus></cell></cells>"
            "</topology><cache><bank level='three' cpus='0'/></cache></host></capabilities>",
            "three",
            id="a cache level that is no number",
        ),
        pytest.param(
            "<capabilities><host><topology><cells><cell id='0'><cpus><cpu id='0' siblings='0-1'/>"
            "<cpu id='1' siblings='1-2'/><cpu id='2' siblings='1-2'/></cpus></cell></cells></topology></host>"
            "</capabilities>",
            "CPU 1 in two cores",
            id="siblings that contradict each other",
        ),
        pytest.param(
            "<capabilities><host><topology><cells><cell id='0'><cpus><cpu id='0'/></cpus></cell>"
            "<cell id='1'><cpus><cpu id='0'/></cpus></cell></cells></topology></host></capabilities>",
            r"CPU 0 on several NUMA nodes \(0-1\).*numa=fake",
            id="a CPU on two nodes",
        ),
        pytest.param(
            "<capabilities><host><topology><cells><cell id='0'><cpus><cpu id='0' siblings='0-1'/>"
            "<cpu id='1' siblings='0-1'/></cpus></cell><cell id='2'><cpus><cpu id='1' siblings='1-2'/>"
            "<cpu id='2' siblings='1-2'/></cpus></cell></cells></topology></host></capabilities>",
            r"CPU 1 on several NUMA nodes \(0,2\).*numa=fake",
            id="nodes that overlap",
        ),
        pytest.param(
            "<capabilities><host><topology><cells><cell id='0'><cpus><cpu id='0'/></cpus></cell>"
            "<cell id='0'><cpus><cpu id='1'/></cpus></cell></cells></topology></host></capabilities>",
            "several NUMA nodes of the id 0",
            id="two nodes of one id",
        ),
    ],
)
def test_broken_capabilities_are_refused(xml: str, reason: str) -> None:
    """A host that is not understood is not touched."""
    with pytest.raises(InvalidTopology, match=reason):
        HostTopology.from_capabilities(xml, CpuSet.parse("0-7"))


def test_a_host_without_an_online_cpu_is_refused() -> None:
    """There is nothing to place guests on."""
    with pytest.raises(InvalidTopology, match="no NUMA node with an online CPU"):
        HostTopology.from_capabilities(topologies.capabilities_xml(topologies.one_node_smt2()), CpuSet())


def _cell(node_id: int, cpus: list[int]) -> str:
    listed = "".join(f"<cpu id='{cpu}' siblings='{cpu}'/>" for cpu in cpus)
    return f"<cell id='{node_id}'><memory unit='KiB'>1048576</memory><cpus num='{len(cpus)}'>{listed}</cpus></cell>"


def _capabilities(cells: str, cache: str = "") -> str:
    return f"<capabilities><host><topology><cells>{cells}</cells></topology>{cache}</host></capabilities>"
