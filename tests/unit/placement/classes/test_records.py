# SPDX-License-Identifier: Apache-2.0
"""The records of servers' classes as values."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.placement import names
from kongming_sched.placement.classes.records import ServerClass, class_of_record, flavor_mark, record_of

SERVER = "00000000-0000-0000-0000-000000000001"
FLAVOR = ("m1.small", 2, 512, "gold")


@given(st.text(), st.integers(1, 1024), st.integers(0, 2**31), st.none() | st.text())
def test_a_mark_is_an_amount(name: str, vcpus: int, memory_mb: int, template: str | None) -> None:
    """It is what Placement takes as the amount of an allocation, and always the same."""
    mark = flavor_mark(name, vcpus, memory_mb, template)
    assert 1 <= mark <= 2**31 - 1
    assert mark == flavor_mark(name, vcpus, memory_mb, template)


@pytest.mark.parametrize(
    "other", [("m1.large", 2, 512, "gold"), ("m1.small", 4, 512, "gold"), ("m1.small", 2, 1024, "gold")]
)
def test_another_flavor_has_another_mark(other: tuple[str, int, int, str]) -> None:
    """Each part of it counts, as does the template, and that there is one."""
    marks = {flavor_mark(*FLAVOR), flavor_mark(*other), flavor_mark(*other[:3], None), flavor_mark(*other[:3], "tin")}
    assert 4 == len(marks)


def test_a_record_is_read_as_it_was_written() -> None:
    """Its template is that on whose class provider it is; the id of its consumer is not the server's."""
    written = record_of(SERVER, ServerClass("gold", 7), None)
    assert written is not None
    assert (names.class_consumer(SERVER), None) == (written.consumer, written.generation)
    assert SERVER != written.consumer
    assert ServerClass("gold", 7) == class_of_record(written, ["silver", "gold"])
    assert class_of_record(written, ["silver"]) is None
    assert class_of_record(None, ["gold"]) is None


def test_another_class_takes_the_place_of_the_first() -> None:
    """The record has the generation of the one before; without a class it has no resources, and so is deleted."""
    before = record_of(SERVER, ServerClass("gold", 7), None)
    assert before is not None
    before = replace(before, generation=3)
    after, gone = record_of(SERVER, ServerClass("tin", 7), before), record_of(SERVER, None, before)
    assert after is not None
    assert gone is not None
    assert (3, {names.class_uuid("tin")}) == (after.generation, set(after.resources))
    assert (3, {}) == (gone.generation, gone.resources)
    assert record_of(SERVER, None, None) is None
