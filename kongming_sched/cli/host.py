# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming host``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kongming_sched import exceptions
from kongming_sched.cli import columns
from kongming_sched.cli.command import Lister, ShowOne
from kongming_sched.cli.nodes import RESOURCES, amounts, node_id, offered_templates, read_nodes, threads_per_core
from kongming_sched.placement import names
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.tree import NodeState


class ListHost(Lister):
    """List the NUMA nodes of all hosts: what is free of how much, and the templates that they offer."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the template."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--template", metavar="<name>", help="Only the nodes that offer this template")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Read all nodes."""
        rows = [
            (
                node.host,
                node.id,
                node.threads_per_core,
                *(
                    columns.Usage.of(node.summary.capacity.get(name, 0), node.summary.used.get(name, 0))
                    for name in RESOURCES.values()
                ),
                columns.Names(list(node.templates)),
            )
            for node in read_nodes(self.placement)
            if parsed_args.template in (None, *node.templates)
        ]
        return ("host", "node", "threads_per_core", *RESOURCES, "templates"), rows


class ShowHost(ShowOne):
    """Show the NUMA nodes of a host and what each server has of them.

    A server that is being moved appears under its migration's id as well.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the host."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
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


def _node(state: NodeState) -> dict[str, Any]:
    """A node by the columns of the list, and whether it takes servers at all."""
    templates = offered_templates(state.traits)
    marker = state.inventories.get(names.NODE)
    return {
        "node": node_id(state.name),
        "uuid": state.uuid,
        "retired": marker is None or marker.capacity < 1,
        "threads_per_core": threads_per_core(state.traits),
        **{column: _usage(state, name) for column, name in RESOURCES.items()},
        "templates": list(templates),
        "templates_taken": [name for name in templates if state.used(names.slot_class(name))],
    }


def _usage(state: NodeState, resource_class: str) -> Mapping[str, int] | None:
    inventory = state.inventories.get(resource_class)
    return columns.Usage.of(inventory.capacity if inventory else 0, state.used(resource_class)).machine_readable()


def _words_of_node(node: Mapping[str, Any]) -> str:
    """As in ``node 0: dedicated_cpus 6 free of 16, memory_mb 512 free of 8192, templates gold, silver (taken)``."""
    words = [f"{column} {columns.Usage(node[column]).human_readable()}" for column in RESOURCES if node[column]]
    taken = node["templates_taken"]
    templates = ", ".join(f"{name} (taken)" if name in taken else name for name in node["templates"])
    words.append(f"templates {templates}" if templates else "no templates")
    return f"node {node['node']}{' (retired)' if node['retired'] else ''}: {', '.join(words)}"


def _servers(node: int, state: NodeState) -> list[dict[str, Any]]:
    """What each consumer has of a node."""
    return [
        {"server": consumer, "node": node, "resources": amounts(resources)}
        for consumer, resources in sorted(state.allocations.items())
    ]


def _words_of_server(server: Mapping[str, Any]) -> str:
    """As in ``9a1f... on node 0: dedicated_cpus 4, memory_mb 2048``."""
    return f"{server['server']} on node {server['node']}: {columns.Fields(server['resources'])}"
