# SPDX-License-Identifier: Apache-2.0
"""The real ``openstack`` command in this process, so that it reaches a Placement that only this process can reach."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

from cliff import commandmanager
from openstackclient import shell
from osc_lib import clientmanager

_load_commands = commandmanager.CommandManager.load_commands
_loaded: dict[str, dict[str, Any]] = {}
"""The commands of each namespace of entry points."""


def _load_commands_once(manager: commandmanager.CommandManager, namespace: str) -> None:
    """Load the commands of a namespace, of which ``openstack`` has a thousand, once in this process."""
    if namespace in _loaded:
        manager.group_list.append(namespace)
        manager.commands.update(_loaded[namespace])
        return
    before = dict(manager.commands)
    _load_commands(manager, namespace)
    _loaded[namespace] = {name: found for name, found in manager.commands.items() if before.get(name) is not found}


@dataclass(frozen=True)
class Done:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What a successful command printed as JSON."""
        assert (self.code, self.err) == (0, "")
        return json.loads(self.out)


@dataclass(frozen=True)
class Shell:
    """Runs commands.

    :ivar environment: all that they find in theirs
    """

    environment: Mapping[str, str]

    def __call__(self, line: str, *words: str, stdin: bytes = b"") -> Done:
        """Run a command.

        :param line: words that hold no blanks
        :param words: more words
        """
        name = mock.patch.object(shell.OpenStackShell, "NAME", "openstack")  # which cliff reads from the process's name
        with name, mock.patch.object(commandmanager.CommandManager, "load_commands", _load_commands_once):
            arguments = [*line.split(), *words]
            return run_here(lambda: int(shell.OpenStackShell().run(arguments)), self.environment, stdin)

    def json(self, line: str, *words: str) -> Any:
        """What a command that succeeds prints as JSON."""
        return self(line, *words, "-f", "json").json


def run_here(program: Callable[[], int], environment: Mapping[str, str], stdin: bytes = b"") -> Done:
    """Run a command in this process as if it were one of its own.

    :param program: gives its exit code
    :param environment: all that it finds in its own
    """
    out, err = io.StringIO(), io.StringIO()
    with (
        _as_a_process_of_its_own(environment, stdin),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = program()
        except SystemExit as error:  # argparse's
            code = error.code if isinstance(error.code, int) else 1
    return Done(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _as_a_process_of_its_own(environment: Mapping[str, str], stdin: bytes) -> Iterator[None]:
    """Keep what osc does to its process, and what it remembers from one command to the next, out of the tests."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers[:] = []  # osc makes its own, and sets the level so low that pytest's would keep every byte of HTTP
    for attribute in vars(clientmanager.ClientManager).values():
        if isinstance(attribute, clientmanager.ClientCache):
            attribute._handle = None
    shell.OpenStackShell.timing_data.clear()
    with (
        warnings.catch_warnings(),
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin))),
    ):
        try:
            yield
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
