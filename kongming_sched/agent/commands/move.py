# SPDX-License-Identifier: Apache-2.0
"""kongming-host move and rebalance: have the running agent move servers to other NUMA nodes of this host."""

from __future__ import annotations

import argparse
from pathlib import Path

from cliff.command import Command

from kongming_sched.agent.commands.common import Common, say
from kongming_sched.agent.ipc.client import send
from kongming_sched.agent.own_directory import SOCKET_NAME
from kongming_sched.agent.settings import read_files
from kongming_sched.texts.whole_number import NODE_IDS, whole_number_argument


class _Order(Common, Command):
    """A command that the running agent carries out."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take whether to do anything."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--dry-run", action="store_true", help="Say what would be done, and do nothing")
        return parser


def _socket(arguments: argparse.Namespace) -> Path:
    conf = read_files(arguments.config_file)
    return Path(conf.kongming_agent.run_directory) / SOCKET_NAME


class Move(_Order):
    """Move a running server to another NUMA node of this host: its claim, its pins and its memory.

    The agent does it, and sets everything back if a part of it fails.

    Example::

      kongming-host move web-1 --node 1 --dry-run
      kongming-host move web-1 --node 1
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the server and the node."""
        parser = super().get_parser(prog_name)
        parser.add_argument("server", metavar="SERVER", help="Server: its id, its name, or libvirt's name of it")
        parser.add_argument(
            "--node",
            metavar="N",
            type=whole_number_argument(NODE_IDS),
            required=True,
            help="Number of the NUMA node to move to",
        )
        parser.add_argument(
            "--cell",
            metavar="I",
            type=whole_number_argument(NODE_IDS),
            help="Which cell of the template moves, counted from 0, if it has several",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Have it moved, and say what was done."""
        order = {
            "order": "move",
            "server": parsed_args.server,
            "node": parsed_args.node,
            "cell": parsed_args.cell,
            "dry_run": parsed_args.dry_run,
        }
        say("\n".join(send(_socket(parsed_args), order)["lines"]))


class Rebalance(_Order):
    """Move the fewest servers so that the largest possible request fits on one NUMA node of this host.

    They are moved one by one; where that fails, it stops. Servers of several cells, of templates that name their node
    or their host CPUs, and those that migrate, stay where they are.

    Example::

      kongming-host rebalance --dry-run
      kongming-host rebalance
    """

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ask which ones, and have them moved."""
        path = _socket(parsed_args)
        found = send(path, {"order": "rebalance"})
        say("\n".join(found["lines"]))
        for move in found["moves"]:
            if parsed_args.dry_run:
                say(f"would move server {move['name']} ({move['server']}) to node {move['node']}")
            else:
                order = {"order": "move", "server": move["server"], "node": move["node"]}
                say("\n".join(send(path, order)["lines"]))
