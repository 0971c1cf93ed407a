# SPDX-License-Identifier: Apache-2.0
"""What each check of ``./tools/test`` takes: the time on the clock, and the CPU time of all that it starts."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from benchmarks import report

STEPS = ("lint", "docs", "unit", "functional")
TOOL = Path(__file__).parents[1] / "tools/test"


def measure(step: str) -> dict[str, float]:
    """Run a check; ends the program if it fails, since what is cut short shows nothing.

    :returns: seconds on the clock, and of CPU time
    """
    before, started_at = os.times(), time.monotonic()
    subprocess.run([str(TOOL), step], check=True)  # noqa: S603  # our own program
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": time.monotonic() - started_at, "cpu_seconds": used}


def main() -> None:
    """Measure, print, and keep."""
    options = report.parser(__doc__)
    options.add_argument("steps", nargs="*", metavar="STEP", help=f"of {', '.join(STEPS)}; all by default")
    args = options.parse_args()
    figures = {step: measure(step) for step in args.steps or STEPS}
    total = {key: sum(row[key] for row in figures.values()) for key in ("seconds", "cpu_seconds")}
    rows = [(step, f"{row['seconds']:.0f}", f"{row['cpu_seconds']:.0f}") for step, row in figures.items()]
    rows.append(("all", f"{total['seconds']:.0f}", f"{total['cpu_seconds']:.0f}"))
    report.table("Checks of ./tools/test, in seconds", ("step", "clock", "CPU"), rows)
    if args.write:
        report.keep("suite", {"steps": figures, "total": total})


if __name__ == "__main__":
    main()
