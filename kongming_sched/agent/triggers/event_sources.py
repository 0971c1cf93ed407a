# SPDX-License-Identifier: Apache-2.0
"""Everything beside the loop that starts passes, and that learns servers' own metadata."""

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
    """The triggers that the options name, and the metadata poller if they say how to reach Nova.

    :param host: the compute node's name
    :param wake: starts a pass
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
        self._poller: MetadataPoller | None = None
        if adapter is not None:
            nova = NovaClient(adapter)
            self._poller = MetadataPoller(nova, host, metadata, wake, settings.metadata_poll_interval)
        ask = self._poller.ask if self._poller else None
        self._triggers = Triggers(settings.triggers, TriggerContext(conf, host, wake, metadata, ask, events))

    def start(self) -> None:
        """Start all of it, or nothing.

        :raises ConfigurationError: if a trigger never can
        """
        self._triggers.start()
        if self._poller:
            self._poller.start()

    def seen(self) -> None:
        """Have Nova asked for the servers that the pass which is over saw for the first time."""
        if self._poller:
            self._poller.watch(self._metadata.running)

    def stop(self) -> None:
        """Stop all of it."""
        self._triggers.stop()
        if self._poller:
            self._poller.stop()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is not reached, and why."""
        return self._triggers.problems + (self._poller.problems if self._poller else ())

    @property
    def interval_seconds(self) -> float:
        """How long to wait for the next pass if nothing happens, in seconds."""
        seconds = self._triggers.interval_seconds
        return _LONG_SECONDS if seconds is None else seconds
