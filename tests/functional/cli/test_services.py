# SPDX-License-Identifier: Apache-2.0
"""Commands whose services are down, are something else, or are not there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kongming_sched.cli.plugin import API_NAME, API_VERSIONS, DEFAULT_API_VERSION
from tests.functional.cli.conftest import NOWHERE, InCloud, Nova, Write
from tests.functional.cli.neutron import neutron_without_ports
from tests.functional.cli.samples import GOLD
from tests.functional.cli.shell import Shell
from tests.functional.cli.state import unchanged
from tests.functional.conftest import PlacementService

COMMANDS = ("template list", "template show gold", "template delete gold", "host list", "host show c1")


@pytest.fixture
def another_service() -> Iterator[str]:
    """The endpoint of a web service that is neither Placement nor Nova."""
    with neutron_without_ports() as endpoint:
        yield endpoint


@pytest.mark.parametrize("line", COMMANDS)
def test_placement_is_down(in_cloud: InCloud, line: str) -> None:
    """One message that says so, and 1."""
    done = in_cloud(NOWHERE)("kongming " + line)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("Placement could not be reached: ")
    assert NOWHERE in done.err
    assert done.err.count("\n") == 1


def test_placement_is_down_when_a_template_is_created(in_cloud: InCloud, write: Write) -> None:
    """The file is right, so the message is about Placement."""
    done = in_cloud(NOWHERE)("kongming template create --file", write(GOLD))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("Placement could not be reached: ")


@pytest.mark.parametrize("line", COMMANDS)
def test_placement_is_something_else(in_cloud: InCloud, another_service: str, line: str) -> None:
    """What is no Placement counts as none."""
    done = in_cloud(another_service)("kongming " + line)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("Placement could not be reached: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("line", ["flavor show m1", "flavor unset m1", "flavor set m1 --template gold"])
def test_nova_is_down(openstack: Shell, gold: str, line: str) -> None:
    """The message says what could not be done."""
    assert gold
    done = openstack("kongming " + line)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("Nova could not list flavors: ")


@pytest.mark.parametrize("line", ["flavor show m1", "template delete gold"])
def test_nova_is_something_else(
    in_cloud: InCloud, placement: PlacementService, gold: str, another_service: str, line: str
) -> None:
    """Its answer is not taken for a cloud without flavors."""
    assert gold
    with unchanged(placement.client):
        done = in_cloud(placement.endpoint, another_service)("kongming " + line)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("Nova could not ")
    assert "Traceback" not in done.err


def test_a_cloud_without_nova_has_no_flavors(in_cloud: InCloud, placement: PlacementService, gold: str) -> None:
    """And a template in it is deleted by force only."""
    assert gold
    openstack = in_cloud(placement.endpoint)
    with unchanged(placement.client):
        assert openstack("kongming template delete gold").code == 1
        assert openstack("kongming flavor show m1").code == 1
    assert openstack("kongming template delete --force gold").code == 0


def test_debug_shows_where_an_error_comes_from(openstack: Shell) -> None:
    """With the traceback that is left out else."""
    done = openstack("--debug kongming template show gold")
    assert done.code == 1
    assert "kongming_sched.exceptions.TemplateNotFound" in done.err


def test_the_operators_microversion_does_not_matter(openstack_with_nova: Shell, nova: Nova, gold: str) -> None:
    """Commands ask Nova by their own, be the configured one too old or so new that Nova checks more."""
    assert gold
    flavor_id = nova.create_flavor("m1", vcpus=2, memory_mb=64)
    for version in ("2.1", "2.96"):
        option = f"--os-compute-api-version {version} "
        done = openstack_with_nova(option + "kongming flavor set m1 --template gold --threads-per-core 2")
        assert (done.code, done.err) == (0, "")
        assert nova.extra_specs(flavor_id)["kongming:template"] == "gold"
        assert openstack_with_nova.json(option + "kongming flavor show m1")["problem"] is None
        assert openstack_with_nova(option + "kongming flavor unset m1").code == 0
        assert nova.extra_specs(flavor_id) == {}


def test_the_plugin_is_one_of_osc(openstack: Shell) -> None:
    """It has its API version, and its commands have their docstrings as help."""
    assert (API_NAME, DEFAULT_API_VERSION, tuple(API_VERSIONS)) == ("kongming", "1", ("1",))
    assert openstack("--os-kongming-api-version 1 kongming template list").code == 0
    assert "--os-kongming-api-version <kongming-api-version>" in openstack("--help").out
    done = openstack("help kongming template delete")
    assert "Delete templates that no flavor and no server names" in done.out
