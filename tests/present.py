# SPDX-License-Identifier: Apache-2.0
"""For what may be None in general and is there in a test."""

from __future__ import annotations

from typing import TypeVar

_T = TypeVar("_T")


def present(value: _T | None) -> _T:
    """The value, which is there."""
    assert value is not None
    return value
