# SPDX-License-Identifier: Apache-2.0
"""Strategies of which some are to be drawn more often than others."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import strategies as st

_T = TypeVar("_T")


def weighted(*choices: tuple[int, st.SearchStrategy[_T]]) -> st.SearchStrategy[_T]:
    """One of these, each as often as its weight says; a story that fails is made shorter towards the first one.

    one_of() takes a strategy that it is given twice for one.
    """
    table = [strategy for weight, strategy in choices for _ in range(weight)]
    return st.integers(0, len(table) - 1).flatmap(lambda number: table[number])
