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
from kongming_sched.cloud import what_if
from kongming_sched.cloud.aggregates import find_aggregate, members_of
from kongming_sched.cloud.capacity import Demand, HostRoom, demand_of
from kongming_sched.cloud.compute import Flavor
from kongming_sched.cloud.hosts import pick, read_hosts, taken_of_host
from kongming_sched.request import NumaStrategy, PinningRequest
from kongming_sched.texts.printable import clean_lines
from kongming_sched.texts.whole_number import find_whole_number

NO_NODES = "has no nodes that take servers"
"""What is wrong with a host that cannot be counted."""

SERVERS = range(1, 100_001)
"""How many servers of a flavor a mix may have."""

MORE_HOSTS = range(1, 10_001)
"""How many hosts may be added at once."""


class ShowCapacity(Lister):
    """Count how many more servers of each template fit, in all, by host, or by aggregate.

    Each line says what fits if nothing else comes, for templates share the CPUs of their hosts. A template says
    nothing about a server's memory and disk, which are therefore not counted unless --flavor is given. Hosts whose
    compute service is disabled take no servers. It is the most that can fit: servers with cells of different size may
    use up a host sooner, depending on the NUMA strategy.

    With numbers of servers, as in --flavor gold.4=40 --flavor bronze.2=10, it says how many of this mix would get a
    host if they came in turn. Nodes and hosts are chosen as KongMing's filter and weigher do; Nova's other weighers,
    server groups and zones are not taken into account.

    Hosts can be left out, and hosts that do not exist yet be added, to see what that would change.

    Example::

        openstack kongming capacity --by host
        openstack kongming capacity --flavor gold.4 --aggregate rack1
        openstack kongming capacity --flavor gold.4=40 --flavor bronze.2=10 --add-host 2=like:compute-1
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take what to count and where."""
        parser = super().get_parser(prog_name)
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--template", metavar="<name>", help="Only this template (default: all)")
        what.add_argument(
            "--flavor",
            metavar="<flavor>[=<servers>]",
            action="append",
            help="Servers of this flavor (name or ID), with their memory and disk; with a number of servers it may be"
            " given several times, for a mix",
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
        parser.add_argument(
            "--without", metavar="<host>", action="append", default=[], help="As if this compute node was not there"
        )
        parser.add_argument(
            "--add-host",
            metavar="<number>=like:<host>",
            action="append",
            default=[],
            type=_more_hosts,
            help="As if there were so many more compute nodes like this one, with nothing on them",
        )
        parser.add_argument(
            "--numa-strategy",
            choices=list(NumaStrategy),
            default=NumaStrategy.PACK,
            help="By which a mix is placed where a flavor has none of its own, as [kongming_scheduler] numa_strategy of"
            " nova.conf (default: pack)",
        )
        parser.add_argument("--long", action="store_true", help="Show the vCPUs of these servers as well")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Read all hosts and count."""
        flavors = [_of_mix(words) for words in parsed_args.flavor or []]
        is_mix = any(servers is not None for _, servers in flavors)
        _check_mix(flavors, is_mix, parsed_args.by)
        demands = [] if is_mix else self._demands(parsed_args)
        wanted = [self._wanted(name, servers or 0, parsed_args.numa_strategy) for name, servers in flavors if is_mix]
        hosts = read_hosts(self.placement)
        more = _added(hosts, parsed_args.add_host)
        for name in parsed_args.without:
            (without,) = pick(hosts, name, NO_NODES)
            hosts = [host for host in hosts if host is not without]
        if parsed_args.host:
            hosts = pick(hosts, parsed_args.host, NO_NODES)
        members: Mapping[str, frozenset[str]] = {}
        if parsed_args.aggregate or parsed_args.by == "aggregate":
            members = self._members(parsed_args.aggregate)
            hosts = [host for host in hosts if any(host.uuid in uuids for uuids in members.values())]
        hosts = sorted([*hosts, *more], key=lambda host: host.name)
        shown: tuple[str, ...]
        if is_mix:
            shown, rows = _mix_table(parsed_args.by, wanted, what_if.place(hosts, wanted))
        else:
            what = "flavor" if parsed_args.flavor else "template"
            shown, rows = _table(what, parsed_args.by, demands, hosts, members)
        if not parsed_args.long:
            return shown, rows
        servers = shown.index("servers")
        vcpus = {demand.of: demand.vcpus for demand in demands} | {item.flavor: item.vcpus for item in wanted}
        return (*shown, "vcpus"), [(*row, row[servers] * vcpus[row[0]]) for row in rows]

    def _demands(self, parsed_args: argparse.Namespace) -> list[Demand]:
        if parsed_args.flavor:
            flavor, request = self._flavor(parsed_args.flavor[0])
            of_host = taken_of_host(flavor)
            return [Demand(flavor.name, flavor.vcpus, lambda host: host.count(request.cells, of_host))]
        if parsed_args.template:
            templates = [self.templates.get(parsed_args.template).template]
        else:
            found = self.templates.list()
            for broken in found.broken:
                self.log.warning("%s", clean_lines(str(broken)))
            templates = [stored.template for stored in found.templates.values()]
        return [demand_of(template) for template in templates]

    def _wanted(self, name_or_id: str, servers: int, strategy: NumaStrategy) -> what_if.Wanted:
        flavor, request = self._flavor(name_or_id)
        of_host = taken_of_host(flavor)
        return what_if.Wanted(
            flavor.name, flavor.vcpus, servers, request, of_host, request.strategy or NumaStrategy(strategy)
        )

    def _flavor(self, name_or_id: str) -> tuple[Flavor, PinningRequest]:
        """A flavor, and what it asks of nodes."""
        flavor = self.compute.find_flavor(name_or_id)
        try:
            request = read_request(flavor)
            warn_of_flaw(self.log, flavor, lambda name: self.templates.get(name).template)
        except exceptions.InvalidRequest as error:
            raise osc_exceptions.CommandError(f"flavor {flavor.name!r} fits nowhere: {error}") from error
        return flavor, request

    def _members(self, name_or_uuid: str | None) -> dict[str, frozenset[str]]:
        """Which providers are in each aggregate, or in this one."""
        aggregates = self.compute.aggregates() if name_or_uuid is None else [find_aggregate(self.compute, name_or_uuid)]
        return {aggregate.name: members_of(self.placement, [aggregate.uuid]) for aggregate in aggregates}


def _of_mix(words: str) -> tuple[str, int | None]:
    """A flavor and how many servers of it; None if that is not said, as in a name with an equals sign."""
    name, _, number = words.rpartition("=")
    servers = find_whole_number(number, SERVERS) if name else None
    return (words, None) if servers is None else (name, servers)


def _check_mix(flavors: Sequence[tuple[str, int | None]], is_mix: bool, by: str) -> None:
    """What a mix must have.

    :raises CommandError: saying what it lacks
    """
    without = next((name for name, servers in flavors if servers is None), None)
    if len(flavors) > 1 and without is not None:
        raise osc_exceptions.CommandError(
            f"--flavor {without}: say how many servers, from 1 to {SERVERS.stop - 1}, as in --flavor {without}=10; each"
            " flavor of a mix needs that"
        )
    if is_mix and len({name for name, _ in flavors}) < len(flavors):
        raise osc_exceptions.CommandError("--flavor: a flavor is given twice; add up its numbers of servers")
    if is_mix and by == "aggregate":
        raise osc_exceptions.CommandError(
            "--by aggregate does not go with a mix of flavors; use --by host or --aggregate"
        )


def _more_hosts(words: str) -> tuple[int, str]:
    """How many more hosts there shall be, and which they are like.

    :raises ArgumentTypeError: for the parser, which names the option
    """
    number, _, model = words.partition("=")
    hosts = find_whole_number(number, MORE_HOSTS)
    kind, _, name = model.partition(":")
    if hosts is None or kind != "like" or not name:
        raise argparse.ArgumentTypeError(
            f"{words!r} is not a number from 1 to {MORE_HOSTS.stop - 1} and a host, as in 20=like:compute-1"
        )
    return hosts, name


def _added(hosts: Sequence[HostRoom], wanted: Iterable[tuple[int, str]]) -> list[HostRoom]:
    """The hosts that do not exist.

    :raises HostNotFound: if one shall be like a host that has no nodes
    """
    names = {host.name for host in hosts}
    added: list[HostRoom] = []
    for number, name in wanted:
        (model,) = pick(hosts, name, NO_NODES)
        for _ in range(number):
            added.append(what_if.like(model, names))
            names.add(added[-1].name)
    return added


def _mix_table(
    by: str, wanted: Sequence[what_if.Wanted], placed: Mapping[str, Mapping[str, int]]
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """How many servers of a mix get a host, by flavor, or by flavor and host."""
    if by == "host":
        rows = [(of, host, servers) for of, hosts in placed.items() for host, servers in sorted(hosts.items())]
        return ("flavor", "host", "servers"), rows
    fitting = {of: sum(hosts.values()) for of, hosts in placed.items()}
    return ("flavor", "hosts", "wanted", "servers", "refused"), [
        (of.flavor, len(placed[of.flavor]), of.servers, fitting[of.flavor], of.servers - fitting[of.flavor])
        for of in wanted
    ]


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
