# SPDX-License-Identifier: Apache-2.0
"""The Ansible role, played against directories of this machine; Nova, Placement and the agent read what it wrote.

What it installs and which services it starts is not played here: that would change this machine.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from nova.conf import compute as compute_conf
from nova.conf import neutron as neutron_conf
from nova.conf import scheduler as nova_conf
from nova.conf import workarounds as workarounds_conf
from nova.scheduler import filters, weights
from oslo_config import cfg
from placement.conf import placement as placement_conf

from kongming_sched.agent.settings import read_settings
from kongming_sched.conf import agent as agent_conf
from kongming_sched.conf import scheduler as scheduler_conf
from kongming_sched.cpuset import CpuSet

ROOT = Path(__file__).parents[2]
ANSIBLE = ROOT / "ansible"
BIN = Path(sys.executable).parent


class Play:
    """The role on this machine, below a directory."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "prefix/share/kongming-sched/systemd").mkdir(parents=True)
        (home / "units").mkdir()  # systemd is there before KongMing
        (home / "prefix/bin").symlink_to(BIN)
        unit = "kongming-agent.service"
        (home / "prefix/share/kongming-sched/systemd" / unit).write_bytes((ROOT / "etc" / unit).read_bytes())

    def variables(self, **given: Any) -> dict[str, Any]:
        """Everything that would be elsewhere on a real host, and what the test gives."""
        return {
            "kongming_install_method": "none",
            "kongming_manage_services": False,
            "kongming_check": False,
            "kongming_agent_prefix": str(self.home / "prefix"),
            "kongming_nova_config_directory": str(self.home / "nova.conf.d"),
            "kongming_placement_config_directory": str(self.home / "placement.conf.d"),
            "kongming_config_directory": str(self.home / "kongming"),
            "kongming_unit_directory": str(self.home / "units"),
            "kongming_hook_directory": str(self.home / "hooks"),
            **given,
        }

    def run(self, *options: str, **given: Any) -> subprocess.CompletedProcess[str]:
        """Play it."""
        play = {"hosts": "localhost", "roles": [{"role": "kongming", "vars": self.variables(**given)}]}
        book = self.home / "play.yml"
        book.write_text(yaml.safe_dump([play]))
        env = os.environ | {
            "ANSIBLE_ROLES_PATH": str(ANSIBLE / "roles"),
            "ANSIBLE_HOME": str(self.home / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "LC_ALL": "C.UTF-8",
        }
        command: list[str | Path] = [
            BIN / "ansible-playbook",
            "-c",
            "local",
            "-e",
            f"ansible_python_interpreter={sys.executable}",
        ]
        return subprocess.run(
            [*command, *options, book], env=env, cwd=self.home, capture_output=True, text=True, check=False
        )

    def written(self) -> set[str]:
        """The files that the role made."""
        files = (path.relative_to(self.home) for path in self.home.rglob("*") if path.is_file())
        return {str(path) for path in files if path.parts[0] not in {"prefix", "ansible", "play.yml"}}


CONTROLLER = {"kongming_parts": ["controller"], "kongming_scheduler_options": {"numa_strategy": "spread"}}
COMPUTE = {
    "kongming_parts": ["compute"],
    "kongming_agent_options": {
        "dedicated_cpu_set": "4-31,36-63",
        "shared_cpu_set": "2-3,34-35",
        "reserved_memory_mb": 4096,
        "triggers": ["libvirt", "timer", "notifications"],
    },
    "kongming_nova_auth_section": "placement",
}


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """The role, on a new host."""
    return Play(tmp_path)


def changed(done: subprocess.CompletedProcess[str]) -> int:
    """How many tasks changed something, of a play that succeeded."""
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"changed=(\d+)", done.stdout)
    assert found
    return int(found[1])


def read(*files: Path) -> cfg.ConfigOpts:
    """A configuration with the options of all parts."""
    conf = cfg.ConfigOpts()
    for register in (nova_conf.register_opts, placement_conf.register_opts, scheduler_conf.register_opts):
        register(conf)
    conf([], project="nova", default_config_files=[str(file) for file in files], default_config_dirs=[])
    return conf


def test_a_controller_gets_files_that_nova_and_placement_read(play: Play) -> None:
    """Nova's own loaders find what they name, and the second time nothing is changed."""
    assert changed(play.run(**CONTROLLER)) > 0
    assert play.written() == {"nova.conf.d/90-kongming.conf", "placement.conf.d/90-kongming.conf"}
    conf = read(*(play.home / name for name in sorted(play.written())))
    options = conf.filter_scheduler
    found = {cls.__name__ for cls in filters.HostFilterHandler().get_matching_classes(options.available_filters)}
    assert set(options.enabled_filters) <= found
    assert ("KongmingTemplateFilter", "KongmingNumaFilter") == (options.enabled_filters[0], options.enabled_filters[-1])
    weighers = {cls.__name__ for cls in weights.HostWeightHandler().get_matching_classes(options.weight_classes)}
    assert {"RAMWeigher", "KongmingPackingWeigher"} <= weighers
    assert conf.kongming_scheduler.numa_strategy == "spread"
    assert conf.placement.allocation_candidates_generation_strategy == "breadth-first"
    assert conf.placement.allocation_conflict_retry_count == 1
    assert changed(play.run(**CONTROLLER)) == 0


def test_a_compute_node_gets_what_the_agent_reads(play: Play) -> None:
    """Its file, its unit and libvirt's hook, and the second time nothing is changed."""
    assert changed(play.run(**COMPUTE)) > 0
    drop_in = "units/kongming-agent.service.d/kongming.conf"
    config = "kongming/kongming-agent.conf"
    assert play.written() == {config, "units/kongming-agent.service", drop_in, "hooks/qemu.d/90-kongming"}
    conf = cfg.ConfigOpts()
    agent_conf.register_opts(conf)
    conf([], project="kongming", default_config_files=[str(play.home / config)], default_config_dirs=[])
    settings = read_settings(conf)
    assert (settings.dedicated, settings.shared) == (CpuSet.parse("4-31,36-63"), CpuSet.parse("2-3,34-35"))
    assert (settings.reserved_memory_mb, settings.triggers) == (4096, ("libvirt", "timer", "notifications"))
    assert conf.kongming_nova.auth_section == "placement"
    assert f"ExecStart={play.home}/prefix/bin/kongming-agent " in (play.home / drop_in).read_text()
    assert changed(play.run(**COMPUTE)) == 0


NFV = {
    "kongming_nfv": True,
    "kongming_parts": ["controller", "compute"],
    "kongming_agent_options": {
        # libvirt's test driver, whose host has two nodes and the CPUs 0, 2 and 4
        "libvirt_uri": "test:///default",
        "dedicated_cpu_set": "2,4",
    },
}


def test_a_host_of_servers_with_huge_pages_gets_what_leads_nova(play: Play) -> None:
    """Nova's own loader finds the real networks and the markers, and the second time nothing is changed."""
    nova = play.home / "nova.conf"
    nova.write_text("[neutron]\nphysnets = physnet1\n[compute]\ncpu_shared_set = 0\n")
    given = NFV | {"kongming_nova_config_file": str(nova)}
    assert changed(play.run(**given)) > 0
    further = play.home / "nova.conf.d/91-kongming-numa.conf"
    conf = read(nova, play.home / "nova.conf.d/90-kongming.conf", further)
    for register in (compute_conf.register_opts, workarounds_conf.register_opts):
        register(conf)
    conf.register_opts(neutron_conf.neutron_opts, group="neutron")
    neutron_conf.register_dynamic_opts(conf)
    assert ["physnet1", "kongming_numa0", "kongming_numa1"] == conf.neutron.physnets
    assert [{0}, {1}] == [set(conf[f"neutron_physnet_kongming_numa{node}"].numa_nodes) for node in (0, 1)]
    assert ("2,4", "0") == (conf.compute.cpu_dedicated_set, conf.compute.cpu_shared_set)
    assert conf.workarounds.disable_fallback_pcpu_query
    assert "KongmingNumaFilter" == conf.filter_scheduler.enabled_filters[-1]
    unit = (play.home / "units/kongming-agent.service.d/kongming.conf").read_text()
    ours = play.home / "kongming/kongming-agent.conf"
    assert f"kongming-agent --config-file {nova} --config-file {further} --config-file {ours}\n" in unit
    assert changed(play.run(**given)) == 0


def test_check_mode_changes_nothing(play: Play) -> None:
    """An operator sees first what would be done."""
    everything = CONTROLLER | COMPUTE | {"kongming_parts": ["controller", "compute"], "kongming_nfv": True}
    assert changed(play.run("--check", **everything)) > 0
    assert play.written() == set()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"kongming_parts": ["compute"]}, "has neither dedicated_cpu_set", id="no CPUs"),
        pytest.param({}, "missing required arguments: kongming_parts", id="no part"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_done(play: Play, given: dict[str, Any], message: str) -> None:
    """With the name of the variable."""
    done = play.run(**given)
    assert done.returncode != 0
    assert message in done.stdout
    assert play.written() == set()


def test_every_variable_of_the_specification_has_a_default() -> None:
    """But for the one that must be given."""
    role = ANSIBLE / "roles/kongming"
    options = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    defaults = yaml.safe_load((role / "defaults/main.yml").read_text())
    assert set(options) - set(defaults) == {"kongming_parts"}


def test_the_example_is_a_playbook(play: Play) -> None:
    """Ansible knows all that it says."""
    command: list[str | Path] = [
        BIN / "ansible-playbook",
        "--syntax-check",
        "-i",
        "localhost,",
        ANSIBLE / "kongming.yml",
    ]
    done = subprocess.run(
        command, env=os.environ | {"ANSIBLE_HOME": str(play.home)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
