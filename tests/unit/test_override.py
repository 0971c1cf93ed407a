# SPDX-License-Identifier: Apache-2.0
"""What servers' metadata asks for, and what templates can give of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched import exceptions
from kongming_sched.cpuset import CpuSet
from kongming_sched.override import ServerOverride, VcpuPins, assign_cpus, overriding_template, select
from kongming_sched.template import PinningTemplate
from tests.unit.strategies import cpu_sets


def template(name: str, *cells: dict[str, object], override: str = "allowed", **more: object) -> PinningTemplate:
    """A template that is open to servers."""
    return PinningTemplate.from_mapping({"name": name, "cells": list(cells), "override": override, **more})


PAIR = template("pair", {"vcpus": "0-1", "cpus": "dedicated"})
TRIPLE = template("triple", {"vcpus": "0-2", "cpus": "dedicated"})
EXACT = template("exact", {"vcpus": "0-1", "cpus": "explicit", "pins": {0: "5-6", 1: "9-11,^10"}})
SHARED = template("shared", {"vcpus": "0-1", "cpus": "shared"})
RAN = template("ran", {"vcpus": "0-1", "cpus": "dedicated"}, realtime={"vcpus": "1"})
RAN_EXACT = template(
    "ran", {"vcpus": "0-1", "cpus": "explicit", "pins": {0: "5-6", 1: "9"}}, realtime={"vcpus": "1", "priority": 2}
)


@pytest.mark.parametrize(
    ("text", "pins"),
    [
        pytest.param("5-6,9-11,^10", ["5-6,9,11"] * 3, id="one set for all"),
        pytest.param("0:5-6;1:9;2:9", ["5-6", "9", "9"], id="one by one"),
        pytest.param(" 1-2 : 9 ; 0 : 5-6,^6 ", ["5", "9", "9"], id="ranges of vCPUs, in any order, with blanks"),
    ],
)
def test_grammar(text: str, pins: list[str]) -> None:
    """Host CPUs are written as in a template, for all vCPUs or for each."""
    assert pins == list(map(str, VcpuPins.parse(text).of_vcpus(3)))


@given(st.lists(cpu_sets(min_size=1), min_size=1, max_size=8))
def test_every_pinning_can_be_written(pins: list[CpuSet]) -> None:
    """What is written one by one reads back."""
    text = ";".join(f"{vcpu}:{cpus}" for vcpu, cpus in enumerate(pins))
    assert tuple(pins) == VcpuPins.parse(text).of_vcpus(len(pins))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "'' names no CPU", id="nothing"),
        pytest.param("3,^3", "'3,^3' names no CPU", id="nothing left"),
        pytest.param("gold", "'gold' is neither a number nor a range", id="words"),
        pytest.param("0:1;2", "'2' does not say of which vCPU", id="half one by one"),
        pytest.param("0:1;0-1:2", "vCPU 0 is given twice", id="twice"),
        pytest.param("0:1;1:", "'' names no CPU", id="no CPU"),
        pytest.param("0:1;", "'' does not say of which vCPU", id="a semicolon too many"),
        pytest.param("0:1:2;1:3", "'1:2' is neither a number nor a range", id="a colon too many"),
        pytest.param("0:1", "vCPU 1 has no host CPUs", id="a vCPU too few"),
        pytest.param("0-2:1", "the server has no vCPU 2; it has 0-1", id="a vCPU too many"),
        pytest.param("99999", "is above the highest CPU number", id="a CPU that no host has"),
    ],
)
def test_wrong_cpus(text: str, reason: str) -> None:
    """What cannot be read is refused with the part that is wrong and the key that it stands under."""
    with pytest.raises(exceptions.InvalidOverride) as caught:
        VcpuPins.parse(text).of_vcpus(2)
    assert reason in caught.value.reason
    assert str(caught.value).startswith("its metadata 'kongming:cpus': ")


@given(
    st.dictionaries(st.sampled_from(["kongming:template", "kongming:cpus", "kongming-vcpu-pinning", "x"]), st.text())
)
def test_any_metadata_is_read_or_refused(metadata: dict[str, str]) -> None:
    """Tenants may write whatever they like."""
    try:
        override = ServerOverride.from_metadata(metadata)
    except exceptions.InvalidOverride:
        return
    assert bool(select(metadata)) == (override is not None)


def test_the_older_key_means_the_same() -> None:
    """And may stand beside the new one as long as both agree."""
    old, new = {"kongming-vcpu-pinning": "5-6,9-11,^10"}, {"kongming:cpus": "5,6,9,11"}
    pins = [ServerOverride.from_metadata(metadata).cpus.of_vcpus(2) for metadata in (old, new, old | new)]  # type: ignore[union-attr]
    assert [pins[0]] * 3 == pins
    with pytest.raises(exceptions.InvalidOverride, match="says something else than kongming:cpus"):
        ServerOverride.from_metadata(old | {"kongming:cpus": "5"})


@pytest.mark.parametrize(
    ("of", "text", "pins"),
    [
        pytest.param(PAIR, "7,3", ["3", "7"], id="a set is shared out"),
        pytest.param(PAIR, "0:7;1:3", ["7", "3"], id="one each"),
        pytest.param(EXACT, "6,11", ["6,11", "6,11"], id="within those set aside"),
        pytest.param(SHARED, "0:1-2;1:2", ["1-2", "2"], id="shared vCPUs may overlap"),
    ],
)
def test_seats(of: PinningTemplate, text: str, pins: list[str]) -> None:
    """What templates can give."""
    assert pins == list(map(str, assign_cpus(of, VcpuPins.parse(text))))


@pytest.mark.parametrize(
    ("of", "text", "reason"),
    [
        pytest.param(PAIR, "3", "each vCPU has one host CPU, and 3 is 1 for vCPU 0-1", id="too few"),
        pytest.param(PAIR, "0:3;1:3", "each vCPU has one host CPU, and 3 is 1 for vCPU 0-1", id="one for two"),
        pytest.param(TRIPLE, "0-1:3-4;2:3", "host CPU 3 is named for two dedicated vCPUs", id="twice"),
        pytest.param(PAIR, "0:3-4;1:5", "each vCPU has one host CPU, and 3-4 is 2 for vCPU 0", id="too many"),
        pytest.param(
            EXACT,
            "5,7",
            "host CPU 7 is none of those that template 'exact' sets aside for vCPU 0-1, which are 5-6,9,11",
            id="outside",
        ),
        pytest.param(RAN_EXACT, "0:5;1:9,5", "vCPU 1 runs in real time, which needs a single host CPU", id="floats"),
        pytest.param(RAN_EXACT, "0:9;1:9", "on CPU 9, where vCPU 0 would never run", id="both"),
    ],
)
def test_no_seats(of: PinningTemplate, text: str, reason: str) -> None:
    """What templates cannot give."""
    with pytest.raises(exceptions.InvalidOverride) as caught:
        assign_cpus(of, VcpuPins.parse(text))
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("own", "other", "reason"),
    [
        pytest.param(
            template("closed", {"vcpus": "0-1", "cpus": "dedicated"}, override="denied"),
            PAIR,
            "template 'closed' is not open to the metadata of servers (override: denied)",
            id="the flavor's is closed",
        ),
        pytest.param(
            PAIR,
            template("closed", {"vcpus": "0-1", "cpus": "dedicated"}, override="denied"),
            "template 'closed' is not open to the metadata of servers (override: denied)",
            id="the other is closed",
        ),
        pytest.param(
            template("half", {"vcpus": "0-1", "cpus": "dedicated"}, override="pins"),
            PAIR,
            "template 'half' is open to the metadata of servers for pins alone (override: pins)",
            id="the flavor's opens pins alone",
        ),
        pytest.param(
            PAIR,
            template("half", {"vcpus": "0-1", "cpus": "dedicated"}, override="pins"),
            "template 'half' is open to the metadata of servers for pins alone (override: pins)",
            id="the other opens pins alone",
        ),
        pytest.param(PAIR, None, "template 'gone' does not exist", id="gone"),
        pytest.param(
            PAIR,
            template("single", {"vcpus": "0", "cpus": "dedicated"}),
            "the server has 2 vCPUs and template 'single' has 1",
            id="other vCPUs",
        ),
        pytest.param(
            PAIR,
            template("loose", {"vcpus": "0-1", "cpus": "dedicated", "memory": "none"}),
            "template 'loose' takes the memory of other nodes than 'pair'",
            id="other memory",
        ),
        pytest.param(
            PAIR, RAN, "the server's real-time vCPUs are none, and those of template 'ran' are 1", id="real time"
        ),
        pytest.param(
            RAN,
            PAIR,
            "the server's real-time vCPUs are 1, and those of template 'pair' are none",
            id="none",
        ),
    ],
)
def test_templates_that_cannot_stand_in(own: PinningTemplate, other: PinningTemplate | None, reason: str) -> None:
    """A server gets another template only if the operator opened both, and both are alike."""
    override = ServerOverride(other.name if other else "gone")
    with pytest.raises(exceptions.InvalidOverride) as caught:
        overriding_template(own, override, {other.name: other} if other else {})
    assert reason in caught.value.reason


@pytest.mark.parametrize("override", [ServerOverride(None, VcpuPins.parse("3,7")), ServerOverride("half")], ids=str)
def test_pins_alone(override: ServerOverride) -> None:
    """A template may open its pins and not itself: the server keeps it, with its QoS."""
    half = template("half", {"vcpus": "0-1", "cpus": "dedicated"}, override="pins")
    assert half == overriding_template(half, override, {"half": half, "pair": PAIR})
