# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming explain`` and ``capacity`` through the real shell, against the real Placement and Nova API."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import pytest

from kongming_sched.conf import scheduler as conf
from kongming_sched.placement import flavor, names
from kongming_sched.scheduler import worker as scheduler_side
from kongming_sched.scheduler.snapshot import NodeSnapshot
from kongming_sched.template import PinningTemplate
from testbed.nova_objects import make_spec
from testbed.topologies import one_node_no_smt, two_nodes_no_smt, two_nodes_smt2
from tests.functional.cli.conftest import Nova, Register, Write
from tests.functional.cli.samples import AGGREGATE
from tests.functional.cli.shell import Shell
from tests.functional.conftest import PlacementService
from tests.functional.nova.scheduler import Scheduler

DUO = """\
name: duo
cells:
  - {vcpus: 0-1, cpus: dedicated}
  - {vcpus: "2", cpus: dedicated}
"""
SOLO = """\
name: solo
cells:
  - {vcpus: 0-1, cpus: dedicated, threads: isolate}
"""
TEMPLATES = {
    "duo": PinningTemplate.from_mapping(
        {"name": "duo", "cells": [{"vcpus": "0-1", "cpus": "dedicated"}, {"vcpus": "2", "cpus": "dedicated"}]}
    ),
    "solo": PinningTemplate.from_mapping(
        {"name": "solo", "cells": [{"vcpus": "0-1", "cpus": "dedicated", "threads": "isolate"}]}
    ),
}


@pytest.fixture
def hosts(openstack: Shell, write: Write, register: Register, placement: PlacementService) -> dict[str, str]:
    """Hosts by name: one node, two nodes, two nodes with SMT, no node at all, and a disabled one of two nodes."""
    assert openstack("kongming template create --file", write(DUO, "duo.yaml")).code == 0
    assert openstack("kongming template create --file", write(SOLO, "solo.yaml")).code == 0
    found = {
        "one": register("one", one_node_no_smt()),
        "two": register("two", two_nodes_no_smt()),
        "smt": register("smt", two_nodes_smt2()),
        "off": register("off", two_nodes_no_smt()),
        "bare": "ba1e0000-0000-4000-8000-000000000001",
    }
    placement.add_host("bare", found["bare"])
    for name, traits in {"bare": {"COMPUTE_NODE"}, "off": {"COMPUTE_NODE", "COMPUTE_STATUS_DISABLED"}}.items():
        set_traits(placement, found[name], traits)
    return found


def set_traits(placement: PlacementService, uuid: str, traits: Iterable[str]) -> None:
    """As nova-compute sets them on its provider."""
    (provider,) = placement.client.providers(uuid=uuid)
    placement.client.set_traits(uuid, provider.generation, traits)


def add_flavor(nova: Nova, template: str, threads: int = 1, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """A flavor f of 256 MiB that asks for a template; gives its extra specs."""
    vcpus = TEMPLATES[template].vcpus
    specs = flavor.extra_specs(TEMPLATES[template], {}, vcpus=vcpus, memory_mb=256, threads_per_core=threads)
    specs |= more or {}
    nova.create_flavor("f", vcpus, 256, specs=specs)
    return specs


def renew_snapshot(monkeypatch: pytest.MonkeyPatch, placement: PlacementService) -> None:
    """Let the scheduler see all NUMA nodes as they are now."""
    monkeypatch.setattr(scheduler_side, "SNAPSHOT", NodeSnapshot(lambda: placement.client, lambda: 300.0))


def test_explain_gives_each_host_its_first_reason(
    openstack_with_nova: Shell, nova: Nova, hosts: dict[str, str]
) -> None:
    """Hosts with room say how many servers they take."""
    assert hosts
    add_flavor(nova, "duo")
    why = "template 'duo': its nodes do not offer it: 'kongming-agent --check' on the host and its agent's log say why"
    bare = "no NUMA node takes servers of templates: see 'openstack kongming host show'"
    assert openstack_with_nova.json("kongming explain --flavor f") == [
        {"host": "bare", "servers": 0, "obstacle": "no node", "reason": bare},
        {"host": "off", "servers": 0, "obstacle": "disabled", "reason": "its compute service is disabled"},
        {"host": "one", "servers": 0, "obstacle": "no template", "reason": why},
        {"host": "smt", "servers": 4, "obstacle": None, "reason": None},
        {"host": "two", "servers": 2, "obstacle": None, "reason": None},
    ]


def test_explain_sees_what_is_taken_now(
    openstack_with_nova: Shell, nova: Nova, hosts: dict[str, str], placement: PlacementService
) -> None:
    """Of one host alone, for people."""
    add_flavor(nova, "duo")
    taken = {names.node_uuid(hosts["two"], number): {names.PCPU: 2} for number in range(2)}
    placement.allocate("5e00e000-0000-4000-8000-000000000001", taken)
    done = openstack_with_nova("kongming explain --flavor f --host two")
    reason = "cell 0: needs 2 dedicated CPUs on one node, and the most that is free on any node is 1 (node 0)"
    (line,) = [line for line in done.out.splitlines() if "two" in line]
    assert [word.strip() for word in line.strip("|").split("|")] == ["two", "0", "cpus", reason]


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("hw:cpu_policy", "dedicated", "flavor extra spec 'hw:cpu_policy': cannot be combined with kongming:template"),
        ("resources:MEMORY_MB", "0", "flavor extra spec 'resources:MEMORY_MB': must not be 0: Nova only finds hosts"),
        ("kongming:template", "solo", "flavor extra spec 'trait_KONGMING0:CUSTOM_KONGMING_TEMPLATE_SOLO': is missing"),
    ],
)
def test_explain_says_what_is_wrong_with_the_flavor(
    openstack_with_nova: Shell, nova: Nova, hosts: dict[str, str], key: str, value: str, reason: str
) -> None:
    """It is so for every host, as nowhere could it be honoured."""
    add_flavor(nova, "duo", more={key: value})
    rows = openstack_with_nova.json("kongming explain --flavor f")
    assert [row["host"] for row in rows] == sorted(hosts)
    assert {row["obstacle"] for row in rows} == {"flavor"}
    assert all(row["reason"].startswith(reason) for row in rows)


def test_explain_asks_little(openstack_with_nova: Shell, nova: Nova, hosts: dict[str, str]) -> None:
    """However many hosts there are: two requests for them, one for those without nodes, three for the template."""
    assert hosts
    add_flavor(nova, "duo")
    done = openstack_with_nova("--timing kongming explain --flavor f")
    asked = re.findall(r"GET http://\S+?/((?:resource_providers|allocation_candidates)[^ |?]*)", done.out)
    assert 6 == len(asked)


def test_explain_agrees_with_the_scheduler(
    openstack_with_nova: Shell,
    nova: Nova,
    hosts: dict[str, str],
    placement: PlacementService,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many servers as explain counts get a place by Nova's own handlers, and no more.

    They are spread, which for cells of different size leaves nodes that others can use.
    """
    conf.register_opts(scheduler_side.CONF)
    set_traits(placement, hosts["off"], {"COMPUTE_NODE"})
    specs = add_flavor(nova, "duo", more={"kongming:numa_strategy": "spread"})
    counted = sum(row["servers"] for row in openstack_with_nova.json("kongming explain --flavor f"))
    assert counted == 8
    scheduled = 0
    renew_snapshot(monkeypatch, placement)
    while (request := Scheduler(placement, make_spec(specs), ())).hosts and request.schedule():
        scheduled += 1
        renew_snapshot(monkeypatch, placement)
    assert counted == scheduled
    rows = openstack_with_nova.json("kongming explain --flavor f")
    assert {row["servers"] for row in rows} == {0}
    assert None not in {row["reason"] for row in rows}


def test_explain_refuses_what_it_knows_nothing_of(
    openstack_with_nova: Shell, nova: Nova, hosts: dict[str, str]
) -> None:
    """A flavor without a template, and a host that is none."""
    assert hosts
    nova.create_flavor("plain")
    done = openstack_with_nova("kongming explain --flavor plain")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("flavor 'plain' names no template")
    add_flavor(nova, "duo")
    done = openstack_with_nova("kongming explain --flavor f --host c9")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("host 'c9' is no compute node in Placement")


def test_capacity_in_all_and_by_host(openstack: Shell, hosts: dict[str, str]) -> None:
    """Nova need not answer; a disabled host takes nothing, and isolated vCPUs count by each host's cores."""
    assert hosts
    assert openstack.json("kongming capacity") == [
        {"template": "duo", "hosts": 2, "servers": 6},
        {"template": "solo", "hosts": 3, "servers": 5},
    ]
    assert openstack.json("kongming capacity --template solo --by host") == [
        {"template": "solo", "host": "off", "servers": 0},
        {"template": "solo", "host": "one", "servers": 1},
        {"template": "solo", "host": "smt", "servers": 2},
        {"template": "solo", "host": "two", "servers": 2},
    ]
    assert openstack.json("kongming capacity --host two") == [
        {"template": "duo", "hosts": 1, "servers": 2},
        {"template": "solo", "hosts": 1, "servers": 2},
    ]


def test_capacity_by_aggregate(
    openstack_with_nova: Shell, nova: Nova, hosts: dict[str, str], placement: PlacementService
) -> None:
    """Of those that Nova has registered in Placement; one of them alone by name or UUID."""
    made = [nova.call("POST", "/os-aggregates", aggregate={"name": name})["aggregate"] for name in ("rack1", "rack2")]
    try:
        for host, index in (("two", 0), ("smt", 1), ("one", 1)):
            (provider,) = placement.client.providers(uuid=hosts[host])
            placement.client.set_aggregates(provider.uuid, provider.generation, [made[index]["uuid"]])
        rows = openstack_with_nova.json("kongming capacity --template solo --by aggregate")
        assert rows == [
            {"template": "solo", "aggregate": "rack1", "hosts": 1, "servers": 2},
            {"template": "solo", "aggregate": "rack2", "hosts": 2, "servers": 3},
        ]
        for name in ("rack2", made[1]["uuid"]):
            rows = openstack_with_nova.json(f"kongming capacity --template solo --by host --aggregate {name}")
            assert [(row["host"], row["servers"]) for row in rows] == [("one", 1), ("smt", 2)]
        done = openstack_with_nova("kongming capacity --aggregate rack9")
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("no host aggregate has the name or UUID 'rack9'")
    finally:
        for aggregate in made:
            nova.call("DELETE", f"/os-aggregates/{aggregate['id']}")


def test_capacity_of_a_flavor_counts_its_memory_too(
    openstack_with_nova: Shell, nova: Nova, hosts: dict[str, str], placement: PlacementService
) -> None:
    """Of the nodes and of the host itself; it counts on hosts of the flavor's threads per core alone."""
    assert hosts
    add_flavor(nova, "solo", threads=2)
    assert openstack_with_nova.json("kongming capacity --flavor f") == [{"flavor": "f", "hosts": 1, "servers": 2}]
    placement.allocate("5e00e000-0000-4000-8000-000000000001", {hosts["smt"]: {"MEMORY_MB": 8192 - 256}})
    assert openstack_with_nova.json("kongming capacity --flavor f") == [{"flavor": "f", "hosts": 1, "servers": 1}]


def test_a_mix_gets_what_the_scheduler_gives_it(
    openstack_with_nova: Shell,
    nova: Nova,
    hosts: dict[str, str],
    placement: PlacementService,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Servers of two flavors in turn, until neither gets a host: as many of each as Nova's own handlers place."""
    assert hosts
    conf.register_opts(scheduler_side.CONF)
    set_traits(placement, hosts["off"], {"COMPUTE_NODE"})
    wanted = {"duo": 6, "solo": 6}
    specs = {}
    for template in wanted:
        vcpus = TEMPLATES[template].vcpus
        specs[template] = flavor.extra_specs(TEMPLATES[template], {}, vcpus=vcpus, memory_mb=256, threads_per_core=1)
        nova.create_flavor(template, vcpus, 256, specs=specs[template])
    words = " ".join(f"--flavor {template}={servers}" for template, servers in wanted.items())

    rows = openstack_with_nova.json(f"kongming capacity {words}")
    placed = Counter[str]()
    for _ in range(6):
        for template in wanted:
            renew_snapshot(monkeypatch, placement)
            request = Scheduler(placement, make_spec(specs[template]))
            placed[template] += bool(request.hosts and request.schedule())

    assert dict(placed) == {row["flavor"]: row["servers"] for row in rows}
    assert [(6, 6)] * 2 == [(row["wanted"], row["servers"] + row["refused"]) for row in rows]


def test_capacity_of_other_hosts(openstack: Shell, hosts: dict[str, str]) -> None:
    """Without some, and with more like one of them."""
    assert hosts

    assert openstack.json(
        "kongming capacity --template solo --without one --without off --add-host 2=like:one --by host"
    ) == [
        {"template": "solo", "host": "one+1", "servers": 1},
        {"template": "solo", "host": "one+2", "servers": 1},
        {"template": "solo", "host": "smt", "servers": 2},
        {"template": "solo", "host": "two", "servers": 2},
    ]


def test_capacity_refuses_what_cannot_be_counted(openstack: Shell, hosts: dict[str, str]) -> None:
    """A template that is none, a host that takes nothing of KongMing, and an aggregate where Nova does not answer."""
    assert hosts
    assert openstack("kongming capacity --template bronze").err.startswith("no template is named 'bronze'")
    assert openstack("kongming capacity --host bare").err.startswith("host 'bare' has no nodes that take servers")
    done = openstack("kongming capacity --aggregate " + AGGREGATE)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("Nova could not list host aggregates")
