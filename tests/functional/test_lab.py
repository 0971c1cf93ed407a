# SPDX-License-Identifier: Apache-2.0
"""The lab's services behave as a cloud's do, by the real commands and the real SDK."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openstack
import openstack.connection
import pytest
import requests

from kongming_sched.pools import HostCpus, HostPools, check_pools
from kongming_sched.template import PinningTemplate
from kongming_sched.topology import HostTopology
from testbed.lab import demo_setup
from testbed.lab.cloud import CLOUD, environment, write_clouds_yaml
from testbed.lab.nova_api import NovaApi
from testbed.lab.placement_api import PlacementApi
from testbed.lab.process import ChildProcess, LabError
from testbed.lab.scheduler import NoValidHostError, Scheduler
from testbed.topologies import make_topology
from testbed.waiting import PATIENCE_SECONDS, until

ROOT = "1ab00000-0000-0000-0000-0000000000aa"
OPENSTACK = Path(sys.executable).with_name("openstack")


@dataclass(frozen=True)
class Cloud:
    """A Placement and a Nova API that run, and the file that names them."""

    placement: PlacementApi
    nova: NovaApi
    clouds_yaml: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run an ``openstack`` command."""
        return subprocess.run(
            [OPENSTACK, *words], env=environment(self.clouds_yaml), capture_output=True, text=True, check=False
        )

    def json(self, *words: str) -> Any:
        """What a command says as JSON."""
        done = self.run(*words, "-f", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    directory = tmp_path_factory.mktemp("cloud")
    path = directory / "clouds.yaml"
    with PlacementApi(directory / "placement") as placement, NovaApi(directory / "nova", placement.endpoint) as nova:
        write_clouds_yaml(path, placement.endpoint, nova.endpoint)
        yield Cloud(placement, nova, path)


@pytest.fixture
def sdk(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> openstack.connection.Connection:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(cloud.clouds_yaml))
    return openstack.connect(cloud=CLOUD, load_yaml_config=True)


def test_a_flavor_goes_through_the_commands(cloud: Cloud) -> None:
    """``openstack flavor`` creates, describes with extra specs, lists and deletes, also a private one."""
    cloud.json("flavor", "create", "gold", "--vcpus", "2", "--ram", "64", "--disk", "0", "--private")
    assert cloud.run("flavor", "set", "gold", "--property", "kongming:template=gold").returncode == 0

    shown = cloud.json("flavor", "show", "gold")
    listed = cloud.json("flavor", "list", "--all")
    deleted = cloud.run("flavor", "delete", "gold")

    assert shown["properties"] == {"kongming:template": "gold"}
    assert (shown["vcpus"], shown["ram"], shown["os-flavor-access:is_public"]) == (2, 64, False)
    assert [flavor["Name"] for flavor in listed] == ["gold"]
    assert deleted.returncode == 0
    assert cloud.json("flavor", "list", "--all") == []


def test_a_provider_goes_through_the_commands(cloud: Cloud) -> None:
    """``openstack resource provider`` creates, lists and gives inventories and traits."""
    provider = cloud.json("resource", "provider", "create", "host1")
    cloud.json("resource", "provider", "inventory", "set", provider["uuid"], "--resource", "MEMORY_MB=512")

    listed = cloud.json("resource", "provider", "list", "--name", "host1")
    usage = cloud.json("resource", "provider", "usage", "show", provider["uuid"])

    assert [item["uuid"] for item in listed] == [provider["uuid"]]
    assert usage == [{"resource_class": "MEMORY_MB", "usage": 0}]
    assert cloud.run("resource", "provider", "delete", provider["uuid"]).returncode == 0


def test_the_sdk_finds_both_services(sdk: openstack.connection.Connection) -> None:
    """openstacksdk's proxies reach Nova and Placement, with the microversions that these releases have."""
    flavor = sdk.compute.create_flavor(name="small", vcpus=1, ram=64, disk=0)
    provider = sdk.placement.create_resource_provider(name="host2")

    assert sdk.compute.find_flavor("small", ignore_missing=False).vcpus == 1
    assert list(sdk.compute.servers(all_projects=True)) == []
    assert sdk.compute.default_microversion is None
    assert sdk.compute.get_endpoint_data().max_microversion >= (2, 86)
    assert sdk.placement.get_endpoint_data().max_microversion >= (1, 36)
    sdk.compute.delete_flavor(flavor)
    sdk.placement.delete_resource_provider(provider)


def test_another_token_is_nobody(cloud: Cloud) -> None:
    """Neither service answers without the token, but both say their versions to everyone."""
    nova, placement = cloud.nova.endpoint, cloud.placement.endpoint
    unknown = {"X-Auth-Token": "unknown"}

    assert requests.get(f"{nova}/flavors", headers=unknown, timeout=PATIENCE_SECONDS).status_code == 401
    assert requests.get(f"{nova}/flavors", timeout=PATIENCE_SECONDS).status_code == 401
    assert requests.get(f"{placement}/resource_providers", headers=unknown, timeout=PATIENCE_SECONDS).status_code == 403
    assert requests.get(f"{placement}/resource_providers", timeout=PATIENCE_SECONDS).status_code == 401
    assert requests.get(nova, timeout=PATIENCE_SECONDS).status_code == 200
    assert requests.get(placement, timeout=PATIENCE_SECONDS).status_code == 200


def test_placement_takes_many_claims_at_once(sdk: openstack.connection.Connection) -> None:
    """Eight clients that claim at the same time get exactly what the inventory holds."""
    provider = sdk.placement.create_resource_provider(name="busy")
    url = f"/resource_providers/{provider.id}/inventories"
    sdk.placement.put(
        url,
        json={"resource_provider_generation": 0, "inventories": {"VCPU": {"total": 5}}},
        microversion="1.36",
    ).raise_for_status()

    def claim(number: int) -> int:
        body = {
            "allocations": {provider.id: {"resources": {"VCPU": 1}}},
            "project_id": "p",
            "user_id": "u",
            "consumer_generation": None,
        }
        consumer = f"00000000-0000-0000-0000-{number:012}"
        for _ in range(20):
            answer = sdk.placement.put(f"/allocations/{consumer}", json=body, microversion="1.36")
            if answer.status_code != 409 or "capacity" in answer.text:
                return int(answer.status_code)
        raise AssertionError("still a conflict of generations")

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(claim, range(12)))

    assert answers == [204] * 5 + [409] * 7


def test_the_scheduler_is_novas(cloud: Cloud) -> None:
    """Servers of one request are placed, claimed on a registered host, given back, and refused if they do not fit."""
    cloud.json("flavor", "create", "plain", "--vcpus", "2", "--ram", "64", "--disk", "0")
    cloud.json("flavor", "create", "huge", "--vcpus", "2", "--ram", "1000000", "--disk", "0")
    with Scheduler(cloud.nova.log.parent) as scheduler:
        scheduler.register_host("host3", ROOT, vcpus=2, memory_mb=4096)

        placed = scheduler.schedule("plain", count=3)
        held = cloud.json("resource", "provider", "usage", "show", ROOT)
        with pytest.raises(NoValidHostError) as refusal:
            scheduler.schedule("huge")
        for server in placed:
            scheduler.release(server.uuid)
        given_back = cloud.json("resource", "provider", "usage", "show", ROOT)

    assert [{ROOT: {"VCPU": 2, "MEMORY_MB": 64}}] * 3 == [server.allocations for server in placed]
    assert {"host3"} == {server.host for server in placed}
    assert {"VCPU": 6, "MEMORY_MB": 192, "DISK_GB": 0} == {item["resource_class"]: item["usage"] for item in held}
    assert "no allocation candidates" in " ".join(refusal.value.said)
    assert {0} == {item["usage"] for item in given_back}


@pytest.mark.parametrize(
    ("topology", "dedicated", "shared"),
    [
        (make_topology(1, 2), "1", "0"),
        (make_topology(1, 2, threads=2), "1,3", "0,2"),
        (make_topology(2, 1), "1", "0"),
        (make_topology(2, 4), "1-3,5-7", "0,4"),
        (make_topology(1, 64), "1-4", "0"),
    ],
)
def test_the_demonstration_shares_out_a_machine(topology: HostTopology, dedicated: str, shared: str) -> None:
    """The first core of a node is shared and up to four others are dedicated, which the agent takes as pools."""
    pools = demo_setup.choose_pools(topology)

    assert (dedicated, shared) == (str(pools.dedicated), str(pools.shared))
    check_pools(HostCpus(topology, HostPools(pools.dedicated, pools.shared, topology.cpus - pools.dedicated)))


def test_the_demonstration_needs_two_cores() -> None:
    """On a machine of one core it says what it needs."""
    with pytest.raises(LabError, match="needs two CPU cores"):
        demo_setup.choose_pools(make_topology(1, 1, threads=2))


@pytest.mark.parametrize(
    "template",
    [
        demo_setup.gold(2, "strict"),
        demo_setup.bronze(50000),
        demo_setup.exact(3, "cell", "none"),
        demo_setup.solo("strict"),
        demo_setup.twin("strict"),
    ],
)
def test_the_demonstrations_templates_are_valid(template: demo_setup.Template) -> None:
    """Also those that only larger machines get to see."""
    assert template["name"] == PinningTemplate.from_mapping(template).name


def test_a_process_that_ends_early_shows_its_log(tmp_path: Path) -> None:
    """The error names the process and holds the last lines that it wrote."""
    command = [sys.executable, "-c", "import sys; sys.exit('no such database')"]

    with (
        pytest.raises(LabError, match=r"broken ended with 1 before there was an answer(.|\n)*no such database"),
        ChildProcess("broken", command, tmp_path) as child,
    ):
        child.wait_for("an answer", lambda: None)


def test_a_process_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """Waiting ends with an error, and the process with it."""
    with (
        pytest.raises(LabError, match=r"mute did not come to an answer within 0\.2 s"),
        ChildProcess("mute", ["sleep", "60"], tmp_path) as child,
    ):
        child.wait_for("an answer", lambda: None, timeout_seconds=0.2)

    assert not child.is_alive


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_nothing_outlives_the_lab(tmp_path: Path, number: signal.Signals) -> None:
    """Whichever signal ends the lab, its processes end too."""
    script = """
        import pathlib, time
        from testbed.lab.process import ChildProcess, ended_by_signals
        with ended_by_signals(), ChildProcess("sleeper", ["sleep", "60"], pathlib.Path()) as child:
            child.wait_for("itself", lambda: "sleep" in pathlib.Path(f"/proc/{child.pid}/comm").read_text() or None)
            print(child.pid, flush=True)
            time.sleep(60)
    """
    lab = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert lab.stdout
    sleeper = int(lab.stdout.readline())
    lab.send_signal(number)
    lab.wait(PATIENCE_SECONDS)

    until(lambda: not Path(f"/proc/{sleeper}/exe").exists(), lambda: "the end of its process")
