# SPDX-License-Identifier: Apache-2.0
"""CPU sets: their text, and that they behave as sets."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.cpuset import MAX_CPU, CpuSet
from kongming_sched.exceptions import InvalidCpuSet
from tests.unit.strategies import cpu_sets


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        pytest.param("", [], id="nothing"),
        pytest.param("  ", [], id="blanks only"),
        pytest.param("0", [0], id="one CPU"),
        pytest.param("0-3", [0, 1, 2, 3], id="a range"),
        pytest.param("3-3", [3], id="a range of one"),
        pytest.param("8,0-2", [0, 1, 2, 8], id="a list out of order"),
        pytest.param("0-3,2-5", [0, 1, 2, 3, 4, 5], id="ranges that overlap"),
        pytest.param("5-6,9-11,^10", [5, 6, 9, 11], id="one left out"),
        pytest.param("0-7,^2-5", [0, 1, 6, 7], id="a range left out"),
        pytest.param("^1,0-2", [0, 1, 2], id="left out before it is named: no effect"),
        pytest.param("0-2,^1,1", [0, 1, 2], id="named again after it was left out"),
        pytest.param("0-2,^0-2", [], id="everything left out"),
        pytest.param(" 0 - 2 , ^ 1 ", [0, 2], id="blanks between"),
        pytest.param("007", [7], id="leading zeros"),
        pytest.param(f"{MAX_CPU}", [MAX_CPU], id="the highest CPU"),
    ],
)
def test_a_text_is_read_left_to_right(text: str, cpus: list[int]) -> None:
    """Ranges, lists and ^ mean what libvirt and the kernel mean by them."""
    assert cpus == list(CpuSet.parse(text))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("a", "neither a number nor a range", id="a word"),
        pytest.param("1,", "neither a number nor a range", id="an empty part"),
        pytest.param(",", "neither a number nor a range", id="only a comma"),
        pytest.param("^", "neither a number nor a range", id="nothing left out"),
        pytest.param("^^1", "neither a number nor a range", id="left out twice over"),
        pytest.param("-3", "neither a number nor a range", id="no lower end"),
        pytest.param("3-", "neither a number nor a range", id="no upper end"),
        pytest.param("1-2-3", "neither a number nor a range", id="three ends"),
        pytest.param("1-^2", "neither a number nor a range", id="^ inside a range"),
        pytest.param("1 2", "neither a number nor a range", id="no comma"),
        pytest.param("+1", "neither a number nor a range", id="a sign"),
        pytest.param("0x1", "neither a number nor a range", id="hexadecimal"),
        pytest.param("1.0", "neither a number nor a range", id="a fraction"),
        pytest.param("\u0661", "neither a number nor a range", id="digits of another script"),
        pytest.param("3-1", "runs backwards", id="a range backwards"),
        pytest.param(f"{MAX_CPU + 1}", "above the highest", id="above what Linux can have"),
        pytest.param("0-99999999999999999999", "above the highest", id="a number that would fill the memory"),
    ],
)
def test_a_broken_text_is_refused_with_its_reason(text: str, reason: str) -> None:
    """What is no CPU set is never guessed at."""
    with pytest.raises(InvalidCpuSet, match=reason) as caught:
        CpuSet.parse(text)
    assert text == caught.value.text


@pytest.mark.parametrize("cpu", [-1, MAX_CPU + 1])
def test_numbers_that_no_cpu_has_are_refused(cpu: int) -> None:
    """CPU numbers go from 0 to MAX_CPU."""
    with pytest.raises(InvalidCpuSet, match=f"go from 0 to {MAX_CPU}"):
        CpuSet.of([cpu])


@pytest.mark.parametrize(
    ("cpus", "text"),
    [
        pytest.param([], "", id="empty"),
        pytest.param([5], "5", id="one"),
        pytest.param([1, 2], "1-2", id="two neighbours"),
        pytest.param([3, 0, 1, 8, 2], "0-3,8", id="ranges first come first"),
        pytest.param([0, 2, 4], "0,2,4", id="no neighbours"),
    ],
)
def test_the_text_is_canonical(cpus: list[int], text: str) -> None:
    """Ascending, with the longest ranges, as the kernel writes cpulists."""
    assert text == str(CpuSet.of(cpus))


def test_the_representation_shows_the_text() -> None:
    """A failed assertion on CPU sets can be read."""
    assert "CpuSet('0-3,8')" == repr(CpuSet.of([0, 1, 2, 3, 8]))


@given(cpu_sets(MAX_CPU))
def test_the_canonical_text_parses_back(cpus: CpuSet) -> None:
    """str() loses nothing, and one set has one text."""
    assert cpus == CpuSet.parse(str(cpus))
    assert str(cpus) == str(CpuSet.of(reversed(list(cpus))))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 70), st.integers(0, 9)), min_size=1, max_size=12))
def test_parse_agrees_with_a_naive_model(parts: list[tuple[bool, int, int]]) -> None:
    """Each part adds its numbers or, with ^, takes them away, left to right."""
    model: set[int] = set()
    for leave_out, first, more in parts:
        numbers = set(range(first, first + more + 1))
        model = model - numbers if leave_out else model | numbers
    text = ",".join(
        f"{'^' * out}{first}-{first + more}" if more else f"{'^' * out}{first}" for out, first, more in parts
    )
    assert model == set(CpuSet.parse(text))


@given(st.text(alphabet="0123456789-,^ a", max_size=12))
def test_parse_reads_or_refuses_and_never_breaks(text: str) -> None:
    """No text raises anything but InvalidCpuSet."""
    with contextlib.suppress(InvalidCpuSet):
        cpus = CpuSet.parse(text)
        assert cpus == CpuSet.parse(str(cpus))


@given(cpu_sets(80), cpu_sets(80))
def test_operators_agree_with_sets(left: CpuSet, right: CpuSet) -> None:
    """The operators are those of frozenset."""
    a, b = frozenset(left), frozenset(right)
    assert a | b == frozenset(left | right)
    assert a & b == frozenset(left & right)
    assert a - b == frozenset(left - right)
    assert a.isdisjoint(b) == left.isdisjoint(right)
    assert (a <= b) == (left <= right)
    assert (a == b) == (left == right)
    assert len(a) == len(left)
    assert bool(a) == bool(left)
    assert a | b == frozenset(CpuSet.union([left, right]))
    assert [cpu in a for cpu in range(-1, 90)] == [cpu in left for cpu in range(-1, 90)]


@given(cpu_sets(80, min_size=1))
def test_first_and_ranges_ascend(cpus: CpuSet) -> None:
    """The first CPU is the lowest; ranges never touch."""
    ranges = list(cpus.ranges())
    assert min(cpus) == cpus.first == ranges[0][0]
    assert list(cpus) == [cpu for first, last in ranges for cpu in range(first, last + 1)]
    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(ranges))


def test_an_empty_set_has_no_first_cpu() -> None:
    """Asking for it is a mistake of the caller."""
    with pytest.raises(ValueError, match="no first CPU"):
        _ = CpuSet().first


def test_only_numbers_are_members() -> None:
    """A text that looks like a CPU is none."""
    assert "1" not in CpuSet.of([1])


def test_a_set_is_a_value() -> None:
    """Equal sets hash alike, so they can be keys."""
    assert 1 == len({CpuSet.of([1, 2]), CpuSet.parse("2,1")})
