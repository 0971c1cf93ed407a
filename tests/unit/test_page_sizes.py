# SPDX-License-Identifier: Apache-2.0
"""Page sizes in words and in the names of resource classes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.page_sizes import page_size_of, read_kib, size_name
from kongming_sched.placement.names import pages_class

SIZES_KIB = st.integers(1, 10**9 - 1)


@pytest.mark.parametrize(
    ("size_kib", "name"),
    [(4, "4KiB"), (64, "64KiB"), (2048, "2MiB"), (524288, "512MiB"), (1048576, "1GiB"), (3145728, "3GiB")],
)
def test_sizes_in_words(size_kib: int, name: str) -> None:
    """A size has the largest unit of which it is a whole number."""
    assert name == size_name(size_kib)


@pytest.mark.parametrize(
    ("text", "size_kib"),
    [
        ("2048", 2048),
        ("2MB", 2048),
        ("2MiB", 2048),
        ("1gb", 1048576),
        ("0", None),
        ("0MiB", None),
        ("large", None),
        ("2", 2),
        ("2Mib/s", None),
        ("-2MiB", None),
        ("", None),
    ],
)
def test_sizes_that_others_write(text: str, size_kib: int | None) -> None:
    """A number alone counts KiB, and MB is MiB, as Nova reads them."""
    assert size_kib == read_kib(text)


@given(SIZES_KIB)
def test_every_size_has_a_class_of_its_own(size_kib: int) -> None:
    """Its name follows Placement's grammar, and the size can be read from it."""
    assert re.fullmatch(r"CUSTOM_[A-Z0-9_]{1,248}", pages_class(size_kib))
    assert size_kib == page_size_of(pages_class(size_kib))


@pytest.mark.parametrize(
    "resource_class",
    ["CUSTOM_KONGMING_PCPU", "CUSTOM_KONGMING_PAGES_", "CUSTOM_KONGMING_PAGES_2048KIB", "CUSTOM_KONGMING_PAGES_2MB"],
)
def test_classes_of_something_else(resource_class: str) -> None:
    """Only the one way in which a class is written stands for a size."""
    assert page_size_of(resource_class) is None
