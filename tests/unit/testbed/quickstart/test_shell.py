# SPDX-License-Identifier: Apache-2.0
"""One shell for all commands, and what comes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.quickstart.__main__ import DocumentError, follow, give, reader
from testbed.quickstart.document import Command, steps
from testbed.quickstart.shell import Answer, Shell


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell of a user whose home folder is the test's."""
    with Shell(tmp_path, reader(tmp_path)) as shell:
        yield shell


def test_the_shell_remembers(shell: Shell) -> None:
    """Variables and the folder, as a reader's does."""
    shell.run("cd /; name=world")
    assert Answer(0, ("hello world from /",)) == shell.run('echo "hello $name from $PWD"')


def test_a_command_that_fails_says_how(shell: Shell) -> None:
    """Its exit status, and what it printed on both streams."""
    assert Answer(3, ("out", "err")) == shell.run("echo out; echo err >&2; (exit 3)")


def test_output_without_an_end_of_line_is_a_line(shell: Shell) -> None:
    """As of printf."""
    assert Answer(0, ("a", "b")) == shell.run("printf 'a\\nb'")


def test_a_shell_that_ends_is_an_error(shell: Shell) -> None:
    """Nothing after it would be done."""
    with pytest.raises(EOFError):
        shell.run("exit 0")


def test_a_document_is_followed(shell: Shell, tmp_path: Path) -> None:
    """Files are written where their names say, and commands find them."""
    page = ".. code-block:: text\n   :caption: ~/a\n\n   one\n\n.. code-block:: console\n\n   $ cat ~/a\n   one\n"
    follow(steps(page), shell, tmp_path)
    assert "one\n" == (tmp_path / "a").read_text()


def test_other_output_is_an_error(shell: Shell) -> None:
    """It names the line, what should have come and what came."""
    with pytest.raises(DocumentError, match=r"line 7: 'echo db' should print\nweb\nand printed\ndb"):
        give(Command("echo db", ("web",), 7), shell.run)


def test_a_command_that_takes_a_moment_is_given_again(shell: Shell) -> None:
    """Until it prints what the document says."""
    text = "number=$((number + 1)); test $number = 3 && echo ready"
    give(Command(text, ("ready",), 1, takes_a_moment=True), shell.run, pause_seconds=0.01)
    assert ("3",) == shell.run("echo $number").lines
