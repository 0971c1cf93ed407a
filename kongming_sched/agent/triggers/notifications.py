# SPDX-License-Identifier: Apache-2.0
"""Starts a pass on Nova's versioned notifications of a server, and learns its metadata from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kongming_sched.agent.triggers.listening import ListeningTrigger


class NotificationTrigger(ListeningTrigger):
    """``[notifications] notification_format`` of nova.conf must be ``versioned`` or ``both``.

    Each host gets the notifications of all servers. The ``host`` in a payload is often not the one that a server is on
    next, so metadata is kept whatever host it names; only that of servers which run here starts a pass. Where Nova's
    API may be asked it is: notifications wait in queues and overtake each other, and its answer is never older.
    """

    event_types = r"^instance\."

    @property
    def topics(self) -> list[str]:
        """As the option says."""
        return list(self.context.conf.kongming_agent.versioned_topics)

    def hear(self, event_type: str, payload: Mapping[str, Any], sent_at: float) -> None:
        """Learn the metadata that stands in it, or ask for it."""
        data = payload["nova_object.data"]
        server, is_named_here = str(data["uuid"]), data.get("node") == self.context.host
        if event_type == "instance.delete.end":
            self.context.metadata.forget(server)
        elif self.context.ask is not None:
            self.context.ask(server)
        elif (
            isinstance(data.get("metadata"), Mapping)
            and self.context.metadata.learn(server, data["metadata"], sent_at)
            and not self.is_backlog(sent_at)
            and (is_named_here or server in self.context.metadata.running)
        ):
            self.context.wake()
        if is_named_here and event_type.endswith(".end"):
            self.context.wake()
