# SPDX-License-Identifier: Apache-2.0
"""What came of the runs of Nova's tests, and what is not the same in two of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.peers.runs import CHOICES, OUTCOMES, SCHEDULINGS


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
