# SPDX-License-Identifier: Apache-2.0
"""Mutations as edits, and that each of the list still applies."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from testbed.mutations import MUTATIONS
from testbed.mutations.mutation import Mutation, StaleMutationError

ROOT = Path(__file__).parents[4]


def mutation(old: str, new: str = "") -> Mutation:
    """An edit of a file "code.py"."""
    return Mutation("name", "code.py", old, new, "it", ("tests",))


@pytest.mark.parametrize("one", MUTATIONS, ids=lambda one: one.name)
def test_a_mutation_applies_to_the_code(one: Mutation) -> None:
    """Its text stands once in its file, and what comes of it is another program. Where the code changes it follows."""
    text = (ROOT / one.file).read_text()

    assert ast.dump(ast.parse(text)) != ast.dump(ast.parse(one.applied_to(text)))


@pytest.mark.parametrize("one", MUTATIONS, ids=lambda one: one.name)
def test_the_tests_of_a_mutation_exist(one: Mutation) -> None:
    """Each is a file, perhaps with a test in it."""
    for test in one.tests:
        path, _, name = test.partition("::")
        assert f"def {name}" in (ROOT / path).read_text()


def test_no_name_stands_for_two_mutations() -> None:
    """A name is enough to choose one, and no edit is in the list twice."""
    assert set() == {name for name, count in Counter(one.name for one in MUTATIONS).items() if count > 1}
    assert len(MUTATIONS) == len({(one.file, one.old, one.new) for one in MUTATIONS})


def test_a_mutation_is_applied_and_gives_what_was_there(tmp_path: Path) -> None:
    """So that it can be taken back."""
    (tmp_path / "code.py").write_text("a = 1\nb = 2\n")

    before = mutation("1", "3").apply(tmp_path)

    assert ("a = 1\nb = 2\n", "a = 3\nb = 2\n") == (before, (tmp_path / "code.py").read_text())


@pytest.mark.parametrize("old", ["c = 1", " = "], ids=["not there", "twice"])
def test_a_mutation_that_does_not_apply_is_an_error(tmp_path: Path, old: str) -> None:
    """The file stays as it is."""
    (tmp_path / "code.py").write_text("a = 1\nb = 2\n")

    with pytest.raises(StaleMutationError):
        mutation(old).apply(tmp_path)
    assert "a = 1\nb = 2\n" == (tmp_path / "code.py").read_text()
