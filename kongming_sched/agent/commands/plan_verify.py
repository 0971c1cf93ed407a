# SPDX-License-Identifier: Apache-2.0
"""kongming-host plan and verify: what the agent would do and why, and whether all agree. They change nothing."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from cliff.lister import Lister

from kongming_sched.agent.commands.common import Common
from kongming_sched.agent.inspect.compare import Comparison, compare
from kongming_sched.agent.inspect.site import open_site
from kongming_sched.pages.table import printable_row


class _HostTable(Common, Lister):
    """A table about this host; without a row no table is printed."""

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Iterable[Sequence[Any]]
    ) -> int:
        """Print nothing for people if there is nothing; programs get an empty list."""
        rows = [printable_row(row, parsed_args.formatter) for row in data]
        if not rows and parsed_args.formatter in ("table", "value"):
            return 0
        return int(super().produce_output(parsed_args, column_names, rows))


class Plan(_HostTable):
    """Show what the agent would do now, and the reason of each move. Nothing is changed.

    Without output there is nothing to be done.

    Example::

      kongming-host plan
    """

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Give a line per action in the order in which they would be carried out."""
        steps = open_site(parsed_args.config_file).preview().steps()
        rows: list[tuple[object, ...]] = [
            (number, step.subject, step.action, step.reason) for number, step in enumerate(steps, 1)
        ]
        return ("Step", "Subject", "Action", "Reason"), rows


class Verify(_HostTable):
    """Compare the three views of every guest: what Placement holds, libvirt's word, and the kernel's threads.

    All threads are read: those that libvirt does not pin by themselves, as workers and those of vhost, stand together
    where their CPUs are the same. They belong to where the emulator is, and never on another server's dedicated CPUs.

    Huge pages are counted by node: those of the claim, of the XML, and those that the kernel has given.

    Ends with exit code 1 if something does not agree; the column Fault says who, what and where. Run it again after a
    moment if guests have just been started or moved. The column Note says why a thread belongs where it does; of the
    host it says what disturbs the dedicated CPUs, as interrupts and deep idle states. That is no fault, for a server
    has its CPUs all the same.

    Example::

      kongming-host verify --faults
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take how much to show."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--faults", action="store_true", help="Show only what does not agree")
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Print the comparison; 1 if something does not agree."""
        self._is_well = True
        super().run(parsed_args)
        return 0 if self._is_well else 1

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Give a line per thread of every guest."""
        site = open_site(parsed_args.config_file)
        preview = site.preview()
        others = [guest for guest in site.running() if guest.identity.request is None and not guest.identity.fault]
        found = compare(preview, others, site.kernel_view(preview.guests, others), site.kept_off(others))
        self._is_well = not any(item.fault for item in found)
        found += [Comparison("host", item.kind, "", "", str(item.cpus), note=str(item)) for item in site.noise(others)]
        rows: list[tuple[object, ...]] = [
            (item.subject, item.what, item.placement, item.libvirt, item.kernel, item.fault, item.note)
            for item in found
            if item.fault or not parsed_args.faults
        ]
        return ("Subject", "What", "Placement", "libvirt", "Kernel", "Fault", "Note"), rows
