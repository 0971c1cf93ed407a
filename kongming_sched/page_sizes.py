# SPDX-License-Identifier: Apache-2.0
"""Sizes of memory pages, in the words of templates, of Placement's resource classes and of Nova's extra specs."""

from __future__ import annotations

import functools
import re

from kongming_sched.compat import StrEnum
from kongming_sched.texts.whole_number import AMOUNTS, find_whole_number

CLASS_PREFIX = "CUSTOM_KONGMING_PAGES_"
"""Of the resource classes that count huge pages of a size."""

_UNITS_KIB = {"K": 1, "M": 1 << 10, "G": 1 << 20, "T": 1 << 30}
_TEXT = re.compile(r"([1-9][0-9]{0,8})([KMGT])I?B", re.IGNORECASE)


class PageSize(StrEnum):
    """Sizes of huge pages that processors have."""

    KIB_64 = "64KiB"
    """Of AArch64 with base pages of 4 KiB."""
    MIB_1 = "1MiB"
    """Of s390x."""
    MIB_2 = "2MiB"
    """Of x86-64, AArch64 and POWER."""
    MIB_16 = "16MiB"
    """Of POWER."""
    MIB_32 = "32MiB"
    """Of AArch64."""
    MIB_512 = "512MiB"
    """Of AArch64 with base pages of 64 KiB."""
    GIB_1 = "1GiB"
    """Of x86-64, AArch64 and POWER."""
    GIB_2 = "2GiB"
    """Of s390x."""
    GIB_16 = "16GiB"
    """Of AArch64 and POWER."""

    @property
    def kib(self) -> int:
        """The size in KiB."""
        size = read_kib(self)
        assert size is not None  # noqa: S101  # every word above is one
        return size


def read_kib(text: str) -> int | None:
    """The size in KiB that a text names, as Nova reads ``hw:mem_page_size``; None if it names none.

    A number alone counts KiB; ``2MB`` and ``2MiB`` are the same.
    """
    if text.isdigit():
        return find_whole_number(text, AMOUNTS) or None
    match = _TEXT.fullmatch(text)
    return int(match[1]) * _UNITS_KIB[match[2].upper()] if match else None


def size_name(size_kib: int) -> str:
    """A size in KiB as templates write it: ``2MiB``, ``1GiB``."""
    unit = next(unit for unit, kib in reversed(_UNITS_KIB.items()) if size_kib % kib == 0)
    return f"{size_kib // _UNITS_KIB[unit]}{unit}iB"


@functools.lru_cache(maxsize=256)  # asked for every class of every request
def page_size_of(resource_class: str) -> int | None:
    """The size in KiB of the pages that a resource class counts; None for any other class."""
    if not resource_class.startswith(CLASS_PREFIX):
        return None
    size_kib = read_kib(resource_class.removeprefix(CLASS_PREFIX))
    return size_kib if size_kib and CLASS_PREFIX + size_name(size_kib).upper() == resource_class else None
