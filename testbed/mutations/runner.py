# SPDX-License-Identifier: Apache-2.0
"""Applies mutations in copies of the checkout, and runs the tests there that must notice."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kongming_sched.compat import StrEnum
from testbed.mutations.mutation import Mutation, StaleMutationError

_NOT_COPIED = (".git", ".venv*", ".tox", ".mypy_cache", ".ruff_cache", ".hypothesis", "__pycache__", "build", "dist")
_PATIENCE_SECONDS = 600
"""Of one run of pytest. A mutation may let a loop run for ever; that is noticed, too."""

_OPTIONS = ("-q", "-x", "-p", "no:cacheprovider", "-W", "ignore", "--hypothesis-seed=0", "--hypothesis-profile=kill")


class Verdict(StrEnum):
    """What came of a mutation."""

    KILLED = "killed"
    SURVIVED = "SURVIVED"
    STALE = "DOES NOT APPLY"
    BROKEN = "TESTS DO NOT RUN"


@dataclass(frozen=True, slots=True)
class Result:
    """A mutation and one of its tests.

    :ivar seconds: how long the test took
    :ivar detail: why the edit does not apply, or the end of what pytest printed where it says nothing
    """

    mutation: Mutation
    test: str
    verdict: Verdict
    seconds: float
    detail: str = ""


Tests = Callable[[Path, Sequence[str]], tuple[int, str]]
"""Runs tests in a checkout; gives pytest's exit code and what it printed."""


def run_pytest(checkout: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Run tests in a checkout with this interpreter; gives the exit code, 1 where it takes too long, and the output."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", *_OPTIONS, *tests]
    try:
        ended = subprocess.run(
            command,
            cwd=checkout,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 1, f"took more than {_PATIENCE_SECONDS} seconds"
    return ended.returncode, ended.stdout


@contextmanager
def copied(checkout: Path) -> Iterator[Path]:
    """A copy of what a checkout holds as it is, whether it is committed or not."""
    with tempfile.TemporaryDirectory(prefix="kongming-mutate.") as scratch:
        copy = Path(scratch) / "checkout"
        shutil.copytree(checkout, copy, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        yield copy


def judge(copy: Path, mutation: Mutation, tests: Tests = run_pytest) -> Iterator[Result]:
    """Apply a mutation in a copy, run its tests one after the other, and take it back."""
    try:
        before = mutation.apply(copy)
    except StaleMutationError as error:
        yield from (Result(mutation, test, Verdict.STALE, 0.0, str(error)) for test in mutation.tests)
        return
    try:
        for test in mutation.tests:
            began = time.monotonic()
            code, output = tests(copy, [test])
            verdict = {0: Verdict.SURVIVED, 1: Verdict.KILLED}.get(code, Verdict.BROKEN)
            detail = output[-2000:] if verdict is Verdict.BROKEN else ""
            yield Result(mutation, test, verdict, time.monotonic() - began, detail)
    finally:
        (copy / mutation.file).write_text(before)


def run(
    checkout: Path,
    mutations: Iterable[Mutation],
    jobs: int,
    report: Callable[[Result], None],
    tests: Tests = run_pytest,
) -> list[Result]:
    """Judge mutations, so many at a time, each in a copy that no other uses meanwhile.

    :param report: called with each result as it comes
    """
    results: list[Result] = []
    with ExitStack() as stack:
        copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for _ in range(jobs):
            copies.put(stack.enter_context(copied(checkout)))

        def work(mutation: Mutation) -> None:
            copy = copies.get()
            try:
                for result in judge(copy, mutation, tests):
                    results.append(result)
                    report(result)
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(work, mutations))
    return results
