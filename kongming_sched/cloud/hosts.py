# SPDX-License-Identifier: Apache-2.0
"""Reads what is free on all hosts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kongming_sched import exceptions
from kongming_sched.cloud.capacity import HostRoom, NodeRoom
from kongming_sched.cloud.compute import Flavor
from kongming_sched.cloud.nodes import node_host
from kongming_sched.placement import names
from kongming_sched.placement.candidates import node_id
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.summaries import ProviderSummary
from kongming_sched.texts.whole_number import AMOUNTS, find_whole_number

COMPUTE_NODE = "COMPUTE_NODE"
"""The standard trait of a compute node (os-traits)."""


def read_hosts(client: PlacementClient) -> list[HostRoom]:
    """The hosts that have nodes which take servers, sorted by name, in two requests."""
    provider_names = {provider.uuid: provider.name for provider in client.providers(required=names.HW_NUMA_ROOT)}
    return hosts_of(provider_names, client.host_summaries())


def hosts_of(provider_names: Mapping[str, str], summaries: Iterable[ProviderSummary]) -> list[HostRoom]:
    """The hosts that have nodes which take servers, sorted by name.

    :param provider_names: the names of the nodes' providers
    :param summaries: of the nodes and of the compute nodes themselves
    """
    roots: dict[str, ProviderSummary] = {}
    nodes: dict[str, dict[int, NodeRoom]] = {}
    host_names: dict[str, str] = {}
    for summary in summaries:
        if summary.parent_uuid is None:
            roots[summary.uuid] = summary
        elif (
            summary.capacity.get(names.NODE) and summary.uuid in provider_names
        ):  # else it was registered between the two requests
            number = node_id(summary.root_uuid, summary.uuid)
            if number is not None:
                nodes.setdefault(summary.root_uuid, {})[number] = NodeRoom(
                    _free(summary), summary.traits, summary.capacity
                )
                host_names[summary.root_uuid] = node_host(provider_names[summary.uuid])
    hosts = [
        HostRoom(host_names[uuid], uuid, _free(root), root.traits, dict(sorted(rooms.items())), root.capacity)
        for uuid, rooms in nodes.items()
        for root in (roots[uuid],)
    ]
    return sorted(hosts, key=lambda host: host.name)


def read_bare_hosts(client: PlacementClient, hosts: Iterable[HostRoom]) -> list[HostRoom]:
    """The compute nodes that are not among these hosts, because no node of them takes servers, in one request."""
    known = {host.uuid for host in hosts}
    found = client.providers(required=COMPUTE_NODE)
    return [
        HostRoom(provider.name, provider.uuid, {}, frozenset(), {}) for provider in found if provider.uuid not in known
    ]


def pick(hosts: Iterable[HostRoom], name: str | None, otherwise: str) -> list[HostRoom]:
    """The host of this name; all of them if none is given.

    :param otherwise: what is wrong with a name that no host has, for the error
    :raises HostNotFound: if there is none
    """
    found = [host for host in hosts if name in (None, host.name)]
    if name is not None and not found:
        raise exceptions.HostNotFound(name, otherwise)
    return found


def taken_of_host(flavor: Flavor) -> dict[str, int]:
    """What a server that boots from an image takes of the compute node itself, as Nova's scheduler reads the flavor."""
    amounts = {"VCPU": flavor.vcpus, "MEMORY_MB": flavor.memory_mb, "DISK_GB": flavor.disk_gb}
    return {name: need for name, amount in amounts.items() if (need := _amount(flavor.extra_specs, name, amount))}


def _amount(extra_specs: Mapping[str, str], name: str, default: int) -> int:
    amount = find_whole_number(extra_specs.get(f"resources:{name}", ""), AMOUNTS)
    return default if amount is None else amount


def _free(summary: ProviderSummary) -> dict[str, int]:
    return {name: summary.free(name) for name in summary.capacity}
