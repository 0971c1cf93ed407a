# SPDX-License-Identifier: Apache-2.0
"""The history of a host: each change that the agent has made of a server, as a line of JSON, with the reason for it.

The file is rotated by size. ``kongming-host history`` reads it, the oldest line first.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from logging.handlers import RotatingFileHandler
from pathlib import Path

from oslo_log import log

from kongming_sched import exceptions
from kongming_sched.agent.model.actions import Action, Kind, ThreadKey
from kongming_sched.agent.model.outcome import Basis, Outcome
from kongming_sched.agent.model.problem import Subject, SubjectKind

LOG = log.getLogger(__name__)

BACKUPS = 4
"""How many files are kept beside the one that is written."""

_FIELDS = ("time", "server", "name", "what", "from", "to", "why")


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a server.

    :ivar time: when it was made, in UTC
    :ivar what: the thread, the memory, what limits it, or its claim
    :ivar before: where that was, or what its value was; empty if it was not limited
    :ivar after: where it is now, or what its value is
    :ivar why: what caused it
    """

    time: datetime
    server: Subject
    what: str
    before: str
    after: str
    why: str

    def as_json(self) -> str:
        """The line of the file."""
        values = (
            self.time.isoformat(timespec="milliseconds"),
            self.server.id,
            self.server.name,
            self.what,
            self.before,
            self.after,
            self.why,
        )
        return json.dumps(dict(zip(_FIELDS, values, strict=True)), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Change:
        """Read a line of the file.

        :raises ValueError: if it is none
        """
        try:
            when, server, name, what, before, after, why = (str(json.loads(line)[field]) for field in _FIELDS)
        except (LookupError, TypeError, RecursionError) as error:
            raise ValueError(f"this is no change: {error!r}") from error
        return cls(datetime.fromisoformat(when), Subject(SubjectKind.SERVER, name, server), what, before, after, why)


class ChangeLog:
    """Writes down what a pass has done to servers, and why.

    What caused a change is found by what is other than in the pass before: the run of the guest, its template, the
    hours or the version of that, its metadata, or something else that had moved it.

    :param clock: seconds since 1970
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._file = _File()
        self._bases: Mapping[str, Basis] | None = None

    def write_to(self, path: Path | None, max_mib: int) -> None:
        """Write to this file from now on.

        :param path: None for no history
        :param max_mib: the size at which the next file is begun; four older ones are kept
        """
        self._file.open(path, max_mib)

    def record(self, outcome: Outcome, order: str = "") -> None:
        """Write down what a pass has done.

        :param order: what an operator has ordered, if the pass is a part of that
        """
        before, now = self._bases, outcome.pinning.bases
        drifted = {drift.server.id for drift in outcome.pinning.drift.found}
        for subject, action in outcome.pinning.done:
            if before is None:
                why = f"the agent started; {now.get(subject.id, 'it has ended')}"
            else:
                why = order or _cause(before.get(subject.id), now.get(subject.id), subject.id in drifted)
            for what, old, new in _values(action):
                self._write(subject, what, old, new, why)
        for subject, what in outcome.unmanaged.confined:
            self._write(subject, what, "", "", "it has no template")
        if outcome.pinning.pins is not None:
            self._bases = now

    def record_claim(self, server: Subject, before: str, after: str, why: str) -> None:
        """Write down that a claim was moved.

        :param before: the node that it was on, in words
        :param after: the node that it is on
        """
        self._write(server, "claim", before, after, why)

    def close(self) -> None:
        """Close the file."""
        self._file.open(None, 0)

    def _write(self, server: Subject, what: str, before: str, after: str, why: str) -> None:
        now = datetime.fromtimestamp(self._clock(), timezone.utc)
        self._file.write(Change(now, server, what, before, after, why).as_json())


class _File:
    """A file that is rotated. What keeps it from being written is logged once, and the agent goes on."""

    def __init__(self) -> None:
        self._handler: _Handler | None = None
        self._options: tuple[Path | None, int] = (None, 0)

    def open(self, path: Path | None, max_mib: int) -> None:
        if (path, max_mib) == self._options:
            return
        self._options = (path, max_mib)
        if self._handler is not None:
            self._handler.close()
        why = None if path is None else _why_not(path.parent)
        if why:
            LOG.warning("no history of changes is written: %s", why)
        self._handler = None if path is None or why else _Handler(path, max_mib)

    def write(self, line: str) -> None:
        if self._handler is not None:
            self._handler.emit(logging.makeLogRecord({"msg": line}))


class _Handler(RotatingFileHandler):
    def __init__(self, path: Path, max_mib: int) -> None:
        super().__init__(path, maxBytes=max_mib * 1024 * 1024, backupCount=BACKUPS, encoding="utf-8", delay=True)
        self._fault = ""

    def handleError(self, _record: logging.LogRecord) -> None:
        """Log what keeps the history from being written, once, in place of a traceback on the standard error."""
        fault = str(sys.exc_info()[1])
        if fault != self._fault:
            LOG.warning("the history of changes is not written: %s", fault)
        self._fault = fault


def _why_not(directory: Path) -> str | None:
    """Why nothing is written to a directory; None if it is the agent's own."""
    try:
        status = directory.lstat()
    except OSError as error:
        return f"{directory}: {error.strerror}; make it, with mode 750, or set [kongming_agent] history_file to nothing"
    if not stat.S_ISDIR(status.st_mode):
        return f"{directory} is not a directory; name another [kongming_agent] history_file"
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others may write to {directory}; run 'chown root: {directory}' and 'chmod 750 {directory}'"
    return None


def read(path: Path, since: datetime | None = None, server: str = "") -> Iterator[Change]:
    """The changes of a file and the older ones beside it, the oldest first. Lines that cannot be read are left out.

    :param since: only those from this time on
    :param server: only those of the server of this id or name
    :raises ConfigurationError: if there is no such directory, or a file cannot be read
    """
    if not path.parent.is_dir():
        raise exceptions.ConfigurationError("[kongming_agent] history_file", f"there is no directory {path.parent}")
    files = [path.with_name(f"{path.name}.{number}") for number in range(BACKUPS, 0, -1)] + [path]
    try:
        for file in (file for file in files if file.exists()):
            with file.open(encoding="utf-8", errors="replace") as lines:
                yield from (change for change in _changes(lines) if _is_meant(change, since, server))
    except OSError as error:
        raise exceptions.ConfigurationError(
            "[kongming_agent] history_file", f"{error.filename or path} cannot be read: {error.strerror}"
        ) from error


def _changes(lines: Iterable[str]) -> Iterator[Change]:
    for line in lines:
        with contextlib.suppress(ValueError):
            yield Change.from_json(line)


def _is_meant(change: Change, since: datetime | None, server: str) -> bool:
    return (since is None or change.time >= since) and (not server or server in (change.server.id, change.server.name))


def _values(action: Action) -> Iterator[tuple[str, str, str]]:
    """What an action has changed: the name of it, its value before, and the one that it has now."""
    if action.is_pin:
        yield str(ThreadKey(action.kind, action.index)), f"CPU {action.before}", f"CPU {action.cpus}"
    elif action.kind is Kind.MEMORY:
        yield str(action.kind), f"node {action.before}" if action.before else "", f"node {action.cpus}"
    else:
        of = f"{ThreadKey(Kind.VCPU, action.index)}: " if action.kind is Kind.QUOTA else ""
        for name, value in action.parameters.items():
            before = action.parameters_before.get(name)
            yield f"{of}{name}", "" if before is None else str(before), str(value)


def _cause(before: Basis | None, now: Basis | None, is_drifted: bool) -> str:
    """Why a pass has changed a guest.

    :param before: on what its layout was based in the pass before; None if it did not run then
    :param now: the same in this pass; None if it has ended
    """
    if now is None:
        return "it has ended"
    if before is None or before.start != now.start:
        return f"it started; {now}"
    if before.name != now.name:
        by = f", by request {now.request}" * bool(now.request)
        return f"it has template {now.name}, version {now.version}, instead of {before.name}{by}"
    if now.request and before.request != now.request:
        return f"its claim was changed; {now}"
    if before.period != now.period and before.version == now.version:
        ended, begun = before.period and f"{before.period} ended", now.period and f"{now.period} began"
        return f"hours of template {now.name}: {', '.join(filter(None, (ended, begun)))}"
    if before.template != now.template:
        return f"template {now.name} was changed: version {now.version} after {before.version}"
    if before.metadata != now.metadata:
        return f"its metadata was changed; {now}"
    if is_drifted:
        return f"something else had changed it; {now}"
    return f"other servers came or went; {now}"
