# SPDX-License-Identifier: Apache-2.0
"""Fifty servers at once, as a Kubernetes cluster asks for them, on a cloud of many hosts."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from kongming_sched.placement import names
from kongming_sched.template import PinningTemplate
from tests.scenario.cloud import PREFIX, Cloud, wait_for

SERVERS = 50
FAKE_HOSTS = 20
TEMPLATE = PinningTemplate.from_mapping(
    {
        "name": "scenario_burst",
        "cells": [{"vcpus": "0-7", "cpus": "dedicated", "threads": "isolate", "memory": "none"}],
    }
)
"""Takes 16 CPUs of a fake host's node of 32, less what the host keeps: one or two servers fit on a node."""


@pytest.fixture
def burst(cloud: Cloud) -> Iterator[Cloud]:
    """A cloud with enough fake hosts, a template, and nothing of it afterwards."""
    if cloud.plan is None or cloud.plan.options.fake_hosts < FAKE_HOSTS:
        pytest.skip(f"the cloud has less than {FAKE_HOSTS} fake hosts; tools/cloud up --hosts {FAKE_HOSTS} makes them")
    cloud.make_template(TEMPLATE)
    wait_for("all fake hosts offer it", lambda: len(cloud.offering(TEMPLATE.name)) >= FAKE_HOSTS)
    yield cloud
    cloud.delete_all()
    cloud.delete_flavor(f"{PREFIX}{TEMPLATE.name}-64")
    cloud.templates.delete(TEMPLATE.name)
    wait_for("no host offers it any more", lambda: not cloud.offering(TEMPLATE.name))


def over_count(cloud: Cloud) -> list[str]:
    """The nodes of which more is taken than there is."""
    return [
        f"{node.uuid} {name}: {used} of {node.capacity.get(name, 0)}"
        for node in cloud.placement.node_summaries()
        for name, used in node.used.items()
        if used > node.capacity.get(name, 0)
    ]


def taken(cloud: Cloud) -> Counter[str]:
    """What is taken of all nodes, by resource class."""
    total: Counter[str] = Counter()
    for node in cloud.placement.node_summaries():
        total.update({name: used for name, used in node.used.items() if used})
    return total


def create_at_once(cloud: Cloud) -> list[str]:
    """Fifty servers, each by a request of its own, all under way at the same time."""
    flavor = cloud.make_flavor(TEMPLATE, 64, 2)
    image = cloud.image()

    def create(number: int) -> None:
        cloud.compute.create_server(
            name=f"{PREFIX}burst-{number}", flavor_id=flavor.id, image_id=image.id, networks="none"
        )

    threads = [threading.Thread(target=create, args=(number,)) for number in range(SERVERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [server.id for server in cloud.compute.servers(name=f"{PREFIX}burst-")]


def states(cloud: Cloud) -> Counter[str]:
    """How many servers have which state."""
    return Counter(server.status for server in cloud.compute.servers(name=f"{PREFIX}burst-"))


def retries(cloud: Cloud) -> int:
    """How often a claim was refused by Placement because somebody else was faster, by the scheduler's log."""
    assert cloud.plan
    text = "".join(path.read_text(errors="replace") for path in cloud.plan.logs.glob("nova-scheduler*.log"))
    return text.count("Unable to submit allocation for instance")


def wait_until_all_run(cloud: Cloud) -> None:
    """Every server is ACTIVE."""
    wait_for("all servers have a state for good", lambda: set(states(cloud)) <= {"ACTIVE", "ERROR"}, 600)
    assert Counter({"ACTIVE": SERVERS}) == states(cloud)


def check_nothing_left(cloud: Cloud) -> None:
    """Once all are deleted nothing is taken of any node."""
    cloud.delete_all()
    wait_for("nothing is left in Placement", lambda: not taken(cloud))


def test_fifty_at_once(burst: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    """All become ACTIVE, no node has more than it can, and nothing is left of them when they are deleted."""
    before, start = retries(burst), time.monotonic()

    assert SERVERS == len(create_at_once(burst))
    wait_until_all_run(burst)

    seconds = time.monotonic() - start
    assert [] == over_count(burst)
    assert SERVERS * 16 == taken(burst)[names.PCPU]
    with capsys.disabled():
        print(f"\n{SERVERS} servers ACTIVE after {seconds:.0f} s, {retries(burst) - before} claims refused and retried")
    check_nothing_left(burst)


def test_agents_killed_meanwhile(burst: Cloud) -> None:
    """Agents that are killed during the burst and started again change nothing of its outcome."""
    servers = create_at_once(burst)
    assert burst.plan
    for service in ("fake-agents", *(f"{host}-agent" for host in burst.plan.libvirt_hosts)):
        burst.kill_service(service)
    burst.restart_services()

    wait_until_all_run(burst)

    assert SERVERS == len(servers)
    assert [] == over_count(burst)
    assert SERVERS * 16 == taken(burst)[names.PCPU]
    check_nothing_left(burst)
