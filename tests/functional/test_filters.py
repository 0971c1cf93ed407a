# SPDX-License-Identifier: Apache-2.0
"""The filters and weighers under Nova's own handlers, on candidates of a real Placement."""

from __future__ import annotations

import copy
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keystoneauth1 import loading
from nova import objects
from nova.scheduler import filters, host_manager, weights
from oslo_config import fixture as config_fixture
from stevedore import extension

from kongming_sched.conf import opts
from kongming_sched.conf import scheduler as conf
from kongming_sched.exceptions import ConfigurationError, PlacementUnavailable
from kongming_sched.filters import all_filters
from kongming_sched.filters.numa import KongmingNumaFilter
from kongming_sched.filters.template import KongmingTemplateFilter
from kongming_sched.placement import flavor, names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.request import NumaStrategy
from kongming_sched.scheduler import worker
from kongming_sched.scheduler.snapshot import CloudView, NodeSnapshot
from kongming_sched.scheduler.under_way import UnderWay
from kongming_sched.template import PinningTemplate
from kongming_sched.weighers import all_weighers
from kongming_sched.weighers.packing import KongmingPackingWeigher
from testbed import topologies
from testbed.no_answer import Kind, endless_server
from testbed.nova_objects import make_host_state, make_spec
from tests.functional.conftest import PlacementService
from tests.functional.nova.scheduler import Scheduler, node_of, register_host

ROOT = "5a1e0000-0000-4000-8000-000000000001"
GOLD = {
    "kongming:template": "gold",
    "resources_KONGMING0:CUSTOM_KONGMING_PCPU": "2",
    "trait_KONGMING0:CUSTOM_KONGMING_TEMPLATE_GOLD": "required",
}
TWO_CELLS = GOLD | {
    "resources_KONGMING1:CUSTOM_KONGMING_PCPU": "1",
    "trait_KONGMING1:CUSTOM_KONGMING_TEMPLATE_GOLD": "required",
    "trait_KONGMING1:CUSTOM_KONGMING_NODE_1": "required",
}


def refuse_client() -> PlacementClient:
    """What a snapshot has to cope with when Placement is away."""
    raise PlacementUnavailable("answer", "connection refused")


AWAY = NodeSnapshot(refuse_client, lambda: 3600.0)


@pytest.fixture(autouse=True)
def options(monkeypatch: pytest.MonkeyPatch) -> Iterator[config_fixture.Config]:
    """Nova's options with ours, as at the start of nova-scheduler; changes last for one test, and so do requests."""
    conf.register_opts(worker.CONF)
    monkeypatch.setattr(worker, "UNDER_WAY", UnderWay())
    with config_fixture.Config(worker.CONF) as fixture:
        yield fixture


@pytest.fixture
def renew_snapshot(monkeypatch: pytest.MonkeyPatch, placement: PlacementService) -> Callable[[], None]:
    """Lets the next request see all NUMA nodes as they are now. They are served until it is called again."""

    def renew() -> None:
        monkeypatch.setattr(worker, "SNAPSHOT", NodeSnapshot(lambda: placement.client, lambda: 300.0))

    renew()
    return renew


@pytest.fixture
def no_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question for the use of NUMA nodes fails."""
    monkeypatch.setattr(worker, "SNAPSHOT", None)


def make_template(placement: PlacementService, cells: int = 1) -> PinningTemplate:
    """A stored template of one dedicated vCPU per cell."""
    data = {"name": "gold", "cells": [{"vcpus": str(index), "cpus": "dedicated"} for index in range(cells)]}
    template = PinningTemplate.from_mapping(data)
    TemplateStore(placement.client).create(template)
    return template


def make_candidate(nodes: Mapping[str, str], amounts: Mapping[str, int], root: str = ROOT) -> dict[str, Any]:
    """A candidate as Placement gives it: request group to provider, provider to dedicated CPUs."""
    allocations = {provider: {"resources": {names.PCPU: amount}} for provider, amount in amounts.items()}
    return {
        "allocations": {root: {"resources": {"MEMORY_MB": 256}}, **allocations},
        "mappings": {"": [root], **{group: [provider] for group, provider in nodes.items()}},
    }


def on(node: int, amount: int = 2) -> dict[str, Any]:
    """A candidate with one cell on this node."""
    provider = names.node_uuid(ROOT, node)
    return make_candidate({"_KONGMING0": provider}, {provider: amount})


# Loading


def test_novas_loaders_find_filters_and_weighers() -> None:
    """By the paths that stand in nova.conf, beside Nova's own, each once."""
    paths = ["nova.scheduler.filters.all_filters", "kongming_sched.filters.all_filters"]
    found = [cls.__name__ for cls in filters.HostFilterHandler().get_matching_classes(paths)]
    assert ["KongmingNumaFilter", "KongmingTemplateFilter"] == [name for name in found if "Kongming" in name]
    paths = ["nova.scheduler.weights.all_weighers", "kongming_sched.weighers.all_weighers"]
    found = [cls.__name__ for cls in weights.HostWeightHandler().get_matching_classes(paths)]
    assert ["KongmingPackingWeigher", "KongmingReserveWeigher", "KongmingTemplateAffinityWeigher"] == [
        name for name in found if "Kongming" in name
    ]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param("kongming_no_such_module:Filter", "does not load: ModuleNotFoundError", id="a module is missing"),
        pytest.param("kongming_sched.request:PinningRequest", "is no BaseHostFilter", id="it is no filter"),
    ],
)
def test_a_plugin_that_does_not_load_stops_the_scheduler(
    value: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, with the option that asked for it; nothing is scheduled without a filter that is relied on."""
    package = tmp_path / "other-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(f"[kongming_sched.filters]\nbroken = {value}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(extension.ExtensionManager, "ENTRY_POINT_CACHE", {})
    with pytest.raises(ConfigurationError) as caught:
        all_filters()
    assert "[filter_scheduler] available_filters" == caught.value.option
    assert f"entry point broken = {value} of kongming_sched.filters {reason}" in str(caught.value)


def test_a_nova_without_candidates_for_filters_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """nova-scheduler does not start, for Nova 26 and older ask no filter which candidate to claim."""

    class OldHostState:
        def __init__(self, host: str, node: str, cell_uuid: str) -> None:
            pass

    monkeypatch.setattr(host_manager, "HostState", OldHostState)
    with pytest.raises(
        ConfigurationError, match="is too old for KongMing: its scheduler hands no allocation candidates"
    ):
        all_filters()


def test_options_are_listed_for_the_sample_files() -> None:
    """Under the groups of nova.conf and of the agent's file; every strategy can be configured."""
    ((group, options),) = opts.list_scheduler_opts()
    assert "kongming_scheduler" == group.name
    strategy = next(option for option in options if option.name == "numa_strategy")
    assert list(NumaStrategy) == list(strategy.type.choices)
    assert "kongming_agent" in [getattr(group, "name", group) for group, _ in opts.list_agent_opts()]


@pytest.mark.parametrize("auth_type", [None, "nosuch"])
def test_wrong_credentials_are_an_outage(auth_type: str | None, options: config_fixture.Config) -> None:
    """Whatever Nova and its libraries raise, the snapshot gets an error that it can cope with."""
    options.config(group="placement", auth_type=auth_type)
    with pytest.raises(PlacementUnavailable, match=r"could not be found by \[placement\] of nova.conf"):
        worker.make_client()


def test_the_credentials_of_nova_conf_lead_to_placement(
    placement: PlacementService, options: config_fixture.Config
) -> None:
    """The scheduler needs no credentials of its own."""
    options.register_opts(loading.get_auth_plugin_conf_options("admin_token"), group="placement")
    options.config(group="placement", auth_type="admin_token", endpoint=placement.endpoint, token=placement.token)
    register_host(placement, "c1", topologies.two_nodes_no_smt())
    assert 2 == len(worker.make_client().node_summaries())


@pytest.mark.parametrize("kind", list(Kind))
def test_a_placement_that_never_ends_its_answer(
    kind: Kind, options: config_fixture.Config, caplog: pytest.LogCaptureFixture
) -> None:
    """Each refresh is given up after ``[placement] timeout`` of nova.conf, that is logged, and another one starts."""
    options.register_opts(loading.get_auth_plugin_conf_options("none"), group="placement")
    with endless_server(kind) as server:
        options.config(group="placement", auth_type="none", endpoint_override=server.endpoint, timeout=1)
        snapshot = NodeSnapshot(worker.make_client, lambda: 0.0)
        for attempt in range(1, 4):
            snapshot.get()
            snapshot.wait(30)
            assert attempt <= server.connections
    (record,) = caplog.records
    assert "by Placement's own order of NUMA nodes until it answers again" in record.getMessage()


# Servers that ask nothing


@pytest.mark.parametrize("extra_specs", [{}, {"hw:cpu_policy": "dedicated"}, {"resources:CUSTOM_KONGMING_PCPU": "1"}])
@pytest.mark.usefixtures("no_snapshot")
def test_a_server_without_a_template_is_scheduled_as_without_kongming(extra_specs: dict[str, str]) -> None:
    """No host and no candidate is touched, Placement is not asked, and the order of the hosts is Nova's own."""
    hosts = [make_host_state(f"c{index}", str(uuid.uuid4()), [on(0), {}, on(1)]) for index in range(4)]
    for index, host in enumerate(hosts):
        host.free_ram_mb = (7 * index) % 4
    before = copy.deepcopy([host.allocation_candidates for host in hosts])
    spec = make_spec(extra_specs)
    for cls in all_filters():
        assert hosts is cls().filter_all(hosts, spec)
    assert before == [host.allocation_candidates for host in hosts]

    handler = weights.HostWeightHandler()
    nova = [cls() for cls in handler.get_matching_classes(["nova.scheduler.weights.ram.RAMWeigher"])]
    plain = handler.get_weighed_objects(nova, hosts, spec)
    ours = handler.get_weighed_objects([*nova, *(cls() for cls in all_weighers())], hosts, spec)
    assert [(item.obj, item.weight) for item in plain] == [(item.obj, item.weight) for item in ours]


@pytest.mark.usefixtures("no_snapshot")
def test_a_rebuild_stays_where_it_is() -> None:
    """Nova asks with no candidates whether the host still suits the image; that is no question to us."""
    hosts = [make_host_state("c1", ROOT, [])]
    spec = make_spec(GOLD, scheduler_hints={"_nova_check_type": ["rebuild"]})
    for cls in all_filters():
        assert hosts == list(cls().filter_all(hosts, spec))


# Flavors that cannot be honoured


@pytest.mark.parametrize(
    ("extra_specs", "more", "key"),
    [
        pytest.param({"kongming:template": "gold"}, {}, "resources_KONGMING0:*", id="no groups"),
        pytest.param({"kongming:template": "Gold"}, {}, "kongming:template", id="no name"),
        pytest.param(GOLD | {"hw:numa_nodes": "2"}, {}, "hw:numa_nodes", id="a clash"),
        pytest.param(GOLD | {"kongming:numa_strategy": "x"}, {}, "kongming:numa_strategy", id="no strategy"),
        pytest.param(
            GOLD | {"kongming:template": "silver"},
            {},
            "trait_KONGMING0:CUSTOM_KONGMING_TEMPLATE_SILVER",
            id="groups of another template",
        ),
        pytest.param(
            GOLD,
            {"numa_topology": objects.InstanceNUMATopology(cells=[])},
            "kongming:template",
            id="an image with a NUMA topology",
        ),
    ],
)
@pytest.mark.usefixtures("no_snapshot")
def test_a_wrong_flavor_gets_no_host_and_one_warning(
    extra_specs: dict[str, str], more: dict[str, Any], key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It names server, flavor and key, and the command that shows more; the other filter adds nothing."""
    hosts = [make_host_state(f"c{index}", ROOT, [on(0)]) for index in range(3)]
    spec = make_spec(extra_specs, **more)
    assert hosts == list(KongmingNumaFilter().filter_all(hosts, spec))
    assert [] == list(KongmingTemplateFilter().filter_all(hosts, spec))
    (record,) = [record for record in caplog.records if record.name.startswith("kongming_sched")]
    assert logging.WARNING == record.levelno
    message = record.getMessage()
    assert f"No host for server {spec.instance_uuid}, flavor f1: flavor extra spec {key!r}: " in message
    assert "'openstack kongming flavor show' says what the flavor asks for" in message


def test_an_unset_numa_topology_is_none() -> None:
    """Nova always sets the field, to None for most servers."""
    host = make_host_state("c1", ROOT, [on(0)])
    assert [host] == list(KongmingTemplateFilter().filter_all([host], make_spec(GOLD, numa_topology=None)))


# Candidates


ELSEWHERE = names.node_uuid("5a1e0000-0000-4000-8000-00000000000f", 0)
NODE_0, NODE_1, NODE_2 = (names.node_uuid(ROOT, node) for node in range(3))


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        pytest.param(None, "_KONGMING0 is not on exactly one provider", id="nothing"),
        pytest.param({"allocations": {}}, "_KONGMING0 is not on exactly one provider", id="no mappings"),
        pytest.param(
            make_candidate({"_KONGMING0": ELSEWHERE, "_KONGMING1": NODE_1}, {ELSEWHERE: 2, NODE_1: 1}),
            f"_KONGMING0 is on provider {ELSEWHERE}, which is no NUMA node of this host",
            id="another host's node",
        ),
        pytest.param(
            make_candidate({"_KONGMING0": ROOT, "_KONGMING1": NODE_1}, {NODE_1: 1, NODE_2: 1}),
            f"_KONGMING0 is on provider {ROOT}, which is no NUMA node of this host",
            id="the host itself",
        ),
        pytest.param(
            make_candidate({"_KONGMING0": NODE_1, "_KONGMING1": NODE_1}, {NODE_1: 3}),
            "the cells are not each on a provider of their own below the host",
            id="two cells on one node",
        ),
        pytest.param(
            make_candidate({"_KONGMING0": NODE_1, "_KONGMING1": NODE_1}, {NODE_1: 3, ELSEWHERE: 1}),
            "the cells are not each on a provider of their own below the host",
            id="two cells on one node, and something else on another provider",
        ),
        pytest.param(
            make_candidate({"_KONGMING0": NODE_0, "_KONGMING1": NODE_2}, {NODE_0: 2, NODE_2: 1}),
            "_KONGMING1 is on node 2 and not where CUSTOM_KONGMING_NODE_1 is",
            id="not the node that is asked for",
        ),
        pytest.param(
            make_candidate({"_KONGMING0": NODE_0, "_KONGMING1": NODE_1}, {NODE_0: 1, NODE_1: 1}),
            "_KONGMING0 takes 1 of CUSTOM_KONGMING_PCPU from node 0 instead of 2",
            id="too little is taken",
        ),
    ],
)
def test_a_host_without_a_good_candidate_is_rejected_with_a_reason(
    candidate: object, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One line per host, for who has debugging on."""
    caplog.set_level(logging.DEBUG, "kongming_sched")
    host = make_host_state("c1", ROOT, [candidate])
    assert [] == list(KongmingTemplateFilter().filter_all([host], make_spec(TWO_CELLS)))
    said = [record.getMessage() for record in caplog.records if record.name.startswith("kongming_sched")]
    assert [f"c1 fails template gold: {reason}"] == said
    assert [] == host.allocation_candidates


def test_only_good_candidates_are_kept() -> None:
    """The list is a real one, in the order in which Placement gave it."""
    host = make_host_state("c1", ROOT, (on(1), on(1, 1), {}, on(0)))
    assert [host] == list(KongmingTemplateFilter().filter_all([host], make_spec(GOLD)))
    assert [on(1), on(0)] == host.allocation_candidates


def test_the_filter_that_orders_candidates_drops_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that do not honour the request come last; to reject them is for the other filter."""
    monkeypatch.setattr(worker, "SNAPSHOT", AWAY)
    host = make_host_state("c1", ROOT, [{}, on(1), on(1, 1)])
    assert [host] == list(KongmingNumaFilter().filter_all([host], make_spec(GOLD)))
    assert [on(1), {}, on(1, 1)] == host.allocation_candidates


providers = st.sampled_from([ROOT, NODE_0, NODE_1, NODE_2, ELSEWHERE, "", "x"])
junk = (
    st.none() | st.integers(-1, 3) | st.booleans() | st.sampled_from(["", "_KONGMING0", NODE_0]) | st.binary(max_size=2)
)
groups = st.sampled_from(["", "_KONGMING0", "_KONGMING1", "_KONGMING2", "_PORT"])
resources = st.dictionaries(st.sampled_from([names.PCPU, "MEMORY_MB"]), st.integers(-1, 4) | junk, max_size=2)
odd_candidates = st.fixed_dictionaries(
    {},
    optional={
        "allocations": st.dictionaries(
            providers, st.fixed_dictionaries({}, optional={"resources": resources | junk}) | junk, max_size=4
        )
        | junk,
        "mappings": st.dictionaries(groups, st.lists(providers | junk, max_size=2) | junk, max_size=4) | junk,
    },
)
good_candidates = st.permutations([NODE_0, NODE_1, NODE_2]).map(
    lambda nodes: make_candidate({"_KONGMING0": nodes[0], "_KONGMING1": nodes[1]}, {nodes[0]: 2, nodes[1]: 1})
)

GOOD_01 = make_candidate({"_KONGMING0": NODE_0, "_KONGMING1": NODE_1}, {NODE_0: 2, NODE_1: 1})
GOOD_21 = make_candidate({"_KONGMING0": NODE_2, "_KONGMING1": NODE_1}, {NODE_2: 2, NODE_1: 1})


def is_right(candidate: Any, required: Mapping[str, int]) -> bool:
    """What a candidate of TWO_CELLS must be, in other words."""
    on_nodes = [candidate["mappings"][group] for group in required]
    (first,), (second,) = on_nodes
    enough = all(
        candidate["allocations"][provider]["resources"][names.PCPU] >= amount
        for (provider,), amount in zip(on_nodes, required.values(), strict=True)
    )
    return first in (NODE_0, NODE_2) and second == NODE_1 and enough


@given(
    st.lists(odd_candidates | good_candidates | junk, max_size=5) | st.none(),
    st.sampled_from([ROOT, None, "", "x"]),
    st.integers(0, 3),
)
def test_odd_candidates_break_nothing(candidates: list[Any] | None, root: str | None, more_servers: int) -> None:
    """Whatever comes, nothing is raised, no wrong candidate passes, and every good one does."""
    host = make_host_state("c1", root, copy.deepcopy(candidates))  # type: ignore[arg-type]  # as odd as the rest
    spec = make_spec(TWO_CELLS)
    good = [item for item in candidates or () if root == ROOT and item in (GOOD_01, GOOD_21)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(worker, "SNAPSHOT", AWAY)
        assert [host] == list(KongmingNumaFilter().filter_all([host], spec))
        host.num_instances += more_servers
        passed = list(KongmingTemplateFilter().filter_all([host], spec))
        KongmingNumaFilter().filter_all(passed, spec)
        KongmingPackingWeigher().weigh_objects([weights.WeighedHost(host, 0.0)], spec)
    assert all(is_right(item, {"_KONGMING0": 2, "_KONGMING1": 1}) for item in host.allocation_candidates)
    assert len(good) <= len(host.allocation_candidates)
    assert bool(host.allocation_candidates) == bool(passed)


@given(st.lists(st.lists(odd_candidates | good_candidates, max_size=3), min_size=2, max_size=4), st.booleans())
def test_hosts_do_not_take_each_others_candidates(lists: list[list[Any]], share_a_root: bool) -> None:
    """Several hosts are offered the same providers: each good one is of the host whose provider is the root."""
    roots = [ROOT if index == 0 or share_a_root else str(uuid.UUID(int=index)) for index in range(len(lists))]
    hosts = [make_host_state(f"c{i}", roots[i], copy.deepcopy(given)) for i, given in enumerate(lists)]
    spec = make_spec(TWO_CELLS)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(worker, "SNAPSHOT", AWAY)
        passed = KongmingTemplateFilter().filter_all(hosts, spec)
        passed = KongmingNumaFilter().filter_all(passed, spec)
    assert {host.host for host in passed} <= {host.host for host in hosts if host.uuid == ROOT}
    for host, given_candidates in zip(hosts, lists, strict=True):
        good = [item for item in given_candidates if host.uuid == ROOT and item in (GOOD_01, GOOD_21)]
        assert all(item in host.allocation_candidates for item in good)
        assert all(is_right(item, {"_KONGMING0": 2, "_KONGMING1": 1}) for item in host.allocation_candidates)


@pytest.mark.parametrize("strategy", ["pack", "spread", "scatter"])
def test_a_thousand_candidates_on_one_host(strategy: str, options: config_fixture.Config) -> None:
    """As many as Nova takes of Placement; the best is found, the wrong ones go, and no good one is lost."""
    options.config(group="kongming_scheduler", numa_strategy=strategy)
    pairs = [(first, second) for first in range(32) for second in range(32)][:1000]
    providers = [names.node_uuid(ROOT, node) for node in range(32)]

    def offer(first: int, second: int) -> dict[str, Any]:
        on_nodes = {"_KONGMING0": providers[first], "_KONGMING1": providers[second]}
        amounts = {providers[first]: 3 if first == second else 2}
        return make_candidate(on_nodes, {providers[second]: 1} | amounts)

    host = make_host_state("c1", ROOT, [offer(*pair) for pair in pairs])
    two_cells = {key: value for key, value in TWO_CELLS.items() if "NODE_1" not in key}
    with pytest.MonkeyPatch.context() as monkeypatch:
        free = {node: {names.PCPU: 3 + node} for node in range(32)}
        view = CloudView({ROOT: free}, {ROOT: 0})
        monkeypatch.setattr(NodeSnapshot, "get", lambda _: view)
        spec = make_spec(two_cells)
        KongmingNumaFilter().filter_all(KongmingTemplateFilter().filter_all([host], spec), spec)
    left = [tuple(node_of_each_cell(item)) for item in host.allocation_candidates]
    assert sorted(pair for pair in pairs if len(set(pair)) == 2) == sorted(left)
    best = {"pack": (0, 1), "spread": (30, 31), "scatter": left[0]}
    assert best[strategy] == left[0]


def node_of_each_cell(candidate: Mapping[str, Any]) -> list[int]:
    """The NUMA node of both cells of a candidate."""
    nodes = {names.node_uuid(ROOT, node): node for node in range(32)}
    return [nodes[candidate["mappings"][group][0]] for group in ("_KONGMING0", "_KONGMING1")]


# With a real Placement


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        pytest.param("pack", [[0], [0], [0], [1], [1], [1], []], id="pack fills node after node"),
        pytest.param("spread", [[0], [1], [0], [1], [0], [1], []], id="spread takes turns"),
    ],
)
@pytest.mark.parametrize("requests", [1, 7])
def test_servers_take_all_places_and_no_more(
    strategy: str,
    expected: list[list[int]],
    requests: int,
    placement: PlacementService,
    renew_snapshot: Callable[[], None],
    options: config_fixture.Config,
) -> None:
    """Created in one request or one by one: the nodes are the same, and the seventh server finds no room."""
    options.config(group="kongming_scheduler", numa_strategy=strategy)
    template = make_template(placement)
    root = register_host(placement, "c1", topologies.two_nodes_no_smt(), [template])
    specs = flavor.extra_specs(template, {}, vcpus=1, memory_mb=256)
    taken = []
    for _ in range(requests):
        renew_snapshot()
        request = Scheduler(placement, make_spec(specs))
        taken += [request.schedule() for _ in range(7 // requests)]
    assert expected == [node_of(root, amounts) for amounts in taken]


def test_a_new_snapshot_does_not_count_a_requests_own_servers_twice(
    placement: PlacementService, renew_snapshot: Callable[[], None]
) -> None:
    """Renewed after each server, it says what the book says too; the third server still takes the third CPU."""
    template = make_template(placement)
    root = register_host(placement, "c1", topologies.two_nodes_no_smt(), [template])
    request = Scheduler(placement, make_spec(flavor.extra_specs(template, {}, vcpus=1, memory_mb=256)))
    taken = []
    for _ in range(4):
        taken.append(request.schedule())
        renew_snapshot()
    assert [[0], [0], [0], [1]] == [node_of(root, amounts) for amounts in taken]


def test_a_multi_create_works_without_a_snapshot(placement: PlacementService, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first server takes Placement's first candidate, each other one the node on which less is booked."""
    monkeypatch.setattr(worker, "SNAPSHOT", NodeSnapshot(refuse_client, lambda: 300.0))
    template = make_template(placement)
    root = register_host(placement, "c1", topologies.two_nodes_no_smt(), [template])
    request = Scheduler(placement, make_spec(flavor.extra_specs(template, {}, vcpus=1, memory_mb=256)))
    first_choice = request.hosts[0].allocation_candidates[0]["allocations"]
    taken = [request.schedule() for _ in range(6)]
    assert taken[0] is not None
    assert first_choice.keys() == taken[0].keys()
    assert [1, 1, 1] == [len({*node_of(root, taken[i]), *node_of(root, taken[i + 1])}) - 1 for i in (0, 2, 4)]


def test_cells_are_never_on_one_node(placement: PlacementService, renew_snapshot: Callable[[], None]) -> None:
    """Placement offers that too, because Nova's group policies cannot say it for these groups alone."""
    renew_snapshot()
    template = make_template(placement, cells=2)
    root = register_host(placement, "c1", topologies.two_nodes_no_smt(), [template])
    request = Scheduler(placement, make_spec(flavor.extra_specs(template, {}, vcpus=2, memory_mb=256)))
    offered = [node_of(root, candidate["allocations"]) for candidate in request.hosts[0].allocation_candidates]
    assert [[0], [0, 1], [0, 1], [1]] == sorted(offered)
    assert [[0, 1]] * 3 + [[]] == [node_of(root, request.schedule()) for _ in range(4)]
