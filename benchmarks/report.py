# SPDX-License-Identifier: Apache-2.0
"""How a benchmark measures, prints and keeps its figures."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def best_us(repeats: int, prepare: Callable[[], Any], run: Callable[[Any], Any], hosts: int) -> float:
    """The CPU time per host of the fastest run in microseconds: what disturbs a run makes it longer, never shorter.

    :param prepare: makes what a run needs; not measured
    """
    return min(cpu_seconds(repeats, prepare, run)) * 1e6 / hosts


def cpu_seconds(repeats: int, prepare: Callable[[], Any], run: Callable[[Any], Any]) -> list[float]:
    """The CPU time of each run.

    :param prepare: makes what a run needs; not measured
    """
    times = []
    for _ in range(repeats):
        prepared = prepare()
        started_at = time.thread_time()
        run(prepared)
        times.append(time.thread_time() - started_at)
    return times


def machine() -> dict[str, str]:
    """Where the figures were made, and how busy it was."""
    return {
        "python": platform.python_version(),
        "cpus": str(os.cpu_count()),
        "machine": platform.machine(),
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
    }


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    made = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    made.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results")
    return made


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows below a title, aligned."""
    texts = [[_text(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *texts, strict=True)]
    print(f"\n{title}")
    for row in [list(columns), *texts]:
        print("  " + "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else str(value)


def keep(name: str, figures: Mapping[str, Any]) -> None:
    """Write the figures and the machine's facts to a file that the plots are made of."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **figures}, indent=1) + "\n")
    print(f"\nwritten: {path}")
