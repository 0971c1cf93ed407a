# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming host``: the commands that show hosts."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kongming_sched import exceptions
from kongming_sched.cli import columns
from kongming_sched.cli.command import Lister, ShowOne
from kongming_sched.cloud.aggregates import members
from kongming_sched.cloud.nodes import (
    RESOURCES,
    Node,
    amounts,
    node_id,
    offered_templates,
    page_classes,
    read_nodes,
    threads_per_core,
)
from kongming_sched.placement import names
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.tree import NodeState

ENABLED, DISABLED, RETIRED = "enabled", "disabled", "retired"
"""The states of a node: it takes servers, an operator has disabled it, or it has no CPUs for templates any more."""


class ListHost(Lister):
    """List the NUMA nodes of all hosts: what is free of how much, and the templates that they offer.

    A node that is disabled offers none. One that has no CPUs for templates any more is not listed; 'openstack kongming
    host show' has it.

    Example::

        openstack kongming host list --template gold --sort-column dedicated_cpus --sort-descending
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the filters and --long."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--host", metavar="<host>", help="Only the nodes of this compute node")
        parser.add_argument(
            "--aggregate", metavar="<aggregate>", help="Only the hosts of this aggregate (name or UUID)"
        )
        parser.add_argument("--template", metavar="<name>", help="Only the nodes that offer this template")
        parser.add_argument(
            "--long", action="store_true", help="Show the ids of the providers and who has explicit CPUs as well"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Read all nodes."""
        in_aggregate = members(self.placement, self.compute, parsed_args.aggregate)
        everywhere = read_nodes(self.placement)
        if parsed_args.host is not None and parsed_args.host not in {node.host for node in everywhere}:
            raise exceptions.HostNotFound(parsed_args.host, "has no nodes that take servers")
        nodes = [
            node
            for node in everywhere
            if parsed_args.host in (None, node.host)
            and parsed_args.template in (None, *node.templates)
            and (in_aggregate is None or node.host_uuid in in_aggregate)
        ]
        long = ("templates_taken", "uuid", "host_uuid") if parsed_args.long else ()
        shown = ("host", "node", "state", "threads_per_core", *RESOURCES, "templates", *long)
        rows = []
        for node in nodes:
            fields = _fields(node)
            rows.append([fields[column] for column in shown])
        return shown, rows


class ShowHost(ShowOne):
    """Show the NUMA nodes of a host and what each server has of them.

    A server that is being moved appears under its migration's id as well.

    Example::

        openstack kongming host show compute-1
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the host."""
        parser = super().get_parser(prog_name)
        parser.add_argument("host", metavar="<host>", help="Compute node, as 'openstack hypervisor list' names it")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        """Read the host's providers."""
        if not self.placement.providers(name=parsed_args.host):
            raise exceptions.HostNotFound(parsed_args.host, "is no compute node in Placement")
        root, aggregates, states = NodeRegistry(self.placement, parsed_args.host).observe()
        if not states:
            raise exceptions.HostNotFound(parsed_args.host, "has no nodes: no kongming-agent has registered them")
        nodes = [_node(state) for state in sorted(states.values(), key=lambda state: node_id(state.name))]
        servers = [server for node in nodes for server in _servers(node["node"], states[node["uuid"]])]
        return ("host", "uuid", "aggregates", "nodes", "servers"), (
            root.name,
            root.uuid,
            columns.Names(sorted(aggregates)),
            columns.Lines(nodes, list(map(_words_of_node, nodes))),
            columns.Lines(servers, list(map(_words_of_server, servers))),
        )


def _fields(node: Node) -> dict[str, Any]:
    """A node by the columns of the list."""
    summary = node.summary
    return {
        "host": node.host,
        "node": node.id,
        "state": DISABLED if node.is_disabled else ENABLED,
        "threads_per_core": node.threads_per_core,
        **{
            column: columns.Usage.of(summary.capacity.get(name, 0), summary.used.get(name, 0))
            for column, name in RESOURCES.items()
        },
        "templates": columns.Names(list(node.templates)),
        "templates_taken": columns.Names(list(node.templates_taken)),
        "uuid": summary.uuid,
        "host_uuid": node.host_uuid,
    }


def state_of(state: NodeState) -> str:
    """The state of a node: enabled, disabled or retired."""
    marker = state.inventories.get(names.NODE)
    if marker is None or marker.capacity < 1:
        return RETIRED
    return DISABLED if names.DISABLED in state.traits else ENABLED


def _node(state: NodeState) -> dict[str, Any]:
    """A node by the columns of the list, and its state."""
    templates = offered_templates(state.traits)
    return {
        "node": node_id(state.name),
        "uuid": state.uuid,
        "state": state_of(state),
        "threads_per_core": threads_per_core(state.traits),
        **{column: _usage(state, name) for column, name in RESOURCES.items()},
        "huge_pages": {size: _usage(state, name) for size, name in page_classes(state.inventories).items()},
        "templates": list(templates),
        "templates_taken": [name for name in templates if state.used(names.slot_class(name))],
    }


def _usage(state: NodeState, resource_class: str) -> Mapping[str, int] | None:
    inventory = state.inventories.get(resource_class)
    return columns.Usage.of(inventory.capacity if inventory else 0, state.used(resource_class)).machine_readable()


def _words_of_node(node: Mapping[str, Any]) -> str:
    """As in ``node 0: dedicated_cpus 6 free of 16, memory_mb 512 free of 8192, templates gold, silver (taken)``."""
    words = [f"{column} {columns.Usage(node[column]).human_readable()}" for column in RESOURCES if node[column]]
    pages = node["huge_pages"].items()
    words += [f"pages of {size} {columns.Usage(usage).human_readable()}" for size, usage in pages if usage]
    taken = node["templates_taken"]
    templates = ", ".join(f"{name} (taken)" if name in taken else name for name in node["templates"])
    words.append(f"templates {templates}" if templates else "no templates")
    state = "" if node["state"] == ENABLED else f" ({node['state']})"
    return f"node {node['node']}{state}: {', '.join(words)}"


def _servers(node: int, state: NodeState) -> list[dict[str, Any]]:
    """The allocations of each consumer on a node."""
    return [
        {"server": consumer, "node": node, "resources": amounts(resources)}
        for consumer, resources in sorted(state.allocations.items())
    ]


def _words_of_server(server: Mapping[str, Any]) -> str:
    """As in ``9a1f... on node 0: dedicated_cpus 4, memory_mb 2048``."""
    return f"{server['server']} on node {server['node']}: {columns.Fields(server['resources'])}"
