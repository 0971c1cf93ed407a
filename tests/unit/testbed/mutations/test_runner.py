# SPDX-License-Identifier: Apache-2.0
"""How mutations are judged by what pytest says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from testbed.mutations.mutation import Mutation
from testbed.mutations.runner import Result, Verdict, copied, run


def mutation(name: str, old: str = "1", tests: tuple[str, ...] = ("test_a",)) -> Mutation:
    """An edit of a file "code.py"."""
    return Mutation(name, "code.py", old, "2", "it", tests)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of one file."""
    (tmp_path / "code.py").write_text("a = 1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("code", "verdict"),
    [(0, Verdict.SURVIVED), (1, Verdict.KILLED), (2, Verdict.BROKEN), (4, Verdict.BROKEN), (5, Verdict.BROKEN)],
)
def test_a_mutation_is_killed_where_a_test_fails(checkout: Path, code: int, verdict: Verdict) -> None:
    """What does not even run, or finds no test, says nothing of it."""
    results = run(checkout, [mutation("one")], 1, lambda _: None, lambda *_: (code, "output"))

    assert [verdict] == [result.verdict for result in results]
    assert ("output" if verdict is Verdict.BROKEN else "") == results[0].detail


def test_each_test_runs_on_the_mutated_copy(checkout: Path) -> None:
    """The checkout itself stays as it is, and the next mutation finds the copy as it was."""
    seen: list[tuple[str, str]] = []

    def tests(copy: Path, names: Sequence[str]) -> tuple[int, str]:
        seen.append((names[0], (copy / "code.py").read_text()))
        assert "a = 1\n" == (checkout / "code.py").read_text()
        return 1, ""

    reported: list[Result] = []
    run(checkout, [mutation("one", tests=("x", "y")), mutation("two", "a")], 1, reported.append, tests)

    assert [("x", "a = 2\n"), ("y", "a = 2\n"), ("test_a", "2 = 1\n")] == seen
    assert ["one", "one", "two"] == [result.mutation.name for result in reported]


def test_a_mutation_that_does_not_apply_is_reported(checkout: Path) -> None:
    """None of its tests runs then."""
    (result,) = run(checkout, [mutation("one", "gone")], 1, lambda _: None, lambda *_: pytest.fail("it ran"))

    assert Verdict.STALE is result.verdict
    assert "one: code.py has the old text 0 times instead of once" == result.detail


def test_a_copy_holds_the_code_alone(checkout: Path) -> None:
    """What was made in the checkout is not copied, as environments are large."""
    for made in (".venv", ".venv-releases", ".git", "__pycache__"):
        (checkout / made).mkdir()
    with copied(checkout) as copy:
        assert ["code.py"] == [path.name for path in copy.iterdir()]
