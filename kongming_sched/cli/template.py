# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming template``."""

from __future__ import annotations

import argparse
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from osc_lib import exceptions as osc_exceptions

from kongming_sched import exceptions
from kongming_sched.cli import checks, columns
from kongming_sched.cli.command import Command, Lister, ShowOne
from kongming_sched.cli.nodes import Node, read_nodes
from kongming_sched.cli.template_file import TemplateFile
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.templates import StoredTemplate
from kongming_sched.template import PinningTemplate


class CreateTemplate(ShowOne):
    """Store a template from a YAML file.

    The name of the template stands in the file. Hosts offer it as soon as their agents have seen that they can honour
    it; 'openstack kongming template show' tells which do.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the file, the name and the aggregates."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "name", metavar="<name>", nargs="?", help="Name that the template in the file must have (optional)"
        )
        _add_file_option(parser, required=True)
        parser.add_argument(
            "--aggregate",
            metavar="<uuid>",
            type=_uuid,
            action="append",
            default=[],
            help="Offer the template to the hosts of this aggregate. Repeat for several (default: to all hosts)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        """Check the template against the others, and store it."""
        template = _read(parsed_args.file, parsed_args.name)
        aggregates = frozenset(parsed_args.aggregate)
        stored = self.templates.list().templates
        if template.name in stored:
            raise exceptions.TemplateExists(template.name)
        checks.check_overlap(template, aggregates, stored)
        return _describe(self.templates.create(template, aggregates), self.placement)


class SetTemplate(Command):
    """Change a template, or the aggregates whose hosts are offered it.

    Running servers follow, host by host. What servers take of a host cannot change while flavors or servers name the
    template: the vCPUs and their cells, what these run on, and thread and memory policies that count otherwise.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the name, the file and the aggregates."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="<name>", help="Template to change")
        _add_file_option(parser, required=False)
        group = parser.add_mutually_exclusive_group()
        group.add_argument(
            "--aggregate",
            metavar="<uuid>",
            type=_uuid,
            action="append",
            help="Offer the template to the hosts of this aggregate, and no longer to others. Repeat for several",
        )
        group.add_argument(
            "--no-aggregate", dest="aggregate", action="store_const", const=[], help="Offer the template to all hosts"
        )
        self._usage_error = parser.error
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Check the new template against the others and against its users, and store it."""
        if parsed_args.file is None and parsed_args.aggregate is None:
            self._usage_error("one of the arguments --file --aggregate --no-aggregate is required")
        new = _read(parsed_args.file, parsed_args.name) if parsed_args.file else None
        found = self.templates.list()
        old = found.templates.get(parsed_args.name)
        broken = next((error for error in found.broken if error.name == parsed_args.name), None)
        template = new or (old.template if old else None)
        if template is None or (old is None and broken is None):
            raise broken or exceptions.TemplateNotFound(parsed_args.name)
        aggregates = (old.aggregates if old else ()) if parsed_args.aggregate is None else parsed_args.aggregate
        if old and (old.template, old.aggregates) == (template, frozenset(aggregates)):
            return
        checks.check_overlap(template, frozenset(aggregates), found.templates)
        checks.check_demand(self.compute, old.template if old else None, template)
        self.templates.update(template, parsed_args.aggregate)


class ListTemplate(Lister):
    """List templates, and how many hosts offer each."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take --long."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--long", action="store_true", help="Show all fields of the templates")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """List what can be read, and warn of what cannot."""
        found = self.templates.list()
        for error in found.broken:
            self.log.warning("%s", error)
        nodes = read_nodes(self.placement)
        long = ("emulator", "qos", "override", "aggregates") if parsed_args.long else ()
        shown = ("name", "version", "vcpus", "cells", *long, "hosts")
        rows = []
        for stored in found.templates.values():
            fields = _fields(stored) | {"hosts": len(_offering(stored.template.name, nodes))}
            rows.append([fields[column] for column in shown])
        return shown, rows


class ShowTemplate(ShowOne):
    """Show a template, and which hosts offer it.

    '-f yaml -c name -c cells -c emulator -c qos -c override' prints it as a file that 'template set' takes.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the name."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="<name>", help="Template to show")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        """Read the template and the nodes."""
        return _describe(self.templates.get(parsed_args.name), self.placement)


class DeleteTemplate(Command):
    """Delete templates that no flavor and no server names."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the names and --force."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="<name>", nargs="+", help="Template(s) to delete; all of them or none")
        parser.add_argument(
            "--force", action="store_true", help="Do not ask Nova whether flavors or servers name the template"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Make sure that all can be deleted, and delete them."""
        unique = list(dict.fromkeys(parsed_args.name))
        for name in unique:
            if not self.placement.providers(name=names.template_provider_name(name)):
                raise exceptions.TemplateNotFound(name)
        if not parsed_args.force:
            checks.check_unused(self.compute, unique)
        for name in unique:
            self.templates.delete(name)


def _add_file_option(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--file", metavar="<file>", required=required, help="YAML file that holds the template; - is standard input"
    )


def _uuid(text: str) -> str:
    """The canonical text of a UUID."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a UUID; see 'openstack aggregate show'") from None


def _read(file: str, name: str | None) -> PinningTemplate:
    """The template in a file, which must have this name if one is given."""
    template = TemplateFile(file).template
    if name not in (None, template.name):
        raise osc_exceptions.CommandError(f"{file} holds template {template.name!r}, not {name!r}; correct one of them")
    return template


def _fields(stored: StoredTemplate) -> dict[str, Any]:
    """A template by columns; those of a template's file have the file's names and values."""
    mapping = stored.template.to_mapping()
    return {
        "name": stored.template.name,
        "version": stored.version,
        "vcpus": stored.template.vcpus,
        "cells": columns.cells(stored.template),
        "emulator": mapping["emulator"],
        "qos": columns.Fields(mapping.get("qos", {})),  # type: ignore[arg-type]  # a mapping where it is there
        "override": mapping["override"],
        "aggregates": columns.Names(sorted(stored.aggregates)),
    }


def _offering(template: str, nodes: Iterable[Node]) -> set[str]:
    """The hosts on whose nodes a template is offered."""
    return {node.host for node in nodes if template in node.templates}


def _describe(stored: StoredTemplate, client: PlacementClient) -> tuple[Sequence[str], Sequence[Any]]:
    """A template with the hosts that offer it, and those that should and do not."""
    nodes = read_nodes(client)
    asked = {node.host for node in nodes}
    if stored.aggregates:
        members = {provider.uuid for provider in client.providers(member_of=f"in:{','.join(stored.aggregates)}")}
        asked = {node.host for node in nodes if node.host_uuid in members}
    offering = _offering(stored.template.name, nodes)
    fields = _fields(stored) | {
        "hosts_offering": columns.CountedNames(sorted(offering)),
        "hosts_not_offering": columns.CountedNames(sorted(asked - offering)),
    }
    return tuple(fields), tuple(fields.values())
