# SPDX-License-Identifier: Apache-2.0
"""``python -m testbed.peers``, which tools/peers runs: runs Nova's tests in three ways, and compares."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import nova

from testbed.peers.comparison import Seen, differences, has_run
from testbed.peers.runs import OUTCOMES, RUNS

LIST = Path(__file__).with_name("tests.txt")


def run(name: str, folder: Path, modules: Sequence[str], options: Sequence[str]) -> Seen:
    """Run the tests in one way."""
    folder.mkdir()
    where = [f"nova.tests.functional.{module}" for module in modules]
    command = [sys.executable, "-m", "pytest", "-q", "-n2", "--dist", "loadfile", "-W", "ignore", "--tb=no"]
    command += [f"--rootdir={Path(nova.__file__).parents[1]}"]  # by which tests are named
    command += ["-p", "no:cacheprovider", "-p", "testbed.peers.plugin", f"--kongming={name}", f"--seen={folder}"]
    start = time.monotonic()
    with (folder / "log").open("w") as log:
        subprocess.run([*command, *options, "--pyargs", *where], check=False, stdout=log, stderr=subprocess.STDOUT)
    seen = Seen.read(folder) if (folder / OUTCOMES).exists() else None
    if seen is None or not seen.schedulings:
        raise SystemExit(f"{(folder / 'log').read_text()}\nNothing was scheduled.")
    if not options and (absent := [module for module in modules if not has_run(module, seen.outcomes)]):
        raise SystemExit(f"{(folder / 'log').read_text()}\nNo test of {', '.join(absent)} has run.")
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(seen.outcomes.values()).items()))
    count = sum(counter.total() for counter in seen.schedulings.values())
    print(f"{name}: {kinds}, {count} schedulings, {(time.monotonic() - start) / 60:.0f} minutes", flush=True)
    return seen


def main() -> int:
    """Run and compare; 0 if nothing is different, 1 else."""
    parser = argparse.ArgumentParser(prog="tools/peers", description="Compares Nova's tests without and with KongMing.")
    parser.add_argument("module", nargs="*", help=f"below nova.tests.functional; those of {LIST.name} by default")
    parser.add_argument("-k", dest="expression", help="only tests that this expression of pytest chooses")
    words = parser.parse_args()
    listed = [line for line in LIST.read_text().splitlines() if not line.startswith("#")]
    options = ["-k", words.expression] if words.expression else []
    found = 0
    with tempfile.TemporaryDirectory(prefix="kongming-peers.") as name:
        seen = {kind: run(kind, Path(name, kind), words.module or listed, options) for kind in RUNS}
    without = seen.pop("without")
    for kind, other in seen.items():
        lines = list(differences(without, other))
        found += len(lines)
        print(
            f"without and {kind}: {len(without.outcomes)} tests, {len(other.choices)} choices of hosts compared,"
            f" {len(lines)} different"
        )
        for line in lines:
            print(f"  {line}")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
