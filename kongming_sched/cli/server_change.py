# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming server``: the commands that change servers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from osc_lib import exceptions as osc_exceptions

from kongming_sched import exceptions
from kongming_sched.cli.change_plan import Effect, Entry, Plan
from kongming_sched.cli.command import Change
from kongming_sched.cli.server_checks import check_override, states_of
from kongming_sched.cloud.compute import Server
from kongming_sched.override import CPUS_KEY, GRAMMAR, OLD_CPUS_KEY, select
from kongming_sched.request import TEMPLATE_KEY


@dataclass(frozen=True, slots=True)
class Steps:
    """Changes of a server's metadata: keys to set, and keys to delete."""

    set: Mapping[str, str]
    delete: tuple[str, ...]

    def lines(self, before: Mapping[str, str]) -> list[str]:
        """As in ``kongming:cpus: 5-6 -> 7-8``."""
        changes = {**self.set, **dict.fromkeys(self.delete, "-")}
        return [f"{key}: {before.get(key, '-')} -> {value}" for key, value in sorted(changes.items())]


def change(before: Mapping[str, str], wanted: Mapping[str, str]) -> Steps:
    """The changes from the keys that a server has to the wanted ones."""
    return Steps(
        {key: value for key, value in wanted.items() if before.get(key) != value},
        tuple(key for key in before if key not in wanted),
    )


class _Write(Change):
    """The plan of both commands."""

    def plan_of(self, server: Server, wanted: Mapping[str, str]) -> Plan:
        """A plan that checks a server's wanted metadata and writes it."""
        before = select(server.metadata)
        steps = change(before, wanted)

        def refusals() -> Iterator[Exception]:
            try:
                check_override(self.templates, server, wanted, states_of(self.placement, server))
            except (exceptions.InvalidOverride, exceptions.TemplateNotFound, exceptions.InvalidTraits) as error:
                yield osc_exceptions.CommandError(f"server {server.name!r}: {error}")

        def carry_out() -> None:
            if steps.set:
                self.compute.set_metadata(server, steps.set)
            for key in steps.delete:
                self.compute.delete_metadata(server, key)

        subject, host = f"server {server.name} ({server.id})", server.host or None
        changes = [Entry(Effect.CHANGE, subject, line, host) for line in steps.lines(before)]
        move = Entry(Effect.MOVE, subject, _destination(server, wanted), host)
        return Plan(subject, changes, carry_out, refusals(), lambda: [move] if host else [], host)


def _destination(server: Server, wanted: Mapping[str, str]) -> str:
    """Where its vCPUs go, in words."""
    cpus = wanted.get(CPUS_KEY) or wanted.get(OLD_CPUS_KEY)
    template = wanted.get(TEMPLATE_KEY) or server.flavor.extra_specs.get(TEMPLATE_KEY)
    return f"its vCPUs to CPU {cpus}" if cpus else f"its vCPUs to where template {template!r} has them"


class SetServer(_Write):
    """Give a running server other pins than its flavor's template says.

    Writes the server's metadata, which the agent on its host follows as far as the template's 'override' lets it. What
    the server takes in Placement stays as it is. CPUs of explicit cells lie within those that the template sets aside,
    dedicated vCPUs take one free CPU each of their node's pool.

    Example::

        openstack kongming server set web --cpus "0:5-6;1:9"
        openstack kongming server set web --template silver --dry-run
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the server, and what it shall have."""
        parser = _add_server(super().get_parser(prog_name))
        parser.add_argument("--template", metavar="<name>", help="Another template, which takes the same")
        parser.add_argument("--cpus", metavar="<cpus>", help=f"Host CPUs, as in {GRAMMAR}")
        return parser

    def plan(self, parsed_args: argparse.Namespace) -> Plan:
        """Check, and write."""
        if parsed_args.template is None and parsed_args.cpus is None:
            raise osc_exceptions.CommandError("say what to set: --template, --cpus, or both")
        server = self.compute.find_server(parsed_args.server)
        wanted = select(server.metadata)
        if parsed_args.template is not None:
            wanted[TEMPLATE_KEY] = parsed_args.template
        if parsed_args.cpus is not None:
            wanted.pop(OLD_CPUS_KEY, None)
            wanted[CPUS_KEY] = parsed_args.cpus
        return self.plan_of(server, wanted)


class UnsetServer(_Write):
    """Give a running server the pins of its flavor's template again.

    Example::

        openstack kongming server unset web --cpus --template
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the server, and what is to go."""
        parser = _add_server(super().get_parser(prog_name))
        parser.add_argument("--template", action="store_true", help="The other template")
        parser.add_argument("--cpus", action="store_true", help="The host CPUs")
        return parser

    def plan(self, parsed_args: argparse.Namespace) -> Plan:
        """Check what is left, and write."""
        if not parsed_args.template and not parsed_args.cpus:
            raise osc_exceptions.CommandError("say what to unset: --template, --cpus, or both")
        server = self.compute.find_server(parsed_args.server)
        gone = {TEMPLATE_KEY} if parsed_args.template else set()
        gone |= {CPUS_KEY, OLD_CPUS_KEY} if parsed_args.cpus else set()
        wanted = {key: value for key, value in select(server.metadata).items() if key not in gone}
        return self.plan_of(server, wanted)


def _add_server(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("server", metavar="<server>", help="Server (name or ID)")
    return parser
