# SPDX-License-Identifier: Apache-2.0
"""Huge pages in the real Placement, while the pools of the host change under a running agent."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kongming_sched.agent.model.outcome import Outcome
from kongming_sched.placement import names
from kongming_sched.placement.client import Inventory
from kongming_sched.pools import HugePages
from tests.functional.agent.world import POOLS, World
from tests.functional.conftest import PlacementService

GIB_KIB = 1024**2
OF_1_GIB = names.pages_class(GIB_KIB)
RESERVED_MB = POOLS.reserved_memory_mb
SERVER = "5e00e000-0000-4000-8000-000000000001"


@pytest.fixture
def host(placement: PlacementService) -> World:
    """A host of two nodes of 16 GiB, with four pages of 1 GiB on node 0."""
    world = World(placement, "c1")
    world.host.pages = {0: (HugePages(GIB_KIB, 4),)}
    world.settle()
    return world


def inventories(host: World, node: int) -> dict[str, Inventory]:
    """The memory of a node and its huge pages, as Placement has them."""
    found = host.placement.client.inventories(host.node(node))
    return {name: item for name, item in found.items() if name == names.MEMORY_MB or names.page_size_of(name)}


def overfull(outcome: Outcome) -> list[str]:
    """What the agent says of nodes of which more is claimed than there is."""
    return [str(problem) for problem in outcome.problems if problem.reason == "overfull"]


def test_a_node_without_huge_pages_has_no_class_of_them(host: World) -> None:
    """So it costs nobody's requests anything; a node that has some gives the rest of its memory."""
    assert {names.MEMORY_MB: Inventory(16384 - 4096, RESERVED_MB), OF_1_GIB: Inventory(4)} == inventories(host, 0)
    assert {names.MEMORY_MB: Inventory(16384, RESERVED_MB)} == inventories(host, 1)


def test_pools_that_change_are_followed_at_the_next_pass(host: World) -> None:
    """Neither CPUs nor libvirt have changed."""
    host.host.pages = {0: (HugePages(2048, 512), HugePages(GIB_KIB, 2)), 1: (HugePages(GIB_KIB, 1),)}
    host.run_pass()

    assert {
        names.MEMORY_MB: Inventory(16384 - 2048 - 1024, RESERVED_MB),
        names.pages_class(2048): Inventory(512),
        OF_1_GIB: Inventory(2),
    } == inventories(host, 0)
    assert {names.MEMORY_MB: Inventory(16384 - 1024, RESERVED_MB), OF_1_GIB: Inventory(1)} == inventories(host, 1)


def test_pools_that_go_leave_nothing_behind(host: World) -> None:
    """Unless a server has claimed some of it."""
    host.host.pages = {}
    host.run_pass()

    assert {names.MEMORY_MB: Inventory(16384, RESERVED_MB)} == inventories(host, 0)


def grow(host: World) -> None:
    """The pool takes memory that is claimed."""
    host.host.pages = {0: (HugePages(GIB_KIB, 8),)}


def shrink(host: World) -> None:
    """The pool loses pages that are claimed, which stay until their guest ends."""
    host.host.pages = {0: (HugePages(GIB_KIB, 4, surplus=2),)}


@pytest.mark.parametrize(
    ("change", "claimed", "message"),
    [
        (grow, {names.MEMORY_MB: 10240}, "servers have claimed 10240 MiB of memory, and it has 7168 to give"),
        (shrink, {OF_1_GIB: 4}, "servers have claimed 4 huge pages of 1GiB, and it has 2 to give"),
    ],
)
def test_less_than_is_claimed(
    host: World, change: Callable[[World], None], claimed: dict[str, int], message: str
) -> None:
    """The inventory is what there is, so that nobody else claims any, and a problem names node and amounts."""
    host.placement.allocate(SERVER, {host.node(0): claimed})
    assert [] == overfull(host.run_pass())
    change(host)

    outcome = host.settle()

    [problem] = overfull(outcome)
    assert problem.startswith(f"NUMA node 0: {message}:")
    [(name, amount)] = claimed.items()
    assert amount > inventories(host, 0)[name].capacity
    assert overfull(host.run_pass()) == [problem]
