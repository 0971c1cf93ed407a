# SPDX-License-Identifier: Apache-2.0
"""The steps of a document. Pure.

- A block ``.. code-block:: console`` holds commands behind ``$ ``, further lines of them behind ``> ``, and below each
  what it prints. What stands behind ``# `` is for another machine, and nothing is done about it.
- A block of any other language with a ``:caption:`` is a file of that name.
- Any other block is there to be read.

What is printed may differ in figures, ids, spaces and lines of tables. A line ``...`` stands for any lines. Below a
command without any output the document says nothing of it. The commands of a block with ``:class: wait`` are given
again for a while as long as they print something else, for what they show takes a moment.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

_DIRECTIVE = re.compile(r"( *)\.\. code-block:: *(\S+) *")
_OPTION = re.compile(r" +:([a-z-]+): *(.*)")
_VARIABLE = (
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",  # an id
    r"[0-9]+(?:\.[0-9]+)?",
    r"[ -]+",  # as wide as the table
)
_WORD = re.compile("|".join(f"({kind})" for kind in _VARIABLE))
ANYTHING = "..."


@dataclass(frozen=True, slots=True)
class Command:
    """What is typed, and the lines that should come.

    :ivar line: in the document, counted from 1
    :ivar output: empty if the document says nothing of it
    :ivar takes_a_moment: whether it may print something else at first
    """

    text: str
    output: tuple[str, ...]
    line: int
    takes_a_moment: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """What is written with an editor; the name may begin with ``~/``."""

    name: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Block:
    """A code block.

    :ivar line: of its first line of content, counted from 1
    """

    language: str
    options: dict[str, str]
    lines: tuple[str, ...]
    line: int

    def steps(self) -> Iterator[Command | File]:
        """The steps for its reader."""
        if self.language == "console":
            yield from self._commands()
        elif "caption" in self.options:
            yield File(self.options["caption"], "\n".join(self.lines) + "\n", self.line)

    def _commands(self) -> Iterator[Command]:
        starts = [number for number, line in enumerate(self.lines) if line.startswith("$ ")]
        for start, end in pairwise([*starts, len(self.lines)]):
            first, *rest = self.lines[start:end]
            more = list(takewhile(lambda line: line.startswith("> "), rest))
            text = "\n".join(line[2:] for line in [first, *more])
            output = tuple(line for line in rest[len(more) :] if line)
            yield Command(text, output, self.line + start, "wait" in self.options.get("class", "").split())


def blocks(text: str) -> Iterator[Block]:
    """The code blocks of a document of reStructuredText."""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if found := _DIRECTIVE.fullmatch(line):
            yield _block(found[2], _indented(lines[number:], deeper_than=len(found[1])), number + 1)


def _block(language: str, body: Sequence[str], line: int) -> Block:
    """A block of the lines below its directive, of which the first is this line of the document."""
    found = map(_OPTION.fullmatch, takewhile(str.strip, body))
    options = {option[1]: option[2] for option in found if option}
    content = body[len(options) :]
    blank = len(list(takewhile(lambda text: not text.strip(), content)))
    code = textwrap.dedent("\n".join(content[blank:])).rstrip().splitlines()
    return Block(language, options, tuple(code), line + len(options) + blank)


def _indented(lines: Iterable[str], deeper_than: int) -> list[str]:
    return list(takewhile(lambda line: not line.strip() or len(line) - len(line.lstrip()) > deeper_than, lines))


def steps(text: str) -> list[list[Command | File]]:
    """The steps of a document, block by block."""
    return [found for block in blocks(text) if (found := list(block.steps()))]


def agrees(wanted: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether what was printed is what the document shows, but for what may differ."""
    if not wanted:
        return True
    pattern = "".join(r"(?:.*\n)*" if line == ANYTHING else f"{_pattern(line)} *\n" for line in wanted)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed if line.strip())) is not None


def _pattern(line: str) -> str:
    """A line as a regular expression."""
    parts, end = [], 0
    for found in _WORD.finditer(line):
        parts += [re.escape(line[end : found.start()]), _VARIABLE[(found.lastindex or 1) - 1]]
        end = found.end()
    return "".join(parts) + re.escape(line[end:])
