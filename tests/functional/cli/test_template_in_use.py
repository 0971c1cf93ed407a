# SPDX-License-Identifier: Apache-2.0
"""Templates that flavors and servers of a real Nova name."""

from __future__ import annotations

import uuid

import pytest

from tests.functional.cli.conftest import Nova, Write
from tests.functional.cli.samples import GOLD, SILVER
from tests.functional.cli.shell import Shell
from tests.functional.cli.state import state_of, unchanged
from tests.functional.conftest import PlacementService


@pytest.fixture
def in_use(openstack_with_nova: Shell, write: Write, nova: Nova) -> str:
    """A template of this test alone that a private flavor names, after pages of other flavors; gives its name."""
    name = f"t{uuid.uuid4().hex[:12]}"
    openstack_with_nova("kongming template create --file", write(GOLD.replace("gold", name)))
    for index in range(4):
        nova.create_flavor(f"a{index}", specs={"kongming:template": "other"})
    nova.create_flavor("m1.gold", vcpus=2, memory_mb=64, public=False)
    done = openstack_with_nova("kongming flavor set m1.gold --threads-per-core 2 --template", name)
    assert (done.code, done.err) == (0, "")
    return name


def test_delete_refuses_a_template_that_a_private_flavor_names(
    openstack_with_nova: Shell, placement: PlacementService, in_use: str, write: Write
) -> None:
    """Nothing is deleted, not even another template that nobody uses."""
    openstack_with_nova("kongming template create --file", write(SILVER))
    with unchanged(placement.client):
        done = openstack_with_nova("kongming template delete silver", in_use)
    assert done.code == 1
    assert done.err.startswith(f"template '{in_use}' is in use by flavor m1.gold; take it off flavors with ")


def test_delete_refuses_a_template_that_servers_were_made_with(
    openstack_with_nova: Shell, placement: PlacementService, in_use: str, nova: Nova
) -> None:
    """Also when no flavor names it any more: each server keeps a copy of its flavor."""
    (flavor_id,) = [item["id"] for item in _flavors(nova) if item["name"] == "m1.gold"]
    servers = [nova.create_server(f"web{index}", flavor_id) for index in range(4)]
    assert openstack_with_nova("kongming flavor unset m1.gold").code == 0
    with unchanged(placement.client):
        done = openstack_with_nova("kongming template delete", in_use)
    assert done.code == 1
    assert done.err.startswith(f"template '{in_use}' is in use by server web")
    for index, server in enumerate(servers):
        assert f"server web{index} ({server})" in done.err


def _flavors(nova: Nova) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    while True:
        marker = f"&marker={found[-1]['id']}" if found else ""
        page = nova.call("GET", f"/flavors?is_public=None{marker}")["flavors"]
        if not page:
            return found
        found += page


def test_delete_takes_templates_that_nobody_uses(openstack_with_nova: Shell, write: Write, in_use: str) -> None:
    """Several at once, and leaves the others; one that is named twice is one."""
    openstack_with_nova("kongming template create --file", write(SILVER))
    openstack_with_nova("kongming template create --file", write(GOLD))
    done = openstack_with_nova("kongming template delete silver gold silver")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert [item["name"] for item in openstack_with_nova.json("kongming template list")] == [in_use]


def test_delete_asks_for_force_where_nova_is_down(openstack: Shell, placement: PlacementService, gold: str) -> None:
    """And goes without asking with it."""
    with unchanged(placement.client):
        done = openstack("kongming template delete gold")
    assert done.code == 1
    assert done.err.startswith("Nova could not list the users of gold: ")
    assert done.err.endswith("; --force deletes without asking\n")
    assert openstack("kongming template delete --force gold").code == 0
    assert state_of(placement.client) == {}
    assert gold


def test_set_refuses_another_demand_while_a_flavor_names_the_template(
    openstack_with_nova: Shell, placement: PlacementService, write: Write, in_use: str
) -> None:
    """What servers take of a host was claimed for good; what they do not claim may change."""
    other, same = GOLD.replace("isolate", "any"), GOLD.replace("1024", "9")
    with unchanged(placement.client):
        done = openstack_with_nova("kongming template set --file", write(other.replace("gold", in_use)), in_use)
    assert done.code == 1
    assert done.err.startswith(f"template '{in_use}' is in use by flavor m1.gold; by the new cells they would take")
    assert openstack_with_nova("kongming template set --file", write(same.replace("gold", in_use)), in_use).code == 0


def test_set_changes_the_demand_of_a_template_that_nobody_names(
    openstack_with_nova: Shell, write: Write, in_use: str
) -> None:
    """After the flavor has let go of it."""
    openstack_with_nova("kongming flavor unset m1.gold")
    path = write(GOLD.replace("gold", in_use).replace("isolate", "any"))
    assert openstack_with_nova("kongming template set --file", path, in_use).code == 0
    assert openstack_with_nova.json("kongming template show", in_use)["cells"][0]["threads"] == "any"


@pytest.mark.parametrize(("before", "after"), [("shared", "own"), ("own", "cell")])
def test_set_refuses_another_count_for_the_emulator(
    openstack_with_nova: Shell, placement: PlacementService, nova: Nova, write: Write, before: str, after: str
) -> None:
    """What a flavor claims for the emulator does not change with its template; from shared to cell it may change."""
    name = f"t{uuid.uuid4().hex[:12]}"
    gold = f"{GOLD.replace('gold', name)}emulator: "
    openstack_with_nova("kongming template create --file", write(gold + before))
    nova.create_flavor("m1.gold", vcpus=2, memory_mb=64)
    openstack_with_nova("kongming flavor set m1.gold --threads-per-core 2 --template", name)

    with unchanged(placement.client):
        done = openstack_with_nova(f"kongming template set {name} --file", write(gold + after))

    assert 1 == done.code
    assert "is in use by flavor m1.gold; by the new cells they would take other resources" in done.err
