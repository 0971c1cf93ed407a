# SPDX-License-Identifier: Apache-2.0
"""Fifty servers at once, as a Kubernetes cluster asks for them, on a cloud of many hosts."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from kongming_sched.placement import names
from kongming_sched.template import PinningTemplate
from tests.scenario.cloud import PREFIX, Cloud, wait_for

BIG = PinningTemplate.from_mapping(
    {
        "name": "scenario_burst_big",
        "cells": [{"vcpus": "0-3", "cpus": "dedicated", "threads": "isolate", "memory": "none"}],
    }
)
"""Takes 8 CPUs of a fake host's node of 32, less what the host keeps: three servers fit on a node."""
SMALL = PinningTemplate.from_mapping(
    {"name": "scenario_burst_small", "cells": [{"vcpus": "0", "cpus": "dedicated", "memory": "none"}]}
)
"""Takes one CPU, which the real hosts have too."""
SERVERS = {BIG: 40, SMALL: 10}
FAKE_HOSTS = 20
CPUS = 40 * 8 + 10
RAM_MB = 64
NAME = f"{PREFIX}burst-"

_REFUSED = re.compile(r'"(?:PUT|POST) /allocations\S*" status: 409')
"""Placement's answer to a claim if another claim was faster, in its log."""


@pytest.fixture
def burst(cloud: Cloud) -> Iterator[Cloud]:
    """A cloud with enough fake hosts, two templates, and nothing of it afterwards."""
    if cloud.plan is None or cloud.plan.options.fake_hosts < FAKE_HOSTS:
        pytest.skip(f"the cloud has less than {FAKE_HOSTS} fake hosts; tools/cloud up --hosts {FAKE_HOSTS} makes them")
    for template in SERVERS:
        cloud.make_template(template)
        wait_for("all fake hosts offer it", lambda template=template: len(cloud.offering(template.name)) >= FAKE_HOSTS)
    yield cloud
    cloud.delete_all()
    for template in SERVERS:
        cloud.delete_flavor(f"{PREFIX}{template.name}-{RAM_MB}")
        cloud.templates.delete(template.name)
        wait_for("no host offers it any more", lambda template=template: not cloud.offering(template.name))


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


def create_at_once(cloud: Cloud, flavors: Mapping[str, int]) -> None:
    """So many servers of each flavor, each by a request of its own, all under way at the same time."""
    image = cloud.image()

    def create(flavor: str, number: int) -> None:
        cloud.compute.create_server(
            name=f"{NAME}{flavor}-{number}", flavor_id=flavor, image_id=image.id, networks="none"
        )

    wanted = [(flavor, number) for flavor, count in flavors.items() for number in range(count)]
    with ThreadPoolExecutor(len(wanted)) as pool:
        for made in [pool.submit(create, *each) for each in wanted]:
            made.result()


def states(cloud: Cloud) -> Counter[str]:
    """How many servers have which state."""
    return Counter(server.status for server in cloud.compute.servers(name=NAME))


def refused_claims(cloud: Cloud) -> int:
    """How many claims Placement has refused so far."""
    assert cloud.plan
    return len(_REFUSED.findall((cloud.plan.logs / "placement.log").read_text(errors="replace")))


def run(cloud: Cloud, flavors: Mapping[str, int]) -> int:
    """Create them all and wait until every one is ACTIVE; gives how many claims were refused on the way."""
    before = refused_claims(cloud)
    create_at_once(cloud, flavors)
    wait_until_all_run(cloud, sum(flavors.values()))
    return refused_claims(cloud) - before


def wait_until_all_run(cloud: Cloud, count: int) -> None:
    """Every server is ACTIVE."""
    wait_for("all servers have a state for good", lambda: set(states(cloud)) <= {"ACTIVE", "ERROR"}, 600)
    assert Counter({"ACTIVE": count}) == states(cloud)


def check_end_state(cloud: Cloud) -> None:
    """Every server has what it asks for, and no node gives more than it has."""
    assert [] == over_count(cloud)
    assert CPUS == taken(cloud)[names.PCPU]


def check_nothing_left(cloud: Cloud) -> None:
    """Once all are deleted nothing is taken of any node."""
    cloud.delete_all()
    wait_for("nothing is left in Placement", lambda: not taken(cloud))


def flavors_of(cloud: Cloud, strategy: str) -> dict[str, int]:
    """The ids of a flavor of each template, with how many servers it gets."""
    made = {}
    for template, count in SERVERS.items():
        flavor = cloud.make_flavor(template, RAM_MB, 2)
        cloud.compute.create_flavor_extra_specs(flavor, {"kongming:numa_strategy": strategy})
        made[flavor.id] = count
    return made


@pytest.fixture
def plain(cloud: Cloud) -> Iterator[dict[str, int]]:
    """The ids of flavors of the same size that ask nothing of KongMing."""
    made = {}
    for template, count in SERVERS.items():
        name = f"{PREFIX}plain-{template.vcpus}"
        cloud.delete_flavor(name)
        made[cloud.compute.create_flavor(name=name, ram=RAM_MB, vcpus=template.vcpus, disk=1).id] = count
    yield made
    cloud.delete_all()
    for flavor in made:
        cloud.compute.delete_flavor(flavor)


def test_fifty_at_once(burst: Cloud, plain: dict[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    """All become ACTIVE; of scattered ones no more claims are refused than of as many that ask nothing of KongMing."""
    refused, words = {}, []
    for kind in ("without a template", "pack", "scatter"):
        flavors = plain if kind == "without a template" else flavors_of(burst, kind)
        start = time.monotonic()
        refused[kind] = run(burst, flavors)
        words.append(f"{kind}: {refused[kind]} claims refused, all ACTIVE after {time.monotonic() - start:.0f} s")
        if flavors is not plain:
            check_end_state(burst)
        check_nothing_left(burst)
    with capsys.disabled():
        print("\n50 servers at once, " + "; ".join(words))

    assert refused["scatter"] <= refused["without a template"]


def test_agents_killed_meanwhile(burst: Cloud) -> None:
    """Agents that are killed during the burst and started again change nothing of its outcome."""
    create_at_once(burst, flavors_of(burst, "scatter"))
    assert burst.plan
    for service in ("fake-agents", *(f"{host}-agent" for host in burst.plan.libvirt_hosts)):
        burst.services.kill(service)
    burst.services.restart()

    wait_until_all_run(burst, sum(SERVERS.values()))

    check_end_state(burst)
    check_nothing_left(burst)
