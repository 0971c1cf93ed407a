# SPDX-License-Identifier: Apache-2.0
"""kongming-agent --check as a process, against the real Placement.

libvirt is its built-in test driver here, whose host has eight CPUs, of which 0, 2 and 4 are online, and one guest
without a template; test_inspecting_commands.py has it on a real libvirt.
"""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from keystoneauth1 import adapter, session, token_endpoint
from oslo_config import cfg

from kongming_sched.agent.commands.agent import parse
from kongming_sched.agent.host.machine import machine_mark
from kongming_sched.agent.inspect.check import Checkup
from kongming_sched.agent.inspect.cloud_findings import of_guests
from kongming_sched.agent.inspect.findings import Finding
from kongming_sched.agent.ipc.hook_file import HookFile
from kongming_sched.agent.ipc.listener import Listener
from kongming_sched.agent.model.guest import ObservedGuest, identify
from kongming_sched.agent.settings import parse_settings
from kongming_sched.placement import names
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import PinningTemplate
from testbed.lab.placement_api import TOKEN, PlacementApi
from testbed.waiting import PATIENCE_SECONDS
from tests.functional.agent.test_preview import preview
from tests.functional.agent.test_service import AGENT
from tests.functional.agent.world import World, store_templates
from tests.functional.cli.state import unchanged
from tests.functional.conftest import PlacementService

SOLO = {"name": "solo", "cells": [{"vcpus": "0", "cpus": "dedicated", "memory": "none"}]}
QUAD = {"name": "quad", "cells": [{"vcpus": "0-3", "cpus": "dedicated", "memory": "none"}]}
ROOT = "c0c0c0c0-0000-4000-8000-000000000001"

CONFIGURATION = """\
[kongming_agent]
libvirt_uri = test:///default
host = compute-1
dedicated_cpu_set = 2,4
run_directory = {directory}/run
metrics_port = 0
[compute]
cpu_shared_set = 0
[placement]
auth_type = admin_token
endpoint = {endpoint}
token = {token}
"""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlacementApi]:
    """A Placement that the agent reaches over HTTP."""
    with PlacementApi(tmp_path_factory.mktemp("placement")) as running:
        yield running


@pytest.fixture(scope="module")
def cloud(api: PlacementApi) -> PlacementService:
    """It holds a compute node and two templates, of which the larger does not fit there."""
    auth = token_endpoint.Token(api.endpoint, TOKEN)
    service = PlacementService(api.endpoint, TOKEN, adapter.Adapter(session.Session(auth), "placement"))
    service.add_host("compute-1", ROOT)
    for template in (SOLO, QUAD):
        TemplateStore(service.client).create(PinningTemplate.from_mapping(template))
    return service


@dataclass(frozen=True)
class Station:
    """A host with its configuration, on which ``kongming-agent --check`` is run."""

    directory: Path
    endpoint: str

    def configure(self, **changes: str) -> Path:
        """Write the configuration file, with these texts of it replaced."""
        path = self.directory / "agent.conf"
        text = CONFIGURATION.format(directory=self.directory, endpoint=self.endpoint, token=TOKEN)
        for option, value in changes.items():
            text = re.sub(rf"^{option} = .*$", f"{option} = {value}", text, flags=re.MULTILINE)
        path.write_text(text)
        return path

    def check(self, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run it."""
        command = [*AGENT, "--check", "--config-file", str(self.configure(**changes)), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)

    def findings(self, **changes: str) -> dict[str, list[str]]:
        """What is found in this process with libvirt's hooks in a directory of the test's own: subject to facts."""
        found = Checkup(self.conf(**changes), self.directory / "hooks", root=self.directory / "root").run()
        subjects: dict[str, list[str]] = {}
        for finding in found:
            subjects.setdefault(finding.subject, []).append(f"{finding.level}: {finding.fact}")
        return subjects

    def conf(self, **changes: str) -> cfg.ConfigOpts:
        """The parsed options."""
        return parse(["--check", "--config-file", str(self.configure(**changes))])


@pytest.fixture
def station(tmp_path: Path, cloud: PlacementService) -> Station:
    """A host of the cloud."""
    return Station(tmp_path, cloud.endpoint)


def test_a_host_that_is_right(station: Station, cloud: PlacementService) -> None:
    """Ends with 0, has no traceback and no error, and says what the agent would do."""
    done = station.check()
    to_do = 8 + bool(machine_mark(""))  # its node's mark, on a machine of which something is known

    assert (0, "") == (done.returncode, done.stderr)
    assert f"provider compute-1 ({ROOT}) is there, with no NUMA node below yet" in done.stdout
    assert "solo can be honoured here" in done.stdout
    assert "quad cannot be honoured here: node 0: needs 4 dedicated CPUs, the node has 2" in done.stdout
    assert f"0 run here, 0 of a template; the agent has {to_do} things to do now" in done.stdout
    assert done.stdout.endswith(" 0 errors. The agent can work here.\n")
    assert cloud.client.providers(in_tree=ROOT)


def test_dedicated_cpus_that_are_disturbed(station: Station) -> None:
    """Each kind is a warning, read where the kernel shows it; a host where nothing is found is quiet."""
    quiet = station.findings()
    cpu = 2
    files = {
        "proc/irq/24/smp_affinity_list": str(cpu),
        "proc/irq/24/nvme0q3/spurious": "",
        f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor": "powersave",
    }
    for name, text in files.items():
        (station.directory / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (station.directory / "root" / name).write_text(text)
    disturbed = station.findings()

    assert ["ok: neither isolcpus, interrupts, governor nor idle states disturb the dedicated pool"] == quiet[
        "quiet CPUs"
    ]
    assert [f"warn: CPU {cpu} of the dedicated pool serves 1 interrupt: 24 (nvme0q3)"] == disturbed["interrupts"]
    assert disturbed["governor"][0].startswith("warn: the clock of the dedicated pool follows its load (powersave on ")
    assert "quiet CPUs" not in disturbed


def test_nothing_is_changed(station: Station, cloud: PlacementService) -> None:
    """Neither in Placement, nor in the files of the host, of which the run directory is none yet."""
    with unchanged(cloud.client):
        done = station.check()

    assert 0 == done.returncode
    assert ["agent.conf"] == [path.name for path in station.directory.rglob("*")]
    assert [ROOT] == [provider.uuid for provider in cloud.client.providers(in_tree=ROOT)]
    assert cloud.client.traits(ROOT) == frozenset()


def test_the_lines_that_novas_own_file_lacks(station: Station, cloud: PlacementService) -> None:
    """They are printed as they are to be written, once a template is offered that needs them, and then taken."""
    dpdk = {"name": "dpdk", "cells": [{"vcpus": "0", "cpus": "dedicated", "pages": "2MiB"}]}
    TemplateStore(cloud.client).create(PinningTemplate.from_mapping(dpdk))
    done = station.check()

    assert (0, "") == (done.returncode, done.stderr)
    assert "lacks kongming_numa0, kongming_numa1, so that no servers with pages" in done.stdout
    assert "as those of template dpdk" in done.stdout
    lines = done.stdout.partition("The agent can work here.\n")[2]
    assert "\n[neutron]\nphysnets = kongming_numa0,kongming_numa1\n" in lines
    assert lines.endswith("[neutron_physnet_kongming_numa1]\nnuma_nodes = 1\n[compute]\ncpu_dedicated_set = 2,4\n")

    with (station.directory / "agent.conf").open("a") as file:
        file.write(lines)
    again = subprocess.run(
        [*AGENT, "--check", "--config-file", str(station.directory / "agent.conf")],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert "leads Nova to the nodes of servers with pages or guest_numa: visible" in again.stdout
    assert "[compute] cpu_dedicated_set is the dedicated pool" in again.stdout
    assert again.stdout.endswith("The agent can work here.\n")


def test_what_nova_is_led_by_is_wrong(station: Station, cloud: PlacementService) -> None:
    """No marker, and one too many: each is named with the remedy, and the template is not offered meanwhile."""
    visible = {"name": "seen", "guest_numa": "visible", "cells": [{"vcpus": "0", "cpus": "dedicated"}]}
    TemplateStore(cloud.client).create(PinningTemplate.from_mapping(visible))
    without = station.findings()
    foreign = "0\n[neutron]\nphysnets = kongming_numa0,kongming_numa1,kongming_numa2"
    for node in range(3):
        foreign += f"\n[neutron_physnet_kongming_numa{node}]\nnuma_nodes = {node}"
    foreign += "\n[compute]"
    too_many = station.findings(cpu_shared_set=foreign)
    right = station.findings(cpu_shared_set=foreign.replace(",kongming_numa2", ""))
    TemplateStore(cloud.client).delete("seen")

    (lacking,) = [fact for fact in without["templates"] if "seen cannot be honoured here" in fact]
    assert "node 0: nova.conf lacks kongming_numa0, kongming_numa1, by which Nova is led to the nodes" in lacking
    (refused,) = [fact for fact in too_many["templates"] if "seen cannot be honoured here" in fact]
    assert "nova.conf names kongming_numa2 in [neutron] physnets, and the host has no such node" in refused
    assert any("kongming_numa2, and the host has no such node: nova-comp" in fact for fact in too_many["nova.conf"])
    assert any("seen" in fact and "can be honoured here" in fact for fact in right["templates"])


def test_a_further_file_for_novas(station: Station) -> None:
    """Is printed alone, with the networks and sets that are there, and the check then finds nothing lacking."""
    station.configure(cpu_shared_set="0\n[neutron]\nphysnets = physnet1")
    base = ["--config-file", str(station.directory / "agent.conf")]
    further = station.directory / "91-kongming-numa.conf"

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*AGENT, *words], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)

    done = run("--nova-conf", *base)
    further.write_text(done.stdout)
    again = run("--check", *base, "--config-file", str(further))

    assert (0, "") == (done.returncode, done.stderr)
    assert "[neutron]\nphysnets = physnet1,kongming_numa0,kongming_numa1\n" in done.stdout
    assert done.stdout.endswith("[compute]\ncpu_dedicated_set = 2,4\n")
    assert "leads Nova to the nodes of servers with pages or guest_numa: visible" in again.stdout
    assert again.stdout.endswith("The agent can work here.\n")


def test_a_host_whose_libvirt_is_silent_has_no_further_file(station: Station) -> None:
    """For its nodes are not known; half a file would be worse than none."""
    file = station.configure(libvirt_uri="qemu+unix:///system?socket=/nowhere")
    done = subprocess.run(
        [*AGENT, "--nova-conf", "--config-file", str(file)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (1, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("kongming-agent: ")
    assert "/nowhere" in done.stderr


def test_the_journals_lines(station: Station) -> None:
    """Every line has a priority; what is well is only counted."""
    done = station.check("--brief", dedicated_cpu_set="2,5")
    lines = done.stdout.splitlines()

    assert (0, "") == (done.returncode, done.stderr)
    assert all(re.match(r"<[346]>", line) for line in lines)
    assert any(line.startswith("<4>CPU pools: CPU 5 of the pools is offline") for line in lines)
    assert re.fullmatch(r"<4>check of this host: \d+ ok, \d+ warnings?, 0 errors", lines[-1])


@pytest.mark.parametrize(
    ("changes", "subject", "words"),
    [
        pytest.param(
            {"dedicated_cpu_set": "2,9"},
            "CPU pools",
            "error: option dedicated_cpu_set: this host has no CPU 9; it has 0-7",
            id="CPUs that the host lacks",
        ),
        pytest.param(
            {"cpu_shared_set": "0-2"},
            "nova.conf",
            "error: option [kongming_agent] dedicated_cpu_set: CPU 2 is in nova.conf's [compute] cpu_shared_set too;"
            " take it out of one of them",
            id="Nova's CPUs",
        ),
        pytest.param(
            {"dedicated_cpu_set": "4-2"},
            "configuration",
            "error: option dedicated_cpu_set: '4-2' is not a CPU set: the range '4-2' runs backwards",
            id="no CPU set",
        ),
        pytest.param(
            {"libvirt_uri": "test:///no/such/file"},
            "libvirt",
            "error: libvirt could not report its version",
            id="libvirt",
        ),
        pytest.param(
            {"host": "compute-2"},
            "Placement",
            "error: Placement could not find provider compute-2: nova-compute has not registered this host",
            id="no compute node",
        ),
        pytest.param(
            {"endpoint": "http://127.0.0.1:9"},
            "Placement",
            "error: Placement could not list providers",
            id="no Placement",
        ),
        pytest.param(
            {"auth_type": "no_such_type"},
            "Placement",
            "error: option [placement]: The plugin no_such_type",
            id="no plugin",
        ),
        pytest.param(
            {"metrics_port": "0\ntriggers = legacy_notifications"},
            "configuration",
            "error: option [kongming_agent] triggers: 'legacy_notifications' asks Nova's API",
            id="a trigger that lacks something",
        ),
        pytest.param({"metrics_port": "many"}, "configuration", "error: Value for option metrics_port", id="no number"),
    ],
)
def test_what_is_wrong(station: Station, changes: dict[str, str], subject: str, words: str) -> None:
    """Each thing is one finding of its subject, and all else is checked too."""
    found = station.findings(**changes)

    assert [words] == [fact[: len(words)] for fact in found[subject] if fact.startswith("error: ")]
    assert 1 == sum(fact.startswith("error: ") for facts in found.values() for fact in facts)
    assert "cgroups" in found


def test_errors_end_with_1(station: Station) -> None:
    """And the verdict says so."""
    done = station.check(dedicated_cpu_set="2,9")

    assert (1, "") == (done.returncode, done.stderr)
    assert done.stdout.endswith(" 1 error. The agent cannot work here as it is.\n")


def test_the_hook_and_the_socket(station: Station) -> None:
    """They are found once they are there; what has not been put there by KongMing is not taken for its hook."""
    before = station.findings()
    file = HookFile(station.directory / "hooks", station.directory / "run" / "agent.sock")
    file.install()
    listener = Listener(station.directory / "run", lambda: None, lambda: True, lambda _xml: True)
    listener.open()
    after = station.findings()
    listener.close()
    file.path.write_text("#!/bin/sh\n")
    foreign = station.findings()

    assert before["libvirt's hook"][0].startswith(f"warn: {file.path} is not installed")
    assert [f"ok: {file.path} is installed"] == after["libvirt's hook"]
    assert foreign["libvirt's hook"][0].startswith(f"error: {file.path} is not KongMing's")
    assert ["does not run yet", "runs, and listens", "does not run yet"] == [
        found["agent"][0].removeprefix("ok: ").partition(" at ")[0].partition(";")[0]
        for found in (before, after, foreign)
    ]


def test_a_port_that_is_taken(station: Station) -> None:
    """The agent would work, and Prometheus would find another program."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        found = station.findings(metrics_port=str(other.getsockname()[1]))

    assert found["metrics"][0].startswith("warn: another program listens at 127.0.0.1:")


def test_a_token_that_cannot_be_read(station: Station) -> None:
    """The agent would work, and serve no metrics."""
    found = station.findings(metrics_port=f"19119\nmetrics_token_file = {station.directory}/nowhere")

    assert found["metrics"][-1].startswith(
        "warn: they are not served: option [kongming_agent] metrics_token_file: cannot"
    )


def test_placement_that_does_not_answer(station: Station) -> None:
    """A connection that nobody answers is given up, so that the check ends and says so."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        conf = station.conf(endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}")
        found = Checkup(conf, station.directory / "hooks", patience_seconds=1).run()

    [finding] = [finding for finding in found if finding.subject == "Placement"]
    assert "error" == finding.level
    assert "timed out" in finding.fact.lower()


def test_a_template_that_cannot_be_read(station: Station, cloud: PlacementService) -> None:
    """It is named with its clause, and the others are offered all the same."""
    client = cloud.client
    client.ensure_traits({names.TEMPLATE, "CUSTOM_KONGMING_C0_VCPUS_NONE"})
    broken = client.create_provider(names.template_uuid("broken"), names.template_provider_name("broken"))
    client.set_traits(broken.uuid, broken.generation, {names.TEMPLATE, "CUSTOM_KONGMING_C0_VCPUS_NONE"})
    try:
        found = station.findings()
    finally:
        client.delete_provider(broken.uuid)

    assert found["templates"][0].startswith("warn: template provider of 'broken'")
    assert "ok: solo can be honoured here" in found["templates"]


def guests_of(world: World, station: Station, **changes: str) -> list[Finding]:
    """What is found of the guests of a simulated host."""
    host = world.host
    running = [ObservedGuest(domain, identify(domain), host.threads(domain)) for domain in host.domains()]
    settings = parse_settings(station.conf(**changes))
    return list(of_guests(running, preview(world), settings, world.pools))


def test_guests_that_are_not_as_they_should_be(placement: PlacementService, station: Station) -> None:
    """One without a claim, and one without a template on the dedicated pool, are named with what to do."""
    store_templates(placement.client)
    world = World(placement, "host")
    world.settle()
    world.boot_all()
    specs = world.claim("homeless", "bronze", 1)
    world.placement.adapter.delete(f"/allocations/{world.servers['homeless']}")
    world.host.spawn(world.servers["homeless"], 1, specs)
    unmanaged = "5f5f5f5f-0000-4000-8000-000000000001"
    world.host.spawn(unmanaged, 1, {})

    found = guests_of(world, station)
    confined = guests_of(world, station, dedicated_cpu_set="2,4\nconfine_unmanaged = true")

    assert ["warn", "warn", "ok"] == [finding.level for finding in found]
    assert world.servers["homeless"] in found[0].fact
    assert "groups are not claimed on this host's node providers" in found[0].fact
    assert unmanaged in found[1].fact
    assert "cpu_shared_set" in found[1].remedy
    assert found[2].fact.startswith("8 run here, 7 of a template; the agent has ")
    assert [found[0], found[2]] == confined
