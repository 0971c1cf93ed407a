# SPDX-License-Identifier: Apache-2.0
"""What the package promises to the programs that load it."""

from __future__ import annotations

import configparser
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from oslo_config import generator

ROOT = Path(__file__).parents[2]


def setup_cfg() -> configparser.ConfigParser:
    """setup.cfg as it stands."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def entry_points() -> list[str]:
    """The right-hand side of every entry point."""
    groups = setup_cfg()["entry_points"].values()
    return sorted({line.partition("=")[2].strip() for group in groups for line in group.splitlines() if line})


@pytest.mark.parametrize("entry_point", entry_points())
def test_every_entry_point_loads(entry_point: str) -> None:
    """A name that is wrong would show only when Nova, OpenStackClient or an operator needs it."""
    module, _, attribute = entry_point.partition(":")
    loaded = importlib.import_module(module)
    assert not attribute or callable(getattr(loaded, attribute))


@pytest.mark.parametrize(
    ("sample", "group"), [("kongming-agent", "kongming_agent"), ("kongming-scheduler", "kongming_scheduler")]
)
def test_the_sample_configuration_is_generated(sample: str, group: str, tmp_path: Path) -> None:
    """Every option of the group is in it, with help and its default."""
    target = tmp_path / "sample"
    config = ROOT / "etc" / "oslo-config-generator" / f"{sample}.conf"
    generator.main(["--config-file", str(config), "--output-file", str(target)])
    section = target.read_text().partition(f"[{group}]")[2].partition("\n[")[0]
    listed = re.findall(r"^#([a-z_]+) =", section, re.MULTILINE)
    module = importlib.import_module(f"kongming_sched.conf.{group.removeprefix('kongming_')}")
    assert [option.name for option in module.OPTS] == listed
    assert all(option.help for option in module.OPTS)


def pins(path: str) -> dict[str, str]:
    """Name to version of a requirements file."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / path).read_text().splitlines()]
    pairs = [line.split("==") for line in lines if line]
    return {normalise(name): version for name, version in pairs}


def normalise(name: str) -> str:
    """One spelling for all spellings of a package's name."""
    return re.sub("[-_.]+", "-", name).lower()


def test_tests_run_on_pinned_versions() -> None:
    """The same today and in a year; what is asked for and what is pulled in do not contradict each other."""
    asked, pulled_in = pins("test-requirements.txt"), pins("constraints.txt")
    assert asked == {name: pulled_in.get(name, asked[name]) for name in asked}


def test_everything_that_the_package_needs_is_pinned() -> None:
    """Also what only requirements.txt names."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    needed = {normalise(re.split("[>=<]", line)[0]) for line in lines if line}
    assert set() == needed - pins("constraints.txt").keys() - pins("test-requirements.txt").keys()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="an unpacked archive has no list of its files")
def test_no_file_names_a_mirror() -> None:
    """Packages come from where the machine's apt, pip and npm are configured to get them."""
    hosts = re.compile(
        r"\b(deb|ftp|archive|security|snapshot)\.(debian\.org|ubuntu\.com)|\b(registry\.npmjs|proxy\.golang)\.org"
        r"|\b(files\.pythonhosted|(test\.)?pypi)\.org"
    )
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in listed.split("\0") if (ROOT / name).is_file()]
    assert [] == [str(path) for path in files if hosts.search(path.read_bytes().decode(errors="replace"))]


def test_users_of_the_package_get_its_types() -> None:
    """By PEP 561, for both packages; tools/package has mypy read them from the built wheel."""
    assert ["kongming_sched", "kongming_tempest_plugin"] == sorted(path.parent.name for path in ROOT.glob("*/py.typed"))


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="an unpacked archive has no history")
def test_a_checkout_has_a_version_before_the_one_of_setup_cfg() -> None:
    """pbr counts the commits, and refuses a version that is not after the last tag."""
    target = setup_cfg()["metadata"]["version"]
    script = f"from pbr import packaging; print(packaging.get_version('kongming-sched', {target!r}))"
    environment = {name: value for name, value in os.environ.items() if name != "PBR_VERSION"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert re.fullmatch(re.escape(target) + r"(\.dev\d+)?", done.stdout.strip())


def test_debians_changelog_is_of_the_same_version() -> None:
    """Between releases it is 1.0.0~dev0, which Debian sorts before 1.0.0."""
    version = re.match(r"kongming-sched \(([^~-]+)(~dev0)?-\d+\)", (ROOT / "debian/changelog").read_text())
    assert version
    assert setup_cfg()["metadata"]["version"] == version[1]


def bounds(lines: str) -> dict[str, str]:
    """Name to lower bound, of requirements."""
    found = re.findall(r"^([A-Za-z0-9._-]+)>=([0-9.]+)", lines, re.MULTILINE)
    return {normalise(name): bound for name, bound in found}


def test_debians_packages_want_the_same_versions() -> None:
    """What the agent needs beyond the code stands there by hand, and so does what they are built with."""
    control = (ROOT / "debian/control").read_text()
    asked = re.findall(r"^ python3-([a-z0-9.-]+) \(>= (?:\d+:)?([0-9.]+)\)", control, re.MULTILINE)
    extra = bounds(setup_cfg()["extras"]["agent"])
    wanted = bounds((ROOT / "requirements.txt").read_text()) | extra | {"setuptools": "64"}
    in_debian = {"pyyaml": "yaml", "python-dateutil": "dateutil"}
    wanted = {in_debian.get(name, name): bound for name, bound in wanted.items()}
    del wanted["libvirt-python"]  # Debian builds it for its own libvirt
    assert {(normalise(name), bound) for name, bound in asked} == set(wanted.items())
