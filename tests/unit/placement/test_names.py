# SPDX-License-Identifier: Apache-2.0
"""The words in Placement: what they look like, and that those read back which have to be."""

from __future__ import annotations

import re

import os_traits
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kongming_sched.placement import codec, names
from kongming_sched.template import PinningTemplate
from tests.unit import strategies

ROOT = "5a1e0000-0000-4000-8000-000000000001"
OTHER_ROOT = "5a1e0000-0000-4000-8000-000000000002"


def test_the_words_are_these() -> None:
    """They stand in flavors and in the documentation, so that a change of one breaks clouds that run."""
    assert "CUSTOM_KONGMING_SLOT_GOLD_1" == names.slot_class("gold_1")
    assert "CUSTOM_KONGMING_TEMPLATE_GOLD_1" == names.template_trait("gold_1")
    assert "CUSTOM_KONGMING_NODE_7" == names.node_trait(7)
    assert "CUSTOM_KONGMING_SMT_2" == names.smt_trait(2)
    assert "CUSTOM_KONGMING_CACHE_4" == names.cache_class(4)
    assert "compute1_kongming_numa7" == names.node_name("compute1", 7)
    assert "kongming_template_gold_1" == names.template_provider_name("gold_1")


def test_the_ids_are_these() -> None:
    """Derived, so that doing a thing twice is doing it once; another release must derive the same."""
    assert "778ea812-2401-55f5-8f50-b2e7a525283b" == names.node_uuid(ROOT, 0)
    assert "e1a5b892-605b-5357-91aa-0fafe067500b" == names.template_uuid("gold")


def test_the_numa_trait_is_a_standard_one() -> None:
    """Placement has it by itself."""
    assert names.HW_NUMA_ROOT == os_traits.HW_NUMA_ROOT


@given(strategies.names())
def test_a_template_is_found_by_its_trait_and_its_provider(name: str) -> None:
    """Both lead back to the name."""
    assert name == names.offered_template(names.template_trait(name))
    assert name == names.template_of_provider(names.template_provider_name(name))


@pytest.mark.parametrize(
    ("resource_class", "cores"),
    [
        (names.cache_class(12), 12),
        (names.PCPU, None),
        ("CUSTOM_KONGMING_CACHE_", None),
        ("CUSTOM_KONGMING_CACHE_ONE", None),
        ("CUSTOM_KONGMING_C0_CACHES_ONE", None),
    ],
)
def test_a_class_of_rooms_says_for_how_many_cores(resource_class: str, cores: int | None) -> None:
    """No other class does."""
    assert cores == names.cores_of_cache_class(resource_class)


@given(strategies.names())
def test_words_of_a_template_are_such_as_placement_takes(name: str) -> None:
    """Custom traits and classes are of capitals, digits and _, with 255 characters at most; names have 200."""
    for word in (names.template_trait(name), names.slot_class(name)):
        assert re.fullmatch(r"CUSTOM_[A-Z0-9_]{1,248}", word)
    assert len(names.template_provider_name(name)) <= 200


@given(strategies.names(), strategies.names())
def test_two_templates_share_no_word(one: str, other: str) -> None:
    """Capitals lose nothing, because names have none."""
    assume(one != other)
    assert names.template_trait(one) != names.template_trait(other)
    assert names.slot_class(one) != names.slot_class(other)
    assert names.template_uuid(one) != names.template_uuid(other)


@given(st.integers(0, 255), st.integers(0, 255))
def test_two_nodes_share_no_id(one: int, other: int) -> None:
    """Neither on one host nor on two."""
    assume(one != other)
    ids = {names.node_uuid(root, node) for root in (ROOT, OTHER_ROOT) for node in (one, other)}
    assert 4 == len(ids)


@given(st.integers(0, 255), st.integers(1, 64))
def test_numbers_are_read_back(node: int, threads: int) -> None:
    """From the traits of node and threads per core."""
    assert node == names.node_id_of(names.node_trait(node))
    assert threads == names.smt_of(names.smt_trait(threads))


@pytest.mark.parametrize(
    "trait",
    [
        "HW_NUMA_ROOT",
        names.NODE,
        names.TEMPLATE,
        "CUSTOM_KONGMING_NODE_",
        "CUSTOM_KONGMING_NODE_X",
        "CUSTOM_KONGMING_NODE_-1",
        "CUSTOM_KONGMING_SMT_",
        "CUSTOM_KONGMING_SMT_TWO",
        "CUSTOM_KONGMING_TEMPLATE_",
        "CUSTOM_KONGMING_TEMPLATE_1ST",
        "CUSTOM_KONGMING_TEMPLATE_" + "A" * 33,
        "CUSTOM_KONGMING_C0_VCPUS_0",
        "CUSTOM_SMT_2",
        "2",
        "",
    ],
)
def test_other_traits_mean_nothing(trait: str) -> None:
    """No node, no threads and no template."""
    assert (None, None, None) == (names.node_id_of(trait), names.smt_of(trait), names.offered_template(trait))


@pytest.mark.parametrize("name", ["gold", "compute1", "kongming_template_", "kongming_template_Gold", "kongming_gold"])
def test_other_providers_are_no_templates(name: str) -> None:
    """Whatever they are."""
    assert names.template_of_provider(name) is None


@pytest.mark.parametrize(
    ("amounts", "words"),
    [({}, "nothing"), ({"VCPU": 2, "PCPU": 4}, "PCPU=4, VCPU=2")],
    ids=["none", "some"],
)
def test_amounts_in_words(amounts: dict[str, int], words: str) -> None:
    """They come in one order, however they are listed."""
    assert words == names.describe_amounts(amounts)


@given(strategies.templates())
def test_a_templates_clauses_are_no_words_of_nodes(template: PinningTemplate) -> None:
    """What says what a template is never says that a node offers one."""
    for trait in codec.encode(template):
        assert (None, None, None) == (names.node_id_of(trait), names.smt_of(trait), names.offered_template(trait))
