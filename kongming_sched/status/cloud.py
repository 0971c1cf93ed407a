# SPDX-License-Identifier: Apache-2.0
"""What kongming-status reads of Placement and Nova, each thing once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from kongming_sched.cloud.aggregates import members_of
from kongming_sched.cloud.clients import compute_client, placement_client
from kongming_sched.cloud.compute import ComputeClient, Flavor, Hypervisor
from kongming_sched.cloud.nodes import Node, read_nodes
from kongming_sched.cloud.signs import Sign, read_signs
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient, Provider
from kongming_sched.placement.templates import TemplateList, TemplateStore


class Cloud:
    """A cloud; each property is read when it is needed first, and kept.

    :param connect: gives openstacksdk's connection
    :raises PlacementError: from everything that needs Placement, if it does not answer
    :raises ComputeError: from everything that needs Nova, if it does not answer
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = functools.cache(connect)

    @functools.cached_property
    def nodes(self) -> list[Node]:
        """Every NUMA node that takes servers."""
        return read_nodes(self._placement)

    @functools.cached_property
    def node_providers(self) -> list[Provider]:
        """The providers of all NUMA nodes, of retired ones too."""
        marker = names.node_name("", 0)[:-1]
        return [item for item in self._placement.providers(required=names.HW_NUMA_ROOT) if marker in item.name]

    @functools.cached_property
    def compute_nodes(self) -> list[Provider]:
        """The providers of all compute nodes."""
        return self._placement.providers(required="COMPUTE_NODE")

    @functools.cached_property
    def signs(self) -> dict[str, Sign]:
        """The last sign of life of each host's agent."""
        return read_signs(self._placement)

    @functools.cached_property
    def templates(self) -> TemplateList:
        """Every template."""
        return TemplateStore(self._placement).list()

    @functools.cached_property
    def hypervisors(self) -> list[Hypervisor]:
        """Every compute node that Nova knows."""
        return list(self._compute.hypervisors())

    @functools.cached_property
    def flavors(self) -> list[Flavor]:
        """Every flavor."""
        return list(self._compute.flavors())

    def members_of(self, aggregates: Iterable[str]) -> frozenset[str]:
        """The providers of the hosts in one of these aggregates."""
        return members_of(self._placement, aggregates)

    @functools.cached_property
    def _placement(self) -> PlacementClient:
        return placement_client(self._connect)

    @functools.cached_property
    def _compute(self) -> ComputeClient:
        return compute_client(self._connect)
