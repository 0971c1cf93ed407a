# SPDX-License-Identifier: Apache-2.0
"""Rows that cliff prints: clean for people and shells, and exact where a format writes any character safely."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cliff import columns

from kongming_sched import compat
from kongming_sched.texts.printable import clean, clean_lines

if TYPE_CHECKING:
    from cliff.columns import FormattableColumn
else:
    FormattableColumn = compat.subscriptable(columns.FormattableColumn)

_EXACT = ("json", "yaml")
"""Formats that escape what cannot be printed."""


_ESCAPED = str.maketrans({character: f"\\{character}" for character in "\\$`"})
"""What a shell obeys between double quotes, but for these themselves, which cliff escapes."""


class _Clean(FormattableColumn[Any]):
    """Another column, of which what is printed is clean."""

    def __lt__(self, other: object) -> bool:
        return bool(self._value < (other._value if isinstance(other, _Clean) else other))

    def human_readable(self) -> str:
        """Its lines."""
        return clean_lines(self._value.human_readable())

    def machine_readable(self) -> Any:
        """Its value; what is inside of lists Python escapes."""
        value = self._value.machine_readable()
        return clean(value) if isinstance(value, str) else value


def printable_row(row: Iterable[Any], formatter: str) -> list[Any]:
    """A row as this formatter of cliff's shall have it."""
    if formatter in _EXACT:
        return list(row)
    printable = map(_printable, row)
    return list(map(_for_shell, printable) if formatter == "shell" else printable)


def _printable(value: object) -> object:
    if isinstance(value, str):
        return clean(value)
    return _Clean(value) if isinstance(value, columns.FormattableColumn) else value


def _for_shell(value: object) -> object:
    """A value that a shell takes literally between the double quotes that cliff puts around it.

    cliff escapes double quotes alone, so that a shell would run what others have named ``$(...)``.
    """
    if isinstance(value, columns.FormattableColumn):
        value = value.machine_readable()
    if value is None or isinstance(value, int | float):
        return value
    return str(value).translate(_ESCAPED)
