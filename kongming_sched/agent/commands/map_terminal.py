# SPDX-License-Identifier: Apache-2.0
"""The map of a host on a terminal, in colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kongming_sched.agent.inspect.hostmap import HostMap, MapCpu, describe
from kongming_sched.texts.printable import clean

_POOLS = {"dedicated": "bold cyan", "shared": "bold magenta", "housekeeping": "yellow"}
_GUESTS = ("green", "blue", "magenta", "cyan", "bright_green", "bright_blue", "bright_magenta", "bright_cyan")


def show(host_map: HostMap, stream: TextIO, environment: Mapping[str, str] | None = None) -> None:
    """Print a map, each guest in a colour of its own and each node apart from the next.

    :param environment: which says what the terminal can do and how wide it is; by default this process's
    """
    table = Table(
        "Node", "Core", "CPU", "Pool", "Runs", title=f"{clean(host_map.host)}: CPUs and guests", title_justify="left"
    )
    for node in host_map.nodes:
        for core in node.cores:
            for cpu in core.cpus:
                row = (str(node.id), str(core.number), str(cpu.cpu))
                table.add_row(*row, _pool(cpu.pool), _tenants(cpu), end_section=cpu is node.cpus[-1])
    console = Console(file=stream, highlight=False, _environ=environment)
    console.print(table)
    console.print(_summary(host_map))
    for node in host_map.nodes:
        if node.huge_pages:
            pages = ", ".join(f"{count:,} of {size}" for size, count in node.pages_by_size.items())
            console.print(f"huge pages of node {node.id}: {pages}")
    if host_map.unmanaged:
        console.print(Text(host_map.unmanaged))


def _pool(pool: str) -> Text:
    return Text(pool, _POOLS.get(pool.partition("+")[0], "dim"))


def _tenants(cpu: MapCpu) -> Text:
    if not cpu.tenants:
        return Text("free" if "dedicated" in cpu.pool else "-", "dim")
    words = [Text(clean(describe(tenant)), _GUESTS[(tenant.guest.number - 1) % len(_GUESTS)]) for tenant in cpu.tenants]
    if cpu.is_contended:
        words.insert(0, Text("TWO GUESTS ON A DEDICATED CPU", "bold white on red"))
    return Text(", ").join(words)


def _summary(host_map: HostMap) -> Text:
    """How full the pools are."""
    line = Text()
    for pool, style in _POOLS.items():
        taken, total = host_map.count(pool)
        line.append(f"{pool}: ", style).append(
            f"{taken} of {total} CPUs in use   " if pool != "housekeeping" else f"{total} CPUs   "
        )
    return line.append(f"{len(host_map.guests)} guests")
