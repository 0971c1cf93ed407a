# SPDX-License-Identifier: Apache-2.0
"""Templates that are stored in clouds are read and written as ever: those of stored_templates.yaml, trait by trait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kongming_sched.placement import codec
from kongming_sched.template import PinningTemplate

STORED: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("stored_templates.yaml").read_text())


def traits(title: str) -> frozenset[str]:
    """The traits of an entry as Placement has them."""
    clauses = STORED[title]["clauses"]
    return frozenset({"CUSTOM_KONGMING_TEMPLATE", *(f"CUSTOM_KONGMING_{clause}" for clause in clauses)})


@pytest.mark.parametrize("title", STORED)
def test_a_stored_template_is_read_and_written_as_ever(title: str) -> None:
    """Its traits are this template, which is written as these very traits."""
    expected = PinningTemplate.from_mapping(STORED[title]["template"])
    stored = codec.decode(expected.name, traits(title))
    assert expected == stored
    assert traits(title) == codec.encode(stored)
