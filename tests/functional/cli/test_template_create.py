# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming template create``: what it stores, and what it refuses."""

from __future__ import annotations

import pytest

from testbed.topologies import two_nodes_smt2
from tests.functional.cli.conftest import Register, Write
from tests.functional.cli.samples import AGGREGATE, GOLD, GOLD_FIELDS, OTHER, SILVER
from tests.functional.cli.shell import Shell
from tests.functional.cli.state import unchanged
from tests.functional.conftest import PlacementService


def test_create_prints_what_is_stored(openstack: Shell, write: Write) -> None:
    """And show prints the same."""
    (created,) = openstack.json("kongming template create gold --file", write(GOLD))
    shown = openstack.json("kongming template show gold")
    assert shown == GOLD_FIELDS | {"version": shown["version"]}
    assert created == {key: shown[key] for key in ("name", "version", "vcpus", "cells")} | {"hosts": 0}


def test_create_reads_standard_input(openstack: Shell) -> None:
    """A dash is the file's name, as elsewhere."""
    done = openstack("kongming template create --file -", stdin=GOLD.encode())
    assert done.code == 0
    assert openstack.json("kongming template show gold")["name"] == "gold"


def test_create_says_which_hosts_are_to_offer_it(openstack: Shell, write: Write, register: Register) -> None:
    """Those of its aggregates; of all hosts if it has none."""
    client_host = register("c1", two_nodes_smt2())
    register("c2", two_nodes_smt2())
    words = ("kongming template create --file", write(GOLD), "--aggregate", AGGREGATE, "--aggregate", OTHER.upper())
    assert openstack(*words).code == 0
    assert openstack.json("kongming template show gold")["hosts_not_offering"] == []
    _add_to_aggregate(openstack, client_host)
    shown = openstack.json("kongming template show gold")
    assert shown["aggregates"] == [AGGREGATE, OTHER]
    assert (shown["hosts_offering"], shown["hosts_not_offering"]) == ([], ["c1"])
    register("c1", two_nodes_smt2())
    shown = openstack.json("kongming template show gold")
    assert (shown["hosts_offering"], shown["hosts_not_offering"]) == (["c1"], [])


def _add_to_aggregate(openstack: Shell, provider: str) -> None:
    generation = openstack.json("resource provider show", provider)["generation"]
    words = ("--aggregate", AGGREGATE, "--generation", str(generation))
    assert openstack("resource provider aggregate set", provider, *words).code == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("name: [", ":1: not YAML: ", id="not YAML"),
        pytest.param(b"name: \xff", ":1: is not UTF-8", id="not UTF-8"),
        pytest.param("", ": holds no template", id="empty"),
        pytest.param("name: a\nname: b\n", ":2: key 'name' is given twice, first in line 1", id="key twice"),
        pytest.param(
            GOLD + "cpus: 3\n", ":7: template 'gold' at cpus: unknown key; known are cells, ", id="unknown key"
        ),
        pytest.param(
            GOLD.replace('"0-1"', '"0,^0"'), ":3: template 'gold' at cells[0].vcpus: '0,^0' leaves no CPU", id="no CPU"
        ),
        pytest.param(
            GOLD.replace("qos:", "  - {vcpus: 1, cpus: shared}\nqos:"),
            ":6: template 'gold' at cells[1].vcpus: vCPU 1 is in another cell too",
            id="vCPU in two cells",
        ),
        pytest.param(
            SILVER.replace("cpus: dedicated", 'cpus: explicit, pins: "8-10"'),
            ":4: template 'silver' at cells[1].pins: host CPU 9 is in another cell too",
            id="host CPU in two cells",
        ),
        pytest.param(
            GOLD.replace("gold", "Gold"), ":1: template at name: 'Gold' is not a name of 1 to 32", id="not a name"
        ),
    ],
)
def test_create_refuses_what_is_no_template(
    openstack: Shell, placement: PlacementService, write: Write, content: str | bytes, message: str
) -> None:
    """One message that begins with file and line, exit code 1, and nothing stored."""
    path = write(content)
    with unchanged(placement.client):
        done = openstack("kongming template create --file", path)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(path + message)
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(("file", "message"), [("gone.yaml", "No such file or directory"), (".", "Is a directory")])
def test_create_refuses_a_file_that_it_cannot_read(openstack: Shell, file: str, message: str) -> None:
    """With what the system says."""
    done = openstack("kongming template create --file", file)
    assert (done.code, done.err) == (1, f"{file}: cannot be read: {message}\n")


def test_create_refuses_another_name_than_the_files(openstack: Shell, write: Write) -> None:
    """So that nobody stores gold as silver by mistake."""
    path = write(GOLD)
    done = openstack("kongming template create silver --file", path)
    assert (done.code, done.err) == (1, f"{path} holds template 'gold', not 'silver'; correct one of them\n")
    assert openstack.json("kongming template list") == []


def test_create_refuses_a_name_that_is_taken(openstack: Shell, placement: PlacementService, gold: str) -> None:
    """And says which command changes the template."""
    with unchanged(placement.client):
        done = openstack("kongming template create --file", gold, "--aggregate", AGGREGATE)
    assert done.code == 1
    assert done.err.startswith("template 'gold' exists already; change it with 'openstack kongming template set gold")


def test_create_refuses_host_cpus_of_another_template(
    openstack: Shell, placement: PlacementService, write: Write
) -> None:
    """Unless the two are offered to different hosts."""
    other = write(SILVER.replace("silver", "other"), "other.yaml")
    openstack("kongming template create --aggregate", AGGREGATE, "--file", write(SILVER))
    with unchanged(placement.client):
        done = openstack("kongming template create --file", other)
    assert done.code == 1
    assert done.err.startswith("template 'other' at cells[0].pins: host CPU 1,9 belongs to template 'silver'")
    assert openstack("kongming template create --aggregate", OTHER, "--file", other).code == 0
