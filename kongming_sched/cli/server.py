# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming server``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from osc_lib import exceptions as osc_exceptions

from kongming_sched import exceptions
from kongming_sched.cli import columns
from kongming_sched.cli.command import Command, Common, ShowOne
from kongming_sched.cli.compute import Server
from kongming_sched.cli.nodes import amounts, node_id, threads_per_core
from kongming_sched.override import (
    CPUS_KEY,
    GRAMMAR,
    OLD_CPUS_KEY,
    ServerOverride,
    overriding_template,
    seats,
    select,
)
from kongming_sched.placement import names
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.overrides import check_same_claim
from kongming_sched.placement.tree import NodeState
from kongming_sched.request import TEMPLATE_KEY


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of a server's metadata."""

    set: Mapping[str, str]
    delete: tuple[str, ...]

    def lines(self, before: Mapping[str, str]) -> list[str]:
        """As in ``kongming:cpus: 5-6 -> 7-8``."""
        changes = {**self.set, **dict.fromkeys(self.delete, "-")}
        return [f"{key}: {before.get(key, '-')} -> {value}" for key, value in sorted(changes.items())]


def change(before: Mapping[str, str], wanted: Mapping[str, str]) -> Change:
    """What leads from the keys that a server has to those that it shall have."""
    return Change(
        {key: value for key, value in wanted.items() if before.get(key) != value},
        tuple(key for key in before if key not in wanted),
    )


class _Servers(Common):
    """What the commands about a server have in common."""

    def states(self, server: Server) -> dict[int, NodeState]:
        """The nodes of its host on which a server has claimed something, by number."""
        if not server.host:
            return {}
        try:
            states = NodeRegistry(self.placement, server.host).observe()[2].values()
        except exceptions.ProviderNotFound:
            return {}
        return {node_id(state.name): state for state in states if server.id in state.allocations}

    def check(self, server: Server, metadata: Mapping[str, str], states: Mapping[int, NodeState]) -> None:
        """Refuse metadata that the agent would refuse, as far as that can be told from here.

        :raises InvalidOverride: saying what is wrong
        """
        override = ServerOverride.from_metadata(metadata)
        if override is None:
            return
        flavor_template = server.flavor.extra_specs.get(TEMPLATE_KEY)
        if flavor_template is None:
            reason = f"the flavor of server {server.name!r} names no template, so there is nothing to override"
            raise exceptions.InvalidOverride(override.first_key, reason)
        own = self.templates.get(flavor_template).template
        named = override.template if override.template is not None else own.name
        other = own if named == own.name else self.templates.get(named).template
        template = overriding_template(own, override, {own.name: own, other.name: other})
        threads = {threads_per_core(state.traits) for state in states.values()} - {None}
        check_same_claim(own, template, max(threads, default=None))  # type: ignore[type-var]  # None is taken out
        for number, state in sorted(states.items()):
            if names.template_trait(template.name) not in state.traits:
                reason = f"node {number} of host {server.host} does not offer template {template.name!r}"
                raise exceptions.InvalidOverride(TEMPLATE_KEY, reason)
        if override.cpus is not None:
            seats(template, override.cpus)

    def write(self, server: Server, wanted: Mapping[str, str], *, is_dry_run: bool) -> None:
        """Check and write what a server's metadata shall be."""
        self.check(server, wanted, self.states(server))
        before = select(server.metadata)
        steps = change(before, wanted)
        if is_dry_run:
            for line in steps.lines(before) or ["nothing would change"]:
                self.app.stdout.write(f"{line}\n")  # type: ignore[attr-defined]  # of the class that this is mixed into
            return
        if steps.set:
            self.compute.set_metadata(server, steps.set)
        for key in steps.delete:
            self.compute.delete_metadata(server, key)


class SetServer(_Servers, Command):
    """Give a running server other pins than its flavor's template says.

    Writes the server's metadata, which the agent on its host follows where the template says 'override: allowed'. What
    the server takes in Placement stays as it is. CPUs of explicit cells lie within those that the template sets aside,
    dedicated vCPUs take one free CPU each of their node's pool.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the server, and what it shall have."""
        parser = _add_server(super().get_parser(prog_name))
        parser.add_argument("--template", metavar="<name>", help="Another template, which takes the same")
        parser.add_argument("--cpus", metavar="<cpus>", help=f"Host CPUs, as in {GRAMMAR}")
        return _add_dry_run(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> None:
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
        self.write(server, wanted, is_dry_run=parsed_args.dry_run)


class UnsetServer(_Servers, Command):
    """Give a running server the pins of its flavor's template again."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the server, and what is to go."""
        parser = _add_server(super().get_parser(prog_name))
        parser.add_argument("--template", action="store_true", help="The other template")
        parser.add_argument("--cpus", action="store_true", help="The host CPUs")
        return _add_dry_run(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Check what is left, and write."""
        if not parsed_args.template and not parsed_args.cpus:
            raise osc_exceptions.CommandError("say what to unset: --template, --cpus, or both")
        server = self.compute.find_server(parsed_args.server)
        gone = {TEMPLATE_KEY} if parsed_args.template else set()
        gone |= {CPUS_KEY, OLD_CPUS_KEY} if parsed_args.cpus else set()
        wanted = {key: value for key, value in select(server.metadata).items() if key not in gone}
        self.write(server, wanted, is_dry_run=parsed_args.dry_run)


class ShowServer(_Servers, ShowOne):
    """Show what a server has of KongMing, and what its own metadata asks for."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the server."""
        return _add_server(super().get_parser(prog_name))

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        """Read the server, its flavor and its claim."""
        server = self.compute.find_server(parsed_args.server)
        states = self.states(server)
        claim: list[dict[str, Any]] = [
            {"node": number, "resources": amounts(state.allocations[server.id])}
            for number, state in sorted(states.items())
        ]
        problem = None
        try:
            self.check(server, select(server.metadata), states)
        except (exceptions.InvalidOverride, exceptions.TemplateNotFound, exceptions.InvalidTraits) as error:
            problem = str(error)
        fields = {
            "name": server.name,
            "id": server.id,
            "host": server.host or None,
            "nodes": columns.Lines(
                claim, [f"node {item['node']}: {columns.Fields(item['resources'])}" for item in claim]
            ),
            "flavor_template": server.flavor.extra_specs.get(TEMPLATE_KEY),
            "override_template": server.metadata.get(TEMPLATE_KEY),
            "override_cpus": server.metadata.get(CPUS_KEY) or server.metadata.get(OLD_CPUS_KEY),
            "problem": problem,
        }
        return tuple(fields), tuple(fields.values())


def _add_server(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("server", metavar="<server>", help="Server (name or ID)")
    return parser


def _add_dry_run(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--dry-run", action="store_true", help="Only show what would change")
    return parser
