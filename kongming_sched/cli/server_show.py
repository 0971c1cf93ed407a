# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming server``: the commands that show servers."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kongming_sched import exceptions
from kongming_sched.cli import columns, progress
from kongming_sched.cli.command import Lister, ShowOne
from kongming_sched.cli.server_checks import check_override, states_of
from kongming_sched.cloud.aggregates import members
from kongming_sched.cloud.classes.read import find_leftovers, read_classes, read_template, template_of
from kongming_sched.cloud.compute import Server
from kongming_sched.cloud.nodes import amounts, node_host, node_id
from kongming_sched.override import CPUS_KEY, OLD_CPUS_KEY, select
from kongming_sched.placement import names
from kongming_sched.placement.classes.records import ServerClass
from kongming_sched.placement.client import PlacementClient, Provider
from kongming_sched.request import TEMPLATE_KEY

Claims = Mapping[str, Mapping[int, Mapping[str, int]]]
"""Server id to NUMA node to the server's allocation there."""

_LONG = ("flavor", "flavor_template", "project_id", "resources", "override_template", "override_cpus")


class ListServer(Lister):
    """List the servers of all projects that have a template: where they are, and in which state.

    Their template is that of their flavor, unless 'server set' has given them another one.

    Example::

        openstack kongming server list --host compute-1 --long
        openstack kongming server list --template gold -c name -c host -c nodes
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the filters and --long."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--host", metavar="<host>", help="Only servers on this compute node")
        parser.add_argument(
            "--aggregate", metavar="<aggregate>", help="Only servers on hosts of this aggregate (name or UUID)"
        )
        parser.add_argument("--template", metavar="<name>", help="Only servers that have this template")
        parser.add_argument(
            "--long",
            action="store_true",
            help="Show flavor, its template, project, what each has of its nodes, and what its own metadata asks for as"
            " well",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Read the servers, and then the nodes that they are on."""
        in_aggregate = members(self.placement, self.compute, parsed_args.aggregate)
        classes, everyone = read_classes(self.placement), list(self.compute.servers())
        self._warn_of_leftovers(classes, everyone)
        servers = [
            server
            for server in everyone
            if (template := template_of(server, classes)) is not None
            and parsed_args.template in (None, template)
            and parsed_args.host in (None, server.host)
        ]
        nodes = self.placement.providers(required=names.HW_NUMA_ROOT) if servers else []
        if in_aggregate is not None:
            hosts = {node_host(node.name) for node in nodes if node.root_uuid in in_aggregate}
            servers = [server for server in servers if server.host in hosts]
        claims = read_claims(self.placement, servers, nodes)
        shown = ("name", "id", "host", "nodes", "template", "state", *(_LONG if parsed_args.long else ()))
        rows = []
        for server in sorted(servers, key=lambda server: (server.host, server.name, server.id)):
            fields = _fields(server, template_of(server, classes), claims.get(server.id, {}))
            rows.append([fields[column] for column in shown])
        return shown, rows

    def _warn_of_leftovers(self, classes: Mapping[str, ServerClass], servers: Iterable[Server]) -> None:
        """Name servers that are gone, and whose class is recorded still."""
        ids, number = find_leftovers(self.placement, classes, servers)
        if ids:
            self.log.warning(
                "'server set' gave a template to servers that Nova does not list, or that have another flavor now: %s;"
                " 'openstack kongming server unset ID --template' deletes what is recorded of it",
                ", ".join(ids) + (f" and {number - len(ids)} more" if number > len(ids) else ""),
            )


class ShowServer(ShowOne):
    """Show what a server has of KongMing, and what its own metadata asks for.

    Its template is that of its flavor, unless 'server set' has given it another one.

    Example::

        openstack kongming server show web
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the server."""
        parser = super().get_parser(prog_name)
        parser.add_argument("server", metavar="<server>", help="Server (name or ID)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        """Read the server, its flavor and its claim."""
        server = self.compute.find_server(parsed_args.server)
        states = states_of(self.placement, server)
        problem = None
        template = read_template(self.placement, server)
        try:
            check_override(self.find_template, server, select(server.metadata), states, template)
        except (exceptions.InvalidOverride, exceptions.TemplateNotFound, exceptions.InvalidTraits) as error:
            problem = str(error)
        claim = {number: state.allocations[server.id] for number, state in sorted(states.items())}
        fields = {
            "name": server.name,
            "id": server.id,
            "host": server.host or None,
            "state": server.status,
            "nodes": _claim(claim),
            "template": template,
            "flavor_template": server.flavor.extra_specs.get(TEMPLATE_KEY),
            "override_template": server.metadata.get(TEMPLATE_KEY),
            "override_cpus": _own_cpus(server),
            "problem": problem,
        }
        return tuple(fields), tuple(fields.values())


def _fields(server: Server, template: str | None, claim: Mapping[int, Mapping[str, int]]) -> dict[str, Any]:
    """A server by the columns of the list."""
    return {
        "name": server.name,
        "id": server.id,
        "host": server.host or None,
        "nodes": columns.Numbers(sorted(claim)),
        "template": template,
        "state": server.status,
        "flavor": server.flavor.name,
        "flavor_template": server.flavor.extra_specs.get(TEMPLATE_KEY),
        "project_id": server.project_id,
        "resources": _claim(claim),
        "override_template": server.metadata.get(TEMPLATE_KEY),
        "override_cpus": _own_cpus(server),
    }


def _claim(claim: Mapping[int, Mapping[str, int]]) -> columns.Lines:
    """What a server has of each node."""
    value = [{"node": number, "resources": amounts(resources)} for number, resources in sorted(claim.items())]
    return columns.Lines(value, [f"node {item['node']}: {columns.Fields(item['resources'])}" for item in value])  # type: ignore[arg-type]


def _own_cpus(server: Server) -> str | None:
    return server.metadata.get(CPUS_KEY) or server.metadata.get(OLD_CPUS_KEY)


def read_claims(client: PlacementClient, servers: Sequence[Server], nodes: Iterable[Provider]) -> Claims:
    """The allocations of servers on nodes, read by server or by node, whichever are fewer.

    Placement has no request for the allocations of many servers or many providers.
    """
    hosts = {server.host for server in servers}
    numbers = {node.uuid: node_id(node.name) for node in nodes if node_host(node.name) in hosts}
    found: dict[str, dict[int, Mapping[str, int]]] = {}
    if len(numbers) <= len(servers):
        for uuid in progress.shown(list(numbers), "reading node"):
            for consumer, resources in client.allocations(uuid).items():
                found.setdefault(consumer, {})[numbers[uuid]] = resources
        return found
    for server in progress.shown([server for server in servers if server.host], "reading server"):
        claim = client.claim(server.id)
        resources_of = claim.resources if claim else {}
        found[server.id] = {numbers[uuid]: resources for uuid, resources in resources_of.items() if uuid in numbers}
    return found
