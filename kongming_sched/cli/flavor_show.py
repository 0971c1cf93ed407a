# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming flavor``: the commands that show flavors."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from kongming_sched import exceptions
from kongming_sched.cli import columns
from kongming_sched.cli.command import Lister, ShowOne
from kongming_sched.cloud.flaws import find_flaw, is_ours
from kongming_sched.cloud.nodes import amounts, threads_per_core
from kongming_sched.placement import names
from kongming_sched.request import STRATEGY_KEY, TEMPLATE_KEY, CellRequest, PinningRequest


class ShowFlavor(ShowOne):
    """Show what a flavor asks of KongMing, and what is wrong with it if something is.

    Example::

        openstack kongming flavor show gold.4
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the flavor."""
        parser = super().get_parser(prog_name)
        parser.add_argument("flavor", metavar="<flavor>", help="Flavor (name or ID)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        """Read the flavor, and compare it with its template."""
        flavor = self.compute.find_flavor(parsed_args.flavor)
        flaw = find_flaw(flavor, lambda name: self.templates.get(name).template)
        try:
            request = PinningRequest.from_extra_specs(flavor.extra_specs)
        except exceptions.InvalidRequest:
            request = None
        cells = request.cells if request else ()
        fields = {
            "name": flavor.name,
            "id": flavor.id,
            "vcpus": flavor.vcpus,
            "memory_mb": flavor.memory_mb,
            "template": flavor.extra_specs.get(TEMPLATE_KEY),
            "numa_strategy": flavor.extra_specs.get(STRATEGY_KEY),
            "threads_per_core": threads_per_core(trait for cell in cells for trait in cell.required),
            "cells": columns.Lines([_cell(cell) for cell in cells], [_words(cell) for cell in cells]),
            "problem": flaw and flaw.problem,
            "remedy": flaw and flaw.remedy,
        }
        return tuple(fields), tuple(fields.values())


class ValidateFlavor(Lister):
    """Check that flavors ask for what their templates take; the exit code is 1 if something is wrong with any.

    Checks all flavors that name a template, or have keys that only KongMing writes.

    Example::

        openstack kongming flavor validate
        openstack kongming flavor validate gold.4 gold.8 --long
    """

    has_flaw = False

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the flavors and the filters."""
        parser = super().get_parser(prog_name)
        parser.add_argument("flavor", metavar="<flavor>", nargs="*", help="Flavor(s) (name or ID; default: all)")
        parser.add_argument("--template", metavar="<name>", help="Only flavors that name this template")
        parser.add_argument("--long", action="store_true", help="Show id and size of the flavors as well")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Read flavors and templates, and compare them."""
        if parsed_args.flavor:
            flavors = [self.compute.find_flavor(name) for name in dict.fromkeys(parsed_args.flavor)]
        else:
            flavors = sorted(filter(is_ours, self.compute.flavors()), key=lambda flavor: flavor.name)
        found = self.templates.list()
        rows = []
        for flavor in flavors:
            template = flavor.extra_specs.get(TEMPLATE_KEY)
            if parsed_args.template not in (None, template):
                continue
            flaw = find_flaw(flavor, found.find)
            self.has_flaw |= flaw is not None
            long = (flavor.id, flavor.vcpus, flavor.memory_mb) if parsed_args.long else ()
            state = "wrong" if flaw else "right"
            rows.append((flavor.name, *long, template, state, flaw and flaw.problem, flaw and flaw.remedy))
        long_columns = ("id", "vcpus", "memory_mb") if parsed_args.long else ()
        return ("flavor", *long_columns, "template", "state", "problem", "remedy"), rows

    def run(self, parsed_args: argparse.Namespace) -> int:
        """End with 1 if something is wrong."""
        return super().run(parsed_args) or int(self.has_flaw)


def _cell(cell: CellRequest) -> dict[str, Any]:
    return {"group": cell.group, "resources": dict(cell.resources), "required": sorted(cell.required)}


def _words(cell: CellRequest) -> str:
    """As in ``dedicated_cpus 4, memory_mb 1024``, and the node if it must be a certain one."""
    node = next((number for number in map(names.node_id_of, cell.required) if number is not None), None)
    return f"{columns.Fields(amounts(cell.resources))}{'' if node is None else f', node {node}'}"
