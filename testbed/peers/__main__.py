# SPDX-License-Identifier: Apache-2.0
"""``python -m testbed.peers``, which tools/peers runs: runs Nova's tests in three ways, and compares."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nova

from testbed.peers.runs import CHOICES, OUTCOMES, RUNS, SCHEDULINGS

LIST = Path(__file__).with_name("tests.txt")


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of one run.

    :ivar outcomes: test to outcome
    :ivar schedulings: test to what its requests came to, in any order, for some tests ask several schedulers at once
    :ivar choices: the hosts of each server by Nova alone and with KongMing, each with its test; none of Nova alone
    """

    outcomes: dict[str, str]
    schedulings: dict[str, Counter[str]]
    choices: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def read(cls, folder: Path) -> Seen:
        """What a run has left."""
        outcomes: dict[str, str] = {}
        for item in _lines(folder / OUTCOMES):
            if outcomes.get(item["test"]) != "failed":  # as a test may do that ends badly after it has passed
                outcomes[item["test"]] = item["outcome"]
        schedulings: dict[str, Counter[str]] = {}
        for file in sorted(folder.glob(f"{SCHEDULINGS}-*")):
            for item in _lines(file):
                schedulings.setdefault(item["test"], Counter())[json.dumps(item["result"])] += 1
        choices = (item for file in sorted(folder.glob(f"{CHOICES}-*")) for item in _lines(file))
        return cls(outcomes, schedulings, tuple(choices))


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    return map(json.loads, file.read_text().splitlines())


def differences(one: Seen, other: Seen) -> Iterator[str]:
    """What is not the same in both, a line each."""
    for test in sorted(one.outcomes.keys() | other.outcomes.keys()):
        before, after = one.outcomes.get(test, "not run"), other.outcomes.get(test, "not run")
        if before != after:
            yield f"{test}: {before}, then {after}"
    for test in sorted(one.schedulings.keys() | other.schedulings.keys()):
        expected, found = one.schedulings.get(test, Counter()), other.schedulings.get(test, Counter())
        for result in (expected - found).keys() | (found - expected).keys():
            yield f"{test}: {expected[result]} then {found[result]} times {result}"
    for choice in other.choices:
        if choice["without"] != choice["with"]:
            yield f"{choice['test']}: hosts {choice['without']} without, and {choice['with']} with KongMing"


def has_run(module: str, tests: Iterable[str]) -> bool:
    """Whether a test of a module is among these; one that cannot be imported has none."""
    path = f"nova/tests/functional/{module.replace('.', '/')}.py::"
    return any(test.startswith(path) for test in tests)


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
