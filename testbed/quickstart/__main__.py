# SPDX-License-Identifier: Apache-2.0
"""The command tools/quickstart."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from testbed.quickstart.document import Command, File, agrees, steps
from testbed.quickstart.shell import Answer, Shell

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "doc/source/quickstart.rst"
PATIENCE_SECONDS = 90.0
"""How long a command that takes a moment is given again."""

_FOREIGN = ("OS_", "XDG_STATE_HOME", "PYTHONPATH", "VIRTUAL_ENV")
"""Variables that a reader with a new machine does not have."""


class DocumentError(Exception):
    """The document does not say what happens."""


def say(text: str) -> None:
    """Say how it goes, at once."""
    print(text, flush=True)


def follow(blocks: Sequence[Sequence[Command | File]], shell: Shell, home: Path) -> None:
    """Do what a document says.

    :raises DocumentError: with the line of what does not work
    """
    for step in (step for block in blocks for step in block):
        if isinstance(step, File):
            path = home / step.name.removeprefix("~/")
            path.write_text(step.text)
            say(f"(writes {step.name})")
        else:
            before = time.monotonic()
            say(f"$ {step.text}")
            answer = give(step, shell.run)
            say("\n".join([*answer.lines, f"({time.monotonic() - before:.0f} s)"]))


def give(command: Command, run: Callable[[str], Answer], pause_seconds: float = 2.0) -> Answer:
    """Give a command, again for a while if it says of itself that it takes a moment.

    :raises DocumentError: if it fails or prints something else than the document says
    """
    end = time.monotonic() + PATIENCE_SECONDS * command.takes_a_moment
    while True:
        answer = run(command.text)
        if not answer.status and agrees(command.output, answer.lines):
            return answer
        if time.monotonic() > end:
            raise DocumentError(complaint(command, answer))
        time.sleep(pause_seconds)


def complaint(command: Command, answer: Answer) -> str:
    """What a document says and what came, one below the other."""
    came = "\n".join(answer.lines)
    if answer.status:
        return f"line {command.line}: {command.text!r} ended with {answer.status}:\n{came}"
    said = "\n".join(command.output)
    return f"line {command.line}: {command.text!r} should print\n{said}\nand printed\n{came}"


def reader(home: Path) -> dict[str, str]:
    """The environment of a user who has not used a cloud here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return kept | {"HOME": str(home), "TERM": "dumb", "COLUMNS": "200", "LC_ALL": "C.UTF-8"}


def main() -> int:
    """Follow the document."""
    parser = argparse.ArgumentParser(prog="tools/quickstart", description="Carry out the steps of a document.")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="default: the quick start")
    parser.add_argument("--home", type=Path, help="the reader's home folder (default: a new one)")
    parser.add_argument("--keep", action="store_true", help="leave out the last block, which takes everything down")
    parser.add_argument("--list", action="store_true", help="only print the commands")
    arguments = parser.parse_args()
    blocks = steps(arguments.document.read_text())
    blocks = blocks[:-1] if arguments.keep else blocks
    if arguments.list:
        say("\n".join(step.text for block in blocks for step in block if isinstance(step, Command)))
        return 0
    home = arguments.home or Path(tempfile.mkdtemp(prefix="kongming-"))
    try:
        with Shell(ROOT, reader(home)) as shell:
            follow(blocks, shell, home)
    except (DocumentError, EOFError) as error:
        sys.stderr.write(f"{arguments.document}, {error}\n")
        return 1
    say(f"{arguments.document} says what happens")
    return 0


if __name__ == "__main__":
    sys.exit(main())
