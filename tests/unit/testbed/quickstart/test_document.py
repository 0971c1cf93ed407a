# SPDX-License-Identifier: Apache-2.0
"""The steps of a document."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.quickstart.document import Command, File, agrees, blocks, steps

DOCUMENTS = Path(__file__).parents[4] / "doc/source"
PAGE = """\
Title
=====

.. code-block:: shell

   not for us

.. code-block:: yaml
   :caption: ~/a.yaml

   a:
     - 1

Some words.

.. code-block:: console
   :class: wait

   $ one --two \\
   >   three
   first line

   ...
   $ four
"""


def test_a_page_holds_files_and_commands() -> None:
    """Files have a caption, commands a prompt; a block without either is there to be read."""
    assert [
        [File("~/a.yaml", "a:\n  - 1\n", 11)],
        [
            Command("one --two \\\n  three", ("first line", "..."), 19, takes_a_moment=True),
            Command("four", (), 24, takes_a_moment=True),
        ],
    ] == steps(PAGE)


def test_a_block_ends_where_the_text_goes_on() -> None:
    """Nothing of it gets into a file."""
    assert [("not for us",), ("a:", "  - 1")] == [block.lines for block in blocks(PAGE)][:2]


@pytest.mark.parametrize(
    ("wanted", "printed", "is_so"),
    [
        ((), ("whatever",), True),
        (("| web | 17 |",), ("|  web   |     5 |",), True),
        (("+-----+----+",), ("+---+---------+",), True),
        (("| web |",), ("| db  |",), False),
        (("id 66813802-3ef1-483e-96e1-ff42ab925cb9",), ("id 00000000-0000-4000-8000-00000000000a",), True),
        (("id 66813802-3ef1-483e-96e1-ff42ab925cb9",), ("id none",), False),
        (("a", "...", "d"), ("a", "b", "c", "d"), True),
        (("a", "...", "d"), ("a", "d"), True),
        (("a", "...", "d"), ("a", "b"), False),
        (("a",), ("a", "b"), False),
        (("a", "b"), ("a", "", "b"), True),
        (("0.5 s",), ("12 s",), True),
    ],
)
def test_output_may_differ_in_figures_and_width(wanted: tuple[str, ...], printed: tuple[str, ...], is_so: bool) -> None:
    """And in ids and blank lines, and in whatever stands for dots; in nothing else."""
    assert is_so == agrees(wanted, printed)


@pytest.mark.parametrize("page", sorted(path.name for path in (DOCUMENTS / "zh").glob("*.rst")))
def test_the_chinese_pages_tell_the_same(page: str) -> None:
    """Their files and commands are those of the English page, up to what a comment says."""
    english = DOCUMENTS / page
    if not english.exists():
        english = DOCUMENTS / "admin" / page
    assert [(block.language, block.options.get("class")) for block in blocks(english.read_text())] == [
        (block.language, block.options.get("class")) for block in blocks((DOCUMENTS / "zh" / page).read_text())
    ]
    assert _told(english) == _told(DOCUMENTS / "zh" / page)


def _told(page: Path) -> list[tuple[str, ...]]:
    """The commands with their output, and the files with their text."""
    return [
        (step.name, step.text) if isinstance(step, File) else (step.text, *step.output)
        for block in steps(page.read_text())
        for step in block
    ]
