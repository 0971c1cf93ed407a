# SPDX-License-Identifier: Apache-2.0
"""The interface of triggers, what they are given, and how those are loaded that the options name."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, cast

from oslo_config import cfg
from stevedore import driver
from stevedore import exception as stevedore_exceptions

from kongming_sched import exceptions
from kongming_sched.agent.model.problem import Problem, Reason, Subject, SubjectKind
from kongming_sched.agent.state.server_metadata import Metadata

NAMESPACE = "kongming_sched.agent.triggers"
OPTION = "[kongming_agent] triggers"


class DomainEvents:
    """What the hypervisor calls on each event of a domain, or when libvirtd has gone.

    :ivar listener: what is called in turn; None before a trigger listens
    """

    def __init__(self) -> None:
        self.listener: Callable[[], None] | None = None

    def __call__(self) -> None:
        """Something happened."""
        if self.listener is not None:
            self.listener()


@dataclass(frozen=True)
class TriggerContext:
    """What a trigger is given.

    :ivar conf: the agent's options, to which a trigger may add its own
    :ivar host: the compute node's name
    :ivar wake: starts a pass; may be called from any thread, and as often as one likes
    :ivar metadata: takes what is learnt of servers
    :ivar ask: has Nova asked for a server of which something changed; None where Nova cannot be asked
    :ivar events: the hypervisor's
    """

    conf: cfg.ConfigOpts
    host: str
    wake: Callable[[], None]
    metadata: Metadata = field(default_factory=Metadata)
    ask: Callable[[str], None] | None = None
    events: DomainEvents = field(default_factory=DomainEvents)


class Trigger(abc.ABC):
    """Starts passes, by calling ``wake`` or by an interval.

    :ivar interval_seconds: how long to wait for the next pass if nothing happens; None for ever
    """

    interval_seconds: float | None = None

    def __init__(self, context: TriggerContext) -> None:
        self.context = context

    def check(self) -> None:  # noqa: B027  # most always can
        """Check whether it can start. Nothing is begun, and no other service is asked.

        :raises ConfigurationError: if it never can, by the options that there are
        """

    @abc.abstractmethod
    def start(self) -> None:
        """Begin. Must not wait for any other service.

        :raises ConfigurationError: if it never can, by the options that there are
        """

    @abc.abstractmethod
    def stop(self) -> None:
        """End, with all its threads. Called after a start that failed, too."""

    @property
    def problem(self) -> str:
        """Why it does not work now; empty if it does."""
        return ""


class Triggers:
    """The triggers of an agent.

    :raises ConfigurationError: if one is not known or lacks what it needs
    """

    def __init__(self, names: Iterable[str], context: TriggerContext) -> None:
        self._triggers: dict[str, Trigger] = {name: _load(name)(context) for name in names}

    def check(self) -> None:
        """Check whether all can start.

        :raises ConfigurationError: if one never can
        """
        for trigger in self._triggers.values():
            trigger.check()

    def start(self) -> None:
        """Start all, or none.

        :raises ConfigurationError: if one never can
        """
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            for trigger in self._triggers.values():
                trigger.start()
            undo.pop_all()

    def stop(self) -> None:
        """Stop all."""
        for trigger in self._triggers.values():
            trigger.stop()

    @property
    def interval_seconds(self) -> float | None:
        """How long to wait for the next pass if nothing happens; None for ever."""
        intervals = (trigger.interval_seconds for trigger in self._triggers.values())
        return min((seconds for seconds in intervals if seconds is not None), default=None)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What keeps triggers from hearing anything."""
        return tuple(
            Problem(Reason.TRIGGER, Subject(SubjectKind.TRIGGER, name), trigger.problem)
            for name, trigger in self._triggers.items()
            if trigger.problem
        )


def check(names: Iterable[str]) -> None:
    """Check that there are triggers of these names.

    :raises ConfigurationError: for the first that is not known or cannot be loaded
    """
    for name in names:
        _load(name)


def _load(name: str) -> type[Trigger]:
    try:
        found: Any = driver.DriverManager(NAMESPACE, name).driver
    except stevedore_exceptions.NoMatches as error:
        known = ", ".join(_known())
        raise exceptions.ConfigurationError(OPTION, f"there is no trigger {name!r}; there are {known}") from error
    except ImportError as error:
        raise exceptions.ConfigurationError(
            OPTION, f"trigger {name!r} cannot be loaded: {error}; try 'pip install kongming-sched[notifications]'"
        ) from error
    return cast("type[Trigger]", found)


def _known() -> Sequence[str]:
    return sorted({entry.name for entry in entry_points(group=NAMESPACE)})
