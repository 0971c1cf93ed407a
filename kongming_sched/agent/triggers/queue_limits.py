# SPDX-License-Identifier: Apache-2.0
"""Limits of the queue that an agent reads notifications from, so that nothing piles up for a host that is gone.

oslo.messaging takes arguments for queues of replies and of fanouts only, and has none for those of notifications. So
they are added where its driver for RabbitMQ declares a queue, on this transport alone. Other drivers have no such
queue.
"""

from __future__ import annotations

from typing import Any

LIMITS = {
    "x-expires": 24 * 3600 * 1000,  # milliseconds without a reader: a host that is away for a day starts anew
    "x-max-length": 10_000,
    "x-max-length-bytes": 32 * 2**20,
}
"""RabbitMQ's arguments of the queue. What exceeds it goes from its head, so that the newest notifications stay."""


def limit_queues(transport: Any) -> None:
    """Have the queues that will be declared over a transport of oslo.messaging limited.

    :param transport: as ``get_notification_transport`` gives it
    """
    driver = transport._driver
    get_connection = getattr(driver, "_get_connection", None)
    if get_connection is None:
        return

    def get_limiting_connection(*args: Any, **kwargs: Any) -> Any:
        context = get_connection(*args, **kwargs)
        connection = context.connection
        declare = getattr(connection, "declare_consumer", None)

        def declare_limited(consumer: Any) -> Any:
            consumer.queue_arguments.update(LIMITS)
            return declare(consumer)  # type: ignore[misc]  # it is not None, or this is not called

        if declare is not None:
            connection.declare_consumer = declare_limited
        return context

    driver._get_connection = get_limiting_connection
