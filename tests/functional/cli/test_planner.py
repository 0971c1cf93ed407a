# SPDX-License-Identifier: Apache-2.0
"""The example of a planner in the documents, as a program of its own against a real Placement."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keystoneauth1 import adapter, session, token_endpoint

from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.placement.tree import desired_tree
from kongming_sched.pools import HostCpus, HostPools
from kongming_sched.template import PinningTemplate
from testbed.lab import cloud
from testbed.lab.placement_api import TOKEN, PlacementApi
from testbed.topologies import two_nodes_smt2

EXAMPLES = Path(__file__).parents[3] / "doc" / "examples"
PLANNER = runpy.run_path(str(EXAMPLES / "planner.py"))
HOST = "c1"

Run = Callable[[dict[str, Any]], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlacementClient]:
    """A Placement that other processes reach, with the variables by which they do."""
    folder = tmp_path_factory.mktemp("placement")
    with PlacementApi(folder) as api, pytest.MonkeyPatch.context() as patch:
        cloud.write_clouds_yaml(folder / "clouds.yaml", api.endpoint)
        for name, value in cloud.environment(folder / "clouds.yaml").items():
            patch.setenv(name, value)
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        auth = token_endpoint.Token(api.endpoint, TOKEN)
        yield PlacementClient(adapter.Adapter(session.Session(auth), "placement"))


def run_pass(client: PlacementClient) -> None:
    """What the host's agent does: all cores but each node's first are dedicated."""
    if not client.providers(name=HOST):
        client.create_provider(str(uuid.uuid4()), HOST)
    registry = NodeRegistry(client, HOST)
    root, _, states = registry.observe()
    topology = two_nodes_smt2()
    first = CpuSet.union(node.cores[0].cpus for node in topology.nodes)
    templates = [item.template for item in TemplateStore(client).list().templates.values()]
    cpus = HostCpus(topology, HostPools(topology.cpus - first, first, first))
    tree = desired_tree(root.uuid, HOST, cpus, templates, states)
    registry.write(root, tree.nodes, states)


@pytest.fixture
def run(client: PlacementClient, tmp_path: Path) -> Iterator[Run]:
    """The planner with a file of this content, on a cloud without templates."""
    run_pass(client)

    def planner(content: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "functions.json"
        path.write_text(json.dumps(content))
        words = [sys.executable, str(EXAMPLES / "planner.py"), str(path)]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    yield planner
    store = TemplateStore(client)
    for name in store.list().templates:
        store.delete(name)


NODES = {"0": ["1,9", "2,10"], "1": ["5,13", "6,14"]}


def functions(**vcpus: int) -> list[dict[str, Any]]:
    """Functions by name and size."""
    return [{"name": name, "vcpus": count} for name, count in vcpus.items()]


def test_it_plans_and_the_host_honours_it(run: Run, client: PlacementClient) -> None:
    """Each function has CPUs of its own; the same again changes nothing, and one more finds its place."""
    done = run({"nodes": NODES, "functions": functions(router=3, probe=1)})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("router: CPUs 1, 9, 2 of node 0\nprobe: CPUs 5 of node 1\n")
    run_pass(client)
    traits = set().union(*(node.traits for node in client.node_summaries()))
    assert {"CUSTOM_KONGMING_TEMPLATE_ROUTER", "CUSTOM_KONGMING_TEMPLATE_PROBE"} <= traits

    again = run({"nodes": NODES, "functions": functions(router=3, probe=1)})
    assert (again.returncode, again.stdout) == (0, "every function has its template\n")

    more = run({"nodes": NODES, "functions": functions(router=3, probe=1, firewall=2)})
    assert (more.returncode, more.stdout.splitlines()[-1]) == (0, "firewall: CPUs 6, 14 of node 1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            {"nodes": NODES, "functions": functions(huge=5)}, "function huge of 5 vCPUs fits on no node", id="too large"
        ),
        pytest.param(
            {"nodes": {"0": ["1,9", "2,10", "3,11", "0,8"]}, "functions": functions(a=1)},
            "node 0 of c1 has 6 dedicated CPUs, not 8",
            id="more than the host gives",
        ),
    ],
)
def test_it_writes_nothing_that_cannot_be(
    run: Run, client: PlacementClient, content: dict[str, Any], message: str
) -> None:
    """One message, and 1."""
    done = run(content)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"planner: {message}\n")
    assert {} == TemplateStore(client).list().templates


@given(st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=8), st.integers(1, 12))
def test_a_plan_is_right(wanted: Sequence[tuple[int, bool]], cores: int) -> None:
    """Templates that KongMing takes, no CPU twice, no core for two functions; or the functions do not fit."""
    mine = {node: [(core, core + 100) for core in range(node * 50, node * 50 + cores)] for node in range(2)}
    asked = [PLANNER["Function"](f"f{index}", *item) for index, item in enumerate(wanted)]
    try:
        made = PLANNER["plan"](asked, mine)
    except PLANNER["CannotPlanError"]:
        return
    templates = [PinningTemplate.from_mapping(data) for data in made]
    assert {f"f{index}": vcpus for index, (vcpus, _) in enumerate(wanted)} == {
        template.name: template.vcpus for template in templates
    }
    owners: dict[int, str] = {}
    for template in templates:
        pins = [pin.first for pin in template.cells[0].pins]
        assert len(pins) == len(set(pins))
        for core in {pin % 100 for pin in pins}:
            assert owners.setdefault(core, template.name) == template.name
        if dict(zip((function.name for function in asked), wanted, strict=True))[template.name][1]:
            assert len({pin % 100 for pin in pins}) == len(pins)


def test_the_example_of_functions_can_be_planned() -> None:
    """The file beside the program."""
    asked, nodes = PLANNER["read_plan"](EXAMPLES / "functions.json")
    assert ["router", "firewall", "probe"] == [function.name for function in asked]
    assert 3 == len(PLANNER["plan"](asked, nodes))
