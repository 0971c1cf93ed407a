# SPDX-License-Identifier: Apache-2.0
"""The weighers under Nova's own handler: which host they pull a server to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from nova import objects
from nova.scheduler import host_manager, weights
from oslo_config import fixture as config_fixture

from kongming_sched.conf import scheduler as conf
from kongming_sched.placement import flavor
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.scheduler import server_templates, worker
from kongming_sched.scheduler.snapshot import NodeSnapshot
from kongming_sched.scheduler.under_way import UnderWay
from kongming_sched.template import PinningTemplate
from kongming_sched.weighers.affinity import KongmingTemplateAffinityWeigher
from kongming_sched.weighers.packing import KongmingPackingWeigher
from kongming_sched.weighers.reserve import KongmingReserveWeigher
from testbed import topologies
from testbed.adapters import Counting
from testbed.nova_objects import make_host_state, make_spec
from tests.functional.conftest import PlacementService
from tests.functional.nova.scheduler import Scheduler, register_host

TEMPLATE = PinningTemplate.from_mapping({"name": "gold", "cells": [{"vcpus": "0-1", "cpus": "dedicated"}]})
GOLD = flavor.extra_specs(TEMPLATE, {}, vcpus=2, memory_mb=256)


@pytest.fixture(autouse=True)
def options(monkeypatch: pytest.MonkeyPatch) -> Iterator[config_fixture.Config]:
    """Nova's options with ours, as at the start of nova-scheduler; changes last for one test, and so do requests."""
    conf.register_opts(worker.CONF)
    monkeypatch.setattr(worker, "UNDER_WAY", UnderWay())
    with config_fixture.Config(worker.CONF) as fixture:
        yield fixture


@pytest.fixture
def asked(placement: PlacementService, monkeypatch: pytest.MonkeyPatch) -> Counting:
    """Hosts with eight, two and four free dedicated CPUs; what the snapshot asks Placement."""
    TemplateStore(placement.client).create(TEMPLATE)
    for name, cores in {"eight": 9, "two": 3, "four": 5}.items():
        register_host(placement, name, topologies.make_topology(1, cores), [TEMPLATE])
    counting = Counting(placement.adapter)
    monkeypatch.setattr(worker, "SNAPSHOT", NodeSnapshot(lambda: PlacementClient(counting), lambda: 300.0))
    return counting


def find_hosts(placement: PlacementService, *names: str) -> list[host_manager.HostState]:
    """Hosts in this order, with Placement's candidates for TEMPLATE."""
    hosts = {host.host: host for host in Scheduler(placement, make_spec(GOLD)).hosts}
    return [hosts[name] for name in names]


def weigh(
    weigher: type, hosts: Sequence[host_manager.HostState], extra_specs: dict[str, str]
) -> list[tuple[str, float]]:
    """Host and weight, the best first."""
    weighed = weights.HostWeightHandler().get_weighed_objects([weigher()], hosts, make_spec(extra_specs))
    return [(item.obj.host, round(item.weight, 3)) for item in weighed]


@pytest.mark.usefixtures("asked")
def test_a_server_of_a_template_goes_where_it_leaves_least(placement: PlacementService) -> None:
    """To the host whose node it fills, by the default multiplier of 5."""
    hosts = find_hosts(placement, "eight", "two", "four")
    assert [("two", 5.0), ("four", 3.333), ("eight", 0.0)] == weigh(KongmingPackingWeigher, hosts, GOLD)


@pytest.mark.usefixtures("asked")
def test_scattered_servers_draw_their_host(placement: PlacementService) -> None:
    """Servers at the same time want different hosts, and each wants the same one whenever it is asked."""
    hosts = find_hosts(placement, "eight", "two", "four")
    specs = [make_spec({**GOLD, "kongming:numa_strategy": "scatter"}) for _ in range(64)]

    def choices() -> list[str]:
        weigher = weights.HostWeightHandler()
        return [weigher.get_weighed_objects([KongmingPackingWeigher()], hosts, spec)[0].obj.host for spec in specs]

    assert {"eight", "two", "four"} == set(choices())
    assert choices() == choices()


@pytest.mark.usefixtures("asked")
def test_an_unknown_host_weighs_as_the_worst(placement: PlacementService) -> None:
    """Its agent has registered it after the snapshot was taken; it must not win for that."""
    worker.SNAPSHOT.get()
    register_host(placement, "new", topologies.make_topology(1, 3), [TEMPLATE])
    hosts = find_hosts(placement, "new", "two", "four")
    assert [("two", 5.0), ("new", 0.0), ("four", 0.0)] == weigh(KongmingPackingWeigher, hosts, GOLD)


@pytest.mark.usefixtures("asked")
def test_an_aggregate_has_its_own_multiplier(placement: PlacementService) -> None:
    """As with Nova's weighers; a negative one pushes."""
    hosts = find_hosts(placement, "eight", "two", "four")
    hosts[1].aggregates = [objects.Aggregate(metadata={"packing_weight_multiplier": "-1"})]
    assert [("four", 3.333), ("eight", 0.0), ("two", -1.0)] == weigh(KongmingPackingWeigher, hosts, GOLD)


def test_packing_is_nothing_to_a_server_without_a_template(placement: PlacementService, asked: Counting) -> None:
    """All hosts weigh the same, and Placement is not asked."""
    hosts = find_hosts(placement, "eight", "two", "four")
    assert [("eight", 0.0), ("two", 0.0), ("four", 0.0)] == weigh(KongmingPackingWeigher, hosts, {})
    assert [] == asked.requests


@pytest.mark.usefixtures("asked")
def test_a_server_without_a_template_leaves_dedicated_cpus_alone(
    placement: PlacementService, options: config_fixture.Config
) -> None:
    """If the operator wants that, it goes to the host with the fewest; one without any node is best."""
    options.config(group="kongming_scheduler", reserve_weight_multiplier=1.0)
    plain = make_host_state("plain", "5a1e0000-0000-4000-8000-000000000001")
    hosts = [*find_hosts(placement, "eight", "four"), plain]
    assert [("plain", 1.0), ("four", 0.5), ("eight", 0.0)] == weigh(KongmingReserveWeigher, hosts, {})
    assert [("eight", 0.0), ("four", 0.0), ("plain", 0.0)] == weigh(KongmingReserveWeigher, hosts, GOLD)


def test_an_aggregate_can_ask_to_be_left_alone(placement: PlacementService, asked: Counting) -> None:
    """Without a multiplier nothing is asked and nothing is weighed; with the aggregate's only its hosts are."""
    hosts = find_hosts(placement, "two", "eight", "four")
    assert [("two", 0.0), ("eight", 0.0), ("four", 0.0)] == weigh(KongmingReserveWeigher, hosts, {})
    assert [] == asked.requests
    hosts[2].aggregates = [objects.Aggregate(metadata={"reserve_weight_multiplier": "3"})]
    assert [("four", 2.0), ("two", 0.0), ("eight", 0.0)] == weigh(KongmingReserveWeigher, hosts, {})
    assert 1 == len(asked.requests)


def put_servers(host: host_manager.HostState, *templates: str | None) -> None:
    """Servers on a host that nova-compute has reported, by the templates of their flavors."""
    for index, template in enumerate(templates):
        specs = {"kongming:template": template} if template else {}
        server = objects.Instance(uuid=f"{host.host}-{index}", flavor=objects.Flavor(extra_specs=specs))
        host.instances[server.uuid] = server


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(
    ("multiplier", "expected"),
    [
        pytest.param(0.0, [("eight", 0.0), ("two", 0.0), ("four", 0.0)], id="by default it makes no difference"),
        pytest.param(2.0, [("two", 2.0), ("four", 1.0), ("eight", 0.0)], id="a positive multiplier packs"),
        pytest.param(-2.0, [("eight", 0.0), ("four", -1.0), ("two", -2.0)], id="a negative one spreads"),
    ],
)
def test_servers_of_a_template_are_packed_or_spread(
    placement: PlacementService,
    options: config_fixture.Config,
    multiplier: float,
    expected: list[tuple[str, float]],
) -> None:
    """By how many of the same template each host has; others and the server itself do not count."""
    options.config(group="kongming_scheduler", template_affinity_weight_multiplier=multiplier)
    eight, two, four = hosts = find_hosts(placement, "eight", "two", "four")
    put_servers(eight, "silver", None, "silver")
    put_servers(two, "gold", "gold", "silver")
    put_servers(four, "gold", "gold")
    spec = make_spec(GOLD)
    four.instances[spec.instance_uuid] = four.instances.pop("four-1")
    weighed = weights.HostWeightHandler().get_weighed_objects([KongmingTemplateAffinityWeigher()], hosts, spec)
    assert expected == [(item.obj.host, item.weight) for item in weighed]
    assert [("eight", 0.0), ("two", 0.0), ("four", 0.0)] == weigh(KongmingTemplateAffinityWeigher, hosts, {})


@pytest.mark.usefixtures("asked")
def test_an_aggregate_can_ask_for_affinity(placement: PlacementService) -> None:
    """Without the option, and for its own hosts alone."""
    hosts = find_hosts(placement, "eight", "two", "four")
    for host in hosts[1:]:
        put_servers(host, "gold")
        host.aggregates = [objects.Aggregate(metadata={})]
    hosts[2].aggregates = [objects.Aggregate(metadata={"template_affinity_weight_multiplier": "3"})]
    expected = [("four", 3.0), ("eight", 0.0), ("two", 0.0)]
    assert expected == weigh(KongmingTemplateAffinityWeigher, hosts, GOLD)


@pytest.mark.usefixtures("asked")
def test_servers_of_the_same_request_count(placement: PlacementService, options: config_fixture.Config) -> None:
    """Nova's scheduler hears of them only when they run."""
    options.config(group="kongming_scheduler", template_affinity_weight_multiplier=-1.0)
    request = Scheduler(placement, make_spec(GOLD), [KongmingTemplateAffinityWeigher])
    claims = [request.schedule() for _ in range(3)]
    assert 3 == len({frozenset(claim) for claim in claims if claim})


def test_what_is_known_of_servers_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read again after an hour, counts meanwhile, and is forgotten when nobody has it for another hour."""
    clock = [0.0]
    memory = server_templates.ServerTemplates(lambda: clock[0])
    host = make_host_state("c1", "5a1e0000-0000-4000-8000-000000000001")
    put_servers(host, "gold")
    assert [1] == memory.count([host], "gold", besides="other")
    monkeypatch.setattr(server_templates, "_read_cell", lambda *_: {})
    host.instances["c1-0"] = objects.Instance(uuid="c1-0")
    for clock[0], expected in ((3599.0, 1), (3600.0, 1), (7199.0, 1), (7200.0, 0)):
        assert [expected] == memory.count([host], "gold", besides="other")


def test_no_request_reads_more_than_some_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are left are read for the next ones, each once."""
    monkeypatch.setattr(server_templates, "_READ_AT_ONCE", 3)
    read: list[str] = []

    def read_cell(_cell: str, uuids: list[str]) -> dict[str, str | None]:
        read.extend(uuids)
        return dict.fromkeys(uuids, "gold")

    monkeypatch.setattr(server_templates, "_read_cell", read_cell)
    host = make_host_state("c1", "5a1e0000-0000-4000-8000-000000000001")
    host.instances = {str(index): objects.Instance(uuid=str(index)) for index in range(5)}
    memory = server_templates.ServerTemplates()
    assert [[3], [5], [5]] == [memory.count([host], "gold", besides="other") for _ in range(3)]
    assert ["0", "1", "2", "3", "4"] == read


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("weigher", [KongmingPackingWeigher, KongmingReserveWeigher])
def test_one_host_alone_can_be_weighed(
    weigher: type, placement: PlacementService, options: config_fixture.Config
) -> None:
    """Nova's interface has a method for it, with the same answer."""
    options.config(group="kongming_scheduler", reserve_weight_multiplier=1.0)
    (host,) = find_hosts(placement, "eight")
    extra_specs = GOLD if weigher is KongmingPackingWeigher else {}
    expected = -6.0 if weigher is KongmingPackingWeigher else -8.0
    assert expected == weigher()._weigh_object(host, make_spec(extra_specs))
