# SPDX-License-Identifier: Apache-2.0
"""What nova-api lets into a flavor."""

from __future__ import annotations

import sys

import pytest
from nova import exception
from nova.api.validation.extra_specs import validators as nova_validators

from kongming_sched import validators
from kongming_sched.placement import flavor
from kongming_sched.template import PinningTemplate


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kongming:template", "gold"),
        ("kongming:template", "a"),
        ("kongming:template", "g_2" + "x" * 29),
        ("kongming:numa_strategy", "pack"),
        ("kongming:numa_strategy", "spread"),
        ("kongming:numa_strategy", "scatter"),
        ("kongming:devices", "local"),
    ],
)
def test_what_means_something_passes(name: str, value: str) -> None:
    """nova-api finds the validators by their entry point and is content."""
    nova_validators.validate(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kongming:template", ""),
        ("kongming:template", "Gold"),
        ("kongming:template", "gold "),
        ("kongming:template", "2gold"),
        ("kongming:template", "g" * 33),
        ("kongming:numa_strategy", ""),
        ("kongming:numa_strategy", "Pack"),
        ("kongming:numa_strategy", "balance"),
        ("kongming:devices", "near"),
        ("kongming:tempalte", "gold"),
    ],
)
def test_what_means_nothing_is_refused(name: str, value: str) -> None:
    """A wrong value and a mistyped key give the operator an error at once."""
    with pytest.raises(exception.ValidationError):
        nova_validators.validate(name, value)


def test_the_other_keys_of_a_flavor_pass() -> None:
    """Nova's own validators take what ``openstack kongming flavor set`` writes."""
    cells = [{"vcpus": "0-1", "cpus": "dedicated", "threads": "isolate", "node": 1}, {"vcpus": "2", "cpus": "shared"}]
    template = PinningTemplate.from_mapping({"name": "gold", "cells": cells})
    specs = flavor.extra_specs(template, {}, vcpus=3, memory_mb=512, threads_per_core=2)
    for name, value in specs.items():
        nova_validators.validate(name, value)
    assert "trait_KONGMING0:CUSTOM_KONGMING_NODE_1" in specs


def test_without_novas_base_class_there_are_no_checks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """nova-api starts all the same, and its log says what lacks."""
    monkeypatch.setitem(sys.modules, "nova.api.validation.extra_specs", None)
    assert [] == validators.register()
    assert "Extra specs of KongMing are not checked by nova-api" in caplog.text
