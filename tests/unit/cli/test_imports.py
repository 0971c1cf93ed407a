# SPDX-License-Identifier: Apache-2.0
"""What the commands load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from kongming_sched import cli

PLUGIN = {"kongming_sched", "kongming_sched.cli", "kongming_sched.cli.plugin"}


def loaded_by(*modules: str) -> set[str]:
    """The modules that a fresh Python has after importing these."""
    program = f"import {', '.join(modules)}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_commands_run_where_neither_nova_nor_libvirt_is_installed() -> None:
    """An operator's workstation has OpenStackClient only."""
    found = (path.relative_to(cli.__path__[0]).with_suffix("") for path in Path(cli.__path__[0]).rglob("*.py"))
    modules = {".".join(path.parts) for path in found if path.name != "__init__"}
    loaded = loaded_by(*(f"kongming_sched.cli.{module}" for module in modules))
    assert {"template.change", "flavor_show", "host_show"} < modules
    assert not {"nova", "libvirt", "kongming_sched.agent"} & loaded


def test_the_status_check_runs_where_neither_nova_nor_libvirt_is_installed() -> None:
    """On a controller there is no libvirt, and beside Placement there may be no Nova."""
    loaded = loaded_by("kongming_sched.status.command")
    assert "oslo_upgradecheck.upgradecheck" in loaded
    assert not {"nova", "libvirt", "kongming_sched.agent"} & loaded


def test_the_plugin_costs_other_commands_nothing() -> None:
    """Every ``openstack`` command imports it, and nothing with it that osc has not imported anyhow."""
    osc = ("argparse", "osc_lib.utils")
    assert PLUGIN == loaded_by(*osc, "kongming_sched.cli.plugin") - loaded_by(*osc)


def test_a_command_that_looks_loads_no_library_that_osc_has_not_loaded() -> None:
    """What it imports is what an operator waits for."""
    others = ("openstackclient.shell", "openstack.connection", "osc_placement.resources.resource_provider")
    reading = [
        f"kongming_sched.cli.{name}" for name in ("template.show", "host_show", "server_show", "flavor_show", "explain")
    ]
    libraries = {name.partition(".")[0] for name in loaded_by(*others, *reading) - loaded_by(*others)}
    libraries -= sys.stdlib_module_names
    assert libraries == {"kongming_sched"}


def test_the_schedulers_side_loads_neither_libvirt_nor_the_agent() -> None:
    """A controller has the package without its extra for agents."""
    modules = ["filters", "filters.template", "filters.numa", "weighers", "weighers.packing", "weighers.affinity"]
    loaded = loaded_by(*(f"kongming_sched.{name}" for name in [*modules, "weighers.reserve", "validators"]))
    assert not {"libvirt", "kongming_sched.agent", "kongming_sched.cli"} & loaded
