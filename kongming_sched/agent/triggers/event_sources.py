# SPDX-License-Identifier: Apache-2.0
"""Everything beside the loop that says when to look, and what servers' own metadata says."""

from __future__ import annotations

from collections.abc import Callable

from oslo_config import cfg

from kongming_sched.agent.model.problem import Problem
from kongming_sched.agent.settings import Settings, nova_adapter
from kongming_sched.agent.state.server_metadata import Metadata
from kongming_sched.agent.triggers.base import DomainEvents, TriggerContext, Triggers
from kongming_sched.agent.triggers.metadata_poller import MetadataPoller
from kongming_sched.agent.triggers.nova import NovaClient

_LONG_SECONDS = 86400.0
"""Where no trigger has an interval: seldom enough."""


class EventSources:
    """The triggers that the options name, and the inquiries at Nova if they say how to reach it.

    :param host: the compute node's name
    :param wake: makes the agent look
    :param events: what the hypervisor calls
    :raises ConfigurationError: for options that can never work
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        settings: Settings,
        host: str,
        wake: Callable[[], None],
        events: DomainEvents,
        metadata: Metadata,
    ) -> None:
        adapter = nova_adapter(conf)
        self._metadata = metadata
        self._inquiry: MetadataPoller | None = None
        if adapter is not None:
            nova = NovaClient(adapter)
            self._inquiry = MetadataPoller(nova, host, metadata, wake, settings.metadata_poll_interval)
        ask = self._inquiry.ask if self._inquiry else None
        self._triggers = Triggers(settings.triggers, TriggerContext(conf, host, wake, metadata, ask, events))

    def start(self) -> None:
        """Start all of it, or nothing.

        :raises ConfigurationError: if a trigger never can
        """
        self._triggers.start()
        if self._inquiry:
            self._inquiry.start()

    def seen(self) -> None:
        """A look is over: Nova is asked for the servers that it saw for the first time."""
        if self._inquiry:
            self._inquiry.watch(self._metadata.running)

    def stop(self) -> None:
        """Stop all of it."""
        self._triggers.stop()
        if self._inquiry:
            self._inquiry.stop()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is not reached, and why."""
        return self._triggers.problems + (self._inquiry.problems if self._inquiry else ())

    @property
    def interval_seconds(self) -> float:
        """How often to look although nothing happened, in seconds."""
        seconds = self._triggers.interval_seconds
        return _LONG_SECONDS if seconds is None else seconds
