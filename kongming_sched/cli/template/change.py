# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming template``: the commands that change templates."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from kongming_sched import exceptions
from kongming_sched.cli import progress
from kongming_sched.cli.change_plan import Effect, Entry, Plan, changed
from kongming_sched.cli.command import Change
from kongming_sched.cli.template import checks, effects
from kongming_sched.cli.template.file import read_template, read_templates
from kongming_sched.cli.template.rows import SHORT, rows_of
from kongming_sched.cloud.aggregates import aggregate_uuid, members_of
from kongming_sched.cloud.nodes import Node, read_nodes
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.templates import StoredTemplate
from kongming_sched.request import TEMPLATE_KEY
from kongming_sched.template import PinningTemplate

_SHOWN = 3
"""How many templates a line names before it only counts them."""


class CreateTemplate(Change):
    """Store templates from YAML or JSON files, all of them or none.

    A file holds one template, or several: as documents of their own, or in a list. All is checked before anything is
    stored, and what was stored is taken back if the rest cannot be. Templates that are stored already just as the files
    say are left alone, so that the same command may be given again.

    Hosts offer a template as soon as their agents have seen that they can honour it; 'openstack kongming template show'
    names those that do.

    Example::

        openstack kongming template create --file gold.yaml --aggregate rack1
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the files, the name and the aggregates."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "name", metavar="<name>", nargs="?", help="Name that the one template in the file must have (optional)"
        )
        parser.add_argument(
            "--file",
            metavar="<file>",
            action="append",
            required=True,
            help="File that holds templates; - is standard input. Repeat for several",
        )
        parser.add_argument(
            "--aggregate",
            metavar="<aggregate>",
            action="append",
            default=[],
            help="Offer the templates to the hosts of this aggregate (name or UUID). Repeat for several (default: to"
            " all hosts)",
        )
        return parser

    def plan(self, parsed_args: argparse.Namespace) -> Plan:
        """Check the templates against each other and the others, and store those that are new."""
        self._wanted = wanted = read_templates(parsed_args.file, parsed_args.name)
        aggregates = frozenset(aggregate_uuid(self.compute, name) for name in parsed_args.aggregate)
        found = self.templates.list()
        stored = found.templates
        new = [item for item in wanted.values() if not _is_stored(item, aggregates, stored)]
        _warn_of_choices(self.log, new, stored)
        known = stored.keys() | {error.name for error in found.broken}

        def refusals() -> Iterator[exceptions.KongMingError]:
            yield from (exceptions.TemplateExists(item.name) for item in new if item.name in known)
            mates = {item.name: StoredTemplate(item, 0, aggregates) for item in new}
            for item in new:
                yield from checks.overlaps(item, aggregates, {**stored, **mates})
                del mates[item.name]  # each pair once

        def create() -> None:
            self.templates.create_all(new, aggregates, lambda items: progress.shown(items, "storing template"))

        where = f"offered to the hosts of {', '.join(sorted(aggregates))}" if aggregates else "offered to all hosts"
        return Plan(
            _subject(wanted),
            [Entry(Effect.CHANGE, f"template {item.name}", f"new, {where}") for item in new],
            create,
            refusals(),
            lambda: self._effects(new, aggregates),
        )

    def _effects(self, new: Iterable[PinningTemplate], aggregates: frozenset[str]) -> Iterator[Entry]:
        nodes = _asked(self.placement, read_nodes(self.placement), aggregates)
        explicit = [template for template in new if template.host_cpus]
        subject = _subject([template.name for template in explicit])
        cpus = CpuSet.union(template.host_cpus for template in explicit)
        return effects.of_pools(subject, None, cpus, nodes)

    def result(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:  # noqa: ARG002
        """The templates as they are stored."""
        stored = self.templates.list().templates
        mine = [stored[name] for name in self._wanted if name in stored]
        return SHORT, rows_of(mine, SHORT, read_nodes(self.placement))


class SetTemplate(Change):
    """Change a template, or the aggregates whose hosts are offered it.

    Running servers follow, host by host. What servers take of a host cannot change while flavors or servers name the
    template: the vCPUs and their cells, what these run on, and thread and memory policies that count otherwise.

    Example::

        openstack kongming template set gold --file gold.yaml --dry-run
        openstack kongming template set gold --file gold.yaml
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the name, the file and the aggregates."""
        parser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="<name>", help="Template to change")
        parser.add_argument(
            "--file", metavar="<file>", help="YAML or JSON file that holds the template; - is standard input"
        )
        group = parser.add_mutually_exclusive_group()
        group.add_argument(
            "--aggregate",
            metavar="<aggregate>",
            action="append",
            help="Offer the template to the hosts of this aggregate (name or UUID), and no longer to others. Repeat for"
            " several",
        )
        group.add_argument(
            "--no-aggregate", dest="aggregate", action="store_const", const=[], help="Offer the template to all hosts"
        )
        self._usage_error = parser.error
        return parser

    def plan(self, parsed_args: argparse.Namespace) -> Plan:
        """Check the new template against the others and against its users, and store it."""
        if parsed_args.file is None and parsed_args.aggregate is None:
            self._usage_error("one of the arguments --file --aggregate --no-aggregate is required")
        new = read_template(parsed_args.file, parsed_args.name) if parsed_args.file else None
        found = self.templates.list()
        old = found.templates.get(parsed_args.name)
        broken = next((error for error in found.broken if error.name == parsed_args.name), None)
        template = new or (old.template if old else None)
        if template is None or (old is None and broken is None):
            raise broken or exceptions.TemplateNotFound(parsed_args.name)
        given = None
        if parsed_args.aggregate is not None:
            given = frozenset(aggregate_uuid(self.compute, name) for name in parsed_args.aggregate)
        aggregates = given if given is not None else old.aggregates if old else frozenset()

        _warn_of_choices(self.log, [template], found.templates)

        def refusals() -> Iterator[exceptions.KongMingError]:
            yield from checks.overlaps(template, aggregates, found.templates)
            yield from checks.other_demands(self.compute, self.placement, old.template if old else None, template)

        return Plan(
            f"template {template.name}",
            _changes(old, template, aggregates),
            lambda: self.templates.update(template, given),
            refusals(),
            lambda: self._effects(old, template, aggregates),
        )

    def _effects(self, old: StoredTemplate | None, new: PinningTemplate, aggregates: frozenset[str]) -> Iterator[Entry]:
        before = old.template if old else None
        if before and effects.consequences(before, new):
            servers = self.compute.servers()
            mine = (server for server in servers if server.flavor.extra_specs.get(TEMPLATE_KEY) == new.name)
            yield from effects.of_servers(mine, before, new)
        nodes = _asked(self.placement, read_nodes(self.placement), aggregates)
        yield from effects.of_pools(f"template {new.name}", before, new.host_cpus, nodes)


class DeleteTemplate(Change):
    """Delete templates that no flavor and no server names.

    Example::

        openstack kongming template delete gold silver
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the names and --force."""
        parser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="<name>", nargs="+", help="Template(s) to delete; all of them or none")
        parser.add_argument(
            "--force", action="store_true", help="Do not ask Nova whether flavors or servers name the template"
        )
        return parser

    def plan(self, parsed_args: argparse.Namespace) -> Plan:
        """Ask Nova who uses the templates, and delete them."""
        templates = list(dict.fromkeys(parsed_args.name))

        def delete() -> None:
            for name in templates:
                self.templates.delete(name)

        def refusals() -> Iterator[exceptions.KongMingError]:
            for name in templates:
                if not self.placement.providers(name=names.template_provider_name(name)):
                    yield exceptions.TemplateNotFound(name)
            if not parsed_args.force:
                yield from checks.uses(self.compute, templates)

        changes = [Entry(Effect.CHANGE, f"template {name}", "deleted") for name in templates]
        return Plan(_subject(templates), changes, delete, refusals())


def _subject(templates: Collection[str]) -> str:
    """The templates of a command by name, or their number if they are many."""
    few = len(templates) <= _SHOWN
    return f"template {', '.join(templates)}" if few else f"{len(templates)} templates"


def _is_stored(template: PinningTemplate, aggregates: frozenset[str], stored: Mapping[str, StoredTemplate]) -> bool:
    """Whether a template is stored already, just so."""
    old = stored.get(template.name)
    return old is not None and (old.template, old.aggregates) == (template, aggregates)


def _changes(old: StoredTemplate | None, new: PinningTemplate, aggregates: frozenset[str]) -> list[Entry]:
    """What is written when a template is changed."""
    if old is None:
        details = ["what is stored cannot be read, and is written anew"]
    else:
        details = effects.differences(old.template, new)
        if old.aggregates != aggregates:
            words = [", ".join(sorted(some)) or "all hosts" for some in (old.aggregates, aggregates)]
            details.append(f"aggregates: {changed(*words)}")
    return [Entry(Effect.CHANGE, f"template {new.name}", detail) for detail in details]


def _asked(client: PlacementClient, nodes: Iterable[Node], aggregates: frozenset[str]) -> list[Node]:
    """The nodes of the hosts that are offered a template."""
    members = members_of(client, aggregates) if aggregates else None
    return [node for node in nodes if members is None or node.host_uuid in members]


def _warn_of_choices(log: logging.Logger, new: Iterable[PinningTemplate], stored: Mapping[str, StoredTemplate]) -> None:
    """Say which templates let their servers choose other QoS: that is the operator's to decide."""
    for words in checks.choices(new, [item.template for item in stored.values()]):
        log.warning("%s", words)
