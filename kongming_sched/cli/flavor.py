# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming flavor``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from osc_lib import exceptions as osc_exceptions

from kongming_sched import exceptions
from kongming_sched.cli import columns, extra_specs
from kongming_sched.cli.command import Command, ShowOne
from kongming_sched.cli.compute import Flavor
from kongming_sched.cli.nodes import amounts, read_nodes, threads_per_core
from kongming_sched.placement import names
from kongming_sched.request import STRATEGY_KEY, TEMPLATE_KEY, CellRequest, NumaStrategy, PinningRequest
from kongming_sched.template import PinningTemplate

_FLAWS = (
    exceptions.InvalidFlavor,
    exceptions.InvalidRequest,
    exceptions.InvalidTraits,
    exceptions.TemplateNotFound,
)
"""What may be wrong with a flavor or its template, and not with the services that are asked."""


class SetFlavor(Command):
    """Make a flavor ask for a template.

    Writes the extra specs that the template takes, and takes off those of another template. Servers that exist keep
    what they were made with.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the flavor, the template and how to count."""
        parser = _add_flavor(super().get_parser(prog_name))
        parser.add_argument("--template", metavar="<name>", required=True, help="Template that its servers shall have")
        parser.add_argument(
            "--numa-strategy",
            choices=[str(strategy) for strategy in NumaStrategy],
            help="Which NUMA node of a host a server takes where several fit (default: what the flavor has, or else"
            " what the scheduler is configured to take)",
        )
        parser.add_argument(
            "--threads-per-core",
            metavar="<number>",
            type=_positive,
            help="Threads per core of the hosts, for templates that take whole cores (default: that of the nodes that"
            " offer the template, if it is the same for all)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Derive the extra specs and write them."""
        template = self.templates.get(parsed_args.template).template
        flavor = self.compute.find_flavor(parsed_args.flavor)
        threads = parsed_args.threads_per_core
        if threads is None and any(cell.needs_smt_trait for cell in template.cells):
            threads = self._threads_per_core(template)
        strategy = parsed_args.numa_strategy or flavor.extra_specs.get(STRATEGY_KEY)
        wanted = extra_specs.wanted_extra_specs(flavor, template, threads, strategy)
        extra_specs.take(self.compute, flavor, extra_specs.steps_to_set(flavor.extra_specs, wanted))

    def _threads_per_core(self, template: PinningTemplate) -> int:
        """The one number that the nodes have which offer the template."""
        offering = [node for node in read_nodes(self.placement) if template.name in node.templates]
        found = sorted({node.threads_per_core for node in offering if node.threads_per_core})
        if len(found) == 1:
            return found[0]
        reason = f"the nodes that offer it have {' or '.join(map(str, found))}" if found else "no node offers it yet"
        raise osc_exceptions.CommandError(
            f"template {template.name!r} takes whole cores, so how much it takes depends on the threads per core of the"
            f" hosts, and {reason}; say it with --threads-per-core"
        )


class UnsetFlavor(Command):
    """Make a flavor ask for no template any more.

    Takes off the extra specs that 'openstack kongming flavor set' wrote. Servers that exist keep what they were made
    with.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the flavor."""
        return _add_flavor(super().get_parser(prog_name))

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Take the extra specs off."""
        flavor = self.compute.find_flavor(parsed_args.flavor)
        extra_specs.take(self.compute, flavor, extra_specs.steps_to_unset(flavor.extra_specs))


class ShowFlavor(ShowOne):
    """Show what a flavor asks of KongMing, and what is wrong with it if something is."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the flavor."""
        return _add_flavor(super().get_parser(prog_name))

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        """Read the flavor, and compare it with its template."""
        flavor = self.compute.find_flavor(parsed_args.flavor)
        request, problem = self._check(flavor)
        cells = request.cells if request else ()
        fields = {
            "name": flavor.name,
            "id": flavor.id,
            "vcpus": flavor.vcpus,
            "memory_mb": flavor.memory_mb,
            "template": flavor.extra_specs.get(TEMPLATE_KEY),
            "numa_strategy": flavor.extra_specs.get(STRATEGY_KEY),
            "threads_per_core": _threads(cells),
            "cells": columns.Lines([_cell(cell) for cell in cells], [_words(cell) for cell in cells]),
            "problem": problem,
        }
        return tuple(fields), tuple(fields.values())

    def _check(self, flavor: Flavor) -> tuple[PinningRequest | None, str | None]:
        """What the flavor asks for, and what is wrong with that."""
        request = None
        try:
            request = PinningRequest.from_extra_specs(flavor.extra_specs)
            if request is None:
                return None, None
            template = self.templates.get(request.template).template
            wanted = extra_specs.wanted_extra_specs(flavor, template, _threads(request.cells), request.strategy)
        except _FLAWS as error:
            return request, str(error)
        if not extra_specs.steps_to_set(flavor.extra_specs, wanted):
            return request, None
        command = f"openstack kongming flavor set {flavor.name} --template {template.name}"
        return request, f"asks for something else than the template takes; write its keys anew with '{command}'"


def _add_flavor(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("flavor", metavar="<flavor>", help="Flavor (name or ID)")
    return parser


def _positive(text: str) -> int:
    """A number of threads."""
    if not text.isascii() or not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def _threads(cells: Iterable[CellRequest]) -> int | None:
    """The threads per core that a flavor's groups require."""
    return threads_per_core(trait for cell in cells for trait in cell.required)


def _cell(cell: CellRequest) -> dict[str, Any]:
    return {"group": cell.group, "resources": dict(cell.resources), "required": sorted(cell.required)}


def _words(cell: CellRequest) -> str:
    """As in ``dedicated_cpus 4, memory_mb 1024``, and the node if it must be a certain one."""
    node = next((number for number in map(names.node_id_of, cell.required) if number is not None), None)
    return f"{columns.Fields(amounts(cell.resources))}{'' if node is None else f', node {node}'}"
