# SPDX-License-Identifier: Apache-2.0
"""Nova's own fit, led to the nodes of a candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from nova import objects
from nova.pci import stats
from nova.scheduler import host_manager
from nova.virt import hardware

from kongming_sched.nova_numa.markers import marker, node_of_marker
from kongming_sched.scheduler.numa_fit import Choice, NumaFit
from testbed.nova_objects import make_host_state, make_spec


def make_host(nodes: int = 2, physnets: Mapping[int, set[str]] | None = None) -> host_manager.HostState:
    """A host whose nodes have eight CPUs and 4096 MiB each, and their markers if no other networks are given."""
    cells = []
    for node in range(nodes):
        cpus = set(range(8 * node, 8 * node + 8))
        near = {marker(node)} if physnets is None else physnets[node]
        cells.append(
            objects.NUMACell(
                id=node,
                cpuset=set(),
                pcpuset=cpus,
                memory=4096,
                cpu_usage=0,
                memory_usage=0,
                pinned_cpus=set(),
                siblings=[{cpu} for cpu in cpus],
                mempages=[objects.NUMAPagesTopology(size_kb=4, total=1048576, used=0, reserved=0)],
                network_metadata=objects.NetworkMetadata(physnets=near, tunneled=False),
                socket=0,
            )
        )
    host = make_host_state("c1", "c1", [{"mappings": {}}] * 8)
    host.numa_topology = objects.NUMATopology(cells=cells)
    host.cpu_allocation_ratio = host.ram_allocation_ratio = 1.0
    return host


def make_server(cells: Sequence[int], **more: Any) -> objects.RequestSpec:
    """A server whose cells have so many dedicated vCPUs each."""
    specs = {"hw:cpu_policy": "dedicated", "hw:numa_nodes": str(len(cells))}
    first = 0
    for index, vcpus in enumerate(cells):
        specs[f"hw:numa_cpus.{index}"] = f"{first}-{first + vcpus - 1}"
        specs[f"hw:numa_mem.{index}"] = "256"
        first += vcpus
    flavor = objects.Flavor(name="f", vcpus=first, memory_mb=256 * len(cells), extra_specs=specs)
    topology = hardware.numa_get_constraints(flavor, objects.ImageMeta(properties=objects.ImageMetaProps()))
    return make_spec(specs, numa_topology=topology, **{"pci_requests": None, **more})


def choose(host: host_manager.HostState, spec: objects.RequestSpec, *nodes: tuple[int, ...]) -> Choice | str:
    """The choice among candidates of these nodes."""
    return NumaFit(spec).choose(host, list(enumerate(nodes)))


@pytest.mark.parametrize("node", [0, 1, 2, 3])
def test_nova_takes_the_node_of_the_candidate(node: int) -> None:
    """Whichever it would take by itself; the limits make nova-compute take it too."""
    host, spec = make_host(4), make_server([4])
    choice = choose(host, spec, (node,))
    assert isinstance(choice, Choice)
    fitted = hardware.numa_fit_instance_to_host(host.numa_topology, spec.numa_topology, None, limits=choice.limits)
    assert [node] == [cell.id for cell in fitted.cells]


def test_the_first_candidate_that_fits_is_chosen() -> None:
    """The order of the filter holds, and what does not fit is skipped."""
    host = make_host(3)
    host.numa_topology.cells[2].pinned_cpus = set(range(16, 24))
    choice = choose(host, make_server([4]), (2,), (1,), (0,))
    assert isinstance(choice, Choice)
    assert (1, {marker(1)}) == (choice.position, choice.limits.network_metadata.physnets)


def test_cells_are_on_their_nodes_in_order() -> None:
    """A candidate with the nodes in an order that Nova does not take is skipped, be there another one."""
    host, spec = make_host(2), make_server([4, 2])
    choice = choose(host, spec, (1, 0), (0, 1))
    assert isinstance(choice, Choice)
    assert 1 == choice.position
    assert "Nova's own fit does not put the server on node 0,1" in str(choose(host, spec, (1, 0)))


def test_the_other_order_is_taken_where_nova_takes_it() -> None:
    """The larger cell fits on node 1 alone."""
    host, spec = make_host(2), make_server([4, 2])
    host.numa_topology.cells[0].pinned_cpus = set(range(6))
    choice = choose(host, spec, (0, 1), (1, 0))
    assert isinstance(choice, Choice)
    assert 1 == choice.position


def test_each_cell_of_several_fits_alone() -> None:
    """On hosts of any use Nova's choice of two cells is only believed where both fit."""
    for free in [(8, 8, 8, 8), (1, 8, 8, 1), (8, 1, 1, 8), (2, 4, 2, 4), (4, 2, 4, 2)]:
        host, spec = make_host(4), make_server([4, 2])
        for cell, count in zip(host.numa_topology.cells, free, strict=True):
            cell.pinned_cpus = set(sorted(cell.pcpuset)[count:])
        every = [(one, other) for one in range(4) for other in range(4) if one != other]
        host.allocation_candidates = [{"mappings": {}}] * len(every)
        choice = choose(host, spec, *every)
        assert isinstance(choice, Choice)
        first, second = every[choice.position]
        assert (True, True) == (free[first] >= 4, free[second] >= 2)


def test_networks_that_a_server_asks_for_stay() -> None:
    """Real physical networks and tunnels beside the markers; so a node far from them is not taken."""
    near = {0: {marker(0)}, 1: {marker(1), "physnet1"}}
    asked = objects.NetworkMetadata(physnets={"physnet1"}, tunneled=True)
    spec = make_server([4], network_metadata=asked)
    choice = choose(make_host(2, near), spec, (0,), (1,))
    assert isinstance(choice, Choice)
    network = choice.limits.network_metadata
    assert (1, {"physnet1", marker(1)}, True) == (choice.position, network.physnets, network.tunneled)
    assert {"physnet1"} == asked.physnets


@pytest.mark.parametrize("asked", [set(), {"physnet1"}, {"physnet2"}])
@pytest.mark.parametrize("tunneled", [False, True])
@pytest.mark.parametrize("near", [set(), {"physnet1"}, {"physnet1", "physnet2"}])
@pytest.mark.parametrize("has_tunnel", [False, True])
def test_the_fit_of_one_node_is_that_of_the_whole_host(
    asked: set[str], tunneled: bool, near: set[str], has_tunnel: bool
) -> None:
    """As nova-compute makes it with the same limits, whatever networks are near the other node."""
    for node, pinned in [(0, 0), (1, 0), (1, 6)]:
        host = make_host(2, {node: {marker(node)}, 1 - node: {marker(1 - node), *near}})
        host.numa_topology.cells[1 - node].network_metadata.tunneled = has_tunnel
        host.numa_topology.cells[node].pinned_cpus = set(range(8 * node, 8 * node + pinned))
        network = objects.NetworkMetadata(physnets=asked, tunneled=tunneled)
        choice = choose(host, make_server([4], network_metadata=network), (node,))
        limits = objects.NUMATopologyLimits(
            cpu_allocation_ratio=1.0,
            ram_allocation_ratio=1.0,
            network_metadata=objects.NetworkMetadata(physnets=asked | {marker(node)}, tunneled=tunneled),
        )
        fitted = hardware.numa_fit_instance_to_host(
            host.numa_topology, make_server([4]).numa_topology, None, limits=limits
        )
        assert ([node] if isinstance(choice, Choice) else None) == (fitted and [cell.id for cell in fitted.cells])


@pytest.mark.parametrize("used_mb", [(0, 0, 0, 0), (0, 512, 256, 0)])
@pytest.mark.parametrize("asked", [set(), {"physnet1"}])
def test_the_fit_of_two_nodes_is_that_of_the_whole_host(asked: set[str], used_mb: Sequence[int]) -> None:
    """Of four nodes Nova tries the two in the order of what is free on them, which the limits do not say."""
    near = {node: {marker(node)} | ({"physnet1"} if node == 3 else set()) for node in range(4)}
    every = [(one, other) for one in range(4) for other in range(4) if one != other]
    chosen = 0
    for free in [(8, 8, 8, 8), (8, 4, 8, 4), (4, 8, 2, 8), (1, 8, 4, 2)]:
        host = make_host(4, near)
        for cell, count, used in zip(host.numa_topology.cells, free, used_mb, strict=True):
            cell.pinned_cpus, cell.memory_usage = set(sorted(cell.pcpuset)[count:]), used
        spec = make_server([4, 2], network_metadata=objects.NetworkMetadata(physnets=asked, tunneled=False))
        for nodes in every:
            limits = objects.NUMATopologyLimits(
                cpu_allocation_ratio=1.0,
                ram_allocation_ratio=1.0,
                network_metadata=objects.NetworkMetadata(physnets=asked | set(map(marker, nodes)), tunneled=False),
            )
            fitted = hardware.numa_fit_instance_to_host(
                host.numa_topology, spec.numa_topology.obj_clone(), None, limits=limits
            )
            is_chosen = isinstance(choose(host, spec, nodes), Choice)
            assert is_chosen == (fitted is not None and [cell.id for cell in fitted.cells] == [*nodes])
            chosen += is_chosen
    assert 8 <= chosen


@pytest.mark.parametrize(
    ("physnets", "reason"),
    [
        pytest.param({0: {marker(0)}, 1: set()}, "node 1 lacks the physical network kongming_numa1", id="one missing"),
        pytest.param({0: set(), 1: set()}, "node 0 lacks the physical network kongming_numa0", id="none"),
        pytest.param(
            {0: {marker(0), marker(1)}, 1: {marker(1)}},
            "node 0 has the physical network kongming_numa1",
            id="near two nodes",
        ),
    ],
)
def test_a_host_without_its_markers_is_refused(physnets: Mapping[int, set[str]], reason: str) -> None:
    """Nova would take any node there."""
    found = choose(make_host(2, physnets), make_server([4]), (0,))
    assert f"{reason}; 'kongming-agent --check' on the host prints the lines that its nova.conf needs" == found


def test_a_host_whose_nodes_say_nothing_of_networks_is_refused() -> None:
    """As one of an older nova-compute."""
    host = make_host()
    for cell in host.numa_topology.cells:
        delattr(cell, "_obj_network_metadata")
    assert str(choose(host, make_server([4]), (0,))).startswith("node 0 lacks the physical network kongming_numa0;")


def test_a_host_without_nodes_is_refused() -> None:
    """As one whose nova-compute is not of libvirt."""
    host = make_host()
    host.numa_topology = None
    assert "nova-compute reports no NUMA nodes" == choose(host, make_server([4]), (0,))


@pytest.mark.parametrize(
    ("alias", "expected"),
    [("nic", "no free device of alias nic is near node 1"), (None, "no free device for a port of the server is near")],
)
def test_a_device_that_the_node_has_not_is_named(alias: str | None, expected: str) -> None:
    """The node would do without it, so that it is not the CPUs that lack."""
    request = objects.InstancePCIRequest(count=1, alias_name=alias, spec=[{"vendor_id": "8086"}])
    host = make_host()
    host.pci_stats = stats.PciDeviceStats(host.numa_topology)
    spec = make_server([4], pci_requests=objects.InstancePCIRequests(requests=[request]))
    found = str(choose(host, spec, (1,)))
    assert found.startswith(expected)
    assert "let hw:pci_numa_affinity_policy be preferred" in found


def test_what_does_not_fit_without_its_device_either_is_not_put_down_to_it() -> None:
    """Its CPUs lack first."""
    host = make_host()
    host.pci_stats = stats.PciDeviceStats(host.numa_topology)
    request = objects.InstancePCIRequest(count=1, alias_name="nic", spec=[{"vendor_id": "8086"}])
    spec = make_server([9], pci_requests=objects.InstancePCIRequests(requests=[request]))
    assert str(choose(host, spec, (1,))).startswith("Nova's own fit does not put the server on node 1")


def test_the_request_stays_as_it_is() -> None:
    """Other filters and Nova itself read it after this one."""
    spec = make_server([4, 2])
    before = spec.numa_topology.obj_to_primitive()
    choose(make_host(), spec, (0, 1))
    assert before == spec.numa_topology.obj_to_primitive()


def test_markers_name_nodes() -> None:
    """And other networks do not."""
    assert [7, None, None, None] == [
        node_of_marker(name) for name in (marker(7), "kongming_numa", "physnet1", "kongming_numa256")
    ]
