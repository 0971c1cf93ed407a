# SPDX-License-Identifier: Apache-2.0
"""Help texts as they are written: paragraphs stay paragraphs, and examples stay lines that can be copied."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

_INDENT = "  "


def keep_paragraphs(parser: argparse.ArgumentParser) -> None:
    """Let the parser of a command keep them, whose own formatter would run all of a description together."""
    bases: Any = (_Paragraphs, parser.formatter_class)
    formatter: Any = type("HelpFormatter", bases, {})
    parser.formatter_class = formatter


class _Paragraphs(argparse.HelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(textwrap.indent(_fill(block, width - len(indent)), indent) for block in _blocks(text))


def _blocks(text: str) -> list[str]:
    return [block.strip("\n") for block in textwrap.dedent(text).strip("\n").split("\n\n") if block.strip()]


def _fill(block: str, width: int) -> str:
    """A paragraph filled, or the lines of an example as they are."""
    if block.startswith(" "):
        return textwrap.indent(textwrap.dedent(block), _INDENT)
    if block.endswith("::"):  # which is how Sphinx knows that an example follows
        block = block[:-1]
    return textwrap.fill(" ".join(block.split()), width)
