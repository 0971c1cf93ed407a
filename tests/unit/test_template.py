# SPDX-License-Identifier: Apache-2.0
"""PinningTemplate: what is read, what is refused, and how host CPUs are counted."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.cpuset import CpuSet
from kongming_sched.exceptions import InvalidTemplate
from kongming_sched.page_sizes import PageSize, size_name
from kongming_sched.qos import Qos
from kongming_sched.template import (
    CpuPolicy,
    EmulatorPolicy,
    MemoryPolicy,
    Override,
    PinningTemplate,
    TemplateCell,
    ThreadPolicy,
    count_cpus,
)
from tests.unit.strategies import keys, templates

GOLD: dict[str, Any] = {
    "name": "gold",
    "cells": [
        {"vcpus": "0-3", "cpus": "dedicated", "threads": "isolate", "memory": "strict", "node": 1},
        {"vcpus": "4,5", "cpus": "explicit", "memory": "none", "pins": {4: "5-6", 5: "9-11,^10"}},
    ],
    "emulator": "cell",
    "qos": {"shares": 1024, "period_us": 100000, "quota_us": 50000},
    "override": "allowed",
}
"""A template that uses every key of the first release."""


def gold(**changes: Any) -> dict[str, Any]:
    """GOLD with other top-level values; None takes a key away."""
    return {key: value for key, value in {**GOLD, **changes}.items() if value is not None}


def one_cell(**changes: Any) -> dict[str, Any]:
    """A template of one dedicated cell of two vCPUs, changed; None takes a key away."""
    cell = {"vcpus": "0-1", "cpus": "dedicated", **changes}
    return {"name": "one", "cells": [{key: value for key, value in cell.items() if value is not None}]}


def explicit(pins: object) -> dict[str, Any]:
    """A template of one explicit cell of two vCPUs."""
    return one_cell(cpus="explicit", pins=pins)


def two_cells(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """A template of two dedicated cells of one vCPU each, changed."""
    cells = [{"vcpus": str(index), "cpus": "dedicated", **cell} for index, cell in enumerate((first, second))]
    return {"name": "two", "cells": cells}


def test_every_key_is_read() -> None:
    """The whole of the format, each key in its place."""
    expected = PinningTemplate(
        "gold",
        (
            TemplateCell(
                CpuSet.parse("0-3"), CpuPolicy.DEDICATED, ThreadPolicy.ISOLATE, MemoryPolicy.STRICT, (), node=1
            ),
            TemplateCell(
                CpuSet.parse("4-5"),
                CpuPolicy.EXPLICIT,
                memory=MemoryPolicy.NONE,
                pins=(CpuSet.of([5, 6]), CpuSet.of([9, 11])),
            ),
        ),
        EmulatorPolicy.CELL,
        Qos(1024, 100000, 50000),
        Override.ALLOWED,
    )
    assert expected == PinningTemplate.from_mapping(GOLD)


def test_quotas_of_single_vcpus() -> None:
    """vCPUs of one quota are written together, whatever the file says."""
    quotas = {"5": {"quota_us": 9000}, "0-1": {"quota_us": 25000}, 4: {"quota_us": 9000}}
    template = PinningTemplate.from_mapping(gold(qos={"quota_us": 50000, "vcpus": quotas}))

    assert {0: 25000, 1: 25000, 4: 9000, 5: 9000} == template.qos.own_quotas_us
    expected = {"quota_us": 50000, "vcpus": {"4-5": {"quota_us": 9000}, "0-1": {"quota_us": 25000}}}
    assert expected == template.to_mapping()["qos"]


def test_defaults_are_the_careful_choice() -> None:
    """Strict memory, emulator off the vCPUs' CPUs, no override, QoS as Nova set it."""
    expected = PinningTemplate("one", (TemplateCell(CpuSet.of([0, 1]), CpuPolicy.DEDICATED),))
    template = PinningTemplate.from_mapping(one_cell())
    assert expected == template
    assert (MemoryPolicy.STRICT, ThreadPolicy.ANY, None) == (
        template.cells[0].memory,
        template.cells[0].threads,
        template.cells[0].node,
    )
    assert (EmulatorPolicy.SHARED, Override.DENIED, Qos(None, None, None)) == (
        template.emulator,
        template.override,
        template.qos,
    )


@pytest.mark.parametrize(
    ("pins", "expected"),
    [
        pytest.param({0: "5-6", 1: "7"}, ["5-6", "7"], id="each vCPU its own"),
        pytest.param({1: "7", 0: "5-6"}, ["5-6", "7"], id="in any order"),
        pytest.param({0: 5, 1: 6}, ["5", "6"], id="plain numbers"),
        pytest.param({"0": "5", "1": "6"}, ["5", "6"], id="JSON, whose keys are texts"),
        pytest.param({0: "5", 1: "5"}, ["5", "5"], id="two vCPUs on one host CPU"),
        pytest.param("5-8,^6", ["5,7-8", "5,7-8"], id="one text for all"),
        pytest.param(5, ["5", "5"], id="one number for all"),
    ],
)
def test_pins_are_given_per_vcpu_or_for_all(pins: object, expected: list[str]) -> None:
    """Explicit cells name host CPUs in either way."""
    cell = PinningTemplate.from_mapping(explicit(pins)).cells[0]
    assert expected == [str(cpus) for cpus in cell.pins]


def test_a_single_vcpu_may_be_a_number() -> None:
    """YAML reads ``vcpus: 0`` as a number, and nobody should have to know that."""
    assert CpuSet.of([0]) == PinningTemplate.from_mapping(one_cell(vcpus=0)).cells[0].vcpus


def test_cells_may_share_the_gaps_of_each_other() -> None:
    """A cell's vCPUs need not be neighbours, as long as all cells together have no gap."""
    template = PinningTemplate.from_mapping(two_cells({"vcpus": "0,2"}, {"vcpus": "1,3"}))
    assert 4 == template.vcpus


def visible(data: dict[str, Any]) -> dict[str, Any]:
    """A template whose guest sees its nodes."""
    return {**data, "guest_numa": "visible"}


def realtime(vcpus: str, priority: int = 1, of: str = "0-1", **changes: Any) -> dict[str, Any]:
    """A template of one cell of two vCPUs, if no others are named, of which these run in real time."""
    return {**one_cell(vcpus=of, **changes), "realtime": {"vcpus": vcpus, "priority": priority}}


WRONG = [
    pytest.param(None, "", id="nothing at all"),
    pytest.param([GOLD], "", id="a list"),
    pytest.param("gold", "", id="a text"),
    pytest.param(gold(name=None), "name", id="no name"),
    pytest.param(gold(name="Gold"), "name", id="a capital letter"),
    pytest.param(gold(name="1gold"), "name", id="a digit first"),
    pytest.param(gold(name=""), "name", id="an empty name"),
    pytest.param(gold(name="a" * 33), "name", id="a name too long"),
    pytest.param(gold(name="gold-1"), "name", id="a dash"),
    pytest.param(gold(name="gold\n"), "name", id="a name with a line end"),
    pytest.param(gold(name=7), "name", id="a number as name"),
    pytest.param(gold(colour="red"), "colour", id="an unknown key"),
    pytest.param(dict([*GOLD.items(), (1, 2)]), "1", id="an unknown key that is no text"),
    pytest.param(gold(cells=None), "cells", id="no cells"),
    pytest.param(gold(cells=[]), "cells", id="an empty list of cells"),
    pytest.param(gold(cells={"vcpus": "0"}), "cells", id="a cell without its list"),
    pytest.param(gold(cells=["0-3"]), "cells[0]", id="a text for a cell"),
    pytest.param(gold(emulator="host"), "emulator", id="an emulator policy that does not exist"),
    pytest.param(gold(emulator=["cell"]), "emulator", id="a list for a word"),
    pytest.param({**GOLD, "emulator": None}, "emulator", id="an emulator policy left blank"),
    pytest.param(gold(override=True), "override", id="a yes for a word, as YAML reads it"),
    pytest.param(gold(qos=[1024]), "qos", id="a list for qos"),
    pytest.param(gold(qos={"weight": 1}), "qos.weight", id="an unknown key of qos"),
    pytest.param(gold(qos={"shares": 1}), "qos.shares", id="too few shares"),
    pytest.param(gold(qos={"shares": 262145}), "qos.shares", id="too many shares"),
    pytest.param(gold(qos={"shares": "1024"}), "qos.shares", id="shares as a text"),
    pytest.param(gold(qos={"shares": True}), "qos.shares", id="a yes for shares"),
    pytest.param(gold(qos={"shares": 10.5}), "qos.shares", id="a fraction of a share"),
    pytest.param(gold(qos={"shares": None}), "qos.shares", id="shares left blank"),
    pytest.param(gold(qos={"period_us": 999}), "qos.period_us", id="too short a period"),
    pytest.param(gold(qos={"period_us": 1_000_001}), "qos.period_us", id="too long a period"),
    pytest.param(gold(qos={"quota_us": 999}), "qos.quota_us", id="too small a quota"),
    pytest.param(gold(qos={"quota_us": -1}), "qos.quota_us", id="libvirt's word for no quota"),
    pytest.param(gold(qos={"emulator_quota_us": 0}), "qos.emulator_quota_us", id="nothing for the emulator"),
    pytest.param(gold(qos={"vcpus": None}), "qos.vcpus", id="quotas of vCPUs left blank"),
    pytest.param(gold(qos={"vcpus": {"x": {"quota_us": 5000}}}), "qos.vcpus[x]", id="a quota of no vCPU"),
    pytest.param(gold(qos={"vcpus": {0: 5000}}), "qos.vcpus[0]", id="a number for a vCPU's qos"),
    pytest.param(gold(qos={"vcpus": {0: {}}}), "qos.vcpus[0].quota_us", id="no quota for a vCPU"),
    pytest.param(gold(qos={"vcpus": {0: {"shares": 5}}}), "qos.vcpus[0].shares", id="shares of one vCPU"),
    pytest.param(gold(qos={"vcpus": {0: {"quota_us": 5}}}), "qos.vcpus[0].quota_us", id="too small a vCPU's quota"),
    pytest.param(
        gold(qos={"vcpus": {"0-2": {"quota_us": 5000}, "2": {"quota_us": 6000}}}), "qos.vcpus[2]", id="a vCPU twice"
    ),
    pytest.param(gold(qos={"vcpus": {6: {"quota_us": 5000}}}), "qos.vcpus", id="a quota of a vCPU in no cell"),
    pytest.param(one_cell(vcpus=None), "cells[0].vcpus", id="no vCPUs"),
    pytest.param(one_cell(vcpus=""), "cells[0].vcpus", id="an empty set of vCPUs"),
    pytest.param(one_cell(vcpus="0-1,^0-1"), "cells[0].vcpus", id="every vCPU left out"),
    pytest.param(one_cell(vcpus="two"), "cells[0].vcpus", id="vCPUs that are no CPU set"),
    pytest.param(one_cell(vcpus=[0, 1]), "cells[0].vcpus", id="vCPUs as a list"),
    pytest.param(one_cell(vcpus=-1), "cells[0].vcpus", id="a vCPU below 0"),
    pytest.param(one_cell(vcpus=8192), "cells[0].vcpus", id="a vCPU above what there can be"),
    pytest.param(one_cell(vcpus=False), "cells[0].vcpus", id="a no for a vCPU"),
    pytest.param(one_cell(cpus=None), "cells[0].cpus", id="no CPU policy"),
    pytest.param(one_cell(cpus="pinned"), "cells[0].cpus", id="a CPU policy that does not exist"),
    pytest.param(one_cell(threads="avoid"), "cells[0].threads", id="a thread policy that does not exist"),
    pytest.param(one_cell(cpus="shared", threads="any"), "cells[0].threads", id="a thread policy of a shared cell"),
    pytest.param(one_cell(memory="preferred"), "cells[0].memory", id="a memory policy that does not exist"),
    pytest.param(one_cell(node=-1), "cells[0].node", id="a node below 0"),
    pytest.param(one_cell(node=256), "cells[0].node", id="a node above 255"),
    pytest.param(one_cell(node="0"), "cells[0].node", id="a node as a text"),
    pytest.param(one_cell(numa=1), "cells[0].numa", id="an unknown key of a cell"),
    pytest.param(one_cell(pins="5-6"), "cells[0].pins", id="pins of a dedicated cell"),
    pytest.param(explicit(None), "cells[0].pins", id="an explicit cell without pins"),
    pytest.param(explicit({}), "cells[0].pins", id="an empty mapping of pins"),
    pytest.param(explicit(["5", "6"]), "cells[0].pins", id="pins as a list"),
    pytest.param(explicit("5-"), "cells[0].pins", id="pins that are no CPU set"),
    pytest.param(explicit({0: "5"}), "cells[0].pins", id="a vCPU without pins"),
    pytest.param(explicit({0: "5", 1: "6", 2: "7"}), "cells[0].pins[2]", id="pins of a vCPU of no cell"),
    pytest.param(explicit({0: "5", "one": "6"}), "cells[0].pins[one]", id="pins of a word"),
    pytest.param(explicit({0: "5", 1: "6", "1": "7"}), "cells[0].pins[1]", id="pins of a vCPU twice"),
    pytest.param(explicit({0: "5", True: "6"}), "cells[0].pins[True]", id="pins of a yes"),
    pytest.param(explicit({0: "5", 1: "x"}), "cells[0].pins[1]", id="pins of one vCPU that are no CPU set"),
    pytest.param(explicit({0: "5", 1: ""}), "cells[0].pins[1]", id="pins of one vCPU left empty"),
    pytest.param(explicit({0: "5", 1: None}), "cells[0].pins[1]", id="pins of one vCPU left blank"),
    pytest.param(two_cells({}, {"vcpus": "0-1"}), "cells[1].vcpus", id="a vCPU in two cells"),
    pytest.param(two_cells({}, {"vcpus": "2"}), "cells", id="a vCPU in no cell"),
    pytest.param(two_cells({"vcpus": "1"}, {"vcpus": "2"}), "cells", id="no vCPU 0"),
    pytest.param(two_cells({"node": 0}, {"node": 0}), "cells[1].node", id="two cells on one node"),
    pytest.param(two_cells({}, {"threads": "none"}), "cells[1].threads", id="a wrong word in the second cell"),
    pytest.param(
        two_cells({"cpus": "explicit", "pins": "5-7"}, {"cpus": "explicit", "pins": "7-9"}),
        "cells[1].pins",
        id="a host CPU in two cells",
    ),
    pytest.param(one_cell(caches="one"), "cells[0].caches", id="threads in one cache"),
    pytest.param(one_cell(caches="one", threads="prefer"), "cells[0].caches", id="siblings in one cache, if possible"),
    pytest.param(one_cell(caches="two", threads="isolate"), "cells[0].caches", id="two caches"),
    pytest.param(one_cell(caches="any", cpus="shared"), "cells[0].caches", id="caches of a shared cell"),
    pytest.param(one_cell(pages="3MiB"), "cells[0].pages", id="pages of a size that there is not"),
    pytest.param(one_cell(pages="large"), "cells[0].pages", id="pages of whatever size"),
    pytest.param(one_cell(pages="2MiB", memory="none"), "cells[0].memory", id="pages anywhere"),
    pytest.param(two_cells({"pages": "2MiB"}, {}), "cells[1].pages", id="pages in one cell of two"),
    pytest.param(two_cells({}, {"pages": "2MiB"}), "cells[1].pages", id="pages in the other"),
    pytest.param(two_cells({"pages": "2MiB"}, {"pages": "1GiB"}), "cells[1].pages", id="pages of two sizes"),
    pytest.param(two_cells({"pages": "2MiB"}, {"pages": "2MiB"}), "guest_numa", id="pages on two hidden nodes"),
    pytest.param(gold(guest_numa="yes"), "guest_numa", id="a wrong word for the guest's nodes"),
    pytest.param(visible(two_cells({}, {"memory": "none"})), "cells[1].memory", id="visible memory anywhere"),
    pytest.param(visible(two_cells({"node": 1}, {"node": 0})), "cells[1].node", id="visible nodes out of order"),
    pytest.param(visible(two_cells({}, {"node": 0})), "cells[1].node", id="no node before the first"),
    pytest.param(visible(two_cells({"node": 255}, {})), "cells[1].node", id="no node after the last"),
    pytest.param(one_cell(devices="near"), "cells[0].devices", id="devices elsewhere"),
    pytest.param(one_cell(devices="local", memory="none"), "cells[0].memory", id="memory that devices are not near"),
    pytest.param(two_cells({"devices": "local"}, {"devices": "local"}), "guest_numa", id="devices of hidden nodes"),
    pytest.param(visible(two_cells({"devices": "local"}, {})), "cells[1].devices", id="devices of one cell of two"),
    pytest.param(one_cell(shared_vcpus="2"), "cells[0].shared_vcpus", id="a shared vCPU that is in no cell"),
    pytest.param(one_cell(shared_vcpus="0-1"), "cells[0].shared_vcpus", id="all vCPUs shared"),
    pytest.param(one_cell(shared_vcpus=""), "cells[0].shared_vcpus", id="an empty set of shared vCPUs"),
    pytest.param(
        two_cells({"vcpus": "0-1", "shared_vcpus": "2"}, {"vcpus": "2"}), "cells[0].shared_vcpus", id="of another cell"
    ),
    pytest.param(
        one_cell(cpus="shared", shared_vcpus="1"), "cells[0].shared_vcpus", id="shared vCPUs of a shared cell"
    ),
    pytest.param(realtime("0", shared_vcpus="0"), "realtime.vcpus", id="a shared vCPU in real time"),
    pytest.param(realtime("1", shared_vcpus="0"), "realtime.vcpus", id="no dedicated vCPU for the emulator"),
    pytest.param(
        {**realtime("1", of="0-2", shared_vcpus="0"), "emulator": "own"}, "realtime.vcpus", id="two masks for Nova"
    ),
    pytest.param(realtime("1", 0), "realtime.priority", id="a priority below those of real time"),
    pytest.param(realtime("1", 100), "realtime.priority", id="a priority above those of real time"),
    pytest.param({**realtime("1"), "realtime": {"priority": 1}}, "realtime.vcpus", id="no vCPUs in real time"),
    pytest.param(realtime("2"), "realtime.vcpus", id="a vCPU in real time that is in no cell"),
    pytest.param(realtime("0-1"), "realtime.vcpus", id="all vCPUs in real time"),
    pytest.param({**realtime("0-1"), "emulator": "cell"}, "realtime.vcpus", id="all of them, with the emulator there"),
    pytest.param(realtime("1", cpus="shared"), "cells[0].cpus", id="a shared cell in real time"),
    pytest.param(realtime("1", memory="none"), "cells[0].memory", id="real time with memory anywhere"),
    pytest.param(
        realtime("1", cpus="explicit", pins={0: "5", 1: "6-7"}), "cells[0].pins", id="a real-time vCPU that floats"
    ),
    pytest.param(
        realtime("1", cpus="explicit", pins={0: "5-6", 1: "6"}), "cells[0].pins", id="a vCPU beside a real-time one"
    ),
    pytest.param({**two_cells({}, {}), "realtime": {"vcpus": "1"}}, "guest_numa", id="real time on two hidden nodes"),
]


@pytest.mark.parametrize(("data", "path"), WRONG)
def test_every_wrong_field_is_refused_with_its_path(data: object, path: str) -> None:
    """The operator reads where the mistake is, and in which template if it has a name."""
    with pytest.raises(InvalidTemplate) as caught:
        PinningTemplate.from_mapping(data)
    assert path == caught.value.path
    assert path in str(caught.value)


def test_a_refusal_names_the_template() -> None:
    """Of many templates in one file, the operator reads which one is wrong."""
    with pytest.raises(InvalidTemplate, match=r"template 'gold' at qos\.shares: 1 is not a whole number from 2"):
        PinningTemplate.from_mapping(gold(qos={"shares": 1}))


def test_vcpus_of_a_mixed_cell() -> None:
    """Those that float take nothing of the dedicated pool; real time is for all others, with the emulator apart."""
    data = {**realtime("1-3", of="0-3", shared_vcpus="0", threads="isolate"), "emulator": "own"}
    template = PinningTemplate.from_mapping(data)
    assert (CpuSet.of([0]), CpuSet.parse("1-3")) == (template.floating_vcpus, template.pinned_vcpus)
    assert (6, 8) == (template.cells[0].dedicated_cpus(2), template.dedicated_cpus(0, 2))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(realtime("1"), id="one vCPU is left"),
        pytest.param({**realtime("0-1"), "emulator": "own"}, id="the emulator has a CPU"),
        pytest.param(realtime("1", cpus="explicit", pins={0: "5-6", 1: "7"}), id="on a CPU that the template names"),
        pytest.param({**visible(two_cells({}, {})), "realtime": {"vcpus": "1"}}, id="a visible node"),
    ],
)
def test_real_time_needs_nova(data: dict[str, Any]) -> None:
    """It locks the memory, which it does for servers that it lays out itself."""
    assert PinningTemplate.from_mapping(data).needs_nova_numa


def test_the_remedy_where_no_vcpu_is_left() -> None:
    """Is one of two."""
    with pytest.raises(InvalidTemplate, match="leave vCPU 0 out, or write emulator: own"):
        PinningTemplate.from_mapping(realtime("0-1"))


@given(templates())
def test_what_is_written_is_read_back(template: PinningTemplate) -> None:
    """to_mapping loses nothing."""
    assert template == PinningTemplate.from_mapping(template.to_mapping())


@given(templates())
def test_what_is_written_survives_json(template: PinningTemplate) -> None:
    """JSON makes texts of the vCPU numbers; they are read all the same."""
    assert template == PinningTemplate.from_mapping(json.loads(json.dumps(template.to_mapping())))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(keys()) | st.integers(0, 3),
                inner,
                max_size=5,
            )
        ),
        max_leaves=20,
    )
)
def test_nonsense_is_refused_and_never_breaks(data: object) -> None:
    """Whatever YAML can hold, the only error is InvalidTemplate."""
    with contextlib.suppress(InvalidTemplate):
        PinningTemplate.from_mapping(data)


@given(templates(), st.data())
def test_a_valid_template_with_one_field_spoilt_is_refused_there(
    template: PinningTemplate, data: st.DataObject
) -> None:
    """The path points at the field that was spoilt."""
    mapping: Any = template.to_mapping()
    index = data.draw(st.integers(0, len(mapping["cells"]) - 1))
    field = data.draw(st.sampled_from(sorted(mapping["cells"][index])))
    mapping["cells"][index][field] = ["nonsense"]
    with pytest.raises(InvalidTemplate) as caught:
        PinningTemplate.from_mapping(mapping)
    assert f"cells[{index}].{field}" == caught.value.path


@given(templates())
def test_the_facts_of_a_template(template: PinningTemplate) -> None:
    """vcpus counts all cells; host_cpus is what explicit cells name."""
    assert list(range(template.vcpus)) == sorted(vcpu for cell in template.cells for vcpu in cell.vcpus)
    assert {cpu for cell in template.cells for pin in cell.pins for cpu in pin} == set(template.host_cpus)


@pytest.mark.parametrize(
    ("vcpus", "threads", "width", "expected"),
    [
        (5, ThreadPolicy.ANY, 1, 5),
        (5, ThreadPolicy.ANY, 2, 5),
        (5, ThreadPolicy.PREFER, 2, 5),
        (5, ThreadPolicy.REQUIRE, 1, 5),
        (5, ThreadPolicy.REQUIRE, 2, 6),
        (6, ThreadPolicy.REQUIRE, 2, 6),
        (5, ThreadPolicy.REQUIRE, 4, 8),
        (5, ThreadPolicy.ISOLATE, 1, 5),
        (5, ThreadPolicy.ISOLATE, 2, 10),
        (5, ThreadPolicy.ISOLATE, 4, 20),
    ],
)
def test_whole_cores_are_counted_whole(vcpus: int, threads: ThreadPolicy, width: int, expected: int) -> None:
    """Isolate pays for every thread of its cores, require rounds up, the others pay per vCPU."""
    assert expected == count_cpus(vcpus, threads, width)
    cell = TemplateCell(CpuSet.of(range(vcpus)), CpuPolicy.DEDICATED, threads)
    assert expected == cell.dedicated_cpus(width)


@pytest.mark.parametrize("policy", [CpuPolicy.SHARED, CpuPolicy.EXPLICIT])
def test_other_cells_take_nothing_of_the_dedicated_pool(policy: CpuPolicy) -> None:
    """Only dedicated cells count."""
    assert 0 == TemplateCell(CpuSet.of([0, 1]), policy).dedicated_cpus(2)


@pytest.mark.parametrize(
    ("cell", "width", "expected"),
    [
        pytest.param({"threads": "any"}, 2, 3, id="any"),
        pytest.param({"threads": "prefer"}, 2, 3, id="prefer"),
        pytest.param({"threads": "require"}, 2, 4, id="require"),
        pytest.param({"threads": "require"}, 4, 8, id="require, four threads"),
        pytest.param({"threads": "isolate"}, 2, 6, id="isolate"),
        pytest.param({"threads": "isolate"}, 1, 3, id="isolate, no SMT"),
        pytest.param({"cpus": "shared"}, 2, 1, id="shared"),
        pytest.param({"cpus": "explicit", "pins": "8-9"}, 2, 1, id="explicit"),
    ],
)
def test_emulator_of_its_own_counts_one_more_cpu_or_core(cell: dict[str, str], width: int, expected: int) -> None:
    """In the first cell, whatever that runs on, and in no other one."""
    cells = [{"cpus": "dedicated", "vcpus": "0-1", **cell}, {"cpus": "dedicated", "vcpus": "2-4"}]
    template = PinningTemplate.from_mapping({"name": "gold", "cells": cells, "emulator": "own"})

    assert [expected, 3] == [template.dedicated_cpus(index, width) for index in (0, 1)]


@pytest.mark.parametrize("emulator", ["shared", "cell"])
def test_emulator_without_a_cpu_of_its_own_counts_nothing(emulator: str) -> None:
    """Where the cell takes whole cores neither."""
    template = PinningTemplate.from_mapping(one_cell(threads="isolate") | {"emulator": emulator})

    assert template.cells[0].dedicated_cpus(2) == template.dedicated_cpus(0, 2)


@pytest.mark.parametrize(
    ("threads", "expected"),
    [
        (ThreadPolicy.ANY, False),
        (ThreadPolicy.PREFER, False),
        (ThreadPolicy.REQUIRE, True),
        (ThreadPolicy.ISOLATE, True),
    ],
)
def test_whole_core_cells_depend_on_the_width_of_cores(threads: ThreadPolicy, expected: bool) -> None:
    """Their count is right only on nodes of the width that the flavor was written for."""
    assert expected == TemplateCell(CpuSet.of([0]), CpuPolicy.DEDICATED, threads).needs_smt_trait


@pytest.mark.parametrize(
    "nodes",
    [(None, None), (0, 1), (0, None), (None, 1), (1, 3), (3, None)],
)
def test_visible_cells_stand_in_the_order_of_their_nodes(nodes: tuple[int | None, ...]) -> None:
    """As Nova tries the nodes of hosts; those that name none come on a node in between, or behind."""
    cells = [{} if node is None else {"node": node} for node in nodes]
    assert nodes == tuple(cell.node for cell in PinningTemplate.from_mapping(visible(two_cells(*cells))).cells)


@pytest.mark.parametrize("size", list(PageSize))
def test_pages_have_a_size(size: PageSize) -> None:
    """In KiB; all cells have pages of the same."""
    template = PinningTemplate.from_mapping(one_cell(pages=str(size)))
    assert (size, size) == (template.pages, template.cells[0].pages)
    assert size == size_name(size.kib)


@pytest.mark.parametrize(
    ("threads", "caches", "threads_per_core", "expected"),
    [("isolate", "one", 2, 2), ("require", "one", 2, 1), ("require", "one", 1, 2), ("isolate", "any", 2, 0)],
)
def test_whole_cores_lie_in_one_cache(threads: str, caches: str, threads_per_core: int, expected: int) -> None:
    """As many as the thread policy makes of two vCPUs."""
    (cell,) = PinningTemplate.from_mapping(one_cell(threads=threads, caches=caches)).cells
    assert expected == cell.cores_in_one_cache(threads_per_core)
