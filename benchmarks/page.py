# SPDX-License-Identifier: Apache-2.0
"""Makes the pictures and tables of the documentation's page of what the benchmarks have kept.

``python -m benchmarks.page`` writes SVG and CSV files, which the page includes.
"""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from benchmarks import report, steady, summary, switch

CONTRIBUTOR = Path(__file__).parents[1] / "doc" / "source" / "contributor"
COLOURS = {"KongMing": "#1b6ca8", "Nova": "#c0504d", "same flavor, without": "#7f7f7f", "Nova's dedicated": "#c0504d"}
BENCHMARKS = {
    "per_host": "filter and order",
    "select_destinations": "a whole request",
    "packing": "packing",
    "burst_50": "50 servers at once",
    "burst_500": "500 servers at once",
    "snapshot_memory": "memory",
    "replan": "a new plan on a host",
    "pin_latency": "from the start to the last pin",
    "steady": "a pass without an event",
    "switch": "a template is switched",
    "cluster_page": "a page of the whole cloud",
    "commands": "commands",
    "many_servers": "many servers change their template",
}
"""What stands in the page, by the name of its results."""
WIDTH, ROW, LEFT, RIGHT, TOP = 760, 22, 250, 90, 44


def bars(title: str, rows: Sequence[tuple[str, str, float]], unit: str, logarithmic: bool = False) -> str:
    """Horizontal bars with their values.

    :param rows: label, whose it is, and the value
    """
    largest = max(value for _, _, value in rows) or 1.0
    smallest = min((value for _, _, value in rows if value > 0), default=1.0)

    def length(value: float) -> float:
        if not logarithmic or value <= 0:
            return value / largest
        low = math.log10(smallest) - 0.5
        return (math.log10(value) - low) / (math.log10(largest) - low)

    height = TOP + ROW * len(rows) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="12" y="24" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    for index, (label, who, value) in enumerate(rows):
        y = TOP + ROW * index
        wide = max(1.0, length(value) * (WIDTH - LEFT - RIGHT))
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{LEFT}" y="{y + 2}" width="{wide:.1f}" height="{ROW - 7}" fill="{COLOURS[who]}"/>',
            f'<text x="{LEFT + wide + 6:.1f}" y="{y + 13}">{value:.4g} {escape(unit)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def read(name: str) -> Mapping[str, Any]:
    """What a benchmark has kept."""
    figures: Mapping[str, Any] = json.loads((report.RESULTS / f"{name}.json").read_text())
    return figures


def per_host() -> str:
    """Filter and order."""
    figures = read("per_host")
    rows = []
    for label, key in (("2 nodes, fits", "fits"), ("8 nodes, 8 cells, no fit", "no_fit_8_cells")):
        rows += [
            (f"{label}: KongMing", "KongMing", figures[key]["kongming_us"]),
            (f"{label}: Nova", "Nova", figures[key]["nova_us"]),
        ]
    return bars("Filter and order, CPU time per host (logarithmic)", rows, "\u00b5s", logarithmic=True)


def select_destinations() -> str:
    """A whole request."""
    rows = [
        (f"{row['hosts']} hosts: {name}", name, seconds)
        for row in read("select_destinations")["rows"]
        for name, seconds in row["seconds"].items()
    ]
    return bars("select_destinations, wall time", rows, "s")


def packing() -> str:
    """Refusals."""
    rows = [
        (f"{row['mix']}, seed {row['seed']}: {row['who']}", row["who"], float(row["in_vain"]))
        for row in read("packing")["rows"]
    ]
    return bars("Servers refused although the counts would fit", rows, "servers")


def tables() -> Mapping[str, Sequence[Sequence[object]]]:
    """The tables of the page by name, each with its head."""
    hosts, page = read("per_host"), read("cluster_page")
    cases = [
        ("2 nodes of 64 CPUs, half full, 8 vCPUs", hosts["fits"]),
        ("8 nodes, 8 cells, of which two fit on one node alone", hosts["no_fit_8_cells"]),
        *((f"the first, of {row['hosts']} hosts", row) for row in hosts["by_hosts"]),
    ]
    made: dict[str, Sequence[Sequence[object]]] = {
        "per-host": [
            ("hosts", "KongMing, us", "Nova, us", "Nova / KongMing"),
            *(
                (case, f"{row['kongming_us']:.1f}", f"{row['nova_us']:.0f}", f"{row['ratio']:.0f}")
                for case, row in cases
            ),
            ("a server without a template, all filters and weighers", f"{hosts['without_template_us']:.2f}", "", ""),
        ],
        "packing": [
            ("thread policies", "seed", "who", "admitted", "refused", "in vain", "stranded CPUs", "idle CPUs"),
            *(
                (
                    *(row[key] for key in ("mix", "seed", "who", "admitted", "refused", "in_vain")),
                    f"{row['stranded_cpus']:.2f}",
                    f"{row['idle_cpus']:.0f}",
                )
                for row in read("packing")["rows"]
            ),
        ],
        "burst": burst_table([read("burst_50"), read("burst_500")]),
        "snapshot-memory": [
            ("hosts", "stays, MiB", "at most while it is read, MiB"),
            *(
                (row["hosts"], f"{row['stays_mib']:.1f}", f"{row['peak_mib']:.1f}")
                for row in read("snapshot_memory")["rows"]
            ),
        ],
        "cluster-page": [
            ("hosts", "NUMA nodes", "servers", "size, MB", "drawn in, s", "searched in, s"),
            (
                *(page[key] for key in ("hosts", "nodes", "servers")),
                *(f"{page[key]:.2f}" for key in ("size_mb", "drawn_s", "searched_s")),
            ),
        ],
        "select-destinations": [
            (
                "hosts",
                "with, s",
                "without, s",
                "Nova's own, s",
                "CPU time added",
                "HTTP requests added",
                "a snapshot, s",
            ),
            *(
                (
                    row["hosts"],
                    *(f"{seconds:.2f}" for seconds in row["seconds"].values()),
                    _added(row["cpu_seconds"]),
                    row["requests_added"],
                    f"{row['snapshot_seconds']:.1f}",
                )
                for row in read("select_destinations")["rows"]
            ),
        ],
    }
    made["summary"] = summary.rows(read)
    made |= agent_tables()
    made |= command_tables()
    machines = {words: read(name)["machine"] for name, words in BENCHMARKS.items()}
    head = next(iter(machines.values()))
    made["machine"] = [("figures of", *head), *((words, *facts.values()) for words, facts in machines.items())]
    return made


def burst_table(sizes: Sequence[Mapping[str, Any]]) -> Sequence[Sequence[object]]:
    """That of many servers at once: means of bursts, each with what it is measured by.

    :param sizes: bursts of one size each
    """
    head = ("hosts", "servers", "kind", "controllers", "workers of each", "claims refused", "for lack of room")
    made: list[Sequence[object]] = [(*head, "seconds", "nodes in use")]
    for size in sizes:
        what = size["hosts"], size["servers"]
        for row in size["rows"]:
            keys = ("refused", "for_lack_of_room", "seconds", "nodes")
            means = [f"{statistics.mean(row[key]):.1f}" for key in keys]
            if not any(row["nodes"]):
                means[-1] = ""
            made.append((*what, *(row[key] for key in ("kind", "controllers", "workers")), *means))
        alone = size["one_by_one"]
        made.append((*what, "pack, one after the other", 1, 1, sum(alone["refused"].values()), 0, "", alone["nodes"]))
    return made


def command_tables() -> Mapping[str, Sequence[Sequence[object]]]:
    """That of the commands."""
    return {
        "commands": [
            ("command", "hosts", "KongMing, s", "osc-placement, s", "KongMing / osc-placement", "HTTP requests"),
            *(
                (
                    f"openstack {row['command']}",
                    row["hosts"],
                    f"{row['seconds']:.2f}",
                    f"{row['osc_placement_seconds']:.2f}",
                    f"{row['ratio']:.2f}",
                    row["requests"],
                )
                for row in read("commands")["rows"]
            ),
        ],
        "many-servers": [
            ("run", "changed", "requests to Placement", "requests per server", "seconds"),
            *(
                (
                    name,
                    run["changed"],
                    run["requests"],
                    f"{run['requests'] / run['changed']:.2f}",
                    f"{run['seconds']:.0f}",
                )
                for name, run in zip(("broken off", "resumed"), read("many_servers")["runs"], strict=True)
            ),
        ],
    }


def agent_tables() -> Mapping[str, Sequence[Sequence[object]]]:
    """Those of the agent on real libvirt."""
    replan, latency, steadily, switched = (
        read("replan"),
        read("pin_latency"),
        read("steady"),
        read("switch")["switches"],
    )
    return {
        "allocator": [
            ("NUMA nodes", "CPUs of each", "guests", "median, ms"),
            *(
                (nodes, cpus, int(nodes) * int(cpus) // 4, f"{ms:.1f}")
                for (nodes, cpus), ms in ((key.split(" x "), ms) for key, ms in replan["layout_ms"].items())
            ),
        ],
        "plan": [
            ("200 guests of 8 vCPUs", "actions", "median, ms"),
            *((case, replan["actions"][case], f"{ms:.1f}") for case, ms in replan["plan_ms"].items()),
        ],
        "pin-latency": [
            ("who", "rounds", "median, ms", "fastest, ms", "slowest, ms"),
            *(
                (name, len(times), f"{latency['median_ms'][name]:.1f}", f"{min(times):.1f}", f"{max(times):.1f}")
                for name, times in latency["ms"].items()
            ),
        ],
        "steady": [("what", "is", "wanted at most"), *steady.rows(steadily)],
        "switch": [
            ("what", "median", "longest"),
            *(
                (
                    words,
                    f"{statistics.median(row[key] for row in switched):.3g}",
                    f"{max(row[key] for row in switched):.3g}",
                )
                for key, words in switch.FIGURES
            ),
        ],
    }


def _added(seconds: Mapping[str, float]) -> str:
    return f"{(seconds['KongMing'] / seconds['same flavor, without'] - 1) * 100:+.1f} %"


def main() -> None:
    """Draw and write all."""
    for folder in ("images", "tables"):
        (CONTRIBUTOR / folder).mkdir(parents=True, exist_ok=True)
    for draw in (per_host, select_destinations, packing):
        (CONTRIBUTOR / "images" / f"benchmark-{draw.__name__.replace('_', '-')}.svg").write_text(draw())
    for name, rows in tables().items():
        with (CONTRIBUTOR / "tables" / f"benchmark-{name}.csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    print(f"written: images and tables in {CONTRIBUTOR}")


if __name__ == "__main__":
    main()
