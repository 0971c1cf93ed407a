# SPDX-License-Identifier: Apache-2.0
"""What a demonstration prints: sections, the commands that it runs, and claims that it checks."""

from __future__ import annotations

import shlex
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.markup import escape

PROGRAMS = Path(sys.executable).parent

_T = TypeVar("_T")


class Screen:
    """Prints, and remembers which claims did not hold.

    :param environment: that of the commands that it runs
    """

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        if not self.console.is_terminal:
            self.console.width = 120
        self.environment: Mapping[str, str] = {}
        self.claims = 0
        self.broken: list[str] = []
        self._start = time.monotonic()

    @property
    def elapsed_seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._start

    def section(self, title: str) -> None:
        """Begin a section."""
        self.console.print()
        self.console.rule(f"[bold]{escape(title)}[/bold] [dim]{self.elapsed_seconds:.1f} s[/dim]", align="left")

    def say(self, text: str) -> None:
        """A sentence to the reader."""
        self.console.print(escape(text), soft_wrap=False)

    def quote(self, text: str, style: str = "dim") -> None:
        """Lines of another program, indented."""
        self.console.print(escape(textwrap.indent(text.rstrip(), "    ")), style=style)

    def file(self, path: Path) -> None:
        """A file that a command is about to take."""
        self.console.print(f"[dim]{escape(str(path))}:[/dim]")
        self.quote(path.read_text(), style="yellow")

    def run(self, *words: str | Path, status: int = 0) -> str:
        """Run a command as an operator would, and show it with what it prints.

        :param status: the exit status that it must have; another is a claim that did not hold
        """
        self.console.print(f"[bold cyan]$ {escape(shlex.join(map(str, words)))}[/bold cyan]")
        done = self._call(words)
        if printed := (done.stdout + done.stderr).strip():
            self.console.print(escape(printed))
        if done.returncode != status:
            self.claim(f"{words[0]} ends with {status}", False, f"it ended with {done.returncode}")
        return done.stdout

    def claim(self, text: str, held: bool, facts: str = "") -> None:
        """State something that was checked."""
        self.claims += 1
        mark = "[bold green]\u2714[/bold green]" if held else "[bold red]\u2718 NOT SO:[/bold red]"
        self.console.print(f"{mark} {escape(text)}" + (f" [dim]({escape(facts)})[/dim]" if facts else ""))
        if not held:
            self.broken.append(text)

    def await_claim(
        self, text: str, observe: Callable[[], _T], expected: Callable[[_T], bool], timeout_seconds: float = 180
    ) -> _T:
        """State something that comes true in time; the facts are what was seen last and how long it took."""
        start = time.monotonic()
        while True:
            seen = observe()
            waited = time.monotonic() - start
            if expected(seen) or waited > timeout_seconds:
                self.claim(text, expected(seen), f"{_words(seen)}, after {waited:.1f} s")
                return seen
            time.sleep(0.1)

    def _call(self, words: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
        program = PROGRAMS / str(words[0])
        environment = {**self.environment, "CLIFF_MAX_TERM_WIDTH": str(self.console.width)}
        return subprocess.run(
            [program if program.exists() else words[0], *words[1:]],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


def _words(seen: object) -> str:
    if isinstance(seen, Mapping):
        return "; ".join(f"{key}: {_words(value)}" for key, value in seen.items())
    return ", ".join(map(str, seen)) if isinstance(seen, list | tuple | set) else str(seen)
