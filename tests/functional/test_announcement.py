# SPDX-License-Identifier: Apache-2.0
"""What a worker of nova-scheduler says once of what it has found: Nova's real loading, the real Placement."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable

import pytest

from kongming_sched.filters import all_filters
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.scheduler import plugins, worker
from kongming_sched.scheduler.announcement import Announcement
from kongming_sched.scheduler.snapshot import NodeSnapshot
from kongming_sched.weighers import all_weighers
from testbed.topologies import two_nodes_smt2
from tests.functional.cli.conftest import register as register
from tests.functional.conftest import PlacementService
from tests.functional.test_snapshot import REFUSED, Gate

LOADED = (
    "KongMing has filters KongmingNumaFilter, KongmingTemplateFilter; weighers KongmingPackingWeigher,"
    " KongmingReserveWeigher, KongmingTemplateAffinityWeigher."
)
ENABLED = ["ComputeFilter", "KongmingTemplateFilter", "KongmingNumaFilter"]


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Nova has loaded all filters and weighers, as at the start of a scheduler, and its log is kept."""
    monkeypatch.setattr(plugins, "LOADED", {})
    all_filters()
    all_weighers()
    caplog.set_level(logging.INFO, "kongming_sched.scheduler.announcement")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The announcements so far."""
    return [record.message for record in caplog.records if record.name.endswith(".announcement")]


def snapshot_of(placement: PlacementService, enabled: list[str]) -> NodeSnapshot:
    """A worker's snapshot that is renewed with each question."""
    return NodeSnapshot(lambda: placement.client, lambda: 0.0, announce=Announcement(lambda: enabled))


def ask(snapshot: NodeSnapshot, times: int = 1) -> None:
    """Ask, and wait each time until Placement has answered."""
    for _ in range(times):
        snapshot.get()
        snapshot.wait(30)


def offer(placement: PlacementService, host: str, register: Callable[..., str], templates: int) -> None:
    """Let the nodes of a host offer some templates."""
    client, root = placement.client, register(host, two_nodes_smt2())
    traits = {names.template_trait(f"t{number:02}") for number in range(templates)}
    client.ensure_traits(traits)
    for node in (names.node_uuid(root, 0), names.node_uuid(root, 1)):
        [provider] = client.providers(uuid=node)
        client.set_traits(node, provider.generation, client.traits(node) | traits)


def test_once_with_what_there_is(
    placement: PlacementService, register: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    """Filters, weighers, nodes, hosts and templates in one line, however often Placement is asked."""
    offer(placement, "c1", register, 0)
    offer(placement, "c2", register, 2)

    ask(snapshot_of(placement, ENABLED), times=3)

    assert [f"{LOADED} Placement has 4 NUMA nodes on 2 hosts, which offer the templates t00, t01."] == said(caplog)


def test_no_agent_has_come_yet(placement: PlacementService, caplog: pytest.LogCaptureFixture) -> None:
    """A cloud without a node differs from one whose Placement is away."""
    ask(snapshot_of(placement, ENABLED))

    assert [
        f"{LOADED} Placement has no NUMA node for servers of templates: no kongming-agent has registered one yet."
    ] == said(caplog)


def test_many_templates_are_counted(
    placement: PlacementService, register: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    """The line stays one that can be read."""
    offer(placement, "c1", register, 12)

    ask(snapshot_of(placement, ENABLED))

    assert said(caplog)[0].endswith("the templates t00, t01, t02, t03, t04, t05, t06, t07, t08, t09 and 2 more.")


def test_placement_is_away_at_first(
    placement: PlacementService, register: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    """That is said once, and the nodes once they are known."""
    register("c1", two_nodes_smt2())
    gate = Gate(placement.adapter, cut=REFUSED)
    gate.open.set()
    snapshot = NodeSnapshot(lambda: PlacementClient(gate), lambda: 0.0, announce=Announcement(lambda: ENABLED))
    ask(snapshot, times=2)
    gate.cut = None
    ask(snapshot, times=2)

    assert [
        f"{LOADED} Placement has not answered yet, so that the NUMA nodes are not known.",
        f"{LOADED} Placement has 2 NUMA nodes on 1 host, which offer no template.",
    ] == said(caplog)


def test_the_nodes_could_not_be_read(caplog: pytest.LogCaptureFixture) -> None:
    """What kept them from being read is named, and Placement is not blamed for it."""

    def make_client() -> PlacementClient:
        raise TypeError("unexpected keyword argument 'admin'")

    ask(NodeSnapshot(make_client, lambda: 0.0, announce=Announcement(lambda: ENABLED)), times=2)

    assert [
        f"{LOADED} The NUMA nodes are not known, for reading them ended with"
        " TypeError(\"unexpected keyword argument 'admin'\")."
    ] == said(caplog)


def test_what_nova_conf_lacks(
    placement: PlacementService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A filter that is loaded and not enabled, and weighers that are not loaded, are named with their option."""
    monkeypatch.delitem(plugins.LOADED, "kongming_sched.weighers")

    ask(snapshot_of(placement, ["KongmingTemplateFilter", str(uuid.uuid4())]))

    assert said(caplog)[0].startswith(
        "KongMing has filters KongmingNumaFilter (which enabled_filters lacks), KongmingTemplateFilter; no weigher"
        " ([filter_scheduler] weight_classes lacks them). "
    )


def test_the_workers_own_snapshot_is_announced(
    placement: PlacementService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """That of the filters and weighers, by Nova's options."""
    monkeypatch.setattr(worker, "make_client", lambda: placement.client)
    worker.CONF.set_override("enabled_filters", ENABLED, "filter_scheduler")
    try:
        ask(worker.make_snapshot())
    finally:
        worker.CONF.clear_override("enabled_filters", "filter_scheduler")

    assert [LOADED] == [line[: len(LOADED)] for line in said(caplog)]
