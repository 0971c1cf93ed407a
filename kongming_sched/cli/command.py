# SPDX-License-Identifier: Apache-2.0
"""What all commands have in common: their clients, and errors that become one message and exit code 1."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from keystoneauth1 import exceptions as ksa_exceptions
from openstack import exceptions as sdk_exceptions
from osc_lib import exceptions as osc_exceptions
from osc_lib.command import command

from kongming_sched import exceptions
from kongming_sched.cli.compute import ComputeClient
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.templates import TemplateStore


@contextmanager
def errors_become_messages() -> Iterator[None]:
    """Turn the errors that a command may meet into osc's own.

    :raises CommandError: which osc prints without a traceback, unless ``--debug`` is given, and ends with 1
    """
    try:
        yield
    except (exceptions.KongMingError, ksa_exceptions.ClientException, sdk_exceptions.SDKException) as error:
        raise osc_exceptions.CommandError(str(error)) from error


class Common:
    """Mixed into osc's command classes, in front of them."""

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run the command; its errors become osc's."""
        with errors_become_messages():
            return super().run(parsed_args)  # type: ignore[misc,no-any-return]  # of the class that this is mixed into

    @property
    def placement(self) -> PlacementClient:
        """Placement's API."""
        return self.app.client_manager.kongming  # type: ignore[attr-defined,no-any-return]  # the same

    @property
    def templates(self) -> TemplateStore:
        """The templates of the cloud."""
        return TemplateStore(self.placement)

    @property
    def compute(self) -> ComputeClient:
        """Nova's API; nothing is asked of it before it is used."""
        return ComputeClient(lambda: self.app.client_manager.sdk_connection.compute)  # type: ignore[attr-defined]


class Command(Common, command.Command):
    """A command that prints nothing."""


class Lister(Common, command.Lister):
    """A command that prints a table."""


class ShowOne(Common, command.ShowOne):
    """A command that prints one thing, field by field."""
