# SPDX-License-Identifier: Apache-2.0
"""On which hosts a notification starts a pass."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from oslo_config import cfg

from kongming_sched.agent.model.view import OverrideRequest
from kongming_sched.agent.state.server_metadata import Metadata
from kongming_sched.agent.triggers.base import TriggerContext
from kongming_sched.agent.triggers.notifications import NotificationTrigger

SERVER = "5e00e000-0000-4000-8000-000000000001"
HOSTS = [f"node{number}" for number in range(100)]
CHANGES = 10


@pytest.fixture
def wakes() -> Counter[str]:
    """How many passes each host was woken to."""
    return Counter()


@pytest.fixture
def triggers(wakes: Counter[str]) -> dict[str, NotificationTrigger]:
    """The triggers of a cloud's hosts, none of which may ask Nova."""

    def trigger(host: str) -> NotificationTrigger:
        return NotificationTrigger(TriggerContext(cfg.ConfigOpts(), host, lambda: wakes.update([host]), Metadata()))

    return {host: trigger(host) for host in HOSTS}


def change(triggers: dict[str, NotificationTrigger], node: str) -> None:
    """Change a server's metadata ten times; every host hears of it."""
    for number in range(CHANGES):
        data = {"uuid": SERVER, "node": node, "metadata": {"kongming:cpus": str(number)}}
        for trigger in triggers.values():
            trigger.hear("instance.update", {"nova_object.data": data}, time.time() + 1)


def test_a_server_that_runs_wakes_its_host_alone(triggers: dict[str, NotificationTrigger], wakes: Counter[str]) -> None:
    """Ten changes are ten passes, on whatever host Nova thinks that it is."""
    triggers["node7"].context.metadata.grant([SERVER], {})
    change(triggers, node="")
    assert {"node7": CHANGES} == wakes


def test_a_server_that_is_being_started_wakes_its_host(
    triggers: dict[str, NotificationTrigger], wakes: Counter[str]
) -> None:
    """No pass has seen it there yet, and the change may have come after the pass that first did had read it."""
    change(triggers, node="node7")
    assert {"node7": CHANGES} == wakes


def test_other_hosts_learn_all_the_same(triggers: dict[str, NotificationTrigger], wakes: Counter[str]) -> None:
    """The server may come to any of them, and then has what it asked for last."""
    change(triggers, node="elsewhere")
    assert {} == wakes
    last = {SERVER: OverrideRequest({"kongming:cpus": str(CHANGES - 1)})}
    assert [last] * len(HOSTS) == [trigger.context.metadata.requests() for trigger in triggers.values()]
