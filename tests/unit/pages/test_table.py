# SPDX-License-Identifier: Apache-2.0
"""Cells as people and programs get them."""

from __future__ import annotations

import argparse
import io
import subprocess

import pytest
from cliff.formatters.shell import ShellFormatter

from kongming_sched.cli import columns
from kongming_sched.pages.table import printable_row

NASTY = "a\x1b[2J\x07\ud800"
CLEAN = "a�[2J��"


@pytest.mark.parametrize("formatter", ["table", "csv", "value", "shell"])
def test_texts_are_clean(formatter: str) -> None:
    """Numbers stay what they are."""
    assert [CLEAN, 7] == printable_row([NASTY, 7], formatter)


@pytest.mark.parametrize("formatter", ["json", "yaml"])
def test_json_and_yaml_are_exact(formatter: str) -> None:
    """They escape what cannot be printed."""
    names = columns.Names([NASTY])
    assert [NASTY, names] == printable_row([NASTY, names], formatter)


def test_columns_are_clean() -> None:
    """For people as for programs."""
    lines, nothing = printable_row([columns.Lines([{"name": NASTY}], [NASTY, "b"]), columns.Nothing(None)], "table")
    assert f"{CLEAN}\nb" == lines.human_readable()
    assert ("-", None) == (nothing.human_readable(), nothing.machine_readable())
    assert "\x1b" not in str(lines.machine_readable())


def test_columns_are_still_sorted() -> None:
    """By what they were sorted by before."""
    usages = [columns.Usage.of(total, used) for total, used in ((8, 2), (8, 7), (0, 0), (8, 4))]
    (shown,) = zip(*(printable_row([usage], "table") for usage in usages), strict=True)
    assert ["-", "1 free of 8", "4 free of 8", "6 free of 8"] == [str(usage) for usage in sorted(shown)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("$(echo obeyed)", "$(echo obeyed)", id="command"),
        pytest.param("`echo obeyed`", "`echo obeyed`", id="older command"),
        pytest.param("$HOME ${PATH}", "$HOME ${PATH}", id="variables"),
        pytest.param('a"; echo obeyed; "', 'a"; echo obeyed; "', id="quotes"),
        pytest.param('\\"$(echo obeyed)\\', '\\"$(echo obeyed)\\', id="backslashes"),
        pytest.param(columns.Names(["$(echo obeyed)", 'a"']), "['$(echo obeyed)', 'a\"']", id="column"),
        pytest.param(["$(echo obeyed)"], "['$(echo obeyed)']", id="list"),
        pytest.param(7, "7", id="number"),
        pytest.param(columns.Nothing(None), "None", id="nothing"),
    ],
)
def test_a_shell_takes_texts_literally(value: object, expected: str) -> None:
    """It obeys nothing that others have named."""
    out = io.StringIO()
    ShellFormatter().emit_one(
        ["name"], printable_row([value], "shell"), out, argparse.Namespace(variables=[], prefix="")
    )
    script = f'{out.getvalue()}printf %s "$name"'
    assert expected == subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
