# SPDX-License-Identifier: Apache-2.0
"""The published schema of templates says what template.py says, as far as a schema can."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kongming_sched.exceptions import InvalidTemplate
from kongming_sched.schemas import load_schema, schema_names
from kongming_sched.template import PinningTemplate
from tests.unit import strategies

VALIDATOR = jsonschema.Draft202012Validator(load_schema("template-v1"))

BEYOND_A_SCHEMA = [
    r"vCPU \S+ is in another cell too",
    r"host CPU \S+ is in another cell too",
    r"node \d+ is named by another cell too",
    r"vCPU \S+ is in no cell",
    r"is no vCPU of this cell",
    r"vCPU \S+ has no host CPUs",
    r"is given twice",
    r"leaves no CPU",
    r"runs backwards",
    r"Nova gives a server one size",
    r"must be strict with pages",
    r"must be visible for (pages|realtime|devices)",
    r"in ascending order of their nodes",
    r"devices of the nodes of all cells alike",
    r"is none of this cell",
    r"leaves no dedicated vCPU",
    r"cannot be shared with realtime",
    r"runs in real time",
    r"all that are not shared",
    r"one needs threads: require or isolate",
    r"at hours",
    r"\d+\.0 is not a",  # to JSON Schema, 5.0 is an integer
]
"""The rules that the schema's description names as those that only the command checks."""


def is_valid(data: object) -> bool:
    """Whether the schema takes it."""
    return bool(VALIDATOR.is_valid(data))


def refusal(data: object) -> str | None:
    """Why template.py refuses it; None if it does not."""
    try:
        PinningTemplate.from_mapping(data)
    except InvalidTemplate as error:
        return str(error)
    return None


def as_json(template: PinningTemplate) -> Any:
    """A template as a JSON file has it."""
    return json.loads(json.dumps(template.to_mapping()))


NUMBERS = [-1, 0, 5.0, 1.5, 255, 256, 999, 1000, 8191, 8192]
SETS = ["", "0", "0-1", "^0", "1-", "1-0", "5-6,9-11,^10", " 1 - 2 ", "8192", "00", "a"]
WORDS = ["dedicated", "explicit", "shared", "isolate", "none", "cell", "denied", "gold", "gold\n", "Gold"]
SCALARS = st.sampled_from([None, True, *NUMBERS, *SETS, *WORDS])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["0", "1", "quota_us", "a"]), inner),
    max_leaves=4,
)
KEYS = st.sampled_from([*strategies.keys(), "x"])


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a document, as its container and key."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield data, key
        yield from places(value)


@st.composite
def almost_templates(draw: st.DrawFn) -> Any:
    """Templates with a few things changed, left out or added."""
    data = as_json(draw(strategies.templates()))
    for _ in range(draw(st.integers(1, 3))):
        container, key = draw(st.sampled_from(list(places(data)) or [(data, "name")]))
        match draw(st.sampled_from(["replace", "drop", "add"])):
            case "replace":
                container[key] = copy.deepcopy(draw(VALUES))
            case "drop":
                del container[key]
            case _ if isinstance(container, dict):
                container[draw(KEYS)] = copy.deepcopy(draw(VALUES))
    return data


@given(strategies.templates())
def test_every_template_is_valid(template: PinningTemplate) -> None:
    """As it is exported."""
    assert is_valid(as_json(template))


@given(almost_templates())
@example({"name": "gold", "cells": [{"vcpus": "0", "cpus": "shared", "threads": "any"}]})
@example({"name": "gold", "cells": [{"vcpus": 0, "cpus": "explicit"}]})
@example({"name": "gold\n", "cells": [{"vcpus": 0, "cpus": "shared"}]})
@example({"name": "gold", "cells": [{"vcpus": 0, "cpus": "shared", "node": None}], "qos": None})
def test_schema_and_code_agree(data: Any) -> None:
    """What the schema refuses the code refuses; what the code alone refuses breaks a rule that no schema can say."""
    reason = refusal(data)
    if is_valid(data):
        assert reason is None or any(re.search(rule, reason) for rule in BEYOND_A_SCHEMA), reason
    else:
        assert reason is not None


@pytest.mark.parametrize("name", schema_names())
def test_schemas_are_schemas(name: str) -> None:
    """Of the draft that they name, under the name that they have."""
    schema = load_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:kongming:{name}"
    assert re.fullmatch(r"[a-z-]+-v[0-9]+", name)
    assert schema["title"]
    assert schema["description"]
