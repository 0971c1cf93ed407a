# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming template list`` and ``show``."""

from __future__ import annotations

from testbed.topologies import two_nodes_smt2
from tests.functional.cli.conftest import Register, Write
from tests.functional.cli.samples import SILVER
from tests.functional.cli.shell import Shell
from tests.functional.cli.state import unchanged
from tests.functional.conftest import PlacementService


def test_list_counts_the_hosts_that_offer_each(openstack: Shell, write: Write, gold: str, register: Register) -> None:
    """A host counts once however many of its nodes offer the template."""
    assert gold
    openstack("kongming template create --file", write(SILVER))
    register("c1", two_nodes_smt2())
    register("c2", two_nodes_smt2())
    listed = openstack.json("kongming template list")
    assert [(item["name"], item["vcpus"], item["hosts"]) for item in listed] == [("gold", 2, 2), ("silver", 3, 2)]
    assert list(listed[0]) == ["name", "version", "vcpus", "cells", "hosts"]


def test_list_long_shows_all_fields(openstack: Shell, gold: str) -> None:
    """With the values of show."""
    assert gold
    (listed,) = openstack.json("kongming template list --long")
    shown = openstack.json("kongming template show gold")
    assert {key: shown[key] for key in shown if not key.startswith(("hosts", "hours_"))} | {"hosts": 0} == listed


def test_tables_are_for_people(openstack: Shell, write: Write) -> None:
    """A line for each cell, and no Python."""
    openstack("kongming template create --file", write(SILVER))
    done = openstack("kongming template list --long --max-width 0")
    assert "| vCPU 0-1: explicit, memory none; vCPU 0 on CPU 1; vCPU 1 on CPU 9 |" in done.out
    assert "| vCPU 2: dedicated, threads any, node 1 " in done.out
    assert not any(character in done.out for character in "{}[]'")


def test_a_cloud_without_templates_has_none_to_list(openstack: Shell) -> None:
    """Also before anybody has created the traits."""
    assert openstack.json("kongming template list") == []
    assert openstack.json("kongming host list") == []


def test_show_prints_a_file_that_set_takes(
    openstack: Shell, placement: PlacementService, write: Write, register: Register
) -> None:
    """What comes out as YAML goes in again as the same template."""
    openstack("kongming template create --file", write(SILVER))
    register("c1", two_nodes_smt2())
    columns = [word for name in ("name", "cells", "emulator", "qos", "override") for word in ("-c", name)]
    shown = openstack("kongming template show silver -f yaml", *columns)
    with unchanged(placement.client):
        assert openstack("kongming template set silver --file -", stdin=shown.out.encode()).code == 0


def test_show_and_delete_refuse_an_unknown_name(openstack: Shell, placement: PlacementService, gold: str) -> None:
    """And delete nothing else either; set does the same."""
    message = "no template is named 'bronze'; see 'openstack kongming template list'\n"
    with unchanged(placement.client):
        for words in (
            ("show", "bronze"),
            ("delete", "--force", "gold", "bronze"),
            ("set", "bronze", "--no-aggregate"),
            ("set", "gold/../x?y", "--no-aggregate"),
        ):
            done = openstack("kongming template", *words)
            assert (done.code, done.out) == (1, "")
            assert done.err == message.replace("bronze", words[1] if "/" in words[1] else "bronze")
    assert gold
