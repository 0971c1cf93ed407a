# SPDX-License-Identifier: Apache-2.0
"""The first reason why a server does not land on a host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from kongming_sched.cloud.capacity import DISABLED, HostRoom, NodeRoom
from kongming_sched.cloud.obstacles import Kind, Obstacle, find_obstacle
from kongming_sched.placement import names
from kongming_sched.request import CellRequest, PinningRequest

GOLD = names.template_trait("gold")
SLOT = names.slot_class("gold")
OF_HOST = {"MEMORY_MB": 512, "DISK_GB": 10}


def make_request(*cells: dict[str, int], requires: str = GOLD) -> PinningRequest:
    """A request of the template gold."""
    required = frozenset({GOLD, requires})
    return PinningRequest(
        "gold", tuple(CellRequest(f"_KONGMING{index}", cell, required) for index, cell in enumerate(cells))
    )


def make_host(*nodes: NodeRoom, memory_mb: int = 4096, **more: int) -> HostRoom:
    """A host with these nodes, numbered from 0."""
    return HostRoom("c1", "uuid", {"MEMORY_MB": memory_mb, **more}, frozenset({"COMPUTE_NODE"}), dict(enumerate(nodes)))


def make_node(
    pcpus: int = 4, memory_mb: int = 2048, traits: str = GOLD, more: Mapping[str, int] | None = None
) -> NodeRoom:
    """A node of one thread per core."""
    free = {names.PCPU: pcpus, names.MEMORY_MB: memory_mb, **(more or {})}
    return NodeRoom(free, frozenset({traits, names.smt_trait(1), names.node_trait(0)}))


FOUR = {names.PCPU: 4, names.MEMORY_MB: 1024}
PAGES = names.pages_class(2048)


@pytest.mark.parametrize(
    ("host", "request_", "kind", "reason"),
    [
        pytest.param(
            make_host(make_node(more={names.pages_class(2048): 100})),
            make_request({names.PCPU: 1, names.pages_class(2048): 512}),
            Kind.MEMORY,
            "cell 0: needs 512 huge pages of 2MiB on one node, and the most that is free on any node is 100 (node 0)",
            id="huge pages",
        ),
        pytest.param(
            make_host(make_node(more={names.cache_class(4): 1})),
            make_request({names.PCPU: 1, names.cache_class(4): 2}),
            Kind.CPUS,
            "cell 0: needs 2 rooms for 4 cores of one last-level cache on one node, and the most that is free on any"
            " node is 1 (node 0)",
            id="rooms of a cache",
        ),
        pytest.param(
            replace(make_host(), traits=frozenset({DISABLED})),
            make_request(FOUR),
            Kind.DISABLED,
            "its compute service is disabled",
            id="disabled comes before all else",
        ),
        pytest.param(
            make_host(),
            make_request(FOUR),
            Kind.NO_NODE,
            "no NUMA node takes servers of templates: see 'openstack kongming host show'",
            id="no node",
        ),
        pytest.param(
            make_host(make_node(traits="X"), make_node(traits="X")),
            make_request(FOUR),
            Kind.NO_TEMPLATE,
            "template 'gold': its nodes do not offer it: 'kongming-agent --check' on the host and its agent's log say"
            " why",
            id="no template",
        ),
        pytest.param(
            make_host(NodeRoom({}, frozenset(), {PAGES: 8})),
            make_request({names.PCPU: 1, names.pages_class(1048576): 1}),
            Kind.NO_TEMPLATE,
            "template 'gold': cell 0 asks for huge pages of 1GiB, and no node has any; reserve them on the host, or"
            " name another size in the template",
            id="pages of another size",
        ),
        pytest.param(
            make_host(NodeRoom({names.PCPU: 4, PAGES: 3}, frozenset({GOLD}), {PAGES: 3})),
            make_request({names.PCPU: 1, PAGES: 4}),
            Kind.MEMORY,
            "cell 0: needs 4 huge pages of 2MiB on one node, and the most that is free on any node is 3 (node 0); no"
            " node has more than 3 in all: reserve more on the host, or give the flavor less memory",
            id="more pages than there are",
        ),
        pytest.param(
            make_host(make_node(), make_node()),
            make_request(FOUR, requires=names.node_trait(3)),
            Kind.WRONG_NODE,
            "cell 0: asks for node 3, and the template is offered on node 0, 1",
            id="a node that the host does not have",
        ),
        pytest.param(
            make_host(make_node()),
            make_request(FOUR, requires=names.smt_trait(2)),
            Kind.WRONG_NODE,
            "cell 0: asks for nodes of 2 threads per core, and the template is offered on node 0",
            id="other threads per core",
        ),
        pytest.param(
            make_host(make_node(), make_node()),
            make_request(FOUR, requires="CUSTOM_ODD"),
            Kind.WRONG_NODE,
            f"cell 0: asks for {GOLD} and CUSTOM_ODD, and the template is offered on node 0, 1",
            id="a trait of another service",
        ),
        pytest.param(
            make_host(make_node(2), make_node(3)),
            make_request(FOUR),
            Kind.CPUS,
            "cell 0: needs 4 dedicated CPUs on one node, and the most that is free on any node is 3 (node 1)",
            id="too few CPUs",
        ),
        pytest.param(
            make_host(make_node(-1)),
            make_request({names.VCPU: 2}),
            Kind.CPUS,
            "cell 0: needs 2 shared vCPUs on one node, and the most that is free on any node is 0 (node 0)",
            id="no shared pool",
        ),
        pytest.param(
            make_host(make_node(4, 512), make_node(2, 2048)),
            make_request(FOUR),
            Kind.MEMORY,
            "cell 0: needs 1024 MiB of memory on one node, and the most that is free on a node with enough of the"
            " rest is 512 (node 0)",
            id="memory is elsewhere than CPUs",
        ),
        pytest.param(
            make_host(make_node(more={SLOT: 0})),
            make_request({SLOT: 1}),
            Kind.TAKEN,
            "cell 0: another server has the template's CPUs",
            id="explicit CPUs are taken",
        ),
        pytest.param(
            make_host(make_node(8), make_node(1)),
            make_request(FOUR, FOUR),
            Kind.CELLS,
            "each of the 2 cells fits on some node, and not all on different ones",
            id="two cells and one node that is large enough",
        ),
        pytest.param(
            make_host(make_node(), memory_mb=100),
            make_request(FOUR),
            Kind.HOST,
            "needs 512 of MEMORY_MB from the host, where 100 is free",
            id="too little of the host's own memory",
        ),
        pytest.param(
            make_host(make_node(), DISK_GB=3),
            make_request(FOUR),
            Kind.HOST,
            "needs 10 of DISK_GB from the host, where 3 is free",
            id="too little disk",
        ),
    ],
)
def test_the_first_reason(host: HostRoom, request_: PinningRequest, kind: Kind, reason: str) -> None:
    """It says what is asked and what is there; such a host has room for no server."""
    assert Obstacle(kind, reason) == find_obstacle(host, request_, OF_HOST, is_offered=True)
    assert 0 == host.count(request_.cells, OF_HOST)


def test_a_host_outside_of_the_templates_aggregates_is_told_apart() -> None:
    """Its agent is right not to offer the template."""
    obstacle = find_obstacle(make_host(make_node(traits="X")), make_request(FOUR), OF_HOST, is_offered=False)
    assert Obstacle(Kind.NO_TEMPLATE, "template 'gold': the host is in none of the template's aggregates") == obstacle


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param(make_host(make_node(8), make_node(5)), 3, id="as many as the nodes hold"),
        pytest.param(make_host(make_node(8), make_node(5), memory_mb=1024), 2, id="as many as the host's memory holds"),
        pytest.param(make_host(make_node(8), DISK_GB=10), 1, id="as many as the host's disk holds"),
    ],
)
def test_no_obstacle(host: HostRoom, expected: int) -> None:
    """A host without a disk of its own may have one from one that shares its own."""
    request = make_request({names.PCPU: 4})
    assert find_obstacle(host, request, OF_HOST, is_offered=True) is None
    assert expected == host.count(request.cells, OF_HOST)
