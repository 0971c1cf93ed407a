# SPDX-License-Identifier: Apache-2.0
"""Templates whose traits were changed by hand."""

from __future__ import annotations

import json

import pytest

from kongming_sched.placement import names
from tests.functional.cli.conftest import Write
from tests.functional.cli.samples import GOLD_FIELDS, SILVER
from tests.functional.cli.shell import Shell
from tests.functional.conftest import PlacementService


@pytest.fixture
def broken(openstack: Shell, placement: PlacementService, gold: str, write: Write) -> str:
    """The template ``gold`` with a trait that was taken off by hand, beside ``silver``; gives gold's file."""
    openstack("kongming template create --file", write(SILVER))
    client = placement.client
    (provider,) = client.providers(name=names.template_provider_name("gold"))
    traits = client.traits(provider.uuid) - {"CUSTOM_KONGMING_C0_THREADS_ISOLATE"}
    client.set_traits(provider.uuid, provider.generation, traits)
    return gold


BROKEN = "template provider of 'gold', clause CUSTOM_KONGMING_C0_THREADS_ANY: is missing; write the template anew"


def test_list_goes_on_past_a_broken_template(openstack: Shell, broken: str) -> None:
    """The others are listed, and standard error has the clause that is wrong."""
    assert broken
    done = openstack("kongming template list -f json")
    assert done.code == 0
    assert [item["name"] for item in json.loads(done.out)] == ["silver"]
    assert done.err.startswith(BROKEN)


def test_show_names_the_clause_that_is_wrong(openstack: Shell, broken: str) -> None:
    """And the command that mends it."""
    assert broken
    done = openstack("kongming template show gold")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(BROKEN)
    assert done.err.endswith("with 'openstack kongming template set gold --file FILE'\n")


def test_set_mends_a_broken_template(openstack_with_nova: Shell, broken: str) -> None:
    """Its file is enough; its aggregates alone are not."""
    openstack = openstack_with_nova
    done = openstack("kongming template set gold --no-aggregate")
    assert done.code == 1
    assert done.err.startswith(BROKEN)
    assert openstack("kongming template set gold --file", broken).code == 0
    shown = openstack.json("kongming template show gold")
    assert shown == GOLD_FIELDS | {"version": shown["version"]}


def test_a_broken_template_can_be_deleted(openstack: Shell, broken: str) -> None:
    """Nobody has to understand it for that."""
    assert broken
    assert openstack("kongming template delete --force gold").code == 0
    assert [item["name"] for item in openstack.json("kongming template list")] == ["silver"]
