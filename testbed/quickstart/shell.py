# SPDX-License-Identifier: Apache-2.0
"""One shell, in which a reader types one command after the other."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a command; the output is that of both streams."""

    status: int
    lines: tuple[str, ...]


class Shell:
    """A bash that keeps its variables and its folder from command to command."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._mark = f"done-{uuid.uuid4().hex}"
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        self._bash.communicate()  # the end of the input ends it

    def run(self, command: str) -> Answer:
        """Give a command, and wait for its end.

        :raises EOFError: if the shell itself ended
        """
        assert self._bash.stdin
        assert self._bash.stdout
        self._bash.stdin.write(f"{{ {command}\n}} </dev/null\nprintf '\\n%s %d\\n' {self._mark} $?\n")
        self._bash.stdin.flush()
        lines: list[str] = []
        for line in self._bash.stdout:
            if line.startswith(self._mark):
                return Answer(int(line.split()[1]), tuple(lines[:-1] if not lines[-1] else lines))
            lines.append(line.rstrip("\n"))
        raise EOFError(f"the shell ended with {command!r}")
