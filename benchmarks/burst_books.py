# SPDX-License-Identifier: Apache-2.0
"""What Placement keeps of the equal hosts of a burst, in memory: fifty times faster than a real one in this process.

It stands for Placement where a burst is large. Only what bursts ask for is here: resources of the compute node, and at
most one group, which a NUMA node gives. A test compares it with a real Placement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.burst_cloud import NODE_RESOURCES, NODES, ROOT_RESOURCES, node_traits, roots_of
from kongming_sched.placement import names
from kongming_sched.placement.summaries import ProviderSummary


class Books:
    """The books of equal hosts, which answer as :class:`benchmarks.burst_cloud.Cloud` does."""

    def __init__(self, hosts: int) -> None:
        self.roots = roots_of(hosts)
        self.client: Any = self  # of which only the summaries are read
        self._nodes = {root: [names.node_uuid(root, node) for node in range(NODES)] for root in self.roots}
        self._root_of = {node: root for root, nodes in self._nodes.items() for node in nodes}
        self._traits = {uuid: node_traits(node) for nodes in self._nodes.values() for node, uuid in enumerate(nodes)}
        self._used: dict[str, Counter[str]] = {uuid: Counter() for uuid in (*self.roots, *self._root_of)}
        self._claims: dict[str, Mapping[str, Any]] = {}

    def node_summaries(self) -> list[ProviderSummary]:
        """All node providers, as they are now."""
        return [
            ProviderSummary(node, root, root, self._traits[node], NODE_RESOURCES, dict(self._used[node]))
            for node, root in self._root_of.items()
        ]

    def candidates(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """What is offered now; a thousand at most, as Nova asks for."""
        wanted = _amounts(query["resources"])
        roots = [root for root in self.roots if self._has_room(root, wanted)]
        suffix = next((key.removeprefix("resources") for key in query if key.startswith("resources_")), None)
        if suffix is None:
            return [_candidate({"": (root, wanted)}) for root in roots][:1000]
        group, required = _amounts(query[f"resources{suffix}"]), _names(query.get(f"required{suffix}"))
        return [
            _candidate({"": (root, wanted), suffix: (node, group)})
            for root in roots
            for node in self._nodes[root]
            if self._traits[node] >= required and self._has_room(node, group)
        ][:1000]

    def claim(self, server: str, allocations: Mapping[str, Any]) -> bool:
        """Whether a claim has room."""
        if not all(self._has_room(provider, taken["resources"]) for provider, taken in allocations.items()):
            return False
        for provider, taken in allocations.items():
            self._used[provider].update(taken["resources"])
        self._claims[server] = allocations
        return True

    def clear(self, servers: Sequence[str]) -> None:
        """Take these servers away."""
        for server in servers:
            for provider, taken in self._claims.pop(server).items():
                self._used[provider].subtract(taken["resources"])

    def _has_room(self, provider: str, wanted: Mapping[str, int]) -> bool:
        capacity, used = ROOT_RESOURCES if provider in self.roots else NODE_RESOURCES, self._used[provider]
        return all(used[name] + amount <= capacity.get(name, 0) for name, amount in wanted.items())


def _candidate(groups: Mapping[str, tuple[str, Mapping[str, int]]]) -> dict[str, Any]:
    return {
        "allocations": {provider: {"resources": dict(amounts)} for provider, amounts in groups.values()},
        "mappings": {suffix: [provider] for suffix, (provider, _) in groups.items()},
    }


def _amounts(resources: str) -> dict[str, int]:
    pairs = (each.split(":") for each in resources.split(","))
    return {name: int(amount) for name, amount in pairs}


def _names(required: str | None) -> frozenset[str]:
    return frozenset(required.split(",") if required else ())
