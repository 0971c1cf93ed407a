# SPDX-License-Identifier: Apache-2.0
"""The form of free text."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from typing import Any

from kongming_sched.clauses.clause import Clause
from kongming_sched.placement.forms.form import Form, Found


class TextForm(Form):
    """Free text, as in DESCRIPTION_1OF1_MRXWO: its UTF-8 in Base32 (RFC 4648, without padding), in numbered pieces.

    A trait consists of capitals, digits and ``_``, so a text cannot stand in it as it is: small letters, punctuation
    and other scripts would be lost, and a text full of escapes for them reads no better than Base32. Base32 needs just
    these characters, has one way to write each text, and takes 8 characters for 5 bytes, so that 125 bytes fit one
    trait; of hexadecimal digits it would be two. Placement keeps a set, so each piece says which of how many it is: a
    text that has lost its end would be another text otherwise. With ``=`` up to a multiple of 8 characters
    ``base32 --decode`` reads it.
    """

    _LENGTH = 200
    """Of a piece; a multiple of 8, so that a piece decodes alone. The words before it take less than 55 characters."""
    _PATTERN = re.compile(r"([1-9][0-9]?)OF([1-9][0-9]?)_([A-Z2-7]+)")

    def write(self, _clause: Clause, value: Any, _owner: Any) -> Iterator[str]:
        """A trait for each piece."""
        text = base64.b32encode(value.encode()).decode().rstrip("=")
        pieces = [text[start : start + self._LENGTH] for start in range(0, len(text), self._LENGTH)]
        for number, piece in enumerate(pieces, 1):
            yield f"{number}OF{len(pieces)}_{piece}"

    def read(self, _clause: Clause, found: Sequence[Found]) -> object:
        """All pieces in their order."""
        pieces: dict[int, str] = {}
        total = 0
        for one in found:
            match = self._PATTERN.fullmatch(one.text)
            if not match:
                raise one.error("is not a piece of a text as in 1OF2_MRXWO")
            number, total = int(match[1]), total or int(match[2])
            if int(match[2]) != total or number in pieces:
                raise one.error("contradicts another clause, which is a piece of another text")
            pieces[number] = match[3]
        if missing := sorted(set(range(1, total + 1)) - pieces.keys()):
            raise found[0].error(f"is one of {total} pieces of a text, of which number {missing[0]} is missing")
        if len(pieces) > total:
            raise found[0].error(f"is one of {len(pieces)} pieces of a text, which says that it has {total}")
        text = "".join(pieces[number] for number in sorted(pieces))
        try:
            return base64.b32decode(text + "=" * (-len(text) % 8)).decode()
        except ValueError as error:  # of Base32 and of UTF-8
            raise found[0].error("is not Base32 of a text in UTF-8") from error
