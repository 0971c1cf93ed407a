# SPDX-License-Identifier: Apache-2.0
"""Which templates let their servers choose other QoS."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from kongming_sched.placement.overrides import choices_of_qos
from kongming_sched.template import PinningTemplate

SLOW = {"quota_us": 5000}


def template(name: str, qos: Mapping[str, object], override: str = "allowed", **cell: object) -> PinningTemplate:
    """A template of one cell."""
    cells = [{"vcpus": "0-1", "cpus": "dedicated", **cell}]
    return PinningTemplate.from_mapping({"name": name, "cells": cells, "qos": qos, "override": override})


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        pytest.param(template("free", {}), [("free", "slow")], id="without a quota"),
        pytest.param(template("slower", SLOW), [], id="of equal QoS"),
        pytest.param(template("free", {}, "pins"), [], id="opens pins alone"),
        pytest.param(template("free", {}, "denied"), [], id="closed"),
        pytest.param(template("free", {}, vcpus="0-2"), [], id="of other vCPUs"),
        pytest.param(template("free", {}, cpus="shared"), [], id="takes something else"),
        pytest.param(template("free", {}, threads="require"), [("free", "slow")], id="takes as much with two threads"),
    ],
)
def test_choices_of_qos(other: PinningTemplate, expected: list[tuple[str, str]]) -> None:
    """Each pair of which a server may have either, whichever of the two is new."""
    slow = template("slow", SLOW)
    for new in ([slow], [other], [slow, other]):
        assert expected == [(first.name, second.name) for first, second in choices_of_qos(new, [slow, other])]
