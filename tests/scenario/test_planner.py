# SPDX-License-Identifier: Apache-2.0
"""A planner that chooses host CPUs itself, on a cloud: the example in the documents, and servers of its templates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kongming_sched.placement import names
from testbed.lab.process import REPOSITORY
from tests.scenario.cloud import PREFIX, Cloud

HOSTS = 2
RAM_MB = 64
FUNCTIONS = {"scenario_router": 4, "scenario_probe": 1}


@pytest.fixture
def fakes(cloud: Cloud) -> Iterator[list[str]]:
    """Two hosts that give away whole nodes, and nothing of the planner's afterwards."""
    if cloud.plan is None or len(cloud.plan.fake_hosts) < HOSTS:
        pytest.skip(f"the cloud has less than {HOSTS} fake hosts; tools/cloud up --hosts {HOSTS} makes them")
    yield list(cloud.plan.fake_hosts)[:HOSTS]
    cloud.delete_all()
    stored = cloud.templates.list().templates
    for name in FUNCTIONS.keys() & stored.keys():
        cloud.delete_flavor(f"{PREFIX}{name}-{RAM_MB}")
        cloud.templates.delete(name)


def plan(cloud: Cloud, hosts: list[str], folder: Path) -> str:
    """Let the planner plan for these hosts; gives what it prints."""
    functions = [{"name": name, "vcpus": vcpus} for name, vcpus in FUNCTIONS.items()]
    nodes = {"0": ["2,34", "3,35", "4,36"], "1": ["18,50"]}
    path = folder / "functions.json"
    path.write_text(json.dumps({"nodes": nodes, "functions": functions}))
    words: list[str | Path] = [
        sys.executable,
        REPOSITORY / "doc/examples/planner.py",
        path,
        "--aggregate",
        cloud.gather(hosts),
    ]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


def test_a_planner_places_functions(cloud: Cloud, fakes: list[str], tmp_path: Path) -> None:
    """It plans once; its hosts offer the templates, and one server of each runs on either host, and no third."""
    assert plan(cloud, fakes, tmp_path).splitlines()[-2:] == [
        "scenario_router: CPUs 2, 34, 3, 35 of node 0",
        "scenario_probe: CPUs 4 of node 0",
    ]
    assert "every function has its template\n" == plan(cloud, fakes, tmp_path)
    for name in FUNCTIONS:
        cloud.wait_for(f"both hosts offer {name}", lambda name=name: len(cloud.offering(name)) == HOSTS)
    router = cloud.templates.list().templates["scenario_router"].template
    flavor = cloud.make_flavor(router, RAM_MB, 2)
    servers = cloud.create_server("router", flavor, count=HOSTS)
    assert sorted(fakes) == sorted(server.hypervisor_hostname for server in servers)
    taken = [node.used.get(names.slot_class("scenario_router")) for node in cloud.placement.node_summaries()]
    assert HOSTS == sum(filter(None, taken))
    server = cloud.compute.create_server(
        name=f"{PREFIX}router-too-many", flavor_id=flavor.id, image_id=cloud.image().id, networks="none"
    )
    assert "ERROR" == cloud.wait_for_status(server.id, "ERROR").status
