# SPDX-License-Identifier: Apache-2.0
"""The codec: every template as traits and back, and every set of traits that is no template refused by its clause."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kongming_sched.clauses.clause import clauses_of
from kongming_sched.exceptions import InvalidTraits
from kongming_sched.placement import codec
from kongming_sched.template import PinningTemplate, TemplateCell
from tests.unit.strategies import large_templates, templates

PREFIX = "CUSTOM_KONGMING_"
MARKER = "CUSTOM_KONGMING_TEMPLATE"

GOLD = PinningTemplate.from_mapping(
    {
        "name": "gold",
        "cells": [
            {"vcpus": "0-1", "cpus": "dedicated", "threads": "isolate"},
            {"vcpus": "2-3", "cpus": "explicit", "memory": "none", "pins": {2: "5-6", 3: "9-11,^10"}, "node": 1},
        ],
        "emulator": "cell",
        "qos": {
            "shares": 1024,
            "period_us": 100000,
            "quota_us": 25000,
            "emulator_period_us": 50000,
            "emulator_quota_us": 10000,
            "vcpus": {"0,2-3": {"quota_us": 5000}},
        },
        "override": "allowed",
    }
)
"""A template that has every kind of clause of the first release."""

GOLD_CLAUSES = frozenset(
    {
        "C0_VCPUS_0TO1",
        "C0_CPUS_DEDICATED",
        "C0_THREADS_ISOLATE",
        "C0_MEMORY_STRICT",
        "C1_VCPUS_2TO3",
        "C1_CPUS_EXPLICIT",
        "C1_MEMORY_NONE",
        "C1_NODE_1",
        "C1_PIN_2_ON_5TO6",
        "C1_PIN_3_ON_9_11",
        "EMULATOR_CELL",
        "OVERRIDE_ALLOWED",
        "QOS_SHARES_1024",
        "QOS_VCPU_PERIOD_100000",
        "QOS_VCPU_QUOTA_25000",
        "QOS_EMULATOR_PERIOD_50000",
        "QOS_EMULATOR_QUOTA_10000",
        "QOS_VCPU_0_2TO3_QUOTA_5000",
    }
)


def gold(without: Iterable[str] = (), plus: Iterable[str] = ()) -> frozenset[str]:
    """GOLD's traits, less some clauses and plus others; what starts with another prefix is taken as it is."""
    clauses = GOLD_CLAUSES - set(without) | set(plus)
    return frozenset({MARKER, *(PREFIX + clause for clause in clauses)})


def test_a_template_is_readable_in_its_traits() -> None:
    """`openstack resource provider trait list` shows the template clause by clause."""
    assert gold() == codec.encode(GOLD)


def test_defaults_are_written_out() -> None:
    """Those of the first release's clauses, as every stored template has them; other clauses are left out."""
    template = PinningTemplate.from_mapping({"name": "one", "cells": [{"vcpus": "0", "cpus": "dedicated"}]})
    expected = {
        MARKER,
        f"{PREFIX}C0_VCPUS_0",
        f"{PREFIX}C0_CPUS_DEDICATED",
        f"{PREFIX}C0_THREADS_ANY",
        f"{PREFIX}C0_MEMORY_STRICT",
        f"{PREFIX}EMULATOR_SHARED",
        f"{PREFIX}OVERRIDE_DENIED",
    }
    assert expected == codec.encode(template)


def test_vcpus_of_equal_pins_share_a_clause() -> None:
    """A hundred vCPUs that float over the same host CPUs are one clause, not a hundred."""
    cell = {"vcpus": "0-99", "cpus": "explicit", "pins": "100-149"}
    traits = codec.encode(PinningTemplate.from_mapping({"name": "wide", "cells": [cell]}))
    assert [f"{PREFIX}C0_PIN_0TO99_ON_100TO149"] == [trait for trait in traits if "_PIN_" in trait]


@given(templates())
def test_every_template_survives_the_round_trip(template: PinningTemplate) -> None:
    """The codec is total and loses nothing."""
    assert template == codec.decode(template.name, codec.encode(template))


@given(large_templates())
def test_large_and_scattered_templates_survive_too(template: PinningTemplate) -> None:
    """Sets whose text is longer than a trait are spread over several."""
    assert template == codec.decode(template.name, codec.encode(template))


@given(templates() | large_templates())
def test_every_trait_is_one_that_placement_takes(template: PinningTemplate) -> None:
    """Placement wants CUSTOM_, capitals, digits and _, and 255 characters at most."""
    for trait in codec.encode(template):
        assert re.fullmatch(r"CUSTOM_[A-Z0-9_]+", trait)
        assert len(trait) <= 255


@given(templates(), st.randoms())
def test_the_order_of_the_traits_does_not_matter(template: PinningTemplate, random: Random) -> None:
    """Placement returns traits in any order."""
    traits = list(codec.encode(template))
    random.shuffle(traits)
    assert template == codec.decode(template.name, traits)


MALFORMED = [
    pytest.param(frozenset(), "C0_VCPUS", "is missing", id="nothing at all"),
    pytest.param(frozenset({MARKER}), "C0_VCPUS", "is missing", id="the marker alone"),
    pytest.param(gold() - {MARKER}, "TEMPLATE", "is missing", id="the marker missing"),
    pytest.param(gold(["C0_VCPUS_0TO1"]), "C0_VCPUS", "is missing", id="vCPUs missing"),
    pytest.param(gold(["C0_CPUS_DEDICATED"]), "C0_CPUS", "is missing", id="cpus missing"),
    pytest.param(gold(["C0_THREADS_ISOLATE"]), "C0_THREADS_ANY", "is missing", id="thread policy missing"),
    pytest.param(gold(["C0_MEMORY_STRICT"]), "C0_MEMORY_STRICT", "is missing", id="memory policy missing"),
    pytest.param(gold(["EMULATOR_CELL"]), "EMULATOR_SHARED", "is missing", id="emulator missing"),
    pytest.param(gold(["OVERRIDE_ALLOWED"]), "OVERRIDE_DENIED", "is missing", id="override missing"),
    pytest.param(
        gold([clause for clause in GOLD_CLAUSES if "PIN" in clause]), "C1_PIN", "is missing", id="all pins missing"
    ),
    pytest.param(gold(["C1_PIN_3_ON_9_11"]), "C1_PIN", "vCPU 3 has no host CPUs", id="a vCPU's pins missing"),
    pytest.param(
        gold(plus=["C0_CPUS_SHARED"]), "C0_CPUS_SHARED", "another clause, which says dedicated", id="two CPU policies"
    ),
    pytest.param(gold(plus=["C0_THREADS_PREFER"]), "C0_THREADS_PREFER", "which says isolate", id="two thread policies"),
    pytest.param(gold(plus=["C0_MEMORY_NONE"]), "C0_MEMORY_STRICT", "which says none", id="two memory policies"),
    pytest.param(gold(plus=["EMULATOR_SHARED"]), "EMULATOR_SHARED", "which says cell", id="two emulator policies"),
    pytest.param(gold(plus=["OVERRIDE_DENIED"]), "OVERRIDE_DENIED", "which says allowed", id="two overrides"),
    pytest.param(
        gold(plus=["QOS_VCPU_0_QUOTA_6000"]), "QOS_VCPU_0_QUOTA_6000", "contradicts", id="two quotas of a vCPU"
    ),
    pytest.param(
        gold(plus=["QOS_VCPU_0_QUOTA_5000"]), "QOS_VCPU_0_QUOTA_5000", "says again", id="a vCPU's quota once more"
    ),
    pytest.param(gold(plus=["QOS_VCPU_9_QUOTA_5000"]), "QOS_VCPU_*_QUOTA", "in no cell", id="a quota of no vCPU"),
    pytest.param(
        gold(plus=["QOS_VCPU_1_QUOTA_5"]), "QOS_VCPU_1_QUOTA", "is not a whole number", id="too small a vCPU's quota"
    ),
    pytest.param(gold(plus=["QOS_SHARES_2048"]), "QOS_SHARES_2048", "which says 1024", id="a QoS value twice"),
    pytest.param(gold(plus=["C1_NODE_2"]), "C1_NODE_2", "which says 1", id="two nodes"),
    pytest.param(
        gold(["C0_CPUS_DEDICATED"], ["C0_CPUS_GREEDY"]), "C0_CPUS", "'greedy' is none of", id="a wrong CPU policy"
    ),
    pytest.param(
        gold(["C0_THREADS_ISOLATE"], ["C0_THREADS_SOME"]), "C0_THREADS", "'some' is none of", id="a wrong thread policy"
    ),
    pytest.param(
        gold(["EMULATOR_CELL"], ["EMULATOR_HOST"]), "EMULATOR", "'host' is none of", id="a wrong emulator policy"
    ),
    pytest.param(gold(["OVERRIDE_ALLOWED"], ["OVERRIDE_"]), "OVERRIDE", "'' is none of", id="an empty word"),
    pytest.param(gold(plus=["COLOUR_RED"]), "COLOUR_RED", "is no clause of a template", id="an unknown clause"),
    pytest.param(
        gold(plus=["C0_COLOUR_RED"]), "C0_COLOUR_RED", "no clause of a template's cell", id="unknown in a cell"
    ),
    pytest.param(gold(plus=["C0_VCPUS"]), "C0_VCPUS", "'' is not a CPU set", id="a clause without a value"),
    pytest.param(gold(plus=["C_VCPUS_4"]), "C_VCPUS_4", "is no clause of a template", id="a cell without a number"),
    pytest.param(gold(plus=["TEMPLATE_GOLD"]), "TEMPLATE_GOLD", "is no clause", id="a node's trait"),
    pytest.param(
        gold() | {"HW_CPU_X86_AVX2"}, "HW_CPU_X86_AVX2", "is no clause of a template", id="a foreign standard trait"
    ),
    pytest.param(gold() | {"CUSTOM_GOLD"}, "CUSTOM_GOLD", "is no clause of a template", id="a foreign custom trait"),
    pytest.param(
        gold(["C1_VCPUS_2TO3"], ["C1_VCPUS_1TO3", "C1_PIN_1_ON_7"]),
        "C1_VCPUS",
        "vCPU 1 is in another cell too",
        id="overlapping vCPUs",
    ),
    pytest.param(gold(["C0_VCPUS_0TO1"], ["C0_VCPUS_0"]), "C*_VCPUS", "vCPU 1 is in no cell", id="a gap in the vCPUs"),
    pytest.param(
        frozenset(trait.replace("_C1_", "_C2_") for trait in gold()),
        "C1_VCPUS",
        "is missing although a later cell is there",
        id="a gap in the cells",
    ),
    pytest.param(
        gold(plus=["C0_PIN_0_ON_1"]), "C0_PIN", "only explicit cells have pins", id="a pin on a dedicated cell"
    ),
    pytest.param(
        gold(["C0_CPUS_DEDICATED"], ["C0_CPUS_SHARED"]),
        "C0_THREADS",
        "only dedicated cells have a thread policy",
        id="threads on a shared cell",
    ),
    pytest.param(
        gold(plus=["C1_PIN_0_ON_1"]), "C1_PIN_0", "is no vCPU of this cell", id="a pin for a vCPU of another cell"
    ),
    pytest.param(
        gold(["C1_PIN_2_ON_5TO6"], ["C1_PIN_2_ON"]), "C1_PIN_2_ON", "is not two CPU sets", id="a pin on nothing"
    ),
    pytest.param(gold(plus=["C1_PIN_2"]), "C1_PIN_2", "is not two CPU sets", id="half a pin"),
    pytest.param(
        gold(["C0_VCPUS_0TO1"], ["C0_VCPUS_0TILL1"]), "C0_VCPUS_0TILL1", "is not a CPU set", id="a bad text of a set"
    ),
    pytest.param(
        gold(["C0_VCPUS_0TO1"], ["C0_VCPUS_0__1"]), "C0_VCPUS_0__1", "is not a CPU set", id="an empty part of a set"
    ),
    pytest.param(
        gold(["C0_VCPUS_0TO1"], ["C0_VCPUS_1TO0"]), "C0_VCPUS_1TO0", "runs backwards", id="a range that runs backwards"
    ),
    pytest.param(
        gold(["C1_PIN_2_ON_5TO6"], ["C1_PIN_2_ON_8192"]),
        "C1_PIN_2_ON_8192",
        "above the highest CPU number 8191",
        id="a number too high",
    ),
    pytest.param(gold(["C1_NODE_1"], ["C1_NODE_256"]), "C1_NODE", "not a NUMA node id", id="a node out of range"),
    pytest.param(gold(["C1_NODE_1"], ["C1_NODE_X"]), "C1_NODE_X", "no clause", id="a node that is no number"),
    pytest.param(
        gold(["QOS_SHARES_1024"], ["QOS_SHARES_1"]), "QOS_SHARES", "from 2 to 262144", id="shares out of range"
    ),
    pytest.param(
        gold(["QOS_VCPU_PERIOD_100000"], ["QOS_VCPU_PERIOD_1"]),
        "QOS_VCPU_PERIOD",
        "from 1000 to 1000000",
        id="a period out of range",
    ),
    pytest.param(
        gold(["QOS_VCPU_QUOTA_25000"], ["QOS_VCPU_QUOTA_999"]),
        "QOS_VCPU_QUOTA",
        "from 1000 to",
        id="a quota out of range",
    ),
    pytest.param(gold(plus=["QOS_DISK_IOPS_7"]), "QOS_DISK_IOPS_7", "is no clause", id="an unknown QoS value"),
    pytest.param(
        gold(["QOS_SHARES_1024"], ["QOS_SHARES_"]), "QOS_SHARES_", "is no clause", id="a QoS without a number"
    ),
    pytest.param(gold(plus=["C0_VCPUS_1"]), "C0_VCPUS_1", "says again", id="a vCPU said twice"),
    pytest.param(gold(plus=["C1_PIN_2_ON_6"]), "C1_PIN_2_ON_6", "says again", id="a pin said twice"),
    pytest.param(
        gold(["C0_VCPUS_0TO1"], ["C0_VCPUS_0_1"]),
        "C0_VCPUS_0_1",
        "expected CUSTOM_KONGMING_C0_VCPUS_0TO1",
        id="neighbours that are not a range",
    ),
    pytest.param(
        gold(["C0_VCPUS_0TO1"], ["C0_VCPUS_0", "C0_VCPUS_1"]),
        "C0_VCPUS_0",
        "expected CUSTOM_KONGMING_C0_VCPUS_0TO1",
        id="a short set in two clauses",
    ),
    pytest.param(
        gold(["QOS_SHARES_1024"], ["QOS_SHARES_01024"]),
        "QOS_SHARES_01024",
        "expected CUSTOM_KONGMING_QOS_SHARES_1024",
        id="leading zeros",
    ),
    pytest.param(
        gold(["C1_NODE_1"], ["C01_NODE_1"]),
        "C01_NODE_1",
        "expected CUSTOM_KONGMING_C1_NODE_1",
        id="leading zeros of a cell",
    ),
    pytest.param(
        frozenset(trait.replace("_C1_", "_C999999999_") for trait in gold()),
        "C1_VCPUS",
        "is missing although a later cell is there",
        id="a cell number beyond all bounds",
    ),
    pytest.param(
        gold(["C0_CPUS_DEDICATED", "C0_THREADS_ISOLATE"], ["C0_CPUS_EXPLICIT", "C0_PIN_0TO1_ON_5"]),
        "C1_PIN",
        "host CPU 5 is in another cell too",
        id="host CPUs of another cell",
    ),
    pytest.param(gold(plus=["C0_NODE_1"]), "C1_NODE", "node 1 is named by another cell too", id="two cells, one node"),
]


@pytest.mark.parametrize(("traits", "clause", "reason"), MALFORMED)
def test_what_is_not_exactly_one_template_is_refused_with_its_clause(
    traits: frozenset[str], clause: str, reason: str
) -> None:
    """The error names template, clause and reason, and how to repair it."""
    expected = clause if clause.startswith(("CUSTOM_", "HW_")) else PREFIX + clause
    with pytest.raises(InvalidTraits) as caught:
        codec.decode("gold", traits)
    assert ("gold", expected) == (caught.value.name, caught.value.clause)
    assert reason in caught.value.reason
    assert "'openstack kongming template set gold --file FILE'" in str(caught.value)


SPELLED_OUT = r"_TEMPLATE$|_C\d+_(VCPUS|CPUS|THREADS|MEMORY|PIN)_|KONGMING_(EMULATOR|OVERRIDE)_"
"""The traits that every template has."""

OF_ONE_TRAIT = r"_QOS_|C\d+_NODE_"
"""Those without which there is still a template."""


@given(templates(), st.data())
def test_no_clause_can_be_lost_unnoticed(template: PinningTemplate, data: st.DataObject) -> None:
    """Whatever trait is taken off, what is left is refused, or is another template if the clause may be left out."""
    traits = codec.encode(template)
    lost = data.draw(st.sampled_from(sorted(traits)))
    if re.search(SPELLED_OUT, lost):
        with pytest.raises(InvalidTraits):
            codec.decode(template.name, traits - {lost})
    elif re.search(OF_ONE_TRAIT, lost):
        assert template != codec.decode(template.name, traits - {lost})
    else:
        with contextlib.suppress(InvalidTraits):
            assert template != codec.decode(template.name, traits - {lost})


CELL_WORDS = "|".join(clause.word for clause in clauses_of(TemplateCell))
WORDS = "|".join(clause.word for clause in clauses_of(PinningTemplate))
CLAUSES = st.sampled_from([MARKER, *(PREFIX + clause for clause in sorted(GOLD_CLAUSES))]) | st.from_regex(
    rf"CUSTOM_KONGMING_(C[0-2]_({CELL_WORDS})|QOS_(SHARES|VCPU_QUOTA|VCPU_[0-3](TO[1-3])?_QUOTA)|{WORDS})_[0-9TONX_]{{0,8}}",
    fullmatch=True,
)


@given(st.sets(CLAUSES, max_size=20))
@example(set(gold()))
def test_traits_are_one_template_or_refused_and_never_break(traits: set[str]) -> None:
    """Anybody with the admin role can set traits; what decodes encodes to the very same traits."""
    with contextlib.suppress(InvalidTraits):
        assert traits == codec.encode(codec.decode("gold", traits))
