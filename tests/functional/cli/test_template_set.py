# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming template set``."""

from __future__ import annotations

import pytest

from tests.functional.cli.conftest import NOWHERE, Write
from tests.functional.cli.samples import AGGREGATE, GOLD, OTHER, SILVER
from tests.functional.cli.shell import Shell
from tests.functional.cli.state import unchanged
from tests.functional.conftest import PlacementService


def test_set_changes_what_servers_do_not_claim(openstack: Shell, write: Write, gold: str) -> None:
    """Without asking Nova, which is down here; the version grows."""
    before = openstack.json("kongming template show gold")
    done = openstack("kongming template set gold --file", write(GOLD.replace("1024", "512") + "emulator: cell\n"))
    after = openstack.json("kongming template show gold")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert after == before | {"qos": {"shares": 512}, "emulator": "cell", "version": after["version"]}
    assert after["version"] > before["version"]
    assert gold


def test_set_changes_aggregates_alone(openstack: Shell, gold: str) -> None:
    """To one, and to all hosts again."""
    assert gold
    assert openstack("kongming template set gold --aggregate", AGGREGATE).code == 0
    assert openstack.json("kongming template show gold")["aggregates"] == [AGGREGATE]
    assert openstack("kongming template set gold --no-aggregate").code == 0
    assert openstack.json("kongming template show gold")["aggregates"] == []


def test_set_keeps_the_aggregates_that_are_not_given(openstack: Shell, write: Write, gold: str) -> None:
    """A new file says nothing of them."""
    assert gold
    openstack("kongming template set gold --aggregate", AGGREGATE)
    openstack("kongming template set gold --file", write(GOLD.replace("1024", "512")))
    assert openstack.json("kongming template show gold")["aggregates"] == [AGGREGATE]


def test_set_of_what_is_set_writes_nothing(openstack: Shell, placement: PlacementService, gold: str) -> None:
    """So the version stays, and no agent makes a pass."""
    with unchanged(placement.client):
        assert openstack("kongming template set gold --no-aggregate --file", gold).code == 0


def test_set_refuses_another_name_than_the_files(
    openstack: Shell, placement: PlacementService, write: Write, gold: str
) -> None:
    """A template is not renamed."""
    path = write(SILVER)
    with unchanged(placement.client):
        done = openstack("kongming template set gold --file", path)
    assert (done.code, done.err) == (1, f"{path} holds template 'silver', not 'gold'; correct one of them\n")
    assert gold


@pytest.mark.parametrize("words", [("--no-aggregate",), ("--aggregate", AGGREGATE)])
def test_set_refuses_hosts_where_its_cpus_are_taken(
    openstack: Shell, placement: PlacementService, write: Write, words: tuple[str, ...]
) -> None:
    """When two templates come together that were kept apart."""
    openstack("kongming template create --file", write(SILVER), "--aggregate", AGGREGATE)
    openstack("kongming template create --file", write(SILVER.replace("silver", "other")), "--aggregate", OTHER)
    with unchanged(placement.client):
        done = openstack("kongming template set other", *words)
    assert done.code == 1
    assert done.err.startswith("template 'other' at cells[0].pins: host CPU 1,9 belongs to template 'silver'")


def test_set_refuses_a_change_of_demand_that_nova_cannot_be_asked_about(
    openstack: Shell, placement: PlacementService, write: Write, gold: str
) -> None:
    """A server may use it."""
    with unchanged(placement.client):
        done = openstack("kongming template set gold --file", write(GOLD.replace("isolate", "any")))
    assert done.code == 1
    assert done.err.startswith("Nova could not list the users of gold: ")
    assert NOWHERE in done.err
    assert gold
