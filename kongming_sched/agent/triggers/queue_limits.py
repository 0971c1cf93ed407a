# SPDX-License-Identifier: Apache-2.0
"""Limits of the queue that an agent reads notifications from, so that nothing piles up for a host that is gone.

oslo.messaging takes arguments for queues of replies and of fanouts only: no option, and no parameter of its listeners,
gives those of notifications any. So they are added where its driver for RabbitMQ declares a queue, on this transport
alone. These parts of it are private. In a release that lacks one of them the queue has no limits, and all else works.
"""

from __future__ import annotations

from typing import Any

from oslo_log import log

LOG = log.getLogger(__name__)

LIMITS = {
    "x-expires": 24 * 3600 * 1000,  # milliseconds without a reader: a host that is away for a day starts anew
    "x-max-length": 10_000,
    "x-max-length-bytes": 32 * 2**20,
}
"""RabbitMQ's arguments of the queue. What exceeds it goes from its head, so that the newest notifications stay."""

_RABBIT = ("rabbit", "kombu")
"""The transports of oslo.messaging that reach RabbitMQ. Others have no such queue."""


class QueueLimits:
    """Limits the queues that are declared over a transport of oslo.messaging."""

    def __init__(self) -> None:
        self._has_limited = self._has_warned = False

    def apply(self, transport: Any) -> None:
        """Have the queues limited that will be declared.

        :param transport: as ``get_notification_transport`` gives it
        """
        driver = getattr(transport, "_driver", None)
        get_connection = getattr(driver, "_get_connection", None)
        if get_connection is None:
            return

        def get_limiting_connection(*args: Any, **kwargs: Any) -> Any:
            context = get_connection(*args, **kwargs)
            connection = getattr(context, "connection", None)
            declare = getattr(connection, "declare_consumer", None)

            def declare_limited(consumer: Any) -> Any:
                arguments = getattr(consumer, "queue_arguments", None)
                if isinstance(arguments, dict):
                    arguments.update(LIMITS)
                    self._has_limited = True
                return declare(consumer)  # type: ignore[misc]  # it is not None, or this is not called

            if connection is not None and declare is not None:
                connection.declare_consumer = declare_limited
            return context

        driver._get_connection = get_limiting_connection  # type: ignore[union-attr]  # of None nothing was found above

    def check(self, transport_name: str) -> None:
        """Warn, once, if the queues that have been declared have no limits.

        :param transport_name: that of the transport's URL, as in "rabbit"
        """
        if self._has_limited or self._has_warned or transport_name.partition("+")[0] not in _RABBIT:
            return
        self._has_warned = True
        LOG.warning(
            "with this release of oslo.messaging the queue of notifications has no limits; give RabbitMQ a policy for"
            " queues named ^kongming\\. with expires (%d) and max-length (%d)",
            LIMITS["x-expires"],
            LIMITS["x-max-length"],
        )
