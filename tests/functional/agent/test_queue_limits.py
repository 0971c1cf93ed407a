# SPDX-License-Identifier: Apache-2.0
"""The limits of an agent's queue, by oslo.messaging's own driver for RabbitMQ, with kombu's broker in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kombu import entity
from oslo_config import cfg

from kongming_sched.agent.triggers.base import TriggerContext
from kongming_sched.agent.triggers.notifications import NotificationTrigger
from kongming_sched.conf import agent as agent_conf
from testbed.waiting import until

LIMITS = {"x-expires": 86_400_000, "x-max-length": 10_000, "x-max-length-bytes": 33_554_432}


def test_the_queue_of_a_host_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is declared with its limits, and so is nothing else."""
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
    assert [LIMITS] * len(declared) == [arguments for _, arguments in declared]
