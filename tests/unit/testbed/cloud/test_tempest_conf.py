# SPDX-License-Identifier: Apache-2.0
"""tempest.conf of a cloud, as Tempest reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg
from tempest import config

from testbed.cloud import ini
from testbed.cloud.fake_agents import topology_file
from testbed.cloud.hosts import FAKE_TOPOLOGY
from testbed.cloud.plan import Plan
from testbed.cloud.tempest_conf import last_cpu, parser, run, sections
from testbed.lab.process import LabError
from testbed.topologies import capabilities_xml
from tests.unit.testbed.cloud.plans import make_plan


def read(plan: Plan, path: Path) -> Any:
    """The file, with the options of Tempest and of its plug-ins."""
    ini.write(path, sections(plan, "image", ("small", "large"), "7"))
    conf = cfg.ConfigOpts()
    for group, options in config.list_opts():
        conf.register_opts(options, group=group)
    conf(["--config-file", str(path)], default_config_files=[])
    return conf


@pytest.mark.parametrize("plan", [make_plan(), make_plan(libvirt_hosts=2, kongming=False)], ids=["one", "two"])
def test_tempest_knows_every_option(plan: Plan, tmp_path: Path) -> None:
    """A name that is misspelt would be ignored in silence. What is not Tempest's own is of libraries that it uses."""
    conf = read(plan, tmp_path / "tempest.conf")
    libraries = ("DEFAULT", "oslo_concurrency")
    unknown = [
        f"[{section}] {option}"
        for section, options in sections(plan, "image", ("small", "large"), "7").items()
        if section not in libraries
        for option in options
        if option not in conf[section]
    ]
    assert [] == unknown


def test_tempest_reads_what_was_meant(tmp_path: Path) -> None:
    """How to log in, what to make servers of, and what there is not."""
    conf = read(make_plan(), tmp_path / "tempest.conf")
    assert ("http://127.0.0.1:1000/v3", "admin") == (conf.identity.uri_v3, conf.auth.admin_password)
    assert ("image", "small", "large", "7") == (
        conf.compute.image_ref,
        conf.compute.flavor_ref,
        conf.compute.flavor_ref_alt,
        conf.kongming.explicit_cpus,
    )
    available = conf.service_available
    assert (True, True, False, False) == (available.kongming, available.glance, available.neutron, available.cinder)


@pytest.mark.parametrize(
    ("plan", "hosts", "moves"),
    [
        (make_plan(), 1, False),
        (make_plan(libvirt_hosts=2), 2, True),
        (make_plan(libvirt_hosts=0, fake_hosts=3), 3, True),
        (make_plan(libvirt_hosts=1, numa_host=1), 1, False),
        (make_plan(libvirt_hosts=2, fake_hosts=2), 1, False),
    ],
    ids=["one", "two", "fake", "emulated", "mixed"],
)
def test_servers_move_where_there_are_two_hosts_of_one_kind(
    plan: Plan, hosts: int, moves: bool, tmp_path: Path
) -> None:
    """Resizing is moving too: Nova may not let it stay on the host."""
    conf = read(plan, tmp_path / "tempest.conf")
    features = conf["compute-feature-enabled"]
    assert (hosts, moves, moves, moves) == (
        conf.compute.min_compute_nodes,
        features.resize,
        features.cold_migration,
        features.live_migration,
    )


def test_a_cloud_without_kongming_skips_its_tests(tmp_path: Path) -> None:
    """They would all fail, and say nothing."""
    assert not read(make_plan(kongming=False), tmp_path / "tempest.conf").service_available.kongming


def test_the_file_holds_a_password(tmp_path: Path) -> None:
    """Only its owner may read it."""
    path = tmp_path / "tempest.conf"
    read(make_plan(), path)
    assert 0o600 == path.stat().st_mode & 0o777


def test_explicit_cpus_are_those_of_the_hosts(tmp_path: Path) -> None:
    """Fake hosts have other CPUs than the machine that they are on."""
    plan = make_plan(tmp_path, libvirt_hosts=0, fake_hosts=1)
    topology_file(plan).write_text(capabilities_xml(FAKE_TOPOLOGY))
    assert "63" == last_cpu(plan)


def test_explicit_cpus_of_an_emulated_host_are_not_known() -> None:
    """The tests of explicit CPUs are skipped there."""
    assert "" == last_cpu(make_plan(libvirt_hosts=0, numa_host=1))


def test_there_is_nothing_to_test_without_a_cloud(tmp_path: Path) -> None:
    """Said before anything is written."""
    with pytest.raises(LabError, match="there is no cloud"):
        run(tmp_path, "kongming", [])
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "regex", "options"),
    [("", "kongming", []), ("--regex compute -- --list-tests", "compute", ["--list-tests"])],
)
def test_options_go_to_tempest(words: str, regex: str, options: list[str]) -> None:
    """All that comes after two dashes."""
    arguments = parser().parse_args(words.split())
    assert (regex, options) == (arguments.regex, arguments.options)
