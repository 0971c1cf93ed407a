# SPDX-License-Identifier: Apache-2.0
"""Checks of Placement's and Nova's data against each other."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from oslo_upgradecheck.upgradecheck import Code

from kongming_sched.placement.templates import StoredTemplate, TemplateList
from kongming_sched.status import inventory
from kongming_sched.template import PinningTemplate


def stored(override: str, **qos_by_name: Mapping[str, object]) -> TemplateList:
    """Templates that take the same and say so of override."""
    cells = [{"vcpus": "0", "cpus": "dedicated"}]
    clauses = {
        name: {"name": name, "cells": cells, "qos": qos, "override": override} for name, qos in qos_by_name.items()
    }
    return TemplateList(
        {name: StoredTemplate(PinningTemplate.from_mapping(item), 1, frozenset()) for name, item in clauses.items()}, ()
    )


@pytest.mark.parametrize(
    ("override", "code", "words"),
    [
        (
            "allowed",
            Code.WARNING,
            "servers of templates 'free' and 'slow' may choose the other one by their own metadata",
        ),
        ("pins", Code.SUCCESS, "no template lets its servers choose other QoS"),
    ],
)
def test_open_templates(override: str, code: Code, words: str) -> None:
    """Templates that let a tenant choose the one without a quota are named, once for each pair."""
    verdict = inventory.of_open_templates(stored(override, slow={"quota_us": 5000}, free={}))
    assert (code, 1) == (verdict.code, len(verdict.details.splitlines()))
    assert words in verdict.details
