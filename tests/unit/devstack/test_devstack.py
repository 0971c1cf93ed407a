# SPDX-License-Identifier: Apache-2.0
"""The DevStack plugin: what it calls in each phase, and what Nova, Placement and the agent make of what it wrote.

DevStack itself is no part of these tests: devstack/recorder.sh stands in for it, and knows its functions by name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from nova.conf import compute as compute_conf
from nova.conf import neutron as neutron_conf
from nova.conf import scheduler as nova_conf
from nova.conf import workarounds as workarounds_conf
from nova.scheduler import filters, weights
from oslo_config import cfg
from placement.conf import placement as placement_conf

from kongming_sched.agent.commands.agent import parse
from kongming_sched.agent.settings import placement_adapter, read_settings
from kongming_sched.conf import scheduler as scheduler_conf
from kongming_sched.cpuset import CpuSet

ROOT = Path(__file__).parents[3]
PLUGIN = ROOT / "devstack"
RECORDER = Path(__file__).parent / "recorder.sh"
PROGRAMS = ("bash", "cat", "grep", "id", "install", "mv", "rm", "tr")
"""What a plugin and the recorder may use besides DevStack's functions."""

STACK_PHASES = ("pre-install", "install", "post-config", "extra", "test-config")
CONTROLLER = "rabbit,mysql,key,n-api,n-cond,n-sch,placement-api,placement-client,q-svc"
COMPUTE = "n-cpu,placement-client,q-ovn-agent"
ALL = f"{CONTROLLER},{COMPUTE}"

NOVA, NOVA_CPU, PLACEMENT = "/etc/nova/nova.conf", "/etc/nova/nova-cpu.conf", "/etc/placement/placement.conf"
AGENT = "/etc/kongming/kongming-agent.conf"
HOOKS = "/etc/libvirt/hooks"
VARIABLES = {
    "KONGMING_DEDICATED_CPU_SET": "4-7",
    "KONGMING_SHARED_CPU_SET": "2-3",
    "KONGMING_HOUSEKEEPING_CPU_SET": "0-1",
    "KONGMING_VCPU_ALLOCATION_RATIO": "2.5",
    "KONGMING_RESERVED_MEMORY_MB": "1024",
    "KONGMING_INTERVAL_SECONDS": "10",
    "KONGMING_NUMA_STRATEGY": "spread",
}

Calls = list[tuple[str, ...]]
"""Functions and their arguments; paths as if the test's directory were the root of the host."""

ENABLED_FILTERS = "KongmingTemplateFilter,ComputeFilter,SameHostFilter,KongmingNumaFilter"
WEIGHT_CLASSES = "nova.scheduler.weights.all_weighers,kongming_sched.weighers.all_weighers"
COMMAND = f"/opt/stack/data/venv/bin/kongming-agent --config-file /etc/nova/nova-cpu.conf --config-file {AGENT}"

SETTINGS: Calls = [("define_plugin", "kongming-sched"), ("enable_service", "kongming", "kongming-agent")]
SCHEDULER: Calls = [
    ("async_wait", "configure_neutron_nova"),
    ("iniget_multiline", NOVA, "filter_scheduler", "available_filters"),
    ("iniadd", NOVA, "filter_scheduler", "available_filters", "nova.scheduler.filters.all_filters"),
    ("iniadd", NOVA, "filter_scheduler", "available_filters", "kongming_sched.filters.all_filters"),
    ("iniget", NOVA, "filter_scheduler", "enabled_filters"),
    ("iniset", NOVA, "filter_scheduler", "enabled_filters", ENABLED_FILTERS),
    ("iniget", NOVA, "filter_scheduler", "weight_classes"),
    ("iniset", NOVA, "filter_scheduler", "weight_classes", WEIGHT_CLASSES),
    ("iniset", NOVA, "kongming_scheduler", "numa_strategy", "spread"),
]
CANDIDATES: Calls = [
    ("iniset", PLACEMENT, "placement", "allocation_candidates_generation_strategy", "breadth-first"),
    ("iniset", PLACEMENT, "placement", "allocation_conflict_retry_count", "1"),
]
AGENT_FILE: Calls = [
    ("sudo", "install", "-d", "-o", str(os.getuid()), "/etc/kongming"),
    ("iniset", AGENT, "DEFAULT", "debug", "True"),
    ("iniset", AGENT, "kongming_agent", "dedicated_cpu_set", "4-7"),
    ("iniset", AGENT, "kongming_agent", "shared_cpu_set", "2-3"),
    ("iniset", AGENT, "kongming_agent", "housekeeping_cpu_set", "0-1"),
    ("iniset", AGENT, "kongming_agent", "vcpu_allocation_ratio", "2.5"),
    ("iniset", AGENT, "kongming_agent", "reserved_memory_mb", "1024"),
    ("iniset", AGENT, "kongming_agent", "interval_seconds", "10"),
    ("sudo", "/opt/stack/data/venv/bin/kongming-host", "hook", "install", "--config-file", AGENT, "--directory", HOOKS),
    ("restart_service", "libvirtd"),
]


def stack_calls(install: Calls, post_config: Calls, extra: Calls) -> dict[str, Calls]:
    """What the phases of stack.sh call."""
    return {
        "settings": SETTINGS,
        "stack pre-install": [],
        "stack install": [("echo_summary", "Installing KongMing"), *install],
        "stack post-config": [("echo_summary", "Configuring KongMing"), *post_config],
        "stack extra": [("echo_summary", "Starting KongMing"), *extra],
        "stack test-config": [],
    }


WITH_AGENT: Calls = [("setup_develop", str(ROOT), "agent")]
WITHOUT_AGENT: Calls = [("setup_develop", str(ROOT))]
RUN: Calls = [("run_process", "kongming-agent", COMMAND, "", "root")]
STOP = ("stop_process", "kongming-agent")
CLEAN: Calls = [("sudo", "rm", "-f", f"{HOOKS}/qemu.d/90-kongming"), ("sudo", "rm", "-rf", "/etc/kongming")]


class DevStack:
    """A node: the files that stack.sh has written before it calls plugins, and the way to call them.

    :param root: stands for the root directory of the node
    :param services: ENABLED_SERVICES of local.conf
    :param variables: other variables of local.conf
    """

    def __init__(self, root: Path, services: str, **variables: str) -> None:
        self.root = root
        self._programs = root / "bin"
        self._programs.mkdir()
        for program in PROGRAMS:
            path = shutil.which(program)
            assert path, f"this machine has no {program}"
            (self._programs / program).symlink_to(path)
        self._environment = {
            "PATH": str(self._programs),
            "ROOT": str(root),
            "RECORD": str(root / "record"),
            "KONGMING_CONF_DIR": str(root / "etc/kongming"),
            "KONGMING_HOOKS_DIR": str(root / HOOKS.lstrip("/")),
            "ENABLED_SERVICES": services,
            **variables,
        }
        self.write(NOVA, "[filter_scheduler]\nenabled_filters = ComputeFilter,SameHostFilter\n")
        self.write(NOVA_CPU, "[compute]\ncpu_shared_set = 0-1\n")
        self.write(PLACEMENT, "[DEFAULT]\ndebug = True\n")
        programs = self.path("/opt/stack/data/venv/bin")
        programs.mkdir(parents=True)
        for name in ("kongming-host", "kongming-agent"):
            (programs / name).symlink_to(Path(sys.executable).with_name(name))

    def path(self, path: str) -> Path:
        """Where a file of the node is on this machine."""
        return self.root / path.lstrip("/")

    def write(self, path: str, text: str) -> None:
        """Make a file of the node."""
        self.path(path).parent.mkdir(parents=True, exist_ok=True)
        self.path(path).write_text(text)

    def stack(self, *phases: str) -> dict[str, Calls]:
        """Run stack.sh, all phases or some; the calls of each."""
        return self.run("stack", *(phases or STACK_PHASES))

    def run(self, *script: str, plugin: Path = PLUGIN) -> dict[str, Calls]:
        """Run a mode and its phases; the calls of each.

        :raises AssertionError: if that fails, or if something is called that DevStack does not have
        """
        done = self.execute(*script, plugin=plugin)
        found: dict[str, Calls] = {}
        for line in self.path("/record").read_text().splitlines():
            name, *arguments = line.replace(str(self.root), "").split("\t")
            assert name != "UNKNOWN", f"DevStack has no {arguments[0]}"
            if name == "PHASE":
                calls = found.setdefault(" ".join(arguments), [])
                continue
            if name == "warn":
                assert arguments.pop(0).isdigit(), "warn wants a line number"
            calls.append((name, *arguments))
        assert done.returncode == 0, done.stderr
        return found

    def execute(self, *script: str, plugin: Path = PLUGIN) -> subprocess.CompletedProcess[str]:
        """Run a mode and its phases, be it well or not."""
        command = ["bash", str(RECORDER), str(plugin), *script]
        self.path("/record").unlink(missing_ok=True)
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)


@pytest.fixture
def devstack(tmp_path: Path) -> Callable[..., DevStack]:
    """Makes a node with all variables of the plugin set, of which there can be one in a test."""

    def make(services: str, **variables: str) -> DevStack:
        return DevStack(tmp_path, services, **{**VARIABLES, **variables})

    return make


def options(path: Path, *registers: Callable[[cfg.ConfigOpts], None]) -> cfg.ConfigOpts:
    """A configuration file, as the program reads it whose options are given."""
    conf = cfg.ConfigOpts()
    for register in registers:
        register(conf)
    conf([], default_config_files=[str(path)])
    return conf


@pytest.mark.parametrize(
    ("services", "variables", "expected"),
    [
        pytest.param(ALL, {}, stack_calls(WITH_AGENT, SCHEDULER + CANDIDATES + AGENT_FILE, RUN), id="all services"),
        pytest.param(CONTROLLER, {}, stack_calls(WITHOUT_AGENT, SCHEDULER + CANDIDATES, []), id="controller"),
        pytest.param(COMPUTE, {}, stack_calls(WITH_AGENT, AGENT_FILE, RUN), id="compute node"),
        pytest.param("n-sch", {}, stack_calls(WITHOUT_AGENT, SCHEDULER, []), id="scheduler alone"),
        pytest.param("placement-api", {}, stack_calls(WITHOUT_AGENT, CANDIDATES, []), id="placement alone"),
        pytest.param(
            ALL,
            {"DISABLED_SERVICES": "kongming-agent"},
            stack_calls(WITHOUT_AGENT, SCHEDULER + CANDIDATES, []),
            id="agent disabled",
        ),
        pytest.param(
            ALL,
            {"VIRT_DRIVER": "fake"},
            stack_calls(WITHOUT_AGENT, SCHEDULER + CANDIDATES, []),
            id="guests of no libvirt",
        ),
        pytest.param(
            ALL,
            {"DISABLED_SERVICES": "kongming"},
            {"settings": SETTINGS, **{f"stack {phase}": [] for phase in STACK_PHASES}},
            id="disabled",
        ),
    ],
)
def test_each_node_gets_what_runs_there(
    devstack: Callable[..., DevStack], services: str, variables: dict[str, str], expected: dict[str, Calls]
) -> None:
    """The filters go where nova-scheduler is, the strategy where Placement is, the agent where guests are."""
    assert expected == devstack(services, **variables).stack()


@pytest.mark.parametrize(
    ("services", "variables", "unstack", "clean"),
    [
        pytest.param(ALL, {}, [STOP], CLEAN, id="all services"),
        pytest.param(CONTROLLER, {}, [STOP], CLEAN, id="controller"),
        pytest.param(COMPUTE, {}, [STOP], CLEAN, id="compute node"),
        pytest.param(ALL, {"DISABLED_SERVICES": "kongming-agent"}, [], CLEAN, id="agent disabled"),
        pytest.param(ALL, {"DISABLED_SERVICES": "kongming"}, [], [], id="disabled"),
    ],
)
def test_what_was_started_is_stopped_and_what_was_made_is_removed(
    devstack: Callable[..., DevStack], services: str, variables: dict[str, str], unstack: Calls, clean: Calls
) -> None:
    """By unstack.sh and by clean.sh, which runs unstack.sh first."""
    node = devstack(services, **variables)
    assert {"settings": SETTINGS, "unstack": unstack} == node.run("unstack")
    assert {"settings": SETTINGS, "clean": clean} == node.run("clean")


def files(node: DevStack) -> list[Path]:
    """All files below /etc."""
    return sorted(path for path in node.path("/etc").rglob("*") if path.is_file())


def test_cleaning_leaves_no_file(devstack: Callable[..., DevStack]) -> None:
    """Nova's and Placement's files are clean.sh's own to remove."""
    node = devstack(ALL)
    before = files(node)
    node.stack()
    assert before != files(node)
    node.run("unstack")
    node.run("clean")
    assert before == files(node)


def test_stacking_again_changes_nothing(devstack: Callable[..., DevStack]) -> None:
    """No value is written twice."""
    node = devstack(ALL)
    files = (NOVA, PLACEMENT, AGENT)
    node.stack()
    once = [node.path(path).read_text() for path in files]
    node.stack()
    assert once == [node.path(path).read_text() for path in files]


def test_what_is_no_longer_set_leaves_the_agents_file(devstack: Callable[..., DevStack]) -> None:
    """The file is made anew, as those of DevStack's own services are."""
    node = devstack(COMPUTE)
    node.write(AGENT, "[kongming_agent]\nhost = other\n")
    node.stack()
    assert "other" not in node.path(AGENT).read_text()


def test_nova_loads_the_filters_and_weighers(devstack: Callable[..., DevStack]) -> None:
    """nova-scheduler finds every class that nova.conf names, its own and ours, and our options are in their group."""
    node = devstack(ALL)
    node.stack()
    conf = options(node.path(NOVA), nova_conf.register_opts, scheduler_conf.register_opts)
    chosen = conf.filter_scheduler
    available = filters.HostFilterHandler().get_matching_classes(chosen.available_filters)
    assert set() == set(chosen.enabled_filters) - {found.__name__ for found in available}
    assert ENABLED_FILTERS.split(",") == chosen.enabled_filters
    weighers = [found.__name__ for found in weights.HostWeightHandler().get_matching_classes(chosen.weight_classes)]
    assert {"KongmingPackingWeigher", "KongmingReserveWeigher", "RAMWeigher"} <= set(weighers)
    assert sorted(set(weighers)) == sorted(weighers)
    assert "spread" == conf.kongming_scheduler.numa_strategy


def test_other_plugins_keep_their_filters_and_weighers(devstack: Callable[..., DevStack]) -> None:
    """What stands in nova.conf stays, in its order, between ours."""
    node = devstack(ALL)
    node.write(
        NOVA,
        """
[filter_scheduler]
available_filters = nova.scheduler.filters.all_filters
available_filters = blazarnova.scheduler.filters.blazar_filter.BlazarFilter
enabled_filters = SameHostFilter, ComputeFilter, BlazarFilter
weight_classes = nova.scheduler.weights.ram.RAMWeigher
[other]
enabled_filters = none
""",
    )
    node.stack()
    chosen = options(node.path(NOVA), nova_conf.register_opts).filter_scheduler
    assert [
        "nova.scheduler.filters.all_filters",
        "blazarnova.scheduler.filters.blazar_filter.BlazarFilter",
        "kongming_sched.filters.all_filters",
    ] == chosen.available_filters
    assert [
        "KongmingTemplateFilter",
        "SameHostFilter",
        "ComputeFilter",
        "BlazarFilter",
        "KongmingNumaFilter",
    ] == chosen.enabled_filters
    assert [
        "nova.scheduler.weights.ram.RAMWeigher",
        "kongming_sched.weighers.all_weighers",
    ] == chosen.weight_classes


def test_a_filter_that_came_later_does_not_follow_ours(devstack: Callable[..., DevStack]) -> None:
    """Stacking again puts ours first and last again."""
    node = devstack(ALL)
    node.write(NOVA, f"[filter_scheduler]\nenabled_filters = {ENABLED_FILTERS},BlazarFilter\n")
    node.stack()
    chosen = options(node.path(NOVA), nova_conf.register_opts).filter_scheduler
    expected = ["KongmingTemplateFilter", "ComputeFilter", "SameHostFilter", "BlazarFilter", "KongmingNumaFilter"]
    assert expected == chosen.enabled_filters


def test_without_any_filter_devstacks_own_are_taken(devstack: Callable[..., DevStack]) -> None:
    """Nova's defaults would be gone once the option is set."""
    node = devstack("n-sch", KONGMING_NUMA_STRATEGY="")
    node.write(NOVA, "[DEFAULT]\n")
    node.stack()
    chosen = options(node.path(NOVA), nova_conf.register_opts).filter_scheduler
    assert "KongmingTemplateFilter" == chosen.enabled_filters[0]
    assert ["SameHostFilter", "DifferentHostFilter", "KongmingNumaFilter"] == chosen.enabled_filters[-3:]


def test_placement_takes_what_it_needs(devstack: Callable[..., DevStack]) -> None:
    """They are options of Placement's, with values that it knows."""
    node = devstack(ALL)
    node.stack()
    conf = options(node.path(PLACEMENT), placement_conf.register_opts)
    assert "breadth-first" == conf.placement.allocation_candidates_generation_strategy
    assert 1 == conf.placement.allocation_conflict_retry_count


def test_the_hook_stands_where_libvirt_looks(devstack: Callable[..., DevStack]) -> None:
    """From configuring on, until clean.sh takes it away."""
    node = devstack(COMPUTE)
    hook = node.path(f"{HOOKS}/qemu.d/90-kongming")
    node.stack()
    assert os.access(hook, os.X_OK)
    node.run("clean")
    assert not hook.exists()


def agent_options(node: DevStack) -> cfg.ConfigOpts:
    """What the agent reads when it is called as DevStack calls it."""
    (_, _, command, *_), *_ = [call for call in node.stack()["stack extra"] if call[0] == "run_process"]
    return parse([str(node.path(word)) if word.startswith("/etc/") else word for word in command.split()[1:]])


def test_the_agent_reads_what_local_conf_says(devstack: Callable[..., DevStack]) -> None:
    """Every variable arrives, and of nova-cpu.conf what Nova uses itself."""
    conf = agent_options(devstack(ALL))
    settings = read_settings(conf)
    assert (CpuSet.parse("4-7"), CpuSet.parse("2-3")) == (settings.dedicated, settings.shared)
    assert (CpuSet.parse("0-1"), 2.5) == (settings.housekeeping, settings.vcpu_allocation_ratio)
    assert (1024, 10) == (settings.reserved_memory_mb, settings.interval_seconds)
    assert "0-1" == conf.compute.cpu_shared_set
    assert conf.debug


def test_the_agent_reaches_placement_as_nova_compute_does(devstack: Callable[..., DevStack]) -> None:
    """By what DevStack writes for nova-compute, the deprecated interface included."""
    node = devstack(COMPUTE)
    node.write(
        NOVA_CPU, "[placement]\nauth_type = password\nauth_url = http://controller/identity\ninterface = public\n"
    )
    adapter = placement_adapter(agent_options(node))
    assert ("placement", ["internal", "public"]) == (adapter.service_type, adapter.interface)


def test_what_local_conf_does_not_say_stays_as_the_agent_has_it(devstack: Callable[..., DevStack]) -> None:
    """There is one place for each default, and it is not the plugin."""
    node = devstack(COMPUTE, **dict.fromkeys(VARIABLES, ""))
    conf = agent_options(node)
    defaults = parse([])
    assert dict(defaults.kongming_agent) == dict(conf.kongming_agent)


def test_nova_is_led_where_local_conf_asks_for_it(devstack: Callable[..., DevStack]) -> None:
    """nova-compute reads what the agent says of this host, with the real networks, after stack.sh wrote its file."""
    node = devstack(ALL, KONGMING_NFV="yes", KONGMING_DEDICATED_CPU_SET="2,4", KONGMING_SHARED_CPU_SET="")
    # libvirt's test driver, whose host has two nodes and the CPUs 0, 2 and 4
    driver = "[kongming_agent]\nlibvirt_uri = test:///default\n"
    node.write(NOVA_CPU, f"{driver}[neutron]\nphysnets = public\n[compute]\ncpu_shared_set = 0\n")
    for _ in range(2):
        calls = node.stack()
        assert ("restart_service", "devstack@n-cpu") in calls["stack extra"]
        assert "run_process" == calls["stack extra"][-1][0]
    conf = options(node.path(NOVA_CPU))
    conf.register_opts(neutron_conf.neutron_opts, group="neutron")
    neutron_conf.register_dynamic_opts(conf)
    compute_conf.register_opts(conf)
    assert ["public", "kongming_numa0", "kongming_numa1"] == conf.neutron.physnets
    assert {1} == set(conf.neutron_physnet_kongming_numa1.numa_nodes)
    assert ("2,4", "0") == (conf.compute.cpu_dedicated_set, conf.compute.cpu_shared_set)
    assert options(node.path(NOVA), workarounds_conf.register_opts).workarounds.disable_fallback_pcpu_query


def test_a_node_without_pools_is_warned_of(devstack: Callable[..., DevStack]) -> None:
    """The agent would have nothing to offer, which is easily overlooked."""
    node = devstack(COMPUTE, KONGMING_DEDICATED_CPU_SET="", KONGMING_SHARED_CPU_SET="")
    (warning,) = [call for call in node.stack()["stack post-config"] if call[0] == "warn"]
    assert "set KONGMING_DEDICATED_CPU_SET or KONGMING_SHARED_CPU_SET" in warning[1]


def test_the_plugin_says_nothing_by_itself(devstack: Callable[..., DevStack]) -> None:
    """What goes to standard error is an error to readers of stack.sh's log."""
    assert "" == devstack(ALL).execute("stack", *STACK_PHASES).stderr


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        ("setup_develop_agent /opt", "DevStack has no setup_develop_agent"),
        ("_run_under_systemd kongming-agent", "DevStack has no _run_under_systemd"),
        ("if crudini --version; then :; fi", "DevStack has no crudini"),
        ('echo "$KEYSTONE_IS_AT"', "KEYSTONE_IS_AT: unbound variable"),
    ],
    ids=["name", "private function", "program in a condition", "variable"],
)
def test_what_devstack_does_not_have_is_found(
    devstack: Callable[..., DevStack], tmp_path: Path, call: str, complaint: str
) -> None:
    """The tests above are not void."""
    node = devstack(ALL)
    node.write("/plugin/settings", "define_plugin other\n")
    node.write("/plugin/plugin.sh", f"{call}\n")
    with pytest.raises(AssertionError, match=complaint):
        node.run("stack", "install", plugin=tmp_path / "plugin")
