# SPDX-License-Identifier: Apache-2.0
"""What others have named is shown without what a terminal obeys or an encoding cannot write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.texts.printable import MAX_QUOTED, clean, clean_lines, cut, one_line, quote

ANY_TEXT = st.text(st.characters() | st.sampled_from("\x1b\x07\x9b\n\r\t\0\u202e\u2028\ud800\udfff\u3000"))
"""Halves of characters among it."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("web  1", "web  1", id="ordinary"),
        pytest.param("孔明 é 🙂", "孔明 é 🙂", id="of any script"),
        pytest.param("\x1b[31mred\x07", "�[31mred�", id="escapes and the bell"),
        pytest.param("\x9b2J", "�2J", id="an escape of one byte"),
        pytest.param("a\r\nb\tc", "a  b c", id="lines"),
        pytest.param("\u202egnp.exe", "�gnp.exe", id="another direction"),
        pytest.param("half \ud83d", "half �", id="half of a character"),
        pytest.param("a\u3000b\xa0c", "a b c", id="wide space"),
    ],
)
def test_clean(text: str, expected: str) -> None:
    """Nothing is left that cannot be seen, and the rest stays where it is."""
    assert expected == clean(text)


@given(ANY_TEXT)
def test_clean_text_can_be_shown_everywhere(text: str) -> None:
    """It is one line of printable characters of which UTF-8 has all, and is not changed again."""
    shown = clean(text)
    assert shown.isprintable()
    assert shown == shown.encode().decode()
    assert (len(text), shown) == (len(shown), clean(shown))
    assert not text.isprintable() or shown == text


@given(ANY_TEXT)
def test_lines_stay_lines(text: str) -> None:
    """There are as many as there were."""
    shown = clean_lines(text)
    assert text.count("\n") == shown.count("\n")
    assert all(line.isprintable() for line in shown.split("\n"))


@given(ANY_TEXT)
def test_one_line(text: str) -> None:
    """Its words are apart by one space."""
    shown = one_line(text)
    assert shown.isprintable()
    assert "  " not in shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("abcdefgh", "abcdefgh", id="fits"),
        pytest.param("abcdefghi", "abcde…", id="too long"),
        pytest.param("孔明孔明", "孔…", id="characters of three bytes"),
        pytest.param("abé孔明", "abé…", id="within a character"),
    ],
)
def test_cut(text: str, expected: str) -> None:
    """Eight bytes are the limit here, and no character is cut in two."""
    assert expected == cut(text, 8)


@given(ANY_TEXT, st.integers(3, 40))
def test_a_cut_text_fits(text: str, most: int) -> None:
    """It takes no more bytes than it may, and begins as the whole text does."""
    whole = clean(text)
    shown = cut(whole, most)
    assert len(shown.encode()) <= most
    assert shown == whole or whole.startswith(shown.removesuffix("…"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("web", "'web'"),
        (7, "7"),
        (None, "None"),
        (True, "True"),
        ([1, 2], "[1, 2]"),
        ({"a": 1}, "{'a': 1}"),
        ("\x1b", r"'\x1b'"),
        pytest.param(16**5000, "<a number of 20001 bits>", id="a long number"),
        pytest.param(-(10**5000), "<a number of 16610 bits>", id="a negative one"),
    ],
)
def test_quote(value: object, expected: str) -> None:
    """As Python writes it, if anybody would read that."""
    assert expected == quote(value)


def test_what_unfolds_is_not_quoted_in_full() -> None:
    """A list that holds itself again and again would be gigabytes."""
    value: object = ["x" * 1000] * 1000
    for _ in range(30):
        value = [value] * 100
    assert len(quote(value)) < 20 * MAX_QUOTED


@given(st.recursive(st.text() | st.integers() | st.floats(), lambda inner: st.lists(inner), max_leaves=200))
def test_quotes_are_short(value: object) -> None:
    """Whatever they are of."""
    assert len(quote(value)) < 20 * MAX_QUOTED
