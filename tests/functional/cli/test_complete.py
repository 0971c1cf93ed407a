# SPDX-License-Identifier: Apache-2.0
"""Tab completion: osc's own knows the commands and their options."""

from __future__ import annotations

import re

import pytest

from tests.functional.cli.shell import Shell
from tests.functional.cli.transcripts import FULL


@pytest.fixture(scope="module")
def completion() -> dict[str, set[str]]:
    """What ``openstack complete`` offers after each command."""
    done = Shell({"PATH": "/usr/bin"})("complete")
    assert done.code == 0
    found = re.findall(r"^ {2}cmds_(\w+)='([^']*)'$", done.out, re.MULTILINE)
    return {name: set(words.split()) for name, words in found}


def test_it_knows_every_command(completion: dict[str, set[str]]) -> None:
    """Word by word."""
    for command in FULL:
        words = ["kongming", *command.split()]
        for count in range(1, len(words)):
            assert words[count] in completion["_".join(words[:count])], command


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("template_create", {"--file", "--aggregate", "--dry-run", "--format"}),
        ("host_list", {"--template", "--aggregate", "--host", "--long", "--sort-column"}),
        ("server_list", {"--template", "--aggregate", "--host", "--long"}),
        ("flavor_set", {"--template", "--numa-strategy", "--threads-per-core", "--dry-run"}),
    ],
)
def test_it_knows_their_options(completion: dict[str, set[str]], command: str, options: set[str]) -> None:
    """With those of the output."""
    assert options <= completion[f"kongming_{command}"]
