# SPDX-License-Identifier: Apache-2.0
"""Free text as the value of a clause: what a file may have, and how it stands in traits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.clauses.clause import clause
from kongming_sched.clauses.text import Text
from kongming_sched.cli.template.rows import fields_of
from kongming_sched.exceptions import InvalidTemplate, InvalidTraits
from kongming_sched.placement import codec
from kongming_sched.placement.templates import StoredTemplate
from kongming_sched.schemas.templates import file_schema, printed_schema
from kongming_sched.template import PinningTemplate
from tests.unit.strategies import templates


@dataclass(frozen=True, slots=True)
class NotedTemplate(PinningTemplate):
    """A template with a made-up clause of free text."""

    note: str | None = field(default=None, metadata=clause(Text(160), "A note.", blank=True))


PLAIN: dict[str, Any] = {"name": "gold", "cells": [{"vcpus": "0", "cpus": "dedicated"}]}
WITHOUT = codec.encode(PinningTemplate.from_mapping(PLAIN))
VALIDATOR = jsonschema.Draft202012Validator(file_schema(NotedTemplate))


def noted(note: object) -> NotedTemplate:
    """A template with a note."""
    return NotedTemplate.from_mapping({**PLAIN, "note": note})


def pieces(*texts: str) -> frozenset[str]:
    """The traits of a note besides those of the template."""
    return WITHOUT | {f"CUSTOM_KONGMING_NOTE_{text}" for text in texts}


@pytest.fixture(autouse=True)
def _with_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "PinningTemplate", NotedTemplate)


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ("a", ["1OF1_ME"]),
        ("Databases", ["1OF1_IRQXIYLCMFZWK4Y"]),
        ("数据库", ["1OF1_42K3BZUNV3S3VEY"]),
        ("a" * 125, [f"1OF1_{'MFQWCYLB' * 25}"]),
        ("a" * 126, [f"1OF2_{'MFQWCYLB' * 25}", "2OF2_ME"]),
        (None, []),
    ],
    ids=["a letter", "a word", "Chinese", "as much as fits one trait", "one more", "none"],
)
def test_a_text_stands_in_traits_as_base32(note: str | None, expected: list[str]) -> None:
    """As Python's base64 module and coreutils' base32 write it, less what fills it up."""
    assert pieces(*expected) == codec.encode(noted(note))
    assert noted(note) == codec.decode("gold", pieces(*expected))


@given(templates(NotedTemplate))
def test_every_text_survives(template: NotedTemplate) -> None:
    """In traits that Placement takes, and in files."""
    traits = codec.encode(template)
    assert all(re.fullmatch(r"CUSTOM_[A-Z0-9_]{1,248}", trait) for trait in traits)
    assert template == NotedTemplate.from_mapping(template.to_mapping())


@pytest.mark.parametrize(
    ("texts", "at", "reason"),
    [
        (["ME"], "NOTE_ME", "is not a piece of a text as in 1OF2_MRXWO"),
        (["1OF1_me"], "NOTE_1OF1_me", "is not a piece"),
        (["0OF1_ME"], "NOTE_0OF1_ME", "is not a piece"),
        (["1OF1_"], "NOTE_1OF1_", "is not a piece"),
        (["1OF2_ME"], "NOTE_1OF2_ME", "is one of 2 pieces of a text, of which number 2 is missing"),
        (["2OF2_ME"], "NOTE_2OF2_ME", "number 1 is missing"),
        (["1OF1_ME", "2OF1_ME"], "NOTE_1OF1_ME", "is one of 2 pieces of a text, which says that it has 1"),
        (["1OF1_ME", "1OF1_MI"], "NOTE_1OF1_MI", "contradicts another clause"),
        (["1OF1_ME", "1OF2_ME"], "NOTE_1OF2_ME", "contradicts another clause"),
        (["1OF1_M"], "NOTE_1OF1_M", "is not Base32 of a text in UTF-8"),
        (["1OF1_74"], "NOTE_1OF1_74", "is not Base32 of a text in UTF-8"),
        (["1OF1_MF"], "NOTE_1OF1_MF", "is not in the one way of writing; expected CUSTOM_KONGMING_NOTE_1OF1_ME"),
        (["1OF2_ME", "2OF2_M"], "NOTE_1OF2_ME", "is not Base32 of a text in UTF-8"),
        (["1OF2_MFQWCYLB", "2OF2_ME"], "NOTE_1OF2_MFQWCYLB", "is not in the one way of writing"),
        (["1OF1_BI"], "NOTE", "is not one line of printable characters"),
    ],
)
def test_what_is_not_exactly_one_text_is_refused(texts: Iterable[str], at: str, reason: str) -> None:
    """Naming the trait."""
    with pytest.raises(InvalidTraits, match=re.escape(reason)) as caught:
        codec.decode("gold", pieces(*texts))
    assert f"CUSTOM_KONGMING_{at}" == caught.value.clause


@pytest.mark.parametrize(
    ("note", "reason"),
    [
        (5, "5 is not a text; write it in quotes"),
        (["a"], "['a'] is not a text; write it in quotes"),
        ("", "is a text of 0 characters; it must have 1 to 160"),
        ("a" * 161, "is a text of 161 characters; it must have 1 to 160"),
        (" a", "' a' is not one line of printable characters without a blank at either end"),
        ("a ", "'a ' is not one line"),
        ("a\nb", "'a\\nb' is not one line"),
        ("a\n", "'a\\n' is not one line"),
        ("\x1b[2J", "'\\x1b[2J' is not one line"),
        ("a\u2028b", "'a\\u2028b' is not one line"),
        ("\ud83d", "'\\ud83d' is not one line"),
    ],
)
def test_a_wrong_text_is_refused_with_the_reason(note: object, reason: str) -> None:
    """The operator reads what to do."""
    with pytest.raises(InvalidTemplate, match=re.escape(f"template 'gold' at note: {reason}")):
        noted(note)
    assert not VALIDATOR.is_valid({**PLAIN, "note": note})


@given(st.text(max_size=170) | st.none())
def test_schema_and_code_agree(note: str | None) -> None:
    """On every text."""
    try:
        noted(note)
    except InvalidTemplate:
        assert not VALIDATOR.is_valid({**PLAIN, "note": note})
    else:
        assert VALIDATOR.is_valid({**PLAIN, "note": note})


def test_a_text_is_shown() -> None:
    """As it is, and a dash where there is none."""
    assert "Databases" == fields_of(StoredTemplate(noted("Databases"), 1))["note"]
    none = fields_of(StoredTemplate(noted(None), 1))["note"]
    assert ("-", None) == (none.human_readable(), none.machine_readable())
    assert {"type": ["string", "null"]} == printed_schema(NotedTemplate)["properties"]["note"]
