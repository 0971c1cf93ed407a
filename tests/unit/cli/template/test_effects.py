# SPDX-License-Identifier: Apache-2.0
"""What a change of a template does to servers and hosts."""

from __future__ import annotations

import pytest
from hypothesis import given

from kongming_sched.cli.change_plan import Effect, Entry
from kongming_sched.cli.template.effects import consequences, differences, of_pools, of_servers
from kongming_sched.cloud.compute import Flavor, Server
from kongming_sched.cloud.nodes import Node
from kongming_sched.placement import names
from kongming_sched.placement.summaries import ProviderSummary
from kongming_sched.template import PinningTemplate
from tests.unit.strategies import templates

PINS: dict[str, object] = {"vcpus": "0-1", "cpus": "explicit", "pins": {0: "1", 1: "9"}}
SERVER = Server("5e00", "web", Flavor("", "f", 2, 512, {}), {}, "c1")


def make(*cells: dict[str, object], **fields: object) -> PinningTemplate:
    """A template."""
    return PinningTemplate.from_mapping({"name": "gold", "cells": list(cells), **fields})


def dedicated(**fields: object) -> dict[str, object]:
    """A cell of two vCPUs."""
    return {"vcpus": "0-1", "cpus": "dedicated", **fields}


@pytest.mark.parametrize(
    ("old", "new", "fields", "effects"),
    [
        pytest.param(
            make(PINS),
            make(PINS | {"pins": {0: "2", 1: "9"}}),
            ["cells[0].pins[0]: 1 -> 2"],
            [(Effect.MOVE, "vCPU 0: CPU 1 -> 2")],
            id="one pin",
        ),
        pytest.param(
            make(PINS | {"pins": "1-2"}),
            make(PINS | {"pins": "5-6"}),
            ["cells[0].pins: 1-2 -> 5-6"],
            [(Effect.MOVE, "vCPU 0-1: CPU 1-2 -> 5-6")],
            id="all pins",
        ),
        pytest.param(
            make(dedicated(threads="any")),
            make(dedicated(threads="prefer")),
            ["cells[0].threads: any -> prefer"],
            [(Effect.MOVE, "vCPU 0-1: threads any -> prefer, if they lie otherwise now")],
            id="threads",
        ),
        pytest.param(
            make(dedicated()),
            make(dedicated(), emulator="cell"),
            ["emulator: shared -> cell"],
            [(Effect.MOVE, "emulator threads: shared -> cell")],
            id="emulator",
        ),
        pytest.param(
            make(dedicated(), override="allowed"),
            make(dedicated()),
            ["override: allowed -> denied"],
            [
                (Effect.MOVE, "pins of its own metadata, if it has any, give way to the template's"),
                (Effect.MOVE, "another template of its own metadata, if it has one, gives way to its flavor's"),
            ],
            id="override",
        ),
        pytest.param(
            make(dedicated(), override="allowed"),
            make(dedicated(), override="pins"),
            ["override: allowed -> pins"],
            [(Effect.MOVE, "another template of its own metadata, if it has one, gives way to its flavor's")],
            id="override of the template alone",
        ),
        pytest.param(
            make(dedicated(), override="pins"),
            make(dedicated()),
            ["override: pins -> denied"],
            [(Effect.MOVE, "pins of its own metadata, if it has any, give way to the template's")],
            id="override of pins",
        ),
        pytest.param(
            make(dedicated(), qos={"shares": 512, "vcpus": {"0": {"quota_us": 5000}}}),
            make(dedicated(), qos={"quota_us": 9000}),
            ["qos.shares: 512 -> -", "qos.vcpus.0.quota_us: 5000 -> -", "qos.quota_us: - -> 9000"],
            [
                (Effect.LIMIT, "quota_us: - -> 9000"),
                (Effect.LIMIT, "shares: 512 -> -"),
                (Effect.LIMIT, "vcpus.0.quota_us: 5000 -> -"),
            ],
            id="qos",
        ),
        pytest.param(
            make(dedicated(), hours=[{"zone": "UTC", "to": "06:00", "qos": {"shares": 2}}]),
            make(dedicated(), hours=[{"zone": "UTC", "to": "07:00", "qos": {"shares": 3}, "emulator": "cell"}]),
            ["hours[0].to: 06:00 -> 07:00", "hours[0].qos.shares: 2 -> 3", "hours[0].emulator: - -> cell"],
            [
                (Effect.LIMIT, "hours[0].emulator: - -> cell"),
                (Effect.LIMIT, "hours[0].qos.shares: 2 -> 3"),
                (Effect.LIMIT, "hours[0].to: 06:00 -> 07:00"),
            ],
            id="hours",
        ),
    ],
)
def test_what_a_change_means(
    old: PinningTemplate, new: PinningTemplate, fields: list[str], effects: list[tuple[Effect, str]]
) -> None:
    """Field by field, and what servers go through; each server in a line of its own."""
    assert fields == differences(old, new)
    assert effects == consequences(old, new)
    lines = [Entry(effect, "server web (5e00)", detail, "c1") for effect, detail in effects]
    assert lines == list(of_servers([SERVER], old, new))


@given(templates())
def test_no_change_means_nothing(template: PinningTemplate) -> None:
    """Whatever the template is."""
    assert ([], []) == (differences(template, template), consequences(template, template))


@given(templates(), templates())
def test_every_change_is_told(old: PinningTemplate, new: PinningTemplate) -> None:
    """Two templates without a difference are one."""
    assert (old == new) == (not differences(old, new))


def node(number: int, total: int, used: int, *offered: str) -> Node:
    """A node of host c1, of two threads per core."""
    summary = ProviderSummary("n", "r", "r", frozenset(), {names.PCPU: total}, {names.PCPU: used})
    return Node("c1", "r", number, 2, offered, summary)


@pytest.mark.parametrize(
    ("old", "nodes", "effects"),
    [
        pytest.param(None, [node(0, 8, 0)], [], id="nobody is there"),
        pytest.param(None, [node(0, 8, 6)], [Effect.MOVE], id="room enough"),
        pytest.param(None, [node(0, 8, 7)], [Effect.MOVE, Effect.CONFLICT], id="too little room"),
        pytest.param(None, [node(0, 8, 7), node(1, 8, 7)], [Effect.MOVE], id="room on one of the nodes may do"),
        pytest.param(make(PINS), [node(0, 8, 8, "gold")], [], id="its CPUs are set aside already"),
        pytest.param(
            make(PINS | {"pins": "3,9"}), [node(0, 8, 8, "gold")], [Effect.MOVE], id="others come back to the pool"
        ),
    ],
)
def test_explicit_cpus_are_set_aside(old: PinningTemplate | None, nodes: list[Node], effects: list[Effect]) -> None:
    """Dedicated servers get out of the way; a host that cannot set them aside is a conflict."""
    found = list(of_pools("template gold", old, make(PINS).host_cpus, nodes))
    assert effects == [entry.effect for entry in found]
    assert {"dedicated servers", "template gold"} >= {entry.subject for entry in found}
    assert {"c1"} >= {entry.host for entry in found}
