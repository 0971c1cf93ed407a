# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming template``: what looks at templates."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from typing import Any

from kongming_sched import exceptions
from kongming_sched.cli import columns
from kongming_sched.cli.command import Command, Lister, ShowOne
from kongming_sched.cli.template.rows import LONG, SHORT, fields_of, offering, rows_of
from kongming_sched.cli.template.timetable import fields_of_hours, now
from kongming_sched.cloud.aggregates import aggregate_uuid, members_of
from kongming_sched.cloud.nodes import read_nodes
from kongming_sched.placement.templates import StoredTemplate
from kongming_sched.texts.printable import clean_lines


class ListTemplate(Lister):
    """List templates, and how many hosts offer each.

    Example::

        openstack kongming template list --host compute-1
        openstack kongming template list --long -f json
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take --long and the filters."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--long", action="store_true", help="Show all fields of the templates")
        parser.add_argument("--template", metavar="<name>", help="Only this template")
        parser.add_argument("--host", metavar="<host>", help="Only templates that a node of this compute node offers")
        parser.add_argument(
            "--aggregate",
            metavar="<aggregate>",
            help="Only templates that are for the hosts of this aggregate (name or UUID), or for all hosts",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """List what can be read, and warn of what cannot."""
        found = self.templates.list()
        for error in found.broken:
            self.log.warning("%s", clean_lines(str(error)))
        templates = [item for item in found.templates.values() if parsed_args.template in (None, item.template.name)]
        if parsed_args.aggregate is not None:
            aggregate = frozenset([aggregate_uuid(self.compute, parsed_args.aggregate)])
            templates = [stored for stored in templates if stored.is_offered_to(aggregate)]
        nodes = read_nodes(self.placement)
        if parsed_args.host is not None:
            if parsed_args.host not in {node.host for node in nodes}:
                raise exceptions.HostNotFound(parsed_args.host, "has no nodes that take servers")
            offered = {name for node in nodes if node.host == parsed_args.host for name in node.templates}
            templates = [stored for stored in templates if stored.template.name in offered]
        shown = LONG if parsed_args.long else SHORT
        return shown, rows_of(templates, shown, nodes)


class ShowTemplate(ShowOne):
    """Show a template, which hosts offer it, which should and do not, and which of its hours holds now and comes next.

    Example::

        openstack kongming template show gold
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the name."""
        parser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="<name>", help="Template to show")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        """Read the template and the nodes."""
        stored = self.templates.get(parsed_args.name)
        nodes = read_nodes(self.placement)
        asked = {node.host for node in nodes}
        if stored.aggregates:
            members = members_of(self.placement, stored.aggregates)
            asked = {node.host for node in nodes if node.host_uuid in members}
        on = offering(stored.template.name, nodes)
        fields = fields_of(stored) | {
            "hosts_offering": columns.CountedNames(sorted(on)),
            "hosts_not_offering": columns.CountedNames(sorted(asked - on)),
            **fields_of_hours(stored.template, now()),
        }
        return tuple(fields), tuple(fields.values())


class ExportTemplate(Command):
    """Print templates as a file that 'template create' and 'template set' take.

    The aggregates whose hosts are offered a template are no part of its file: in YAML they stand in a comment, and they
    are given anew with --aggregate.

    Example::

        openstack kongming template export > templates.yaml
        openstack kongming template export gold --format json
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the names and the format."""
        parser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="<name>", nargs="*", help="Template(s) to print (default: all)")
        parser.add_argument(
            "-f",
            "--format",
            choices=["yaml", "json"],
            default="yaml",
            help="yaml: a document for each template; json: a list (default: yaml)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Read the templates and print them."""
        if parsed_args.name:
            stored = [self.templates.get(name) for name in dict.fromkeys(parsed_args.name)]
        else:
            found = self.templates.list()
            if found.broken:
                raise found.broken[0]
            stored = list(found.templates.values())
        text = _as_json(stored) if parsed_args.format == "json" else "---\n".join(map(_as_yaml, stored))
        self.app.stdout.write(text)


def _as_json(templates: Iterable[StoredTemplate]) -> str:
    return json.dumps([stored.template.to_mapping() for stored in templates], indent=2) + "\n"


def _as_yaml(stored: StoredTemplate) -> str:
    import yaml  # no other command that only looks needs it

    offered = f", offered to {', '.join(sorted(stored.aggregates))}" if stored.aggregates else ""
    text = yaml.safe_dump(stored.template.to_mapping(), sort_keys=False, width=120)
    return f"# version {stored.version}{offered}\n{text}"
