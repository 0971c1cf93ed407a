# SPDX-License-Identifier: Apache-2.0
"""What of Placement's data speaks against an agent."""

from __future__ import annotations

from dataclasses import replace

import pytest
from oslo_upgradecheck.upgradecheck import Code

from kongming_sched.cloud.nodes import Node
from kongming_sched.cloud.signs import Sign
from kongming_sched.placement import names
from kongming_sched.placement.client import Provider
from kongming_sched.placement.summaries import ProviderSummary
from kongming_sched.placement.templates import StoredTemplate, TemplateList
from kongming_sched.status.agents import LATE_MINUTES, Seen, of_agents
from kongming_sched.template import EmulatorPolicy, PinningTemplate

HOST, OTHER = "c1c1c1c1-0000-4000-8000-000000000001", "c2c2c2c2-0000-4000-8000-000000000002"


NOW = 30_000_000
SEEN = {"c1": Sign("sign-of-c1", NOW - 30)}


def node(
    *templates: str, pcpus: int = 8, memory_mb: int = 1024, threads: int = 2, extra: frozenset[str] = frozenset()
) -> Node:
    """Node 0 of host c1."""
    traits = frozenset(map(names.template_trait, templates)) | extra
    capacity = {names.PCPU: pcpus, names.MEMORY_MB: memory_mb}
    return Node("c1", HOST, 0, threads, templates, ProviderSummary("node", HOST, HOST, traits, capacity, {}))


def template(name: str, **cell: object) -> PinningTemplate:
    """A template of one cell with four dedicated vCPUs, unless something else is said."""
    return PinningTemplate.from_mapping({"name": name, "cells": [{"vcpus": "0-3", "cpus": "dedicated", **cell}]})


def found(
    of: Node,
    *stored: PinningTemplate,
    members: dict[str, frozenset[str]] | None = None,
    signs: dict[str, Sign] | None = None,
) -> tuple[Code, str]:
    """What is said of the host."""
    templates = TemplateList({item.name: StoredTemplate(item, 1) for item in stored}, ())
    compute_nodes = [Provider(HOST, "c1", 1, HOST, None), Provider(OTHER, "c2", 1, OTHER, None)]
    verdict = of_agents([of], compute_nodes, templates, members or {}, Seen(SEEN if signs is None else signs, NOW))
    return verdict.code, verdict.details


def test_an_agent_that_has_done_everything() -> None:
    """It was seen, and hosts without one are named."""
    code, details = found(node("gold"), template("gold"))
    assert Code.SUCCESS is code
    assert details == ("the agents of 1 host were seen in the last 3 hours; no agent has registered c2.")


def test_a_template_that_went_unnoticed() -> None:
    """Its trait stays on the node until an agent takes it off."""
    code, details = found(node("gold", "silver"), template("gold"))
    assert Code.WARNING is code
    assert (
        "the agent of c1 does not seem to run: node 0 offers template 'silver', which is not there any more" in details
    )


def test_aggregates_that_went_unnoticed() -> None:
    """A template that is offered to others now."""
    code, details = found(node("gold"), template("gold"), members={"gold": frozenset({OTHER})})
    assert Code.WARNING is code
    assert "offers template 'gold', whose aggregates do not hold this host" in details


def test_a_host_whose_agent_never_came() -> None:
    """It is in the aggregate of a template, so servers are expected there."""
    code, details = found(node("gold"), template("gold"), members={"gold": frozenset({HOST, OTHER})})
    assert Code.WARNING is code
    assert "template 'gold' is offered to c2, where no agent has registered a NUMA node" in details


@pytest.mark.parametrize(
    ("of", "cell", "is_missed"),
    [
        pytest.param(node(), {}, True, id="there is room"),
        pytest.param(node(pcpus=3), {}, False, id="too few CPUs"),
        pytest.param(node(pcpus=4), {}, True, id="just enough CPUs"),
        pytest.param(node(), {"threads": "isolate"}, False, id="how many cores are whole stands nowhere"),
        pytest.param(node(threads=1), {"threads": "require"}, False, id="no siblings"),
        pytest.param(node(memory_mb=0), {}, False, id="no memory"),
        pytest.param(node(memory_mb=0), {"memory": "none"}, True, id="no memory is needed"),
        pytest.param(node(), {"node": 1}, False, id="another node"),
        pytest.param(node(), {"cpus": "shared"}, False, id="the size of a shared pool stands nowhere"),
        pytest.param(node(extra=frozenset({names.DISABLED})), {}, False, id="an operator keeps servers away"),
    ],
)
def test_a_new_template_that_went_unnoticed(of: Node, cell: dict[str, object], is_missed: bool) -> None:
    """Only where the node certainly has room for it."""
    code, details = found(of, template("gold", **cell))
    assert is_missed is (code is Code.WARNING)
    assert is_missed is ("it does not offer template 'gold', for which it has room" in details)


@pytest.mark.parametrize(("pcpus", "is_missed"), [(8, True), (7, False)])
def test_a_template_of_whole_cores_that_went_unnoticed(pcpus: int, is_missed: bool) -> None:
    """Once a node offers another one, its CPUs are those of whole cores."""
    stored = (template("gold", threads="isolate"), template("cores", threads="require"))
    code, _ = found(node("cores", pcpus=pcpus), *stored)
    assert is_missed is (code is Code.WARNING)


def test_a_template_of_one_cache_is_not_missed() -> None:
    """Nothing in Placement says how large the caches are, however many whole cores there are."""
    stored = (template("gold", threads="isolate", caches="one"), template("cores", threads="require"))
    assert Code.SUCCESS is found(node("cores", pcpus=8), *stored)[0]


@pytest.mark.parametrize(("pcpus", "is_missed"), [(4, False), (5, True)])
def test_a_new_template_whose_emulator_has_a_cpu_of_its_own(pcpus: int, is_missed: bool) -> None:
    """It needs room for that as well."""
    own = replace(template("gold"), emulator=EmulatorPolicy.OWN)

    assert is_missed is (found(node(pcpus=pcpus), own)[0] is Code.WARNING)


def test_a_template_of_other_hosts_is_not_missed() -> None:
    """Its aggregates do not hold this one."""
    code, _ = found(node("silver"), template("gold"), template("silver"), members={"gold": frozenset({"elsewhere"})})
    assert Code.SUCCESS is code


def test_an_agent_that_was_never_seen() -> None:
    """One of an older release gives no sign either."""
    code, details = found(node("gold"), template("gold"), signs={})
    assert Code.WARNING is code
    assert "the agent of c1 has never been seen: it does not run, or is of an older release" in details


@pytest.mark.parametrize(("minutes", "expected"), [(LATE_MINUTES, Code.SUCCESS), (LATE_MINUTES + 1, Code.WARNING)])
def test_an_agent_that_was_seen_long_ago(minutes: int, expected: Code) -> None:
    """After three hours it is missed, and the hours are named."""
    code, details = found(node("gold"), template("gold"), signs={"c1": Sign("sign-of-c1", NOW - minutes)})
    assert expected is code
    assert (expected is Code.WARNING) == ("the agent has not been seen for hours on c1 (3 h)" in details)


def test_a_host_that_has_nothing_to_do_with_templates() -> None:
    """Where everything was released nobody misses the agent."""
    assert Code.SUCCESS is found(node(pcpus=3), template("gold"), signs={})[0]


def test_signs_of_a_host_that_is_gone() -> None:
    """The provider that holds one is left, and nobody else deletes it."""
    code, details = found(node("gold"), template("gold"), signs={**SEEN, "c9": Sign("sign-of-c9", NOW)})
    assert Code.WARNING is code
    assert "hosts that are gone: c9. To do: openstack resource provider delete sign-of-c9." in details
