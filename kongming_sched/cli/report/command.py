# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming report``."""

from __future__ import annotations

import argparse
from datetime import datetime, timezone
from pathlib import Path

from kongming_sched.cli.command import Command
from kongming_sched.cli.report.cluster import read_cluster, read_servers
from kongming_sched.cli.report.page import report_page
from kongming_sched.pages.document import write_page
from kongming_sched.texts.printable import clean_lines


class Report(Command):
    """Write a page about the whole cloud: hosts, their NUMA nodes, what is free, templates and servers.

    One file holds all of it, and a box in it finds hosts by name, server, template or state. Placement is asked a few
    times for the whole cloud, and Nova once for each thousand servers; --no-servers leaves them out.

    Example::

        openstack kongming report --html cloud.html
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the file and what to leave out."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--html", metavar="<file>", type=Path, required=True, help="Where to write the page (- to print)"
        )
        parser.add_argument(
            "--title", metavar="<title>", default="KongMing", help="What to call it (default: KongMing)"
        )
        parser.add_argument("--no-servers", action="store_true", help="Leave the servers out, and do not ask Nova")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Read the cloud and write the page."""
        servers = None if parsed_args.no_servers else read_servers(self.compute)
        cluster = read_cluster(self.placement, self.templates.list(), servers)
        for note in cluster.notes:
            self.log.warning("%s", clean_lines(note))
        write_page(parsed_args.html, report_page(cluster, datetime.now(timezone.utc), parsed_args.title))
