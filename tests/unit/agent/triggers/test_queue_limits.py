# SPDX-License-Identifier: Apache-2.0
"""The limits of a queue where oslo.messaging lacks a private part that they need: it goes on without them."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from kongming_sched.agent.triggers.queue_limits import LIMITS, QueueLimits

PARTS = ("driver", "connections", "connection", "declarations", "arguments")
"""The private parts, from the transport to a queue's arguments."""


def listen(lacking: str) -> tuple[QueueLimits, dict[str, Any]]:
    """Declare a queue over a transport that lacks a part, twice; gives the limits and the queue's arguments."""
    arguments: dict[str, Any] = {}
    consumer = SimpleNamespace(**{"other" if lacking == "arguments" else "queue_arguments": arguments})
    declared: list[object] = []
    connection = SimpleNamespace(**{"other" if lacking == "declarations" else "declare_consumer": declared.append})
    context = SimpleNamespace(**{"other" if lacking == "connection" else "connection": connection})
    driver = SimpleNamespace(**{"other" if lacking == "connections" else "_get_connection": lambda: context})
    transport = SimpleNamespace(**{"other" if lacking == "driver" else "_driver": driver})
    limits = QueueLimits()
    limits.apply(transport)
    for _ in range(2):
        (vars(driver).get("_get_connection") or vars(driver)["other"])()
        (vars(connection).get("declare_consumer") or vars(connection)["other"])(consumer)
        limits.check("rabbit")
    assert [consumer] * 2 == declared
    return limits, arguments


@pytest.mark.parametrize("part", PARTS)
def test_part_that_a_release_lacks(part: str, caplog: pytest.LogCaptureFixture) -> None:
    """The queue is declared without limits, and one warning says so."""
    with caplog.at_level(logging.WARNING):
        _, arguments = listen(part)

    assert {} == arguments
    assert [True] == ["the queue of notifications has no limits" in record.getMessage() for record in caplog.records]


def test_nothing_is_lacking(caplog: pytest.LogCaptureFixture) -> None:
    """The queue has all limits, and nothing is logged."""
    _, arguments = listen("nothing")

    assert LIMITS == arguments
    assert [] == caplog.records


@pytest.mark.parametrize(("transport", "warnings"), [("kafka", 0), ("fake", 0), ("kombu+memory", 1), ("rabbit", 1)])
def test_only_rabbitmq_has_such_queues(transport: str, warnings: int, caplog: pytest.LogCaptureFixture) -> None:
    """A transport of another broker has nothing that could be limited, and no warning."""
    limits = QueueLimits()
    limits.apply(SimpleNamespace())
    limits.check(transport)

    assert warnings == len(caplog.records)
