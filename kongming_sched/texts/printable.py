# SPDX-License-Identifier: Apache-2.0
"""What others have named, fit to be shown: a terminal would obey control characters, and a log would break its lines.

Servers, flavors, hosts and metadata are named by those who made them, and Nova takes almost every character.
"""

from __future__ import annotations

import reprlib

MAX_QUOTED = 120
"""How many characters of a value are shown in an error: more than any that is right."""

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def clean(text: str) -> str:
    """The text on one line, with another character in place of each that cannot be seen.

    Those are control characters, what turns the direction of writing, and halves of characters, which no encoding can
    write. Any space becomes an ordinary one.
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def clean_lines(text: str) -> str:
    """A text of several lines, each of them clean."""
    return "\n".join(map(clean, text.replace("\r\n", "\n").split("\n")))


def one_line(text: str) -> str:
    """A text as a clean line, with one space between words."""
    return clean(" ".join(text.split()))


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else _REPLACEMENT


class _Short(reprlib.Repr):
    """Values as Python writes them, but no longer than anybody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = MAX_QUOTED
        self.maxlevel, self.maxlist, self.maxdict = 2, 4, 4  # a document may unfold to gigabytes

    def repr_int(self, x: int, level: int) -> str:
        """A whole number; of one that is too long to be written it is said how long it is."""
        if x.bit_length() > 4 * MAX_QUOTED:
            return f"<a number of {x.bit_length()} bits>"
        return super().repr_int(x, level)


_SHORT = _Short()


def shorten(text: str, most: int = 2000) -> str:
    """The text, its middle left out if it is longer than anybody reads."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-(most // 2) :]}"


def cut(text: str, most_bytes: int) -> str:
    """The beginning of a clean text that takes at most so many bytes in UTF-8, with an ellipsis if that is not all."""
    encoded = text.encode()
    if len(encoded) <= most_bytes:
        return text
    return encoded[: most_bytes - len(_ELLIPSIS.encode())].decode(errors="ignore") + _ELLIPSIS


def quote(value: object) -> str:
    """A value as Python writes it, its middle left out if it is long."""
    return _SHORT.repr(value)
