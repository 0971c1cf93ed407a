# SPDX-License-Identifier: Apache-2.0
"""The command tools/mutate."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from testbed.mutations import MUTATIONS
from testbed.mutations.mutation import Mutation
from testbed.mutations.runner import Result, Verdict, copied, run, run_pytest

ROOT = Path(__file__).resolve().parents[2]


def line_of(result: Result) -> str:
    """A result as a line of the table."""
    return f"{result.mutation.name:<46} {result.verdict:<9} {result.seconds:4.0f} s  {result.test}"


def report(result: Result) -> None:
    """Print a result at once."""
    print(line_of(result), flush=True)
    if result.detail:
        print(result.detail, flush=True)


def chosen(names: Sequence[str]) -> list[Mutation]:
    """The mutations of these names; all of them for none.

    :raises SystemExit: for a name that there is not
    """
    known = {mutation.name: mutation for mutation in MUTATIONS}
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"mutate: there is no mutation {', '.join(unknown)}; tools/mutate --list names all")
    return [known[name] for name in names] or list(MUTATIONS)


def pass_as_it_is(mutations: Sequence[Mutation]) -> bool:
    """Whether all tests of these mutations pass without any of them; else what they say of a mutation means nothing."""
    tests = sorted({test for mutation in mutations for test in mutation.tests})
    began = time.monotonic()
    with copied(ROOT) as copy:
        code, output = run_pytest(copy, tests)
    print(output[-4000:] if code else f"as it is: {len(tests)} pass, {time.monotonic() - began:.0f} s", flush=True)
    return code == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Break the code in each way, and see whether the tests notice."""
    parser = argparse.ArgumentParser(prog="tools/mutate", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--skip-check", action="store_true")
    options = parser.parse_args(arguments)
    mutations = chosen(options.names)
    if options.list:
        print("\n".join(f"{mutation.name:<46} {mutation.breaks}" for mutation in mutations))
        return 0
    began = time.monotonic()
    if not options.skip_check and not pass_as_it_is(mutations):
        print("mutate: the tests fail without any mutation", file=sys.stderr)
        return 1
    results = run(ROOT, mutations, options.jobs, report)
    wrong = [result for result in results if result.verdict is not Verdict.KILLED]
    minutes = (time.monotonic() - began) / 60
    print(f"\n{len(mutations)} mutations, {len(results)} tests of them, {len(wrong)} not killed, {minutes:.0f} minutes")
    print("\n".join(map(line_of, wrong)))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
