# SPDX-License-Identifier: Apache-2.0
"""Starts a pass at an interval, which finds what came without an event."""

from __future__ import annotations

from kongming_sched.agent.triggers.base import Trigger, TriggerContext


class TimerTrigger(Trigger):
    """``[kongming_agent] interval_seconds``, which the agent's own loop keeps."""

    def __init__(self, context: TriggerContext) -> None:
        super().__init__(context)
        self.interval_seconds = float(context.conf.kongming_agent.interval_seconds)

    def start(self) -> None:
        """Nothing is to be done."""

    def stop(self) -> None:
        """Nothing is to be done."""
