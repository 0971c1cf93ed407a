# SPDX-License-Identifier: Apache-2.0
"""The agent asks the real Nova API for the metadata of servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from oslo_config import cfg

from kongming_sched import exceptions
from kongming_sched.agent.model.view import OverrideRequest
from kongming_sched.agent.settings import nova_adapter
from kongming_sched.agent.state.server_metadata import Metadata
from kongming_sched.agent.triggers.metadata_poller import FEW, MetadataPoller
from kongming_sched.agent.triggers.nova import NovaClient
from kongming_sched.conf import agent as agent_conf
from testbed.lab.nova_api import NovaApi
from testbed.lab.placement_api import TOKEN
from testbed.waiting import until
from tests.functional.cli.conftest import Nova, paging_nova
from tests.functional.cli.neutron import neutron_without_ports

GONE = "5e00e000-0000-4000-8000-000000000001"
HOST = "node1.example.org"


def client(tmp_path: Path, endpoint: str) -> NovaClient:
    """A client by the options of an operator, whose Placement and Nova take the same credentials."""
    path = tmp_path / "agent.conf"
    path.write_text(
        f"[placement]\nauth_type = admin_token\nendpoint = {endpoint}\ntoken = {TOKEN}\n"
        f"[kongming_nova]\nauth_section = placement\nendpoint_override = {endpoint}\n"
    )
    conf = cfg.ConfigOpts()
    agent_conf.register_opts(conf)
    conf([], default_config_files=[str(path)])
    adapter = nova_adapter(conf)
    assert adapter is not None
    return NovaClient(adapter)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NovaApi]:
    """Nova's API, which lists three servers at a time."""
    with paging_nova(tmp_path_factory.mktemp("nova")) as api:
        yield api


@pytest.fixture(scope="module")
def servers(api: NovaApi) -> list[str]:
    """The ids of more servers than one page holds, on the host, the last two with metadata; one more is elsewhere."""
    nova = Nova(api.endpoint)
    flavor = nova.create_flavor("m1", vcpus=1)
    ids = []
    for number in range(FEW + 2):
        metadata = {"kongming:cpus": str(number)} if number >= FEW - 1 else {"owner": "me"}
        ids.append(nova.create_server(f"s{number}", flavor, metadata=metadata))
        api.build(ids[-1], HOST if number <= FEW else "node1xexample.org")
    return ids


def test_reads_servers(api: NovaApi, servers: list[str], tmp_path: Path) -> None:
    """One, those of a host and no other, and none where there is none."""
    nova = client(tmp_path, api.endpoint)
    assert {"kongming:cpus": str(FEW)} == nova.metadata(servers[FEW])
    assert None is nova.metadata(GONE)
    assert set(servers[: FEW + 1]) == nova.metadata_of_host(HOST).keys()


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1/v2.1", "another service"])
def test_nova_is_away_or_something_else(endpoint: str, tmp_path: Path) -> None:
    """That is said, and nothing is learnt."""
    with neutron_without_ports() as other_service:
        nova = client(tmp_path, other_service if endpoint == "another service" else endpoint)
        for read in (lambda: nova.metadata(GONE), lambda: nova.metadata_of_host(HOST)):
            with pytest.raises(exceptions.ComputeError, match="Nova could not "):
                read()


def test_whoever_comes_is_asked_for(api: NovaApi, servers: list[str], tmp_path: Path) -> None:
    """And again whenever something is heard of it; the agent makes a pass when something is new."""
    metadata, passes = Metadata(), []
    inquiry = MetadataPoller(client(tmp_path, api.endpoint), HOST, metadata, lambda: passes.append(1), 0)
    inquiry.start()
    inquiry.watch(servers)
    until(lambda: len(metadata.requests()) == 3)
    until(lambda: len(passes) == 1)
    _set(api, servers[0], "7")
    inquiry.ask(GONE)
    inquiry.ask(servers[0])
    until(lambda: len(passes) == 2)
    inquiry.stop()
    assert OverrideRequest({"kongming:cpus": "7"}) == metadata.requests()[servers[0]]
    _unset(api, servers[0])


def test_all_are_asked_for_every_so_often(api: NovaApi, servers: list[str], tmp_path: Path) -> None:
    """Where no notification comes."""
    metadata = Metadata()
    inquiry = MetadataPoller(client(tmp_path, api.endpoint), HOST, metadata, lambda: None, 0.2)
    inquiry.start()
    inquiry.watch(servers)
    until(lambda: len(metadata.requests()) == 3)
    _set(api, servers[0], "8")
    until(lambda: servers[0] in metadata.requests())
    _unset(api, servers[0])
    until(lambda: servers[0] not in metadata.requests())
    inquiry.stop()


def test_what_is_known_stays_while_nova_is_away(tmp_path: Path) -> None:
    """It is said once, and the agent makes a pass for that alone."""
    metadata, passes = Metadata(), []
    metadata.learn(GONE, {"kongming:cpus": "5"})
    inquiry = MetadataPoller(client(tmp_path, "http://127.0.0.1:1/v2.1"), HOST, metadata, lambda: passes.append(1), 0)
    inquiry.start()
    inquiry.watch([GONE])
    until(lambda: inquiry.problems)
    inquiry.stop()
    assert str(inquiry.problems[0]).startswith(f"Nova could not read server {GONE}: ")
    assert ([1], {GONE: OverrideRequest({"kongming:cpus": "5"})}) == (passes, metadata.requests())


def _set(api: NovaApi, server: str, cpus: str) -> None:
    Nova(api.endpoint).call("POST", f"/servers/{server}/metadata", metadata={"kongming:cpus": cpus})


def _unset(api: NovaApi, server: str) -> None:
    url = f"{api.endpoint}/servers/{server}/metadata/kongming:cpus"
    requests.delete(url, headers={"X-Auth-Token": TOKEN}, timeout=30).raise_for_status()
