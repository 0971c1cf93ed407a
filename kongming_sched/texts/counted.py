# SPDX-License-Identifier: Apache-2.0
"""Numbers and lists of names in messages."""

from __future__ import annotations

from collections.abc import Sequence


def count(number: int, noun: str) -> str:
    """A number with its noun, as in ``1 host`` and ``2 hosts``."""
    return f"{number} {noun}{'s' * (number != 1)}"


def first(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many others there are, as in ``a, b and 3 more``."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
