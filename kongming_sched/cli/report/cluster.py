# SPDX-License-Identifier: Apache-2.0
"""A cloud as its page shows it: hosts with their nodes and servers, and templates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from kongming_sched import exceptions
from kongming_sched.cli import columns, progress
from kongming_sched.cli.template.rows import offering
from kongming_sched.cloud.capacity import HostRoom, demand_of
from kongming_sched.cloud.classes.read import template_of
from kongming_sched.cloud.compute import ComputeClient, Server
from kongming_sched.cloud.hosts import hosts_of, read_bare_hosts
from kongming_sched.cloud.nodes import RESOURCES, Node, nodes_of, page_classes
from kongming_sched.page_sizes import read_kib
from kongming_sched.placement import names
from kongming_sched.placement.classes.records import ClassReader, ServerClass
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.templates import TemplateList
from kongming_sched.request import TEMPLATE_KEY
from kongming_sched.template import PinningTemplate

NO_CLASSES: Mapping[str, ServerClass] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Amount:
    """How much of a resource there is."""

    used: int
    total: int

    @property
    def free(self) -> int:
        """What is left; nothing where more is used than there is."""
        return max(self.total - self.used, 0)

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.used + other.used, self.total + other.total)


NOTHING = Amount(0, 0)


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A NUMA node.

    :ivar amounts: by the names of RESOURCES, and those of huge pages by their size in words
    :ivar is_disabled: whether an operator keeps servers of templates away
    """

    id: int
    amounts: Mapping[str, Amount]
    templates: tuple[str, ...]
    is_disabled: bool = False


@dataclass(frozen=True, slots=True)
class ClusterServer:
    """A server of a template.

    :ivar template: that it has now
    :ivar flavor_template: that its flavor names; None if that names none
    """

    id: str
    name: str
    template: str
    flavor_template: str | None
    status: str


@dataclass(frozen=True, slots=True)
class ClusterHost:
    """A compute node with NUMA nodes for servers of templates.

    :ivar servers: None if Nova has not listed them
    :ivar is_disabled: whether its compute service is disabled
    """

    name: str
    nodes: tuple[ClusterNode, ...]
    servers: tuple[ClusterServer, ...] | None = None
    is_disabled: bool = False

    def total(self, resource: str) -> Amount:
        """What all its nodes have of a resource together."""
        return sum((node.amounts.get(resource, NOTHING) for node in self.nodes), NOTHING)


@dataclass(frozen=True, slots=True)
class ClusterTemplate:
    """A template.

    :ivar cells: a line for each of its cells
    :ivar hosts: how many hosts offer it
    :ivar servers: how many servers have it; None if Nova has not listed them
    :ivar room: how many more fit if nothing else comes
    """

    name: str
    cells: tuple[str, ...]
    hosts: int
    servers: int | None
    room: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """Everything.

    :ivar bare_hosts: compute nodes without nodes for servers of templates
    :ivar servers: how many servers of templates there are; None if Nova has not listed them
    :ivar homeless: servers of templates that are on none of the hosts
    :ivar notes: what could not be read
    :ivar by_the_clock: the templates that have hours
    """

    hosts: tuple[ClusterHost, ...]
    templates: tuple[ClusterTemplate, ...]
    bare_hosts: tuple[str, ...] = ()
    servers: int | None = None
    homeless: tuple[ClusterServer, ...] = ()
    notes: tuple[str, ...] = ()
    by_the_clock: tuple[PinningTemplate, ...] = ()

    def total(self, resource: str) -> Amount:
        """What all hosts have of a resource together."""
        return sum((host.total(resource) for host in self.hosts), NOTHING)

    @property
    def page_sizes(self) -> list[str]:
        """The sizes of the huge pages that some host has, in words; the smallest first."""
        names_found = {name for host in self.hosts for node in host.nodes for name in node.amounts}
        return sorted(names_found - RESOURCES.keys(), key=lambda size: read_kib(size) or 0)


def read_cluster(
    placement: PlacementClient, templates: TemplateList, servers: Iterable[Server] | str | None
) -> Cluster:
    """The cloud, in three requests to Placement, and one for each template that servers have instead of their flavor's.

    :param servers: all servers, or why Nova does not list them, or None if it was not asked
    """
    provider_names = {provider.uuid: provider.name for provider in placement.providers(required=names.HW_NUMA_ROOT)}
    summaries = placement.host_summaries()
    nodes = nodes_of(provider_names, (item for item in summaries if item.capacity.get(names.NODE)))
    rooms = hosts_of(provider_names, summaries)
    bare = tuple(sorted(host.name for host in read_bare_hosts(placement, rooms)))
    classes = ClassReader(placement).read(templates.class_providers)
    return make_cluster(nodes, rooms, templates, servers, bare, classes)


def make_cluster(
    nodes: Sequence[Node],
    rooms: Sequence[HostRoom],
    templates: TemplateList,
    servers: Iterable[Server] | str | None,
    bare_hosts: tuple[str, ...] = (),
    classes: Mapping[str, ServerClass] = NO_CLASSES,
) -> Cluster:
    """Put together what was read. Pure.

    :param nodes: every node that takes servers
    :param rooms: what is free on their hosts
    :param classes: of servers, by the consumers that record them
    """
    notes = [str(broken) for broken in templates.broken]
    if isinstance(servers, str):
        notes.append(f"The servers are not shown: {servers}")
    by_host = None if servers is None or isinstance(servers, str) else _by_host(servers, classes)
    count = None if by_host is None else Counter(item.template for found in by_host.values() for item in found)
    hosts = _hosts(nodes, {room.uuid for room in rooms if room.is_disabled}, by_host)
    known = {host.name for host in hosts}
    return Cluster(
        hosts,
        _templates(templates, nodes, rooms, count),
        bare_hosts,
        None if count is None else count.total(),
        tuple(item for host, found in sorted((by_host or {}).items()) if host not in known for item in found),
        tuple(notes),
        tuple(stored.template for _, stored in sorted(templates.templates.items()) if stored.template.hours),
    )


def read_servers(compute: ComputeClient) -> list[Server] | str:
    """Every server, or why Nova does not list them: the page is of use without them."""
    try:
        return list(progress.shown(compute.servers(), "reading server"))
    except exceptions.ComputeError as error:
        return str(error)


def _by_host(servers: Iterable[Server], classes: Mapping[str, ServerClass]) -> dict[str, list[ClusterServer]]:
    """The servers of templates by the compute node that they are on, by name."""
    found: dict[str, list[ClusterServer]] = {}
    for server in sorted(servers, key=lambda server: (server.name, server.id)):
        if template := template_of(server, classes):
            own = server.flavor.extra_specs.get(TEMPLATE_KEY)
            shown = ClusterServer(server.id, server.name, template, own, server.status)
            found.setdefault(server.host, []).append(shown)
    return found


def _hosts(
    nodes: Iterable[Node], disabled: set[str], servers: Mapping[str, Sequence[ClusterServer]] | None
) -> tuple[ClusterHost, ...]:
    grouped: dict[tuple[str, str], list[ClusterNode]] = {}
    for node in nodes:
        capacity, used = node.summary.capacity, node.summary.used
        amounts = {
            column: Amount(used.get(name, 0), capacity.get(name, 0))
            for column, name in (RESOURCES | page_classes(capacity)).items()
            if capacity.get(name, 0) or used.get(name, 0)
        }
        grouped.setdefault((node.host, node.host_uuid), []).append(
            ClusterNode(node.id, amounts, node.templates, node.is_disabled)
        )
    return tuple(
        ClusterHost(
            name,
            tuple(found),
            None if servers is None else tuple(servers.get(name, ())),
            uuid in disabled,
        )
        for (name, uuid), found in grouped.items()
    )


def _templates(
    templates: TemplateList, nodes: Sequence[Node], rooms: Sequence[HostRoom], servers: Mapping[str, int] | None
) -> tuple[ClusterTemplate, ...]:
    found = []
    for name, stored in sorted(templates.templates.items()):
        demand = demand_of(stored.template)
        cells = tuple(columns.cells(stored.template).human_readable().splitlines())
        room = sum(demand.count(host) for host in rooms)
        count = None if servers is None else servers.get(name, 0)
        found.append(ClusterTemplate(name, cells, len(offering(name, nodes)), count, room))
    return tuple(found)
