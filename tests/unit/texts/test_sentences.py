# SPDX-License-Identifier: Apache-2.0
"""Texts of others within our own sentences."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.texts.sentences import clause, sentence


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("not found.", ("not found", "not found."), id="full stop"),
        pytest.param("not found", ("not found", "not found."), id="none"),
        pytest.param("not found. \n", ("not found", "not found."), id="space behind it"),
        pytest.param("gone ...", ("gone ...", "gone ..."), id="ellipsis"),
        pytest.param("Why?", ("Why?", "Why?"), id="question"),
        pytest.param("see /etc/nova/nova.conf", ("see /etc/nova/nova.conf", "see /etc/nova/nova.conf."), id="file"),
    ],
)
def test_end_of_a_sentence(text: str, expected: tuple[str, str]) -> None:
    """A clause has no full stop at its end, and a sentence one mark."""
    assert expected == (clause(text), sentence(text))


@given(st.text())
def test_sentence_of_a_sentence(text: str) -> None:
    """It is the sentence itself, and so is that of its clause."""
    once = sentence(text)
    assert (once, once) == (sentence(once), sentence(clause(text)))
