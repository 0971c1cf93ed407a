# SPDX-License-Identifier: Apache-2.0
"""What Tempest finds when it loads the plug-in."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from oslo_config import cfg
from tempest.test_discover import plugins

import kongming_tempest_plugin
from kongming_tempest_plugin.plugin import KongmingTempestPlugin
from tests.unit.layers import imports, is_in

PACKAGE = Path(kongming_tempest_plugin.__file__).parent

ALLOWED = [
    "kongming_sched.exceptions",
    "kongming_sched.placement",
    "kongming_sched.request",
    "kongming_sched.template",
    "kongming_tempest_plugin",
    "oslo_config",
    "tempest",
    "testtools",
]
"""It is outside of the cloud that it tests, and so it uses neither Nova nor the agent."""


def sources() -> dict[str, str]:
    """The text of every module."""
    return {str(path.relative_to(PACKAGE)): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}


def test_tempest_finds_the_plugin() -> None:
    """By its entry point, with the folder of its tests and the one that the package is imported from."""
    found = plugins.TempestTestPluginManager().get_plugin_load_tests_tuple()
    assert (str(PACKAGE / "tests"), str(PACKAGE.parent)) == found["kongming"]


def test_options_can_be_registered_and_have_help() -> None:
    """Next to those of Tempest, and once more by another plug-in manager of the same process."""
    conf = cfg.ConfigOpts()
    plugin = KongmingTempestPlugin()
    plugin.register_opts(conf)
    plugin.register_opts(conf)
    conf([], default_config_files=[])

    assert (True, "", 60) == (
        conf.service_available.kongming,
        conf.kongming.explicit_cpus,
        conf.kongming.settle_seconds,
    )
    assert all(option.help for _, options in plugin.get_opt_lists() for option in options)


def test_every_test_has_an_id_of_its_own() -> None:
    """As Tempest asks, so that a test can be named after it was renamed."""
    texts = sources().values()
    ids = Counter(found for text in texts for found in re.findall(r'idempotent_id\("([0-9a-f-]{36})"\)', text))
    tests = [name for text in texts for name in re.findall(r"def (test_\w+)", text)]
    assert len(tests) == len(ids) == ids.total()


@pytest.mark.parametrize("module", sources())
def test_the_plugin_needs_tempest_and_the_core_alone(module: str) -> None:
    """Whatever an operator runs Tempest on needs no service of OpenStack installed."""
    outside = [
        name
        for name in imports(ast.parse(sources()[module]))
        if name.partition(".")[0] not in sys.stdlib_module_names and not any(is_in(name, room) for room in ALLOWED)
    ]
    assert [] == outside
