# SPDX-License-Identifier: Apache-2.0
"""Checks an installation without the extra for agents, from inside of it.

Usage: ``python -I scheduler_side.py SITE``, with the Python that KongMing is installed for. SITE is a directory of
packages that come after its own: there Nova and OpenStackClient are, which are no part of KongMing.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
import subprocess
import sys
from pathlib import Path

OURS = "kongming_sched"
NOT_HERE = ("kongming_sched.agent", "kongming_sched.filters", "kongming_sched.scheduler", "kongming_sched.weighers")
"""What needs libvirt, and what needs Nova."""

ABSENT = ("libvirt", "prometheus_client", "rich")
"""What the extra would bring. ``rich`` is there wherever OpenStackClient is."""


def modules() -> list[str]:
    """Those that need neither libvirt nor Nova."""
    package = importlib.import_module(OURS)
    names = [module.name for module in pkgutil.walk_packages(package.__path__, f"{OURS}.", onerror=lambda _: None)]
    return [name for name in names if not name.startswith(NOT_HERE)]


def check_alone() -> None:
    """All that stands without Nova is imported, and what the extra brings is not there."""
    missing = [name for name in ABSENT if importlib.util.find_spec(name)]
    assert missing in ([], ["rich"]), f"{missing} came without the extra"
    names = modules()
    for name in names:
        importlib.import_module(name)
    schemas = importlib.import_module("kongming_sched.schemas")
    assert "template-v1" in schemas.schema_names()
    print(f"{len(names)} modules, without libvirt and without Nova")


def check_programs() -> None:
    """What is of use on a controller runs; what is not says what it wants."""
    directory = Path(sys.executable).parent
    status = subprocess.run([directory / "kongming-status", "--help"], capture_output=True, text=True)
    assert status.returncode == 0, status.stderr
    for program in ("kongming-agent", "kongming-host"):
        done = subprocess.run([directory / program, "--help"], capture_output=True, text=True)
        assert done.returncode == 1, f"{program} ran without its libraries"
        assert "pip install 'kongming-sched[agent]'" in done.stderr, done.stderr
    print("kongming-status runs, and kongming-agent says what it wants")


def check_with_nova(site: str) -> None:
    """Nova's own loaders find the filters and weighers, and OpenStackClient finds the commands."""
    sys.path.append(site)
    for name in ABSENT[:2]:
        sys.modules[name] = None  # type: ignore[assignment]  # SITE may have it; an import of it fails now
    filters = importlib.import_module("nova.scheduler.filters").HostFilterHandler()
    weights = importlib.import_module("nova.scheduler.weights").HostWeightHandler()
    found = [
        *filters.get_matching_classes(["kongming_sched.filters.all_filters"]),
        *weights.get_matching_classes(["kongming_sched.weighers.all_weighers"]),
    ]
    for cls in found:
        cls()
        assert Path(sys.modules[cls.__module__].__file__ or "").is_relative_to(sys.prefix), cls
    assert {"KongmingTemplateFilter", "KongmingNumaFilter", "KongmingPackingWeigher"} <= {cls.__name__ for cls in found}
    commands = importlib.metadata.entry_points(group="openstack.kongming.v1")
    for command in commands:
        assert command.load()
    print(f"{', '.join(cls.__name__ for cls in found)}, and {len(commands)} commands, without libvirt")


if __name__ == "__main__":
    check_alone()
    check_programs()
    check_with_nova(sys.argv[1])
