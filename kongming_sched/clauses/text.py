# SPDX-License-Identifier: Apache-2.0
"""The kind of values that are free text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kongming_sched.clauses.clause import Kind, Schema, Where
from kongming_sched.texts.printable import quote

_NOT_PRINTED = r"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
"""Control characters, what ends a line, and halves of characters, which no encoding can write."""
_EDGE = rf"[^ {_NOT_PRINTED}]"
PATTERN = rf"^{_EDGE}(?:[^{_NOT_PRINTED}]*{_EDGE})?(?![\s\S])"
"""One line without a blank at either end, as a regular expression that Python and JSON schema read alike."""


@dataclass(frozen=True, slots=True)
class Text(Kind[str]):
    """Text of one line in any language.

    :ivar longest: how many characters it may have
    """

    longest: int

    def read(self, value: object, where: Where, _before: Mapping[str, Any]) -> str:
        """Take a text as it is."""
        if not isinstance(value, str):
            raise where.error(f"{quote(value)} is not a text; write it in quotes")
        if not 1 <= len(value) <= self.longest:
            raise where.error(f"is a text of {len(value)} characters; it must have 1 to {self.longest}")
        if not re.match(PATTERN, value):
            raise where.error(f"{quote(value)} is not one line of printable characters without a blank at either end")
        return value

    def schema(self) -> Schema:
        """A text of this length."""
        return {"type": "string", "minLength": 1, "maxLength": self.longest, "pattern": PATTERN}

    def printed_schema(self) -> Schema:
        """Any text."""
        return {"type": "string"}

    @property
    def notation(self) -> str:
        """Quotes."""
        return '``"..."``'
