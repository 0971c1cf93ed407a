# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming flavor`` through the real shell, against the real Placement and the real Nova API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from kongming_sched.cloud.compute import ComputeClient, Flavor
from kongming_sched.cloud.extra_specs import CLOSED
from kongming_sched.exceptions import ComputeError
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import EmulatorPolicy
from testbed.topologies import one_node_no_smt, two_nodes_smt2
from tests.functional.cli.conftest import Nova, Register, Write
from tests.functional.cli.samples import GOLD, SILVER
from tests.functional.cli.shell import Shell
from tests.functional.cli.state import unchanged
from tests.functional.conftest import PlacementService

GOLD_SPECS = {
    "kongming:template": "gold",
    "resources:VCPU": "0",
    "resources_KONGMING0:CUSTOM_KONGMING_PCPU": "4",
    "resources_KONGMING0:CUSTOM_KONGMING_MEMORY_MB": "512",
    "trait_KONGMING0:CUSTOM_KONGMING_TEMPLATE_GOLD": "required",
    "trait_KONGMING0:CUSTOM_KONGMING_SMT_2": "required",
}
SET = "openstack kongming flavor set m2 --template gold"
"""What mends most of them."""
BRONZE = """\
name: bronze
cells:
  - {vcpus: 0, cpus: dedicated}
  - {vcpus: 1, cpus: shared, node: 0}
"""
BRONZE_SPECS = {
    "kongming:template": "bronze",
    "resources:VCPU": "0",
    "group_policy": "isolate",
    "resources_KONGMING0:CUSTOM_KONGMING_PCPU": "1",
    "resources_KONGMING0:CUSTOM_KONGMING_MEMORY_MB": "256",
    "trait_KONGMING0:CUSTOM_KONGMING_TEMPLATE_BRONZE": "required",
    "resources_KONGMING1:CUSTOM_KONGMING_VCPU": "1",
    "resources_KONGMING1:CUSTOM_KONGMING_MEMORY_MB": "256",
    "trait_KONGMING1:CUSTOM_KONGMING_TEMPLATE_BRONZE": "required",
    "trait_KONGMING1:CUSTOM_KONGMING_NODE_0": "required",
}
FOREIGN = {"hw:watchdog_action": "reset"}


@pytest.fixture
def openstack(openstack_with_nova: Shell, write: Write, register: Register) -> Shell:
    """A cloud with Nova, a host of two threads per core, and the templates gold, silver and bronze."""
    for content in (GOLD, SILVER, BRONZE):
        assert openstack_with_nova("kongming template create --file", write(content)).code == 0
    register("c1", two_nodes_smt2())
    return openstack_with_nova


@pytest.fixture
def flavor_id(nova: Nova) -> str:
    """A private flavor ``m1`` of two vCPUs, after a page of others."""
    for index in range(4):
        nova.create_flavor(f"a{index}")
    return nova.create_flavor("m1", vcpus=2, memory_mb=512, public=False, specs=FOREIGN)


def test_set_writes_what_the_template_takes(openstack: Shell, nova: Nova, flavor_id: str) -> None:
    """Counted for the threads per core of the hosts that offer it, beside what others wrote."""
    done = openstack("kongming flavor set m1 --template gold")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert nova.extra_specs(flavor_id) == FOREIGN | GOLD_SPECS


def test_set_takes_a_flavor_by_its_id(openstack: Shell, nova: Nova, flavor_id: str) -> None:
    """And a strategy."""
    openstack("kongming flavor set --template gold --numa-strategy spread", flavor_id)
    assert nova.extra_specs(flavor_id) == FOREIGN | GOLD_SPECS | {"kongming:numa_strategy": "spread"}


def test_an_id_goes_before_a_name(openstack: Shell, nova: Nova, flavor_id: str) -> None:
    """Where one flavor's name is another's id."""
    named_like_it = nova.create_flavor(flavor_id, vcpus=2)
    openstack("kongming flavor set --template gold", flavor_id)
    assert nova.extra_specs(named_like_it) == {}
    assert nova.extra_specs(flavor_id) == FOREIGN | GOLD_SPECS


def test_set_changes_to_another_template(openstack: Shell, nova: Nova, flavor_id: str) -> None:
    """There and back, and nothing of the other stays; the strategy does."""
    openstack("kongming flavor set m1 --template gold --numa-strategy scatter")
    assert openstack("kongming flavor set m1 --template bronze").code == 0
    assert nova.extra_specs(flavor_id) == FOREIGN | BRONZE_SPECS | {"kongming:numa_strategy": "scatter"}
    assert openstack("kongming flavor set m1 --template gold").code == 0
    assert nova.extra_specs(flavor_id) == FOREIGN | GOLD_SPECS | {"kongming:numa_strategy": "scatter"}


def test_unset_leaves_the_rest(openstack: Shell, nova: Nova, flavor_id: str) -> None:
    """Also when there is nothing to unset any more."""
    openstack("kongming flavor set m1 --template bronze --numa-strategy pack")
    for _ in range(2):
        done = openstack("kongming flavor unset m1")
        assert (done.code, done.out, done.err) == (0, "", "")
        assert nova.extra_specs(flavor_id) == FOREIGN


@pytest.mark.parametrize("command", ["set m1 --template gold", "unset m1"])
def test_a_command_that_is_cut_off_leaves_a_flavor_that_takes_no_server(
    openstack: Shell, nova: Nova, flavor_id: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each request that Nova may refuse, and the same command then completes the change."""
    end = FOREIGN if command == "unset m1" else FOREIGN | GOLD_SPECS
    cut_off_after = 0
    while True:
        monkeypatch.undo()
        prepared = openstack("kongming flavor set m1 --template bronze")
        assert (0, "", "") == (prepared.code, prepared.out, prepared.err)
        writes = _fail_after(cut_off_after, monkeypatch)
        done = openstack("kongming flavor", *command.split())
        if done.code == 0:
            break
        assert done.err.startswith("Nova could not ")
        expected = "bronze" if cut_off_after == 0 else CLOSED
        assert nova.extra_specs(flavor_id)["kongming:template"] == expected
        monkeypatch.undo()
        assert openstack("kongming flavor", *command.split()).code == 0
        assert nova.extra_specs(flavor_id) == end
        cut_off_after += 1
    assert writes["count"] == cut_off_after > 2


def _fail_after(count: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Let Nova refuse every write after so many."""
    writes = {"count": 0}

    def limit(name: str) -> None:
        write = getattr(ComputeClient, name)

        def limited(self: ComputeClient, flavor: Flavor, what: Any) -> None:
            if writes["count"] == count:
                raise ComputeError("write", "it refuses this")
            write(self, flavor, what)
            writes["count"] += 1

        monkeypatch.setattr(ComputeClient, name, limited)

    limit("set_extra_specs")
    limit("delete_extra_spec")
    return writes


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ({"hw:cpu_policy": "dedicated"}, "hw:cpu_policy: cannot be combined with kongming:template; unset it first"),
        ({"hw:mem_page_size": "2MB"}, "hw:mem_page_size: cannot be combined with kongming:template; unset it first"),
        ({"hw:mem_page_size": "large"}, "hw:mem_page_size: is large, which sticks to the size that Nova tries first;"),
        ({"resources:PCPU": "2"}, "resources:PCPU: cannot be combined with kongming:template; unset it first"),
        ({"resources:MEMORY_MB": "0"}, "resources:MEMORY_MB: must not be 0: Nova only finds hosts that give something"),
    ],
)
def test_set_refuses_a_flavor_that_cannot_work(
    openstack: Shell, nova: Nova, placement: PlacementService, specs: Mapping[str, str], message: str
) -> None:
    """The flavor stays as it is."""
    flavor_id = nova.create_flavor("m2", vcpus=2, specs=specs)
    with unchanged(placement.client):
        done = openstack("kongming flavor set m2 --template gold")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"flavor 'm2' cannot ask for template 'gold': {message}")
    assert nova.extra_specs(flavor_id) == specs


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("set m1 --template silver", "flavor 'm1' cannot ask for template 'silver': vcpus: the flavor has 2 vCPUs and"),
        ("set m1 --template platinum", "no template is named 'platinum'; see 'openstack kongming template list'"),
        ("set m3 --template gold", "no flavor has the name or id 'm3'; see 'openstack flavor list --all'"),
        ("unset m3", "no flavor has the name or id 'm3'; see 'openstack flavor list --all'"),
        ("show m3", "no flavor has the name or id 'm3'; see 'openstack flavor list --all'"),
    ],
)
def test_commands_name_what_does_not_fit(openstack: Shell, nova: Nova, flavor_id: str, line: str, message: str) -> None:
    """One message, and nothing written."""
    done = openstack("kongming flavor", *line.split())
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(message)
    assert done.err.count("\n") == 1
    assert nova.extra_specs(flavor_id) == FOREIGN


def test_set_asks_for_threads_per_core_where_hosts_differ(
    openstack: Shell, nova: Nova, flavor_id: str, register: Register
) -> None:
    """And takes the answer."""
    register("c2", one_node_no_smt())
    done = openstack("kongming flavor set m1 --template gold")
    assert done.code == 1
    assert "the nodes that offer it have 1 or 2; say it with --threads-per-core\n" in done.err
    assert nova.extra_specs(flavor_id) == FOREIGN
    assert openstack("kongming flavor set m1 --template gold --threads-per-core 1").code == 0
    assert nova.extra_specs(flavor_id)["resources_KONGMING0:CUSTOM_KONGMING_PCPU"] == "2"


def test_set_asks_for_threads_per_core_before_a_host_offers_the_template(
    openstack: Shell, write: Write, nova: Nova, flavor_id: str
) -> None:
    """It cannot know them."""
    openstack("kongming template create --file", write(GOLD.replace("gold", "fresh")))
    done = openstack("kongming flavor set m1 --template fresh")
    assert done.code == 1
    assert "and no node offers it yet; say it with --threads-per-core\n" in done.err
    assert nova.extra_specs(flavor_id) == FOREIGN


def test_show_describes_what_the_flavor_asks_for(openstack: Shell, flavor_id: str) -> None:
    """By cells, and with no problem."""
    openstack("kongming flavor set m1 --template gold")
    assert openstack.json("kongming flavor show m1") == {
        "name": "m1",
        "id": flavor_id,
        "vcpus": 2,
        "memory_mb": 512,
        "template": "gold",
        "numa_strategy": None,
        "threads_per_core": 2,
        "cells": [
            {
                "group": "_KONGMING0",
                "resources": {"CUSTOM_KONGMING_PCPU": 4, "CUSTOM_KONGMING_MEMORY_MB": 512},
                "required": ["CUSTOM_KONGMING_SMT_2", "CUSTOM_KONGMING_TEMPLATE_GOLD"],
            }
        ],
        "problem": None,
        "remedy": None,
    }


def test_show_is_for_people(openstack: Shell, flavor_id: str) -> None:
    """A line for each cell."""
    assert flavor_id
    openstack("kongming flavor set m1 --template bronze")
    done = openstack("kongming flavor show m1")
    assert "| dedicated_cpus 1, memory_mb 256 " in done.out
    assert "| shared_vcpus 1, memory_mb 256, node 0 " in done.out


def test_show_of_a_plain_flavor_shows_no_template(openstack: Shell, flavor_id: str) -> None:
    """And that this is no problem."""
    assert flavor_id
    shown = openstack.json("kongming flavor show m1")
    assert (shown["template"], shown["cells"], shown["problem"]) == (None, [], None)


@pytest.mark.parametrize(
    ("specs", "problem", "remedy"),
    [
        pytest.param({"kongming:template": "gold"}, "lacks resources_KONGMING0:*", SET, id="no groups"),
        pytest.param(
            {"kongming:template": "gone"} | {k: v for k, v in GOLD_SPECS.items() if k != "kongming:template"},
            "there is no template 'gone'",
            "openstack kongming template create, or name another: openstack kongming flavor set m2 --template TEMPLATE",
            id="no template",
        ),
        pytest.param(
            {"kongming:template": CLOSED},
            "a change of it was interrupted, and its servers get no host until it is finished",
            "finish it: openstack kongming flavor set m2 --template TEMPLATE, or openstack kongming flavor unset m2",
            id="cut off",
        ),
        pytest.param(
            GOLD_SPECS | {"hw:cpu_policy": "shared"},
            "hw:cpu_policy makes Nova choose CPUs itself",
            "openstack flavor unset m2 --property hw:cpu_policy",
            id="clash",
        ),
        pytest.param(
            {key: value for key, value in GOLD_SPECS.items() if key != "kongming:template"},
            "has resources_KONGMING0:CUSTOM_KONGMING_MEMORY_MB and names no template",
            "openstack kongming flavor set m2 --template TEMPLATE, or openstack kongming flavor unset m2",
            id="groups without a template",
        ),
        pytest.param(
            GOLD_SPECS | {"kongming:numa_strategy": "tight"},
            "kongming:numa_strategy is 'tight', and none of pack, spread, scatter",
            f"{SET} --numa-strategy pack",
            id="strategy",
        ),
        pytest.param(
            GOLD_SPECS | {"resources:MEMORY_MB": "0"},
            "resources:MEMORY_MB is 0, and Nova only finds hosts that give something of their own",
            "openstack flavor unset m2 --property resources:MEMORY_MB",
            id="T1",
        ),
        pytest.param(
            GOLD_SPECS | {"resources_KONGMING0:CUSTOM_KONGMING_PCPU": "1"},
            "resources_KONGMING0:CUSTOM_KONGMING_PCPU is 1, and template 'gold' takes 4",
            SET,
            id="other amount",
        ),
    ],
)
def test_show_says_what_is_wrong_with_a_flavor(
    openstack: Shell, nova: Nova, specs: Mapping[str, str], problem: str, remedy: str
) -> None:
    """As an operator may have written it by hand; the other command says the same, and ends with 1."""
    nova.create_flavor("m2", vcpus=2, memory_mb=512, specs=specs)
    shown = openstack.json("kongming flavor show m2")
    assert (shown["problem"], shown["remedy"][: len(remedy)]) == (problem, remedy)
    done = openstack("kongming flavor validate -f json")
    assert (done.code, done.err) == (1, "")
    (line,) = json.loads(done.out)
    assert (line["flavor"], line["state"], line["problem"]) == ("m2", "wrong", shown["problem"])
    assert line["remedy"] == shown["remedy"]


def test_a_flavor_from_before_its_template_said_own_is_named(
    openstack: Shell, nova: Nova, placement: PlacementService, flavor_id: str
) -> None:
    """It claims no CPU for the emulator, until it is set again; then unset takes off all that was written."""
    openstack("kongming flavor set m1 --template gold")
    store = TemplateStore(placement.client)
    store.update(replace(store.get("gold").template, emulator=EmulatorPolicy.OWN))

    before = openstack("kongming flavor validate -f json")
    openstack("kongming flavor set m1 --template gold")
    after = openstack("kongming flavor validate")
    specs = nova.extra_specs(flavor_id)
    openstack("kongming flavor unset m1")

    (line,) = json.loads(before.out)
    problem = "resources_KONGMING0:CUSTOM_KONGMING_PCPU is 4, and template 'gold' takes 6"
    assert (1, problem, 0) == (before.code, line["problem"], after.code)
    assert FOREIGN | GOLD_SPECS | {"resources_KONGMING0:CUSTOM_KONGMING_PCPU": "6"} == specs
    assert FOREIGN == nova.extra_specs(flavor_id)
