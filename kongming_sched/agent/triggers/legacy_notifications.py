# SPDX-License-Identifier: Apache-2.0
"""Starts a pass on Nova's legacy notifications of a server, and has Nova's API asked for its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kongming_sched import exceptions
from kongming_sched.agent.triggers.base import OPTION
from kongming_sched.agent.triggers.listening import ListeningTrigger


class LegacyNotificationTrigger(ListeningTrigger):
    """Nova sends them unless ``[notifications] notification_format`` of nova.conf is ``versioned``.

    Their content has no version to rely on, so that each is only a reason to ask Nova.
    """

    event_types = r"^compute\.instance\."

    @property
    def topics(self) -> list[str]:
        """As the option says."""
        return list(self.context.conf.kongming_agent.legacy_topics)

    def check(self) -> None:
        """See whether there is a transport, and a way to Nova.

        :raises ConfigurationError: if one is missing
        """
        if self.context.ask is None:
            raise exceptions.ConfigurationError(
                OPTION,
                "'legacy_notifications' asks Nova's API, and [kongming_nova] auth_type is not set; set it, or set"
                " [kongming_nova] auth_section = placement to ask as [placement] does",
            )
        super().check()

    def hear(self, event_type: str, payload: Mapping[str, Any], sent_at: float) -> None:  # noqa: ARG002  # the base's
        """Ask for the server, and start a pass if something ended here."""
        server = str(payload["instance_id"])
        if event_type == "compute.instance.delete.end":
            self.context.metadata.forget(server)
        elif self.context.ask is not None:
            self.context.ask(server)
        if payload.get("node") == self.context.host and event_type.endswith(".end"):
            self.context.wake()
