# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming server``: the commands that change servers."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from osc_lib import exceptions as osc_exceptions

from kongming_sched import exceptions
from kongming_sched.cli.change_plan import COLUMNS, Effect, Entry, Plan
from kongming_sched.cli.classes import metadata as server_metadata
from kongming_sched.cli.classes.many import ManyServers
from kongming_sched.cli.classes.plan import REFUSALS, Asked, plan_class, subject_of
from kongming_sched.cli.classes.which import add_which, check_which, check_words_of_many, read_which
from kongming_sched.cli.command import Change
from kongming_sched.cli.server_checks import check_override, states_of
from kongming_sched.cloud.classes.change import ClassChanger
from kongming_sched.cloud.classes.many import ManyChanger
from kongming_sched.cloud.classes.read import forget_class, read_template
from kongming_sched.cloud.compute import Server
from kongming_sched.override import CPUS_KEY, GRAMMAR, OLD_CPUS_KEY, select
from kongming_sched.placement.classes.records import read_record
from kongming_sched.request import TEMPLATE_KEY
from kongming_sched.texts.printable import quote
from kongming_sched.texts.whole_number import NODE_IDS, find_whole_number


class _Write(Change):
    """The plans of both commands."""

    def plan_of_metadata(self, server: Server, wanted: Mapping[str, str]) -> Plan:
        """A plan that checks a server's wanted metadata and writes it."""
        before = select(server.metadata)
        steps = server_metadata.change(before, wanted)

        def refusals() -> Iterator[Exception]:
            try:
                template = read_template(self.placement, server)
                check_override(self.find_template, server, wanted, states_of(self.placement, server), template)
            except (exceptions.InvalidOverride, exceptions.TemplateNotFound, exceptions.InvalidTraits) as error:
                yield osc_exceptions.CommandError(f"server {server.name!r}: {error}")

        subject, host = subject_of(server), server.host or None
        changes = [Entry(Effect.CHANGE, subject, line, host) for line in steps.lines(before)]
        move = Entry(Effect.MOVE, subject, _destination(server, wanted), host)
        return Plan(
            subject,
            changes,
            lambda: server_metadata.write(self.compute, server, steps),
            refusals(),
            lambda: [move] if host else [],
            host,
        )

    def plan_of_class(self, server: Server, asked: Asked) -> Plan:
        """A plan that gives a server a template instead of its flavor's, or its flavor's again."""
        changer = ClassChanger(self.placement, self.templates)
        found = plan_class(changer, self.compute, server, asked)
        if asked.template is None and isinstance(found.refusal, REFUSALS) and not changer.has_record(server):
            kept = {key: value for key, value in select(server.metadata).items() if key not in asked.gone}
            return self.plan_of_metadata(server, kept)
        return found.plan


def _destination(server: Server, wanted: Mapping[str, str]) -> str:
    """Where its vCPUs go, in words."""
    cpus = wanted.get(CPUS_KEY) or wanted.get(OLD_CPUS_KEY)
    template = wanted.get(TEMPLATE_KEY) or server.flavor.extra_specs.get(TEMPLATE_KEY)
    return f"its vCPUs to CPU {cpus}" if cpus else f"its vCPUs to where template {template!r} has them"


class SetServer(_Write):
    """Give a running server another template than its flavor's, or other pins than its template says.

    With --template the server takes in Placement what that template takes, if its host has room, in place of what it
    has; its flavor need not name one. The agent on its host then moves its vCPUs and its memory, and sets its quality
    of service. It keeps the template when it is stopped and started, and after a migration if there is room. A resize
    to another flavor ends it. Nova and the server's owner see nothing of it.

    With --all many servers get the template, one after the other: those that have a certain other one, or none. Those
    that could not are listed with the reason, and the exit code is 1. Broken off at any time, the same command goes on
    with those that are left.

    With --cpus the server's metadata is written, which the agent follows as far as the template's 'override' lets it.
    What the server takes in Placement stays as it is. CPUs of explicit cells lie within those that the template sets
    aside, dedicated vCPUs take one free CPU each of their node's pool.

    Example::

        openstack kongming server set web --template silver --dry-run
        openstack kongming server set web --template silver --node 1
        openstack kongming server set --all --with-template gold --host compute-1 --template silver
        openstack kongming server set web --cpus "0:5-6;1:9"
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the server, or which servers, and what they shall have."""
        parser = super().get_parser(prog_name)
        parser.add_argument("server", metavar="<server>", nargs="?", help="Server (name or ID)")
        parser.add_argument("--template", metavar="<name>", help="Another template, with as many vCPUs")
        parser.add_argument(
            "--node",
            metavar="<node>",
            type=_node,
            help="With --template: the NUMA node that the server shall be on (default: the one that it is on, or else"
            " the fullest that has room)",
        )
        parser.add_argument("--cpus", metavar="<cpus>", help=f"Host CPUs, as in {GRAMMAR}")
        add_which(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Carry it out for one server, or for many."""
        _check_words(parsed_args)
        if not parsed_args.all:
            return super().take_action(parsed_args)
        many = self._many(parsed_args)
        entries = many.report() if parsed_args.dry_run else many.run()
        self.has_conflict = any(entry.effect is Effect.CONFLICT for entry in entries)
        is_shown = entries or parsed_args.dry_run or parsed_args.formatter != "table"
        return (COLUMNS, [entry.row for entry in entries]) if is_shown else ((), ())

    def _many(self, parsed_args: argparse.Namespace) -> ManyServers:
        """The servers that are meant.

        :raises TemplateNotFound: if there is no such template
        """
        changer, servers = ManyChanger(self.placement, self.templates), list(self.compute.servers())
        which = read_which(parsed_args)
        check_which(which, changer, servers, parsed_args.template)
        return ManyServers(changer, self.compute, servers, which, Asked(parsed_args.template, parsed_args.node))

    def plan(self, parsed_args: argparse.Namespace) -> Plan:
        """Check, and write."""
        server = self.compute.find_server(parsed_args.server)
        if parsed_args.template is not None:
            return self.plan_of_class(server, Asked(parsed_args.template, parsed_args.node))
        wanted = select(server.metadata)
        wanted.pop(OLD_CPUS_KEY, None)
        wanted[CPUS_KEY] = parsed_args.cpus
        return self.plan_of_metadata(server, wanted)


def _check_words(parsed_args: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    :raises CommandError: saying which
    """
    if (parsed_args.template is None) == (parsed_args.cpus is None):
        raise osc_exceptions.CommandError("say what to set: either --template or --cpus")
    if parsed_args.node is not None and parsed_args.template is None:
        raise osc_exceptions.CommandError("--node goes with --template")
    check_words_of_many(parsed_args)


class UnsetServer(_Write):
    """Give a running server the template of its flavor again, or the pins of its template.

    A server whose flavor names no template is let go: it takes of its host what Nova would have claimed, and runs on
    all CPUs. For a server that was deleted, by its id, what is recorded of its template is deleted.

    Example::

        openstack kongming server unset web --template
        openstack kongming server unset web --cpus
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the server, and what is to go."""
        parser = super().get_parser(prog_name)
        parser.add_argument("server", metavar="<server>", help="Server (name or ID)")
        parser.add_argument("--template", action="store_true", help="The other template")
        parser.add_argument("--cpus", action="store_true", help="The host CPUs")
        return parser

    def plan(self, parsed_args: argparse.Namespace) -> Plan:
        """Check what is left, and write."""
        if not parsed_args.template and not parsed_args.cpus:
            raise osc_exceptions.CommandError("say what to unset: --template, --cpus, or both")
        try:
            server = self.compute.find_server(parsed_args.server)
        except exceptions.ServerNotFound:
            if parsed_args.template and read_record(self.placement, parsed_args.server):
                return self._plan_for_gone(parsed_args.server)
            raise
        gone = {TEMPLATE_KEY} if parsed_args.template else set()
        gone |= {CPUS_KEY, OLD_CPUS_KEY} if parsed_args.cpus else set()
        if parsed_args.template:
            return self.plan_of_class(server, Asked(None, gone=gone))
        wanted = {key: value for key, value in select(server.metadata).items() if key not in gone}
        return self.plan_of_metadata(server, wanted)

    def _plan_for_gone(self, server_id: str) -> Plan:
        """A plan that deletes what records the template of a server that Nova does not know any more."""
        subject = f"server {server_id}"
        changes = [Entry(Effect.CHANGE, subject, "Nova does not know it; the record of its template is deleted")]
        return Plan(subject, changes, lambda: forget_class(self.placement, server_id))


def _node(text: str) -> int:
    number = find_whole_number(text, NODE_IDS)
    if number is None:
        raise argparse.ArgumentTypeError(f"{quote(text)} is not the number of a NUMA node")
    return number
