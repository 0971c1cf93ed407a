# SPDX-License-Identifier: Apache-2.0
"""The base of all commands: clients, help, dry runs, and errors that become one message and exit code 1."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from keystoneauth1 import exceptions as ksa_exceptions
from openstack import exceptions as sdk_exceptions
from osc_lib import exceptions as osc_exceptions
from osc_lib.command import command

from kongming_sched import exceptions
from kongming_sched.cli.change_plan import COLUMNS, Effect, Plan
from kongming_sched.cli.columns import Nothing
from kongming_sched.cloud.clients import compute_client
from kongming_sched.cloud.compute import ComputeClient
from kongming_sched.help_text import keep_paragraphs
from kongming_sched.pages.table import printable_row
from kongming_sched.placement.classes.request_ids import new_request_id
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import PinningTemplate
from kongming_sched.texts.printable import clean_lines


@contextmanager
def errors_become_messages() -> Iterator[None]:
    """Turn the errors that a command may meet into osc's own.

    :raises CommandError: which osc prints without a traceback, unless ``--debug`` is given, and ends with 1
    """
    try:
        yield
    except osc_exceptions.CommandError as error:
        raise osc_exceptions.CommandError(clean_lines(str(error))) from error
    except (exceptions.KongMingError, ksa_exceptions.ClientException, sdk_exceptions.SDKException) as error:
        raise osc_exceptions.CommandError(clean_lines(str(error))) from error


class Common:
    """Mixed into osc's command classes, in front of them."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Osc's parser, with help that keeps its paragraphs and examples."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)  # type: ignore[misc]  # of what it is mixed into
        keep_paragraphs(parser)
        return parser

    @cached_property
    def request_id(self) -> str:
        """By which Placement and Nova log the requests of this command."""
        return new_request_id()

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run the command; its errors become osc's. With -v, say how to find it in the logs of the services."""
        self.log.info("Placement and Nova log this command as %s", self.request_id)  # type: ignore[attr-defined]  # osc's
        with errors_become_messages():
            return super().run(parsed_args)  # type: ignore[misc,no-any-return]  # of the class that this is mixed into

    @property
    def placement(self) -> PlacementClient:
        """Placement's API."""
        client: PlacementClient = self.app.client_manager.kongming  # type: ignore[attr-defined]  # the same
        return PlacementClient(client.transport.adapter, self.request_id)

    @property
    def templates(self) -> TemplateStore:
        """The templates of the cloud."""
        return TemplateStore(self.placement)

    def find_template(self, name: str) -> PinningTemplate:
        """One template of the cloud.

        :raises TemplateNotFound: if there is none of this name
        :raises InvalidTraits: if its traits are not a template
        """
        return self.templates.get(name).template

    @property
    def compute(self) -> ComputeClient:
        """Nova's API; nothing is asked of it before it is used."""
        return compute_client(lambda: self.app.client_manager.sdk_connection, self.request_id)  # type: ignore[attr-defined]


class Command(Common, command.Command):
    """A command that prints what it likes."""


class Lister(Common, command.Lister):
    """A command that prints a table."""

    def produce_output(self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any) -> int:
        """Print, with a dash where nothing is."""
        rows = [printable_row(_with_dashes(row), parsed_args.formatter) for row in data]
        return super().produce_output(parsed_args, column_names, rows)  # type: ignore[no-any-return]  # osc's


class ShowOne(Common, command.ShowOne):
    """A command that prints one thing, field by field."""

    def produce_output(self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any) -> int:
        """Print, with a dash where nothing is."""
        row = printable_row(_with_dashes(data), parsed_args.formatter)
        return super().produce_output(parsed_args, column_names, row)  # type: ignore[no-any-return]


def _with_dashes(values: Iterable[Any]) -> list[Any]:
    return [Nothing(None) if value is None else value for value in values]


class Change(Lister):
    """A command that changes something; with ``--dry-run`` it reports instead, and ends with 1 on conflicts."""

    has_conflict = False

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take --dry-run."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Change nothing; report what would be written, which servers would move, and what conflicts (then the"
            " exit code is 1)",
        )
        return parser

    def plan(self, parsed_args: argparse.Namespace) -> Plan:
        """What is to be done."""
        raise NotImplementedError

    def result(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:  # noqa: ARG002
        """What is printed once it is done; here nothing."""
        return (), ()

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Carry the plan out, or report what it would do."""
        plan = self.plan(parsed_args)
        if not parsed_args.dry_run:
            plan.run()
            return self.result(parsed_args)
        entries = list(plan.report())
        self.has_conflict = any(entry.effect is Effect.CONFLICT for entry in entries)
        if not entries:
            sys.stderr.write("Nothing would change.\n")
        return COLUMNS, [entry.row for entry in entries]

    def produce_output(self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any) -> int:
        """Print, if there is anything to print."""
        return super().produce_output(parsed_args, column_names, data) if column_names else 0

    def run(self, parsed_args: argparse.Namespace) -> int:
        """End with 1 if a dry run has found a conflict."""
        return super().run(parsed_args) or int(self.has_conflict)
