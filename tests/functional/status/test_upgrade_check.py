# SPDX-License-Identifier: Apache-2.0
"""``kongming-status upgrade check``, partly as a process, on a cloud with the real Placement and Nova API."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from keystoneauth1 import adapter, session, token_endpoint

from kongming_sched.agent.loop.sign_of_life import SignOfLife
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.placement.tree import desired_tree
from kongming_sched.pools import HostCpus, HostPools
from kongming_sched.status import command
from kongming_sched.template import PinningTemplate
from testbed.lab import cloud as lab_cloud
from testbed.lab.nova_api import NovaApi
from testbed.lab.placement_api import TOKEN, PlacementApi
from testbed.lab.scheduler import FILTERS, Scheduler
from testbed.topologies import two_nodes_smt2
from tests.functional.cli.conftest import NOWHERE, Nova
from tests.functional.cli.shell import Done, Shell, run_here
from tests.functional.cli.state import unchanged
from tests.functional.conftest import PlacementService
from tests.functional.transcript import golden, transcript

STATUS = [sys.executable, "-c", "import sys; from kongming_sched.status.command import main; sys.exit(main())"]
GOLDEN = Path(__file__).parent / "golden" / "upgrade-check.txt"
"""``KONGMING_RENEW=1`` writes it anew."""
HOST, BARE, GONE = (f"57a70000-0000-4000-8000-00000000000{number}" for number in (1, 2, 3))
AGGREGATE = "57a70000-0000-4000-8000-00000000000a"

GOLD = PinningTemplate.from_mapping({"name": "gold", "cells": [{"vcpus": "0-1", "cpus": "dedicated"}]})
GOLD_SPECS = {
    "kongming:template": "gold",
    "resources:VCPU": "0",
    "resources_KONGMING0:CUSTOM_KONGMING_PCPU": "2",
    "resources_KONGMING0:CUSTOM_KONGMING_MEMORY_MB": "512",
    "trait_KONGMING0:CUSTOM_KONGMING_TEMPLATE_GOLD": "required",
}

FILES = {
    "nova": f"""\
[filter_scheduler]
available_filters = nova.scheduler.filters.all_filters
available_filters = kongming_sched.filters.all_filters
enabled_filters = {",".join(FILTERS)}
weight_classes = nova.scheduler.weights.all_weighers,kongming_sched.weighers.all_weighers
[scheduler]
max_placement_results = 1000
[compute]
cpu_shared_set = 0,8,4,12
[placement]
auth_type = password
""",
    "placement": """\
[placement]
allocation_candidates_generation_strategy = breadth-first
allocation_conflict_retry_count = 1
""",
    "agent": "[kongming_agent]\ndedicated_cpu_set = 1-3,9-11,5-7,13-15\n",
}


@dataclass(frozen=True)
class Cloud:
    """A cloud of a host with an agent, one without, and an administrator's credentials."""

    placement: PlacementService
    nova: Nova
    clouds_yaml: Path

    def register(self, name: str, *templates: PinningTemplate) -> None:
        """Register the nodes of a host as its agent does that has seen these templates."""
        registry = NodeRegistry(self.placement.client, name)
        root, _, states = registry.observe()
        pools = HostPools(CpuSet.parse("1-3,9-11,5-7,13-15"), housekeeping=CpuSet.parse("0,8,4,12"))
        tree = desired_tree(root.uuid, name, HostCpus(two_nodes_smt2(), pools), templates, states)
        registry.write(root, tree.nodes, states)
        SignOfLife(self.placement.client, name).renew()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Everything is right in it: a template, the nodes that offer it, and a flavor that asks for it."""
    directory = tmp_path_factory.mktemp("cloud")
    path = directory / "clouds.yaml"
    with (
        PlacementApi(directory / "placement") as placement_api,
        NovaApi(directory / "nova", placement_api.endpoint) as nova_api,
    ):
        with Scheduler(nova_api.log.parent) as scheduler:
            scheduler.register_host("c1", HOST, vcpus=16, memory_mb=16384)
            scheduler.register_host("c2", BARE, vcpus=16, memory_mb=16384)
        lab_cloud.write_clouds_yaml(path, placement_api.endpoint, nova_api.endpoint)
        auth = token_endpoint.Token(placement_api.endpoint, TOKEN)
        service = adapter.Adapter(session.Session(auth), "placement")
        cloud = Cloud(PlacementService(placement_api.endpoint, TOKEN, service), Nova(nova_api.endpoint), path)
        TemplateStore(cloud.placement.client).create(GOLD)
        cloud.register("c1", GOLD)
        cloud.nova.create_flavor("gold.2", vcpus=2, memory_mb=512, specs=GOLD_SPECS)
        yield cloud


@dataclass(frozen=True)
class Desk:
    """Where an administrator sits: files in a directory, and the cloud's name in the environment."""

    directory: Path
    environment: Mapping[str, str]

    def run(self, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run the check with the files of a right cloud, in which these options have another value."""
        return self.type(*self._words(*words, **changes))

    def _words(self, *words: str, **changes: str) -> list[str]:
        """The command line of the check with such files, which are written."""
        options = []
        for kind, content in FILES.items():
            path = Path(f"{kind}.conf")
            text = content
            for option, value in changes.items():
                text = re.sub(rf"^{option} = .*$", f"{option} = {value}", text, flags=re.MULTILINE)
            (self.directory / path).write_text(text)
            options += [f"--{kind}-config-file", str(path)]
        return [*options, "upgrade", "check", *words]

    def type(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run kongming-status."""
        environment = {**self.environment, "COLUMNS": "80"}
        return subprocess.run(
            [*STATUS, *words],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def check(self, **changes: str) -> tuple[int, dict[str, tuple[int, str]]]:
        """Exit code, and result and details by check.

        It is made in this process: one of its own takes a second to import what it needs.
        """
        words = self._words("--json", **changes)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.directory)
            done = run_here(lambda: command.main(words), self.environment)
        assert "" == done.err
        checks: list[dict[str, Any]] = json.loads(done.out)["checks"]
        return done.code, {item["check"]: (item["result"], item["details"]) for item in checks}


@pytest.fixture
def desk(tmp_path: Path, cloud: Cloud) -> Desk:
    """That of the cloud."""
    return Desk(tmp_path, lab_cloud.environment(cloud.clouds_yaml))


def wrong(results: Mapping[str, tuple[int, str]]) -> dict[str, int]:
    """The checks that are not well, with their results."""
    return {name: code for name, (code, _) in results.items() if code}


def test_a_cloud_in_which_all_is_well(desk: Desk, cloud: Cloud) -> None:
    """Ends with 0, and has read something in every check; nothing is changed."""
    with unchanged(cloud.placement.client):
        code, results = desk.check()

    assert (0, {}) == (code, wrong(results))
    assert "Placement and Nova answer." == results["Placement and Nova"][1]
    assert "the templates make up to 2 candidates on 1 host." == results["Limits on candidates"][1]
    assert "1 template, each offered by some NUMA node." == results["Templates that no host can honour"][1]
    assert "1 flavor with a template, each as it should be." == results["Flavors with a template"][1]
    assert "the agents of 1 host were seen in the last 3 hours" in results["Agents"][1]
    assert "no agent has registered c2." in results["Agents"][1]


def test_the_table(desk: Desk) -> None:
    """A line of it has room on a terminal, and each problem begins a line of its own."""
    done = desk.run(
        allocation_conflict_retry_count="10",
        dedicated_cpu_set="0,1",
        cpu_shared_set="0-1",
        weight_classes="nova.scheduler.weights.all_weighers",
    )
    lines = done.stdout.splitlines()

    assert (2, "") == (done.returncode, done.stderr)
    assert max(map(len, lines)) <= 80
    assert "| Check: Claims in Placement" in done.stdout
    assert sum("Result: Failure" in line for line in lines) == 2
    assert sum("Result: Warning" in line for line in lines) == 1
    assert "nova.scheduler.weights.all_weighers, " in done.stdout
    assert "kongming_sched.weighers.all_weighers." in done.stdout


def test_output_is_as_it_was_reviewed(desk: Desk) -> None:
    """Word for word: help, a cloud in which all is well, files that hurt, and wrong usage."""
    asked = {
        "--help": desk.type("--help"),
        "upgrade check  # all is well": desk.run(),
        "upgrade check  # other files": desk.run(allocation_conflict_retry_count="10", cpu_shared_set="0-1"),
        "upgrade check --json  # other files": desk.run("--json", enabled_filters="ComputeFilter"),
        "upgrade": desk.type("upgrade"),
        "--nova-config-file nowhere.conf upgrade check": desk.type(
            "--nova-config-file", "nowhere.conf", "upgrade", "check"
        ),
    }
    text = "".join(
        transcript(f"kongming-status {words}", Done(done.returncode, done.stdout, done.stderr))
        for words, done in asked.items()
    )
    text = text.replace(f"{desk.directory}/", "")

    assert text == golden(GOLDEN, text)


@pytest.mark.parametrize(
    ("changes", "check", "code", "words"),
    [
        (
            {"enabled_filters": "ComputeFilter"},
            "Filters and weighers of nova-scheduler",
            2,
            "lacks KongmingTemplateFilter",
        ),
        (
            {"weight_classes": "nova.scheduler.weights.all_weighers"},
            "Filters and weighers of nova-scheduler",
            1,
            "packed",
        ),
        ({"max_placement_results": "0"}, "Limits on candidates", 1, "less than the 1 host:"),
        ({"allocation_candidates_generation_strategy": "depth-first"}, "Limits on candidates", 1, "breadth-first"),
        ({"allocation_conflict_retry_count": "10"}, "Claims in Placement", 2, "more CPUs than there are"),
        ({"cpu_shared_set": "0-1"}, "CPUs of the agent and of Nova", 2, "CPU 1 is in nova.conf's [compute]"),
        ({"dedicated_cpu_set": "3-1"}, "CPUs of the agent and of Nova", 2, "the range '3-1' runs backwards"),
        ({"max_placement_results": "many"}, "Filters and weighers of nova-scheduler", 2, "max_placement_results"),
    ],
)
def test_settings_that_hurt(desk: Desk, changes: dict[str, str], check: str, code: int, words: str) -> None:
    """Each is found in its file, and the exit code is that of the worst."""
    ended, results = desk.check(**changes)

    assert (code, code) == (ended, results[check][0])
    assert words in results[check][1]
    assert "To do: " in results[check][1]


def test_a_template_with_huge_pages_asks_for_an_option(desk: Desk, cloud: Cloud) -> None:
    """Of the scheduler's nova.conf, as soon as the template is stored."""
    check = "Filters and weighers of nova-scheduler"
    store = TemplateStore(cloud.placement.client)
    store.create(
        PinningTemplate.from_mapping({"name": "dpdk", "cells": [{"vcpus": "0", "cpus": "dedicated", "pages": "2MiB"}]})
    )
    _, without = desk.check()
    _, with_it = desk.check(max_placement_results="1000\n[workarounds]\ndisable_fallback_pcpu_query = true")
    store.delete("dpdk")

    assert (1, 0) == (without[check][0], with_it[check][0])
    assert "servers of template dpdk twice" in without[check][1]


def test_a_host_that_is_gone(desk: Desk, cloud: Cloud) -> None:
    """Its nodes are found, retired ones too, and the command that is named takes them away."""
    client = cloud.placement.client
    cloud.placement.add_host("c3", GONE)
    cloud.register("c3", GOLD)
    node = names.node_uuid(GONE, 0)
    [provider] = client.providers(uuid=node)
    client.set_inventories(node, provider.generation, {})

    code, results = desk.check()
    details = results["NUMA nodes of hosts that are gone"][1]
    order = re.search(r"openstack (kongming host delete [0-9a-f-]+)", details)
    assert order is not None
    done = Shell(lab_cloud.environment(cloud.clouds_yaml))(order[1])

    assert (1, {"NUMA nodes of hosts that are gone": 1}) == (code, wrong(results))
    assert (0, "", "") == (done.code, done.out, done.err)
    assert f"c3_kongming_numa0, c3_kongming_numa1: Nova has no compute node {GONE}." in details
    assert [] == client.providers(in_tree=GONE)
    assert (0, {}) == (desk.check()[0], wrong(desk.check()[1]))


def test_templates_that_nobody_can_honour(desk: Desk, cloud: Cloud) -> None:
    """One that is too large is a warning, one that cannot be read is a failure."""
    store, client = TemplateStore(cloud.placement.client), cloud.placement.client
    huge = {"name": "huge", "cells": [{"vcpus": "0-63", "cpus": "dedicated"}]}
    store.create(PinningTemplate.from_mapping(huge))
    too_large = desk.check()
    client.ensure_traits({names.TEMPLATE})
    broken = client.create_provider(names.template_uuid("broken"), names.template_provider_name("broken"))
    client.set_traits(broken.uuid, broken.generation, {names.TEMPLATE})
    unreadable = desk.check()
    client.delete_provider(broken.uuid)
    store.delete("huge")

    check = "Templates that no host can honour"
    assert (1, {check: 1}) == (too_large[0], wrong(too_large[1]))
    assert "no NUMA node offers huge. To do: " in too_large[1][check][1]
    assert (2, {check: 2}) == (unreadable[0], wrong(unreadable[1]))
    assert ["template provider of 'broken'", "no NUMA node offers huge"] == [
        line.partition(",")[0].partition(".")[0] for line in unreadable[1][check][1].splitlines()
    ]


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ({"kongming:template": "gold"}, "flavor half: lacks resources_KONGMING0:*"),
        ({"kongming:template": "lead"}, "flavor half: there is no template 'lead'"),
        (
            {"resources_KONGMING0:CUSTOM_KONGMING_PCPU": "2"},
            "flavor half: has resources_KONGMING0:CUSTOM_KONGMING_PCPU and",
        ),
        ({**GOLD_SPECS, "hw:cpu_policy": "dedicated"}, "flavor half: hw:cpu_policy makes Nova choose CPUs itself"),
    ],
)
def test_flavors_with_half_a_set_of_keys(desk: Desk, cloud: Cloud, specs: dict[str, str], words: str) -> None:
    """What a flavor lacks is named, with the command that mends it; private flavors are checked too."""
    flavor = cloud.nova.create_flavor("half", vcpus=2, memory_mb=512, public=False, specs=specs)
    code, results = desk.check()
    cloud.nova.call("DELETE", f"/flavors/{flavor}")

    assert (2, {"Flavors with a template": 2}) == (code, wrong(results))
    assert words in results["Flavors with a template"][1]
    assert "openstack " in results["Flavors with a template"][1].partition("To do: ")[2]


def test_an_agent_that_has_not_been_seen(desk: Desk, cloud: Cloud) -> None:
    """A host that is in a template's aggregate and has no nodes, and one whose nodes do not know the template."""
    store = TemplateStore(cloud.placement.client)
    client = cloud.placement.client
    for uuid in (HOST, BARE):
        [provider] = client.providers(uuid=uuid)
        client.set_aggregates(uuid, provider.generation, {AGGREGATE})
    store.create(PinningTemplate.from_mapping({**GOLD.to_mapping(), "name": "silver"}), [AGGREGATE])
    code, results = desk.check()
    store.delete("silver")

    assert 1 == code
    assert {"Agents", "Templates that no host can honour"} == wrong(results).keys()
    assert "template 'silver' is offered to c2, where no agent has registered a NUMA node" in results["Agents"][1]
    assert "the agent of c1 does not seem to run: it does not offer template 'silver'" in results["Agents"][1]


def test_services_that_are_down(desk: Desk, cloud: Cloud, tmp_path: Path) -> None:
    """Each is one failure; what needs them is not checked, and the files are."""
    path = tmp_path / "away.yaml"
    lab_cloud.write_clouds_yaml(path, NOWHERE, NOWHERE)
    code, results = Desk(desk.directory, lab_cloud.environment(path)).check()
    lab_cloud.write_clouds_yaml(path, cloud.placement.endpoint, NOWHERE)
    half, halfway = Desk(desk.directory, lab_cloud.environment(path)).check()

    not_checked = {
        "NUMA nodes of hosts that are gone": 1,
        "Templates that no host can honour": 1,
        "Templates open to tenants": 1,
        "Flavors with a template": 1,
        "Agents": 1,
    }
    assert (2, {"Placement and Nova": 2, **not_checked}) == (code, wrong(results))
    assert 2 == len(results["Placement and Nova"][1].splitlines())
    assert 2 == half
    assert {"Placement and Nova", "NUMA nodes of hosts that are gone", "Flavors with a template"} == wrong(
        halfway
    ).keys()


def test_without_credentials(desk: Desk) -> None:
    """Only the files are read, and that is said."""
    environment = {name: value for name, value in desk.environment.items() if not name.startswith("OS_")}
    code, results = Desk(desk.directory, environment).check()

    assert 1 == code
    assert "there are no credentials, so that only files are checked" in results["Placement and Nova"][1]
    assert 0 == results["Claims in Placement"][0]


def run_with(desk: Desk, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the check with these options."""
    line = [*STATUS, *words, "upgrade", "check", "--json"]
    return subprocess.run(line, env=desk.environment, capture_output=True, text=True, timeout=120, check=False)


def test_a_file_that_cannot_be_read(desk: Desk) -> None:
    """It is a failure of the checks that need it, and the others are made."""
    done = run_with(desk, "--nova-config-file", str(desk.directory / "no.conf"))
    found = {item["check"]: item["result"] for item in json.loads(done.stdout)["checks"]}

    assert 2 == done.returncode
    assert (2, 2, 0) == (
        found["Filters and weighers of nova-scheduler"],
        found["Limits on candidates"],
        found["Flavors with a template"],
    )


def test_checks_that_cannot_be_made(desk: Desk) -> None:
    """A wrong command line is none of the results: 255, and one message."""
    done = run_with(desk, "--config-file", str(desk.directory / "no.conf"))

    assert (255, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("kongming-status: ")
    assert "Traceback" not in done.stderr
