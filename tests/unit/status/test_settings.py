# SPDX-License-Identifier: Apache-2.0
"""Which settings of the agent, Nova and Placement hurt."""

from __future__ import annotations

from dataclasses import replace

import pytest
from oslo_upgradecheck.upgradecheck import Code

from kongming_sched import exceptions
from kongming_sched.cloud.compute import Flavor
from kongming_sched.status import settings
from kongming_sched.status.files import AgentFile, NovaFile, PlacementFile
from kongming_sched.template import PinningTemplate

NOVA = NovaFile(
    ("nova.conf",),
    ("nova.scheduler.filters.all_filters", settings.ALL_FILTERS),
    ("ComputeFilter", settings.TEMPLATE_FILTER, "NUMATopologyFilter", settings.NUMA_FILTER),
    (settings.NOVAS_WEIGHERS, settings.ALL_WEIGHERS),
    1000,
)
PLACEMENT = PlacementFile(("placement.conf",), 1, "breadth-first", -1)
HUNDRED_HOSTS = {str(number): 2 for number in range(100)}
ONE_CELL = PinningTemplate.from_mapping({"name": "one", "cells": [{"vcpus": "0", "cpus": "dedicated"}]})
TWO_CELLS = PinningTemplate.from_mapping(
    {"name": "two", "cells": [{"vcpus": "0", "cpus": "dedicated"}, {"vcpus": "1", "cpus": "dedicated"}]}
)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({}, Code.SUCCESS, "nova.conf has KongMing's filters and weighers"),
        (
            {"enabled_filters": ("ComputeFilter",)},
            Code.FAILURE,
            "enabled_filters of nova.conf lacks KongmingTemplateFilter and KongmingNumaFilter",
        ),
        ({"enabled_filters": None}, Code.FAILURE, "lacks KongmingTemplateFilter and KongmingNumaFilter"),
        ({"enabled_filters": (settings.TEMPLATE_FILTER,)}, Code.FAILURE, "lacks KongmingNumaFilter"),
        ({"available_filters": None}, Code.FAILURE, "available_filters of nova.conf lacks kongming_sched.filters"),
        (
            {"enabled_filters": ("NUMATopologyFilter", settings.TEMPLATE_FILTER, settings.NUMA_FILTER)},
            Code.WARNING,
            "KongmingTemplateFilter stands behind NUMATopologyFilter",
        ),
        (
            {"enabled_filters": (settings.TEMPLATE_FILTER, settings.NUMA_FILTER, "PciPassthroughFilter")},
            Code.WARNING,
            "KongmingNumaFilter stands in front of PciPassthroughFilter",
        ),
        (
            {"weight_classes": None},
            Code.WARNING,
            "set weight_classes = nova.scheduler.weights.all_weighers, kongming_sched.weighers.all_weighers",
        ),
        ({"weight_classes": (settings.ALL_WEIGHERS,)}, Code.WARNING, "so that Nova's own do not count"),
    ],
)
def test_filters_and_weighers(changes: dict[str, object], code: Code, words: str) -> None:
    """Without the filters nothing works; the wrong order and missing weighers cost something."""
    verdict = settings.of_filters(replace(NOVA, **changes), has_agent=False)  # type: ignore[arg-type]
    assert (code, True) == (verdict.code, words in verdict.details)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({}, Code.SUCCESS, "nova.conf has KongMing's filters and weighers"),
        (
            {"disable_fallback_pcpu_query": False},
            Code.WARNING,
            "disable_fallback_pcpu_query is off in nova.conf: Nova asks Placement for the candidates of servers of"
            " template dpdk twice",
        ),
        (
            {"enabled_filters": (settings.TEMPLATE_FILTER,)},
            Code.FAILURE,
            "lacks KongmingNumaFilter, so that Nova itself chooses the NUMA nodes of servers of template dpdk",
        ),
        (
            {"enabled_filters": (settings.TEMPLATE_FILTER, settings.NUMA_FILTER, "NUMATopologyFilter")},
            Code.FAILURE,
            "stands in front of NUMATopologyFilter in enabled_filters of nova.conf, which overwrites what leads Nova",
        ),
        (
            {"enabled_filters": (settings.TEMPLATE_FILTER, settings.NUMA_FILTER, "PciPassthroughFilter")},
            Code.WARNING,
            "KongmingNumaFilter stands in front of PciPassthroughFilter",
        ),
    ],
)
def test_a_template_that_nova_lays_out_needs_more(changes: dict[str, object], code: Code, words: str) -> None:
    """A filter behind the last one undoes what leads Nova, and so does one that is not there."""
    file = replace(replace(NOVA, disable_fallback_pcpu_query=True), **changes)  # type: ignore[arg-type]
    verdict = settings.of_filters(file, ["dpdk"], has_agent=False)
    assert (code, True) == (verdict.code, words in verdict.details)


def test_a_compute_nodes_nova_conf_need_not_be_the_schedulers() -> None:
    """Where an agent is and the option is not set, it may well be another file that the scheduler reads."""
    verdict = settings.of_filters(replace(NOVA, enabled_filters=None), has_agent=True)
    assert (Code.WARNING, True) == (verdict.code, "if nova-scheduler reads it" in verdict.details)


@pytest.mark.parametrize(
    ("results", "strategy", "templates", "problems"),
    [
        (1000, "breadth-first", [ONE_CELL], []),
        (200, "breadth-first", [ONE_CELL], []),
        (100, "breadth-first", [TWO_CELLS], []),
        (99, "breadth-first", [ONE_CELL], ["less than the 100 hosts"]),
        (200, "depth-first", [ONE_CELL], ["all candidates of one host come before"]),
        (199, "depth-first", [ONE_CELL], ["less than the 200 candidates", "all candidates of one host come before"]),
        (399, "depth-first", [TWO_CELLS], ["less than the 400 candidates", "all candidates of one host come before"]),
        (400, "depth-first", [TWO_CELLS], ["all candidates of one host come before"]),
    ],
)
def test_limits_on_candidates(
    results: int, strategy: str, templates: list[PinningTemplate], problems: list[str]
) -> None:
    """Breadth first one candidate for each host is enough; else there must be room for all of them."""
    nova, placement = replace(NOVA, max_placement_results=results), replace(PLACEMENT, generation_strategy=strategy)
    verdict = settings.of_candidates(nova, placement, HUNDRED_HOSTS, templates)
    assert len(problems) == len(verdict.problems)
    assert [] == [words for words in problems if words not in verdict.details]
    assert (Code.WARNING if problems else Code.SUCCESS) == verdict.code


@pytest.mark.parametrize(
    ("policies", "most"), [([], 200), (["isolate"], 200), (["isolate", "none"], 400)], ids=["none", "isolate", "both"]
)
def test_candidates_of_isolated_cells(policies: list[str], most: int) -> None:
    """Placement makes none with two cells on one node if all flavors of the template ask for that."""
    specs = [{"kongming:template": TWO_CELLS.name, "group_policy": policy} for policy in policies]
    flavors = [Flavor("1", "m1", 2, 512, item) for item in specs]
    verdict = settings.of_candidates(NOVA, PLACEMENT, HUNDRED_HOSTS, [TWO_CELLS], flavors)
    assert f"the templates make up to {most} candidates on 100 hosts." == verdict.details


@pytest.mark.parametrize(("limit", "is_enough"), [(-1, True), (200, True), (199, False), (0, False)])
def test_what_placement_makes_at_all(limit: int, is_enough: bool) -> None:
    """A limit there below the number of nodes hides some from everybody who asks for all."""
    placement = replace(PLACEMENT, max_allocation_candidates=limit)
    verdict = settings.of_candidates(NOVA, placement, HUNDRED_HOSTS, [ONE_CELL])
    assert is_enough is (verdict.code is Code.SUCCESS)


def test_without_the_cloud_the_files_are_judged_by_themselves() -> None:
    """No number of nodes is taken for none that could be too many."""
    assert Code.SUCCESS is settings.of_candidates(NOVA, PLACEMENT, {}, []).code
    depth_first = replace(PLACEMENT, generation_strategy="depth-first")
    assert Code.WARNING is settings.of_candidates(NOVA, depth_first, {}, []).code


@pytest.mark.parametrize(("count", "code"), [(1, Code.SUCCESS), (10, Code.FAILURE), (0, Code.FAILURE)])
def test_claims_are_tried_once(count: int, code: Code) -> None:
    """By Placement; 0 would be no try at all."""
    verdict = settings.of_claims(replace(PLACEMENT, allocation_conflict_retry_count=count))
    assert code is verdict.code


@pytest.mark.parametrize(
    ("file", "code", "words"),
    [
        (AgentFile(("agent.conf",), 8, ()), Code.SUCCESS, "agent.conf: no CPU is given away twice"),
        (
            AgentFile(("agent.conf",), 8, (exceptions.ConfigurationError("dedicated_cpu_set", "CPU 3 is Nova's; x"),)),
            Code.FAILURE,
            "option dedicated_cpu_set: CPU 3 is Nova's. To do: take it out of one of them.",
        ),
        (AgentFile(("agent.conf",), 0, ()), Code.WARNING, "no template is offered"),
    ],
)
def test_cpus_of_agent_and_nova(file: AgentFile, code: Code, words: str) -> None:
    """What clashes stops the agent, and what is not there offers nothing."""
    verdict = settings.of_agent(file)
    assert (code, True) == (verdict.code, words in verdict.details)


def test_files_that_are_elsewhere_are_not_wrong() -> None:
    """Each machine has its own; what was not read is said."""
    verdicts = [
        settings.of_agent(None),
        settings.of_filters(None, has_agent=False),
        settings.of_claims(None),
        settings.of_candidates(None, None, HUNDRED_HOSTS, [ONE_CELL]),
    ]
    assert [Code.SUCCESS] * 4 == [verdict.code for verdict in verdicts]
    assert all("this machine has no " in verdict.details for verdict in verdicts)
