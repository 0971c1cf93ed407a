# SPDX-License-Identifier: Apache-2.0
"""What is kept of an answer with allocation candidates."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kongming_sched.placement.summaries import ProviderSummary, condense, read_summaries

ANSWER: dict[str, Any] = {
    "allocation_requests": [{"allocations": {"n0": {"resources": {"CUSTOM_A": 1}}}, "mappings": {"": ["n0"]}}],
    "provider_summaries": {
        "host": {
            "resources": {"VCPU": {"capacity": 8, "used": 0}},
            "traits": ["HW_CPU_X86_AVX"],
            "parent_provider_uuid": None,
            "root_provider_uuid": "host",
        },
        "n0": {
            "resources": {"CUSTOM_A": {"capacity": 4, "used": 1}},
            "traits": ["HW_NUMA_ROOT"],
            "parent_provider_uuid": "host",
            "root_provider_uuid": "host",
        },
    },
}


def test_what_is_wanted_is_kept() -> None:
    """Of the answer nothing is left but the facts of the wanted summaries."""
    body = json.loads(json.dumps(ANSWER), object_hook=condense(lambda item: "CUSTOM_A" in item["resources"]))

    assert [None] == body["allocation_requests"]
    assert body["provider_summaries"]["host"] is None
    assert [
        ProviderSummary("n0", "host", "host", frozenset({"HW_NUMA_ROOT"}), {"CUSTOM_A": 4}, {"CUSTOM_A": 1})
    ] == read_summaries(body)


@pytest.mark.parametrize("traits", [None, 7, [7], [None]])
def test_broken_summaries_are_found(traits: object) -> None:
    """Traits that are none are an error, which the client turns into its own."""
    broken = json.dumps({"provider_summaries": {"n0": {**ANSWER["provider_summaries"]["n0"], "traits": traits}}})

    with pytest.raises(TypeError):
        json.loads(broken, object_hook=condense(lambda _: True))
