# SPDX-License-Identifier: Apache-2.0
"""The NUMA nodes of all hosts as the commands show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kongming_sched.page_sizes import size_name
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.summaries import ProviderSummary
from kongming_sched.texts.whole_number import NODE_IDS, find_whole_number, read_whole_number

RESOURCES = {"dedicated_cpus": names.PCPU, "shared_vcpus": names.VCPU, "memory_mb": names.MEMORY_MB}
"""Column of the commands to resource class."""

_SEPARATOR = names.node_name("", 0)[:-1]


@dataclass(frozen=True, slots=True)
class Node:
    """A host's NUMA node that takes servers.

    :ivar host: name of the compute node
    :ivar host_uuid: id of the compute node's provider
    :ivar threads_per_core: of its dedicated pool; None if its provider does not say
    """

    host: str
    host_uuid: str
    id: int
    threads_per_core: int | None
    templates: tuple[str, ...]
    summary: ProviderSummary

    @property
    def is_disabled(self) -> bool:
        """Whether an operator has disabled it for servers of templates."""
        return names.DISABLED in self.summary.traits

    @property
    def templates_taken(self) -> tuple[str, ...]:
        """Those of its templates whose explicit host CPUs a server has."""
        return tuple(name for name in self.templates if self.summary.used.get(names.slot_class(name)))


def read_nodes(client: PlacementClient) -> list[Node]:
    """Every node of the cloud that takes servers, sorted by host and number, in two requests."""
    provider_names = {provider.uuid: provider.name for provider in client.providers(required=names.HW_NUMA_ROOT)}
    return nodes_of(provider_names, client.node_summaries())


def nodes_of(provider_names: Mapping[str, str], summaries: Iterable[ProviderSummary]) -> list[Node]:
    """The nodes of these summaries, sorted by host and number.

    :param provider_names: the names of the nodes' providers
    """
    nodes = (_node(summary, provider_names.get(summary.uuid, "")) for summary in summaries)
    return sorted((node for node in nodes if node), key=lambda node: (node.host, node.id))


def _node(summary: ProviderSummary, provider_name: str) -> Node | None:
    """A node; None for a provider that is not named as one, or that was registered between the two requests."""
    host, _, number = provider_name.rpartition(_SEPARATOR)
    node = find_whole_number(number, NODE_IDS)
    if node is None:
        return None
    traits = summary.traits
    return Node(host, summary.root_uuid, node, threads_per_core(traits), offered_templates(traits), summary)


def node_id(provider_name: str) -> int:
    """The number of the node whose provider has this name.

    :raises InvalidNumber: if it is not the name of a node's provider
    """
    return read_whole_number(provider_name.rpartition(_SEPARATOR)[2], NODE_IDS)


def node_host(provider_name: str) -> str:
    """The host of the node whose provider has this name."""
    return provider_name.rpartition(_SEPARATOR)[0]


def offered_templates(traits: Iterable[str]) -> tuple[str, ...]:
    """The templates that a node with these traits offers, by name."""
    return tuple(sorted(filter(None, map(names.offered_template, traits))))


def threads_per_core(traits: Iterable[str]) -> int | None:
    """The threads per core that the traits of a node, or of a flavor's group, name."""
    return next(filter(None, map(names.smt_of, traits)), None)


def page_classes(resources: Iterable[str]) -> dict[str, str]:
    """Page size in words to resource class, of the classes of huge pages among these; the smallest first."""
    sizes = sorted((size, name) for name in resources if (size := names.page_size_of(name)))
    return {size_name(size): name for size, name in sizes}


def amounts(resources: Mapping[str, int]) -> dict[str, int]:
    """Amounts by column; those of a class without a column, as a template's slot, by the class."""
    known = {column: resources[name] for column, name in RESOURCES.items() if name in resources}
    return known | {name: amount for name, amount in sorted(resources.items()) if name not in RESOURCES.values()}
