# SPDX-License-Identifier: Apache-2.0
"""The first table of the documentation's page: what each benchmark has found, in a line."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

Read = Callable[[str], Mapping[str, Any]]


def rows(read: Read) -> list[tuple[str, str]]:
    """What was measured, and its result.

    :param read: gives the figures of a benchmark
    """
    return [("measured", "result"), *_of_scheduler(read), *_of_commands(read), *_of_agent(read)]


def _of_scheduler(read: Read) -> list[tuple[str, str]]:
    fits, whole = read("per_host")["fits"], read("select_destinations")["rows"][-1]
    packing = read("packing")["rows"]
    mix = packing[0]["mix"]  # of the other one Nova refuses a whole thread policy, which would be no comparison
    vain = {
        who: sum(row["in_vain"] for row in packing if (row["mix"], row["who"]) == (mix, who))
        for who in ("KongMing", "Nova")
    }
    snapshot = read("snapshot_memory")["rows"][-1]
    seconds = [f"{value:.2f} s" for value in whole["seconds"].values()]
    return [
        (
            "filter and order the candidates of a host",
            f"{fits['kongming_us']:.0f} us; Nova's NUMATopologyFilter {fits['nova_us']:.0f} us",
        ),
        (
            f"a whole request on {whole['hosts']:,} hosts",
            f"{seconds[0]}; {seconds[1]} without KongMing; {seconds[2]} with Nova's own dedicated CPUs",
        ),
        (f"servers ({mix}) refused although the counts fit", f"{vain['KongMing']}; Nova {vain['Nova']}"),
        (f"memory for the use of {snapshot['hosts']:,} hosts", f"{snapshot['stays_mib']:.1f} MiB"),
    ]


def _of_commands(read: Read) -> list[tuple[str, str]]:
    page, commands = read("cluster_page"), read("commands")["rows"]
    ratios = [row["ratio"] for row in commands]
    return [
        (
            f"a page of {page['hosts']:,} hosts and {page['servers']:,} servers",
            f"{page['size_mb']:.1f} MB, drawn in {page['drawn_s']:.1f} s",
        ),
        ("commands that list", f"{min(ratios):.1f} to {max(ratios):.1f} times as long as those of osc-placement"),
    ]


def _of_agent(read: Read) -> list[tuple[str, str]]:
    replan, latency, steady, switch = read("replan"), read("pin_latency")["median_ms"], read("steady"), read("switch")
    switched = statistics.median(row["seconds"] for row in switch["switches"])
    misplaced = max(row["misplaced_ms"] for row in switch["switches"])
    return [
        ("a plan of 200 guests that all move", f"{replan['plan_ms']['all move']:.0f} ms"),
        ("from the start of a guest to its last pin", "; ".join(f"{name} {ms:.0f} ms" for name, ms in latency.items())),
        (
            f"a pass over {steady['guests']} guests in which nothing happens",
            f"{steady['cpu_seconds_per_pass']:.2f} s of CPU time, {steady['memory_mb']:.0f} MB",
        ),
        (
            f"a template of {switch['guests']} guests is switched",
            f"{switched:.1f} s, with threads on wrong CPUs for {misplaced:.3g} ms at most",
        ),
    ]
