# SPDX-License-Identifier: Apache-2.0
"""Guests that an administrator has taken over: the agent leaves them alone.

The file in the run directory is written by ``kongming-host release`` and ``adopt`` alone, and read by the agent at
each pass. It names the run of a guest, and so a release ends when the guest stops, is rebooted by Nova or migrates:
the pins that were set by hand end then too, and a guest without pins would float over the CPUs of others. libvirt's
metadata would not do: in the running guest it goes along to another host, in the definition Nova drops it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kongming_sched import exceptions
from kongming_sched.agent.state.json_file import UNREADABLE, read_state, write_state

FILE_NAME = "released.json"


@dataclass(frozen=True, slots=True)
class Released:
    """Which guests are left alone.

    :ivar starts: server id to the number of the run of which it holds
    :ivar everyone: whether all guests are, those that start later included, because KongMing is leaving the host
    """

    starts: Mapping[str, str] = field(default_factory=dict)
    everyone: bool = False

    def covers(self, uuid: str, start: str) -> bool:
        """Whether this run of a guest is left alone."""
        return self.everyone or (bool(start) and self.starts.get(uuid) == start)

    def plus(self, uuid: str, start: str) -> Released:
        """With one more guest."""
        return Released({**self.starts, uuid: start}, self.everyone)

    def minus(self, uuid: str) -> Released:
        """Without a guest."""
        return Released({other: start for other, start in self.starts.items() if other != uuid}, self.everyone)

    def of(self, running: Iterable[tuple[str, str]]) -> Released:
        """Without guests whose run has ended.

        :param running: server id and run of each guest
        """
        starts = {uuid: start for uuid, start in running if start and self.starts.get(uuid) == start}
        return Released(starts, self.everyone)


NONE_RELEASED = Released()


class ReleasedFile:
    """The file, as the agent reads it.

    :param path: None if no guest can be released
    :ivar last: what the file held when it could be read last
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.last = Released()

    def read(self) -> Released:
        """Read the file.

        :raises ConfigurationError: if the file cannot be read; ``last`` is what it said before
        """
        if self._path is not None:
            self.last = load_released(self._path)
        return self.last


def load_released(path: Path) -> Released:
    """Read the file; no guest is released if there is none.

    :raises ConfigurationError: if it cannot be read
    """
    try:
        state = read_state(path)
        if state is None:
            return Released()
        starts = {str(uuid): str(start) for uuid, start in state["guests"].items()}
        return Released(starts, bool(state["everyone"]))
    except exceptions.ConfigurationError:  # which says what to do
        raise
    except UNREADABLE as error:
        raise exceptions.ConfigurationError(
            "[kongming_agent] run_directory",
            f"{path} cannot be read: {error}; repair it or remove it, which adopts all guests",
        ) from error


def save_released(path: Path, released: Released) -> None:
    """Write the file.

    :raises ConfigurationError: if it cannot be written
    """
    try:
        write_state(path, {"guests": dict(released.starts), "everyone": released.everyone})
    except OSError as error:
        raise exceptions.ConfigurationError(
            "[kongming_agent] run_directory", f"cannot write {path}: {error}"
        ) from error
