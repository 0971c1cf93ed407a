# SPDX-License-Identifier: Apache-2.0
"""What a template must not do to other templates and to those who use it: pure parts."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.cli.template.checks import choices, overlaps
from kongming_sched.cloud.compute import Flavor
from kongming_sched.cloud.users import User, already_asks_for, describe, has_same_demand
from kongming_sched.placement.flavor import extra_specs
from kongming_sched.placement.templates import StoredTemplate
from kongming_sched.template import PinningTemplate
from tests.unit.strategies import templates

A, B = "aaaaaaaa-0000-4000-8000-000000000000", "bbbbbbbb-0000-4000-8000-000000000000"


def make(*cells: Mapping[str, object], name: str = "gold", **fields: object) -> PinningTemplate:
    """A template of these cells, dedicated unless they say otherwise."""
    data = {"name": name, "cells": [{"cpus": "dedicated", **cell} for cell in cells], **fields}
    return PinningTemplate.from_mapping(data)


def explicit(pins: str, name: str = "gold") -> PinningTemplate:
    """A template of one vCPU on these host CPUs."""
    return make({"vcpus": "0", "cpus": "explicit", "pins": pins}, name=name)


def user(template: PinningTemplate, threads: int = 2, more: Mapping[str, str] | None = None) -> Flavor:
    """A flavor that asks for the template."""
    specs = extra_specs(template, {}, vcpus=template.vcpus, memory_mb=2048, threads_per_core=threads)
    return Flavor("1", "m1.gold", template.vcpus, 2048, specs | dict(more or {}))


BASE: dict[str, object] = {"vcpus": "0-3", "threads": "isolate"}


@pytest.mark.parametrize(
    ("new", "same"),
    [
        pytest.param(make(BASE, emulator="cell", override="allowed", qos={"shares": 9}), True, id="emulator and QoS"),
        pytest.param(make(BASE | {"threads": "any"}), False, id="fewer CPUs"),
        pytest.param(make(BASE, realtime={"vcpus": "1-3"}), False, id="real time"),
        pytest.param(make(BASE | {"shared_vcpus": "0"}), False, id="a vCPU that floats"),
        pytest.param(make(BASE | {"threads": "require"}), False, id="another way of counting"),
        pytest.param(make(BASE | {"vcpus": "0-4"}), False, id="more vCPUs"),
        pytest.param(make(BASE | {"memory": "none"}), False, id="memory is not counted"),
        pytest.param(make(BASE | {"node": 1}), False, id="one node only"),
        pytest.param(make(BASE | {"vcpus": "0-1"}, BASE | {"vcpus": "2-3"}), False, id="two cells"),
        pytest.param(make({"vcpus": "0-3", "cpus": "shared"}), False, id="shared"),
        pytest.param(make({"vcpus": "0-3", "cpus": "explicit", "pins": "8-15"}), False, id="explicit"),
    ],
)
def test_demand_is_what_servers_take_of_nodes(new: PinningTemplate, same: bool) -> None:
    """Whatever changes an amount, a class or a node changes the demand, and nothing else does."""
    assert same == has_same_demand(make(BASE), new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (make({"vcpus": "0-3"}), make({"vcpus": "0-3", "threads": "prefer"})),
        (explicit("3"), explicit("4-9")),
        (make({"vcpus": "0,2"}, {"vcpus": "1,3"}), make({"vcpus": "0-1"}, {"vcpus": "2-3"})),
    ],
)
def test_servers_may_follow_a_template_of_the_same_demand(old: PinningTemplate, new: PinningTemplate) -> None:
    """Other CPUs, other vCPUs in a cell, a policy that counts alike."""
    assert has_same_demand(old, new)


def test_the_priority_of_real_time_may_change() -> None:
    """The agent sets it; which vCPUs run in real time Nova must know at the start."""
    old = make(BASE, realtime={"vcpus": "1-3"})
    assert has_same_demand(old, make(BASE, realtime={"vcpus": "1-3", "priority": 9}))
    other = make(BASE, realtime={"vcpus": "2-3"})
    assert not has_same_demand(old, other)
    assert not already_asks_for(user(old), other)


def test_which_vcpus_float_may_change_where_nova_need_not_know() -> None:
    """As many do before and after; Nova has a mask of them where it lays the servers out."""
    old, new = ({"vcpus": "0-3", "shared_vcpus": vcpu} for vcpu in "01")
    assert has_same_demand(make(old), make(new))
    paged = {"pages": "2MiB"}
    assert not has_same_demand(make(old | paged), make(new | paged))
    assert already_asks_for(user(make(old | paged)), make(old | paged))
    assert not already_asks_for(user(make(old | paged)), make(new | paged))


@given(templates(), st.sampled_from([2, 4]))
def test_a_flavor_asks_for_its_own_template(template: PinningTemplate, threads: int) -> None:
    """By the keys that were written for it, with more traits too."""
    assert already_asks_for(user(template, threads, {"trait_KONGMING0:HW_CPU_X86_AVX2": "required"}), template)


@pytest.mark.parametrize(
    "flavor",
    [
        pytest.param(user(make({"vcpus": "0-3"})), id="counted otherwise"),
        pytest.param(user(make(BASE), more={"resources_KONGMING0:CUSTOM_KONGMING_PCPU": "16"}), id="another amount"),
        pytest.param(user(make(BASE), more={"resources_KONGMING1:CUSTOM_KONGMING_PCPU": "1"}), id="one group more"),
        pytest.param(user(make(BASE), more={"kongming:numa_strategy": "?"}), id="keys that nobody understands"),
        pytest.param(Flavor("1", "m1", 4, 2048, {}), id="no keys"),
        pytest.param(Flavor("1", "m1", 3, 2048, user(make(BASE)).extra_specs), id="another count of vCPUs"),
    ],
)
def test_a_flavor_does_not_ask_for_another_demand(flavor: Flavor) -> None:
    """So a template that would take more or less of a node is none for it."""
    assert not already_asks_for(flavor, make(BASE))


@pytest.mark.parametrize(
    ("aggregates", "other"),
    [((), ()), ((A,), ()), ((), (A,)), ((A, B), (B,))],
)
def test_explicit_cpus_belong_to_one_template(aggregates: tuple[str, ...], other: tuple[str, ...]) -> None:
    """On hosts that are offered both; the message names the cell, the CPUs, the other template and what to do."""
    stored = {"silver": StoredTemplate(explicit("4-6", "silver"), 1, frozenset(other))}
    (error,) = overlaps(explicit("6-7"), frozenset(aggregates), stored)
    assert str(error) == (
        "template 'gold' at cells[0].pins: host CPU 6 belongs to template 'silver', which is offered to the same hosts;"
        " take other CPUs, or aggregates that keep the two apart"
    )


@pytest.mark.parametrize(
    ("template", "aggregates"),
    [
        pytest.param(explicit("7-8"), (), id="other CPUs"),
        pytest.param(explicit("6"), (A,), id="other hosts"),
        pytest.param(explicit("6", "silver"), (), id="the template itself"),
        pytest.param(make({"vcpus": "0-63"}), (), id="no explicit CPUs"),
    ],
)
def test_templates_that_keep_apart_are_not_refused(template: PinningTemplate, aggregates: tuple[str, ...]) -> None:
    """They have other CPUs, or are offered to other hosts."""
    stored = {"silver": StoredTemplate(explicit("4-6", "silver"), 1, frozenset({B} if aggregates else ()))}
    assert [] == list(overlaps(template, frozenset(aggregates), stored))


@pytest.mark.parametrize(
    ("count", "expected"), [(1, "a0"), (5, "a0, a1, a2, a3, a4"), (7, "a0, a1, a2, a3, a4 and 2 more")]
)
def test_a_message_names_some_users_and_counts_the_others(count: int, expected: str) -> None:
    """So that it stays readable where a thousand servers use a template."""
    flavor = user(make(BASE))
    assert expected == describe([User(f"a{index}", "gold", flavor) for index in range(count)])


def test_choices_of_open_templates() -> None:
    """A new template warns of each stored one whose QoS its servers may choose, and a changed one not of itself."""
    new = make(BASE, override="allowed", qos={"quota_us": 5000})
    stored = [make(BASE, override="allowed"), make(BASE, name="free", override="allowed"), make(BASE, name="shut")]
    assert [
        "servers of templates 'free' and 'gold' may choose the other one by their own metadata, with its qos, for both"
        " have 'override: allowed'; 'override: pins' lets them choose CPUs alone"
    ] == list(choices([new], stored))
