# SPDX-License-Identifier: Apache-2.0
"""The limits of an agent's queue, by oslo.messaging's own driver for RabbitMQ, with kombu's broker in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kombu import entity
from oslo_config import cfg
from oslo_messaging._drivers import impl_rabbit

from kongming_sched.agent.triggers.base import TriggerContext
from kongming_sched.agent.triggers.notifications import NotificationTrigger
from kongming_sched.conf import agent as agent_conf
from testbed.waiting import until

LIMITS = {"x-expires": 86_400_000, "x-max-length": 10_000, "x-max-length-bytes": 33_554_432}


def listen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Start the trigger of a host and stop it; gives the queues that were declared, with their arguments."""
    (tmp_path / "agent.conf").write_text("[DEFAULT]\ntransport_url = kombu+memory:///\n")
    conf = cfg.ConfigOpts()
    agent_conf.register_opts(conf)
    conf([], default_config_files=[str(tmp_path / "agent.conf")])
    declared: list[tuple[str, dict[str, Any]]] = []
    declare: Callable[..., Any] = entity.Queue.declare

    def note(queue: entity.Queue, *args: Any, **kwargs: Any) -> Any:
        declared.append((queue.name, vars(queue)["queue_arguments"]))
        return declare(queue, *args, **kwargs)

    monkeypatch.setattr(entity.Queue, "declare", note)
    trigger = NotificationTrigger(TriggerContext(conf, "node1.example.org", lambda: None))
    trigger.start()
    try:
        until(lambda: not trigger.problem, lambda: f"the end of {trigger.problem!r}")
    finally:
        trigger.stop()
    assert declared
    assert {"kongming.node1.example.org.versioned_notifications"} == {name for name, _ in declared}
    return declared


def test_the_queue_of_a_host_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is declared with its limits, and so is nothing else; nothing is logged of it."""
    with caplog.at_level(logging.WARNING, "kongming_sched"):
        declared = listen(tmp_path, monkeypatch)

    assert [LIMITS] * len(declared) == [arguments for _, arguments in declared]
    assert [] == [record for record in caplog.records if record.name.startswith("kongming_sched")]


def test_another_release_of_oslo_messaging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where queues are declared in a way that is not known the agent listens all the same, and warns once."""
    declare: Callable[..., Any] = impl_rabbit.Connection.declare_topic_consumer

    def declare_otherwise(connection: Any, **parameters: Any) -> None:
        vars(connection).pop("declare_consumer", None)
        declare(connection, **parameters)

    monkeypatch.setattr(impl_rabbit.Connection, "declare_topic_consumer", declare_otherwise)
    with caplog.at_level(logging.WARNING, "kongming_sched"):
        declared = listen(tmp_path, monkeypatch)

    assert [{}] * len(declared) == [arguments for _, arguments in declared]
    assert [True] == [
        "the queue of notifications has no limits" in record.getMessage()
        for record in caplog.records
        if record.name.startswith("kongming_sched")
    ]
