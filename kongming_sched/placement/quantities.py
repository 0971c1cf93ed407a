# SPDX-License-Identifier: Apache-2.0
"""Values in an answer of Placement's: what works with them later must not meet one of another type, or infinity."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from kongming_sched.texts.printable import quote
from kongming_sched.texts.whole_number import is_whole_number

_AMOUNTS = range(2**63)
"""A capacity is a total of 32 bits times a ratio."""


def amount(value: object) -> int:
    """An amount, or a generation.

    :raises ValueError: if it is none
    """
    if not is_whole_number(value, _AMOUNTS):
        raise ValueError(f"{quote(value)} is not an amount")
    return value  # type: ignore[return-value]  # the line above has checked it


def amounts(resources: Mapping[str, Any]) -> dict[str, int]:
    """Resource class to amount.

    :raises ValueError: if one is none
    """
    return {name: amount(value) for name, value in resources.items()}


def ratio(value: object) -> float:
    """An allocation ratio, which JSON may write as a whole number.

    :raises ValueError: if it is none
    """
    if not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:
        raise ValueError(f"{quote(value)} is not an allocation ratio")
    return float(value)


def text(value: object) -> str:
    """A name or an id.

    :raises ValueError: if it is none
    """
    if not isinstance(value, str):
        raise ValueError(f"{quote(value)} is not a text")
    return value


def texts(values: object) -> frozenset[str]:
    """A list of names or ids.

    :raises ValueError: if it is none
    """
    if not isinstance(values, list):
        raise ValueError(f"{quote(values)} is not a list")
    return frozenset(map(text, values))
