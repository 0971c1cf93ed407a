# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming capacity``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from osc_lib import exceptions as osc_exceptions

from kongming_sched import exceptions
from kongming_sched.cli import progress
from kongming_sched.cli.command import Lister
from kongming_sched.cli.flavor_checks import read_request, warn_of_flaw
from kongming_sched.cloud.aggregates import find_aggregate, members_of
from kongming_sched.cloud.capacity import Demand, HostRoom, demand_of
from kongming_sched.cloud.hosts import pick, read_hosts, taken_of_host
from kongming_sched.texts.printable import clean_lines


class ShowCapacity(Lister):
    """Count how many more servers of each template fit, in all, by host, or by aggregate.

    Each line tells what fits if nothing else comes, for templates share the CPUs of their hosts. A template says
    nothing about a server's memory and disk, which are therefore not counted unless --flavor is given. Hosts whose
    compute service is disabled take no servers. It is the most that can fit: servers with cells of different size may
    use up a host sooner, depending on the NUMA strategy.

    Example::

        openstack kongming capacity --by host
        openstack kongming capacity --flavor gold.4 --aggregate rack1
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take what to count and where."""
        parser = super().get_parser(prog_name)
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--template", metavar="<name>", help="Only this template (default: all)")
        what.add_argument(
            "--flavor", metavar="<flavor>", help="Servers of this flavor (name or ID), with their memory and disk"
        )
        where = parser.add_mutually_exclusive_group()
        where.add_argument("--host", metavar="<host>", help="Only on this compute node")
        where.add_argument("--aggregate", metavar="<aggregate>", help="Only in this host aggregate (name or UUID)")
        parser.add_argument(
            "--by",
            choices=["cloud", "aggregate", "host"],
            default="cloud",
            help="A line for all hosts together, for each aggregate, or for each host (default: cloud)",
        )
        parser.add_argument("--long", action="store_true", help="Show the vCPUs of these servers as well")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Read all hosts and count."""
        demands = self._demands(parsed_args)
        hosts = read_hosts(self.placement)
        if parsed_args.host:
            hosts = pick(hosts, parsed_args.host, "has no nodes that take servers")
        members: Mapping[str, frozenset[str]] = {}
        if parsed_args.aggregate or parsed_args.by == "aggregate":
            members = self._members(parsed_args.aggregate)
            hosts = [host for host in hosts if any(host.uuid in uuids for uuids in members.values())]
        what = "flavor" if parsed_args.flavor else "template"
        shown, rows = _table(what, parsed_args.by, demands, hosts, members)
        if not parsed_args.long:
            return shown, rows
        vcpus = {demand.of: demand.vcpus for demand in demands}
        return (*shown, "vcpus"), [(*row, row[-1] * vcpus[row[0]]) for row in rows]

    def _demands(self, parsed_args: argparse.Namespace) -> list[Demand]:
        if parsed_args.flavor:
            flavor = self.compute.find_flavor(parsed_args.flavor)
            try:
                request, of_host = read_request(flavor), taken_of_host(flavor)
                warn_of_flaw(self.log, flavor, lambda name: self.templates.get(name).template)
            except exceptions.InvalidRequest as error:
                raise osc_exceptions.CommandError(f"flavor {flavor.name!r} fits nowhere: {error}") from error
            return [Demand(flavor.name, flavor.vcpus, lambda host: host.count(request.cells, of_host))]
        if parsed_args.template:
            templates = [self.templates.get(parsed_args.template).template]
        else:
            found = self.templates.list()
            for broken in found.broken:
                self.log.warning("%s", clean_lines(str(broken)))
            templates = [stored.template for stored in found.templates.values()]
        return [demand_of(template) for template in templates]

    def _members(self, name_or_uuid: str | None) -> dict[str, frozenset[str]]:
        """Which providers are in each aggregate, or in this one."""
        aggregates = self.compute.aggregates() if name_or_uuid is None else [find_aggregate(self.compute, name_or_uuid)]
        return {aggregate.name: members_of(self.placement, [aggregate.uuid]) for aggregate in aggregates}


def _table(
    what: str,
    by: str,
    demands: Iterable[Demand],
    hosts: Sequence[HostRoom],
    members: Mapping[str, frozenset[str]],
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """How many servers fit, by host, aggregate or in all.

    :param members: aggregate to the providers of its hosts
    """
    counts = [
        (demand.of, {host.uuid: demand.count(host) for host in progress.shown(hosts, "counting on host")})
        for demand in demands
    ]
    match by:
        case "host":
            return (what, "host", "servers"), [(of, host.name, on[host.uuid]) for of, on in counts for host in hosts]
        case "aggregate":
            rows = [(of, name, *_sum(on, uuids)) for of, on in counts for name, uuids in members.items()]
            return (what, "aggregate", "hosts", "servers"), rows
        case _:
            return (what, "hosts", "servers"), [(of, *_sum(on, on)) for of, on in counts]


def _sum(counts: Mapping[str, int], uuids: Iterable[str]) -> tuple[int, int]:
    """How many hosts take any servers, and how many servers they take."""
    some = [counts[uuid] for uuid in uuids if counts.get(uuid)]
    return len(some), sum(some)
