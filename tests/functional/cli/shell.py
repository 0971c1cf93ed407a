# SPDX-License-Identifier: Apache-2.0
"""The real ``openstack`` command in this process, so that it reaches a Placement that only this process can reach."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

from openstackclient import shell
from osc_lib import clientmanager

_SERVER_LOGGERS = ("placement", "oslo_policy", "oslo_concurrency", "oslo_db")
"""What Placement logs in this process is not the command's to print."""


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
        out, err = io.StringIO(), io.StringIO()
        with (
            as_a_process_of_its_own(self.environment, stdin),
            mock.patch.object(shell.OpenStackShell, "NAME", "openstack"),  # which cliff reads from this process's name
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                code = shell.OpenStackShell().run([*line.split(), *words])
            except SystemExit as error:  # argparse's
                code = error.code if isinstance(error.code, int) else 1
        return Done(code, out.getvalue(), err.getvalue())

    def json(self, line: str, *words: str) -> Any:
        """What a command that succeeds prints as JSON."""
        return self(line, *words, "-f", "json").json


@contextlib.contextmanager
def as_a_process_of_its_own(environment: Mapping[str, str], stdin: bytes) -> Iterator[None]:
    """Keep what osc does to its process, and what it remembers from one command to the next, out of the tests."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in _SERVER_LOGGERS}
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL)
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
            for name, before in levels.items():
                logging.getLogger(name).setLevel(before)
