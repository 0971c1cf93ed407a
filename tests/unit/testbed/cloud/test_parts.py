# SPDX-License-Identifier: Apache-2.0
"""Which parts a cloud has, and what their configuration says."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest
from oslo_config import cfg

from testbed.cloud import emulated_host, ini, nova_conf
from testbed.cloud.bringup import check_order
from testbed.cloud.cloud import all_parts, services
from testbed.cloud.plan import Plan
from testbed.cloud.readiness import is_later
from tests.unit.testbed.cloud.plans import make_plan

CLOUDS = {
    "one host": make_plan(),
    "two hosts": make_plan(libvirt_hosts=2),
    "fake hosts": make_plan(fake_hosts=3),
    "fake hosts alone": make_plan(fake_hosts=3, libvirt_hosts=0),
    "an emulated host": make_plan(libvirt_hosts=0, numa_host=1),
    "two emulated hosts": make_plan(numa_host=2),
    "without KongMing": make_plan(fake_hosts=3, kongming=False),
}


@pytest.mark.parametrize("plan", CLOUDS.values(), ids=CLOUDS)
def test_every_cloud_can_come_up(plan: Plan) -> None:
    """No part waits for one that the cloud does not have."""
    check_order(all_parts(plan))


def test_each_host_has_its_compute_and_its_agent() -> None:
    """Fake hosts share a process with all their agents."""
    names = {service.name for service in services(make_plan(fake_hosts=1, libvirt_hosts=2))}
    computes = {f"{host}-nova-compute" for host in ("compute1", "compute2", "fake01")}
    assert computes | {"compute1-agent", "compute2-agent", "fake-agents"} <= names


@pytest.mark.parametrize(
    ("cloud", "hosts"),
    [("an emulated host", ("numa-host",)), ("two emulated hosts", ("numa-host", "numa-host2"))],
    ids=["one", "two"],
)
def test_an_emulated_host_has_all_that_a_host_has(cloud: str, hosts: tuple[str, ...]) -> None:
    """Each in the one machine, and so with its log outside."""
    names = {service.name for service in services(CLOUDS[cloud]) if service.name.startswith("numa-host")}
    parts = {f"{host}-{part}" for host in hosts for part in ("libvirtd", "nova-compute", "agent")}
    assert {"numa-host-machine"} | parts == names


def test_emulated_hosts_reach_each_other() -> None:
    """Each under an address of its own, which leads Nova to its libvirt."""
    plan = CLOUDS["two emulated hosts"]
    addresses = {host: emulated_host.address(plan, host) for host in plan.emulated_hosts}
    assert {"numa-host": "127.0.1.1", "numa-host2": "127.0.1.2"} == addresses


def test_without_kongming_there_is_nothing_of_it() -> None:
    """So that the two clouds can be compared."""
    plan = CLOUDS["without KongMing"]
    agents = [service.name for service in services(plan) if "agent" in service.name]
    assert ([], False) == (agents, "ongming_sched" in ini.render(nova_conf.controller(plan)))


def test_no_two_services_listen_on_one_port() -> None:
    """Each port stands once in the plan."""
    ports = [service.port for service in services(make_plan()) if service.port]
    assert len(ports) == len(set(ports))


def test_a_configuration_is_read_as_it_was_meant(tmp_path: Path) -> None:
    """By oslo.config: a list is an option that is given several times."""
    path = tmp_path / "a.conf"
    ini.write(path, {"DEFAULT": {"flag": True, "number": 3}, "group": {"many": ["a", "b"]}})
    conf = cfg.ConfigOpts()
    conf.register_opts([cfg.BoolOpt("flag"), cfg.IntOpt("number")])
    conf.register_opts([cfg.MultiStrOpt("many")], "group")
    conf(["--config-file", str(path)], default_config_files=[])
    assert (True, 3, ["a", "b"]) == (conf.flag, conf.number, conf.group.many)


def test_options_are_changed(tmp_path: Path) -> None:
    """One is set, one is taken out, and all others stay, with sections that were not there before."""
    path = tmp_path / "a.conf"
    ini.write(path, {"DEFAULT": {"url": "http://a/%s", "number": 3}})
    ini.change(path, "DEFAULT", {"number": None, "flag": True})
    ini.change(path, "compute", {"cpu_shared_set": "0-1"})
    assert {"DEFAULT": {"url": "http://a/%s", "flag": "True"}, "compute": {"cpu_shared_set": "0-1"}} == ini.read(path)


def test_a_configuration_is_for_its_owner_alone(tmp_path: Path) -> None:
    """There are passwords in it."""
    ini.write(tmp_path / "a.conf", {"DEFAULT": {}})
    assert 0o600 == (tmp_path / "a.conf").stat().st_mode & 0o777


def test_a_cells_host_does_not_know_the_databases() -> None:
    """It talks to its conductor."""
    text = ini.render(nova_conf.libvirt_compute(make_plan(), "compute1", Path("/state"), "helper", "127.0.0.1"))
    assert "mysql" not in text


@pytest.mark.parametrize(
    ("sign", "expected"),
    [(None, True), ("2026-11-21T10:00:01.000000", True), ("2026-11-21T09:59:59.000000", False)],
)
def test_a_sign_of_life_counts_from_the_start_on(sign: str | None, expected: bool) -> None:
    """Nova believes in a service for minutes that is long gone."""
    assert expected == is_later(sign, datetime(2026, 11, 21, 10, tzinfo=timezone.utc))
