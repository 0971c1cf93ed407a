# SPDX-License-Identifier: Apache-2.0
"""OpenStack's CI does what ``.ci/run`` does. Zuul itself reads the file only where it is hosted."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.unit.test_packaging import ROOT

ITEMS: list[dict[str, dict[str, Any]]] = yaml.safe_load((ROOT / ".zuul.yaml").read_text())
JOBS = {item["job"]["name"]: item["job"] for item in ITEMS if "job" in item}
ELSEWHERE = {"base", "devstack-tempest"}
"""Jobs of OpenStack's CI that ours are derived from."""

JOB_ATTRIBUTES = {
    *("name", "parent", "abstract", "description", "nodeset", "timeout", "run", "post-run", "irrelevant-files", "vars"),
    *("required-projects", "roles", "voting", "files", "pre-run", "dependencies"),
}
"""Those of Zuul's documentation that are of use here."""


def words_of(script: str, pattern: str) -> list[str]:
    """The words of a list that a script has."""
    found = re.search(pattern, (ROOT / script).read_text(), re.MULTILINE)
    assert found
    return found[1].replace("|", " ").split()


def commands() -> list[str]:
    """What the jobs that run for every change type."""
    (template,) = (item["project-template"] for item in ITEMS if "project-template" in item)
    jobs = [job if isinstance(job, str) else next(iter(job)) for job in template["gate"]["jobs"]]
    return [JOBS[job]["vars"]["kongming_command"] for job in jobs if "kongming_command" in JOBS[job]["vars"]]


@pytest.mark.parametrize("name", JOBS)
def test_a_job_is_one_by_zuuls_documentation(name: str) -> None:
    """A parent and playbooks that exist, and no attribute that is misspelt."""
    job = JOBS[name]
    assert set() == job.keys() - JOB_ATTRIBUTES
    assert job["parent"] in JOBS.keys() | ELSEWHERE
    assert [] == [key for key in ("run", "post-run") if key in job and not (ROOT / job[key]).is_file()]


@pytest.mark.parametrize("step", words_of(".ci/run", r"^all=\(([^)]*)\)"))
def test_every_step_of_ci_is_a_job(step: str) -> None:
    """Of the step test each check is one of its own, so that they run at once."""
    wanted = {
        "test": {f"./tools/test {check}" for check in words_of("tools/test", r"^ +(lint \|[^)]*)\) checks")},
        "actions": {"./tools/scenario actions"},
        "burst": {"./tools/scenario burst"},
        "releases": {
            f"./tools/releases {name}" for name in words_of(".ci/run", r"command\+=\(--skip-missing ([^)]*)\)")
        },
    }.get(step, {f"./tools/{step}"})
    assert set() == {one for one in wanted if not any(one in command for command in commands())}


def test_a_change_that_is_merged_has_passed_what_it_was_checked_by() -> None:
    """The same jobs in both pipelines, and every job that is no mere parent is among them."""
    (template,) = (item["project-template"] for item in ITEMS if "project-template" in item)
    assert template["check"] == template["gate"]
    used = {job if isinstance(job, str) else next(iter(job)) for job in template["check"]["jobs"]}
    assert used == {name for name, job in JOBS.items() if not job.get("abstract")}


def test_devstack_finds_the_plugin_by_the_name_that_it_defines() -> None:
    """The name of the plugin is that of the directory that Zuul makes of the repository."""
    names = JOBS["kongming-tempest"]["vars"]["devstack_plugins"].keys()
    assert names == set(words_of("devstack/settings", r"^define_plugin (.*)$"))
