# SPDX-License-Identifier: Apache-2.0
"""The unit tests of a module are where the module's path says, so that both are found by one name."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent

ROOTS = {"testbed": Path("testbed"), "tempest_plugin": Path("kongming_tempest_plugin")}
"""Folders here that are of another package than kongming_sched, and its path."""

OTHERS = {
    "agent/telemetry/test_dashboard.py": "etc/grafana",
    "clauses/test_clauses.py": "kongming_sched/clauses itself",
    "cli/test_imports.py": "what importing the commands loads",
    "devstack/test_devstack.py": "devstack",
    "placement/test_stored_templates.py": "traits as earlier versions have written them, by codec and templates",
    "schemas/test_published.py": "the published files of kongming_sched/schemas",
    "schemas/test_schemas.py": "kongming_sched/schemas itself",
    "test_community_files.py": "the files of the project that no program reads",
    "test_documents.py": "doc",
    "test_layers.py": "all packages, and who may import whom",
    "test_mirror.py": "tests/unit",
    "test_numbers_from_outside.py": "every place at which a number from outside is read",
    "test_packaging.py": "setup.cfg, debian, ansible",
    "test_stability.py": "what the page about stability promises",
    "test_zuul.py": ".zuul.yaml",
    "testbed/cloud/test_command.py": "testbed/cloud/__main__.py",
    "testbed/cloud/test_parts.py": "all parts of a cloud, and what their configuration says",
    "testbed/cloud/test_stand_ins.py": "the small programs that stand for Neutron, for ssh, and for agents",
}
"""Tests that are of no single module, and what they are of."""


def tests() -> list[str]:
    """Every file of unit tests, by its path from here."""
    return sorted(str(path.relative_to(HERE)) for path in HERE.rglob("test_*.py"))


def module_of(test: str) -> Path:
    """Where the module is that a file of tests is named for, without a suffix."""
    path = Path(test)
    top, *rest = path.parts[:-1] or ("",)
    folder = ROOTS[top].joinpath(*rest) if top in ROOTS else Path("kongming_sched").joinpath(*path.parts[:-1])
    return folder / path.stem.removeprefix("test_")


@pytest.mark.parametrize("test", [test for test in tests() if test not in OTHERS])
def test_a_module_stands_where_its_tests_say(test: str) -> None:
    """A module or a package has the name; when it moves its tests move with it."""
    module = ROOT / module_of(test)
    assert module.with_suffix(".py").is_file() or (module / "__init__.py").is_file()


def test_what_is_an_exception_exists_and_needs_it() -> None:
    """The list is not longer than it must be."""
    assert set() == OTHERS.keys() - set(tests())
    assert [] == [test for test in OTHERS if (ROOT / module_of(test)).with_suffix(".py").exists()]
