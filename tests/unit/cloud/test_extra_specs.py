# SPDX-License-Identifier: Apache-2.0
"""How a flavor's extra specs change: whole, or closed in between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.cloud.compute import Flavor
from kongming_sched.cloud.extra_specs import CLOSED, Step, steps_to_set, steps_to_unset, wanted_extra_specs
from kongming_sched.exceptions import InvalidFlavor, InvalidRequest
from kongming_sched.placement.flavor import owned_keys
from kongming_sched.request import TEMPLATE_KEY, PinningRequest
from kongming_sched.template import PinningTemplate
from tests.unit.strategies import templates

FOREIGN = {"hw:watchdog_action": "reset", "resources1:VGPU": "1", "trait:HW_CPU_X86_AVX2": "required"}
"""What an operator has in a flavor besides."""


def make(*cells: Mapping[str, object], name: str = "gold") -> PinningTemplate:
    """A template of these cells, dedicated unless they say otherwise."""
    return PinningTemplate.from_mapping({"name": name, "cells": [{"cpus": "dedicated", **cell} for cell in cells]})


def flavor(template: PinningTemplate, specs: Mapping[str, str] | None = None) -> Flavor:
    """A flavor with as many vCPUs as the template."""
    return Flavor("1", "m1.gold", template.vcpus, 4096, specs or {})


def wanted(template: PinningTemplate, present: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a flavor of the template has on hosts of two threads per core."""
    return wanted_extra_specs(flavor(template, present), template, 2, None)


def take(specs: Mapping[str, str], steps: Iterable[Step]) -> Iterator[dict[str, str]]:
    """The extra specs after each step, as Nova has them."""
    now = dict(specs)
    for step in steps:
        if isinstance(step, str):
            del now[step]
        else:
            now |= step
        yield dict(now)


def is_closed(specs: Mapping[str, str]) -> bool:
    """Whether the scheduler refuses to place a server of a flavor with these extra specs."""
    try:
        PinningRequest.from_extra_specs(specs)
    except InvalidRequest as error:
        return error.key == TEMPLATE_KEY
    return False


@st.composite
def flavors(draw: st.DrawFn) -> dict[str, str]:
    """Extra specs of a flavor that asks for a template, or for none, with those of others."""
    present = draw(st.dictionaries(st.sampled_from(sorted(FOREIGN)), st.just("1")))
    return present | draw(templates().map(lambda template: wanted(template, present)) | st.just({}))


@given(flavors(), templates())
def test_between_two_templates_a_flavor_takes_no_server(before: dict[str, str], template: PinningTemplate) -> None:
    """Whichever step is the last that is taken, the flavor is as before, as it shall be, or closed."""
    specs = wanted(template, before)
    after = list(take(before, steps_to_set(before, specs)))
    for state in after[:-1]:
        assert is_closed(state)
    assert {**{key: value for key, value in before.items() if key not in owned_keys(before)}, **specs} == [
        before,
        *after,
    ][-1]


@given(flavors(), templates(), st.data())
def test_a_change_that_was_cut_off_is_completed_by_the_next(
    before: dict[str, str], template: PinningTemplate, data: st.DataObject
) -> None:
    """From every state in between the same command comes to the same end."""
    states = list(take(before, steps_to_set(before, wanted(template, before))))
    expected = [before, *states][-1]
    middle = data.draw(st.sampled_from([before, *states]))
    assert expected == [middle, *take(middle, steps_to_set(middle, wanted(template, middle)))][-1]


@given(flavors(), st.data())
def test_unset_leaves_what_others_wrote(before: dict[str, str], data: st.DataObject) -> None:
    """Halfway the flavor is closed, and the same command goes on from there."""
    states = list(take(before, steps_to_unset(before)))
    for state in states[:-1]:
        assert is_closed(state)
    middle = data.draw(st.sampled_from([before, *states]))
    end = [middle, *take(middle, steps_to_unset(middle))][-1]
    assert {key: value for key, value in before.items() if key in FOREIGN} == end


def test_lock_of_memory_goes_before_what_shows_whose_it_is() -> None:
    """Without the key of real time it would be taken for that of an operator, wherever the command is cut off."""
    before = {
        "kongming:template": "gold",
        "hw:mem_page_size": "2MB",
        "hw:cpu_policy": "dedicated",
        "hw:cpu_realtime": "true",
        "hw:cpu_realtime_mask": "1",
        "hw:locked_memory": "true",
        "resources_KONGMING0:CUSTOM_KONGMING_PCPU": "2",
        "resources_KONGMING0:CUSTOM_KONGMING_PAGES_2MIB": "64",
    }

    states = list(take(before, steps_to_unset(before)))

    assert all("hw:cpu_realtime" in state for state in states if "hw:locked_memory" in state)
    assert {} == states[-1]


def test_the_first_template_is_one_step() -> None:
    """Nova sets several extra specs in one request."""
    specs = wanted(make({"vcpus": "0-1"}))
    assert [specs] == steps_to_set(FOREIGN, specs)


def test_nothing_to_change_is_no_step() -> None:
    """A flavor that has what it shall have is left alone."""
    specs = wanted(make({"vcpus": "0-1"}))
    assert steps_to_set(FOREIGN | specs, specs) == []
    assert steps_to_unset(FOREIGN) == []


def test_another_template_goes_through_a_closed_flavor() -> None:
    """First what closes it, then what goes, then all that comes in one step."""
    before, after = wanted(make({"vcpus": "0-1"})), wanted(make({"vcpus": "0-1"}, name="silver"))
    assert steps_to_set(before, after) == [
        {TEMPLATE_KEY: CLOSED},
        "trait_KONGMING0:CUSTOM_KONGMING_TEMPLATE_GOLD",
        after,
    ]


def test_a_flavor_keeps_its_strategy() -> None:
    """As ``openstack ... set`` keeps what is not given; a new one replaces it."""
    template = make({"vcpus": "0-1"})
    specs = wanted_extra_specs(flavor(template), template, None, "spread")
    assert specs["kongming:numa_strategy"] == "spread"
    assert wanted_extra_specs(flavor(template, specs), template, None, "pack")["kongming:numa_strategy"] == "pack"


def test_a_flavor_keeps_its_group_policy() -> None:
    """Also none for two cells, which an older release wrote or an operator chose; the command may name another."""
    template = make({"vcpus": "0"}, {"vcpus": "1"})
    older = wanted_extra_specs(flavor(template), template, None, None, "none")
    chosen = wanted_extra_specs(flavor(template, older), template, None, None, "isolate")
    policies = [older, wanted(template, older), chosen, wanted(template, chosen), wanted(template)]
    assert ["none", "none", "isolate", "isolate", "isolate"] == [specs["group_policy"] for specs in policies]


def test_a_group_policy_beside_an_operators_groups() -> None:
    """It is the operator's, unless the command names one."""
    template, own = make({"vcpus": "0"}), {"resources1:VGPU": "1", "resources2:FPGA": "1", "group_policy": "isolate"}
    assert "group_policy" not in wanted(template, own)
    assert "none" == wanted_extra_specs(flavor(template, own), template, None, None, "none")["group_policy"]


def test_a_group_policy_for_one_group_is_refused() -> None:
    """There is nothing to keep apart."""
    template = make({"vcpus": "0-1"})
    with pytest.raises(InvalidFlavor, match="group_policy: cannot be chosen, for the flavor asks for a single request"):
        wanted_extra_specs(flavor(template), template, None, None, "isolate")


def test_bare_metal_is_left_alone() -> None:
    """A flavor that has resources:VCPU=0 for reasons of its own loses nothing."""
    assert steps_to_unset({"resources:VCPU": "0", "resources:CUSTOM_BAREMETAL": "1"}) == []


@pytest.mark.parametrize(
    ("specs", "reason"),
    [
        ({"hw:cpu_policy": "dedicated"}, "hw:cpu_policy: cannot be combined with kongming:template; unset it first"),
        ({"hw:numa_nodes": "2"}, "hw:numa_nodes: cannot be combined"),
        ({"resources:PCPU": "2"}, "resources:PCPU: cannot be combined"),
        ({"resources:MEMORY_MB": "0"}, "resources:MEMORY_MB: must not be 0"),
    ],
)
def test_a_flavor_that_cannot_work_is_refused(specs: dict[str, str], reason: str) -> None:
    """The message names the flavor, the template, the key and what to do."""
    with pytest.raises(InvalidFlavor) as caught:
        wanted(make({"vcpus": "0-1"}), specs)
    assert str(caught.value).startswith(f"flavor 'm1.gold' cannot ask for template 'gold': {reason}")


def test_a_strategy_that_is_none_is_refused() -> None:
    """Also one that stands in the flavor already."""
    template = make({"vcpus": "0-1"})
    with pytest.raises(InvalidFlavor, match="kongming:numa_strategy: 'tight' is none of pack, spread, scatter"):
        wanted_extra_specs(flavor(template), template, None, "tight")


def test_another_count_of_vcpus_is_refused() -> None:
    """The message has both counts."""
    template = make({"vcpus": "0-1"})
    with pytest.raises(InvalidFlavor, match="vcpus: the flavor has 3 vCPUs and template 'gold' has 2"):
        wanted_extra_specs(Flavor("1", "m1.gold", 3, 64, {}), template, None, None)


def test_siblings_need_cores_that_have_some() -> None:
    """A template that requires siblings cannot be counted for cores of one thread."""
    template = make({"vcpus": "0-1", "threads": "require"})
    with pytest.raises(InvalidFlavor, match="threads per core: the template takes siblings"):
        wanted_extra_specs(flavor(template), template, 1, None)
