# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming explain``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from kongming_sched import exceptions
from kongming_sched.cli import columns
from kongming_sched.cli.command import Lister
from kongming_sched.cli.flavor_checks import read_request, warn_of_flaw
from kongming_sched.cloud.aggregates import members, members_of
from kongming_sched.cloud.candidates import find_limit
from kongming_sched.cloud.capacity import HostRoom, NodeRoom
from kongming_sched.cloud.classes.read import read_template
from kongming_sched.cloud.compute import Flavor
from kongming_sched.cloud.hosts import pick, read_bare_hosts, read_hosts, taken_of_host
from kongming_sched.cloud.nodes import amounts
from kongming_sched.cloud.obstacles import Kind, Obstacle, find_obstacle
from kongming_sched.cloud.pages import of_devices
from kongming_sched.placement import names
from kongming_sched.request import TEMPLATE_KEY, PinningRequest
from kongming_sched.texts.printable import clean_lines, quote


class Explain(Lister):
    """Say of each host how many servers of a flavor fit now, or the first reason why none does.

    Looks at what Placement knows of hosts and their NUMA nodes. Nova may still refuse a host for other reasons: a
    compute service that is down, an image, a network, a device, or another of its filters.

    Example::

        openstack kongming explain --flavor gold.4
        openstack kongming explain --flavor gold.4 --host compute-1 --long
        openstack kongming explain --server web
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the flavor and the host."""
        parser = super().get_parser(prog_name)
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--flavor", metavar="<flavor>", help="Flavor of the server (name or ID)")
        whose.add_argument("--server", metavar="<server>", help="A server (name or ID), whose flavor is meant")
        parser.add_argument("--host", metavar="<host>", help="Only this compute node (default: all)")
        parser.add_argument(
            "--aggregate", metavar="<aggregate>", help="Only the hosts of this aggregate (name or UUID)"
        )
        parser.add_argument("--long", action="store_true", help="Show what is free of each node as well")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Read all hosts and judge each."""
        flavor = self._flavor(parsed_args)
        hosts = read_hosts(self.placement)
        bare = read_bare_hosts(self.placement, hosts)
        hosts = pick(
            sorted([*hosts, *bare], key=lambda host: host.name), parsed_args.host, "is no compute node in Placement"
        )
        in_aggregate = members(self.placement, self.compute, parsed_args.aggregate)
        hosts = [host for host in hosts if in_aggregate is None or host.uuid in in_aggregate]
        try:
            request = read_request(flavor)
            self._template = cache(self.templates.get)
            warn_of_flaw(self.log, flavor, lambda name: self._template(name).template)
            if limit := find_limit(flavor, request, hosts):
                self.log.warning("%s", clean_lines(f"flavor {flavor.name}: {limit}"))
            if devices := of_devices(flavor.extra_specs):
                self.log.warning("%s", clean_lines(f"flavor {flavor.name} {devices}"))
            rows = self._judge(hosts, request, taken_of_host(flavor))
        except (exceptions.InvalidRequest, exceptions.InvalidTraits, exceptions.TemplateNotFound) as error:
            rows = [(host, 0, Obstacle(Kind.FLAVOR, str(error))) for host in hosts]
        shown = ("host", "servers", "obstacle", "reason", "free")[: 5 if parsed_args.long else 4]
        return shown, [
            (host.name, count, obstacle and str(obstacle.kind), obstacle and obstacle.reason, _free(host))[: len(shown)]
            for host, count, obstacle in rows
        ]

    def _flavor(self, parsed_args: argparse.Namespace) -> Flavor:
        """The flavor that is meant; where a server has another template than its flavor names, say so."""
        if parsed_args.server is None:
            return self.compute.find_flavor(parsed_args.flavor)
        server = self.compute.find_server(parsed_args.server)
        own, now = server.flavor.extra_specs.get(TEMPLATE_KEY), read_template(self.placement, server)
        if own != now:
            names = f"its flavor names {quote(own)}" if own else "its flavor names none"
            text = f"server {server.name} has template {quote(now)} now, and {names}, by which Nova claims first"
            self.log.warning("%s", clean_lines(f"{text} where it moves the server; hosts are judged by that"))
        return server.flavor

    def _judge(
        self, hosts: Iterable[HostRoom], request: PinningRequest, of_host: dict[str, int]
    ) -> list[tuple[HostRoom, int, Obstacle | None]]:
        stored = self._template(request.template)
        members = members_of(self.placement, stored.aggregates) if stored.aggregates else None
        rows = []
        for host in hosts:
            is_offered = members is None or host.uuid in members
            obstacle = find_obstacle(host, request, of_host, is_offered=is_offered)
            rows.append((host, 0 if obstacle else host.count(request.cells, of_host), obstacle))
        return rows


def _free(host: HostRoom) -> columns.Lines:
    """What is free of each node that takes servers."""
    value = [{"node": number, "resources": _amounts(room)} for number, room in host.nodes.items()]
    return columns.Lines(value, [f"node {item['node']}: {columns.Fields(item['resources'])}" for item in value])  # type: ignore[arg-type]


def _amounts(room: NodeRoom) -> dict[str, int]:
    return amounts({name: amount for name, amount in room.free.items() if name != names.NODE})
