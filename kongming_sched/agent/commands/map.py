# SPDX-License-Identifier: Apache-2.0
"""kongming-host map: the host's CPUs and who runs there. Needs libvirt, but not Placement."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cliff.lister import Lister

from kongming_sched.agent.commands import map_terminal
from kongming_sched.agent.commands.common import Common, say
from kongming_sched.agent.commands.map_page import page
from kongming_sched.agent.inspect.host_findings import words_of_unmanaged
from kongming_sched.agent.inspect.hostmap import HostMap, describe, draw
from kongming_sched.agent.inspect.site import open_site
from kongming_sched.agent.state.released import load_released
from kongming_sched.pages.document import write_page
from kongming_sched.pages.table import printable_row


class Map(Common, Lister):
    """Show the host's CPUs: node, core, pool, and which vCPUs the kernel lets run there.

    Below the table stands what keeps servers without a template off the dedicated CPUs, if anything does.
    In colour on a terminal, unless the environment variable NO_COLOR is set.

    Example::

      kongming-host map
      kongming-host map --html map.html
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take where to write the page."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--html", metavar="FILE", type=Path, help="Write a page with a picture instead (- to print)"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Read everything, and give a line per CPU."""
        site = open_site(parsed_args.config_file)
        released, unmanaged = load_released(site.released_path), words_of_unmanaged(site.settings)
        self._map = draw(site.name, site.cpus, site.running(), released, unmanaged)
        return ("Node", "Core", "CPU", "Pool", "Runs"), list(_rows(self._map))

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Iterable[Sequence[Any]]
    ) -> int:
        """A page, a coloured table for people, or what else was asked for."""
        if parsed_args.html is not None:
            write_page(parsed_args.html, page(self._map, datetime.now(timezone.utc)))
            return 0
        is_plain = parsed_args.formatter != "table" or parsed_args.columns or parsed_args.sort_columns
        if is_plain or os.environ.get("NO_COLOR") or not sys.stdout.isatty():
            rows = [printable_row(row, parsed_args.formatter) for row in data]
            code = int(super().produce_output(parsed_args, column_names, rows))
            if parsed_args.formatter == "table" and not parsed_args.columns:
                say(self._map.unmanaged)
            return code
        map_terminal.show(self._map, sys.stdout)
        return 0


def _rows(host_map: HostMap) -> Iterator[tuple[object, ...]]:
    for node in host_map.nodes:
        for core in node.cores:
            for cpu in core.cpus:
                who = ", ".join(map(describe, cpu.tenants)) or "-"
                yield node.id, core.number, cpu.cpu, cpu.pool, who
