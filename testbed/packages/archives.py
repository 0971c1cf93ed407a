# SPDX-License-Identifier: Apache-2.0
"""Compares a wheel and a source archive with the checkout that they were built from.

Usage: ``python -m testbed.packages.archives WHEEL ARCHIVE``
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PACKAGES = ("kongming_sched/", "kongming_tempest_plugin/")
GENERATED = {
    "etc/kongming-agent.conf.sample",
    "etc/kongming-scheduler.conf.sample",
    "man/man1/kongming-agent.1",
    "man/man1/kongming-host.1",
    "man/man1/kongming-status.1",
    "man/man1/openstack-kongming.1",
    "man/man5/kongming-agent.conf.5",
    "man/man5/kongming-scheduler.conf.5",
    "man/man5/kongming-template.5",
}
"""What tools/generate must have made."""

INSTALLED = {"etc/kongming-agent.service": "systemd", "etc/grafana/kongming.json": "grafana"}
"""Files of the checkout, and where below share/kongming-sched the wheel puts them."""


def tracked() -> set[str]:
    """The files that git knows and that are there, but for what is git's own."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in listed.splitlines() if (ROOT / name).is_file()} - {".gitignore"}


def wanted_in_wheel(files: Iterable[str]) -> set[str]:
    """Code with all that lies beside it, and under ``share`` what is not code."""
    share = {f"share/kongming-sched/{target}/{Path(name).name}" for name, target in INSTALLED.items()}
    made = {f"share/{'' if name.startswith('man/') else 'kongming-sched/'}{name}" for name in GENERATED}
    return {name for name in files if name.startswith(PACKAGES)} | share | made


def in_wheel(path: Path) -> set[str]:
    """The files of a wheel, by where they end up."""
    with zipfile.ZipFile(path) as archive:
        return {name.partition(".data/data/")[2] or name for name in archive.namelist()}


def in_archive(path: Path) -> set[str]:
    """The files of a source archive."""
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def main(wheel: str, archive: str) -> int:
    """Name what is lacking; 1 if something is."""
    files = tracked()
    lacking = {
        wheel: wanted_in_wheel(files) - in_wheel(Path(wheel)),
        archive: (files | {f"generated/{name}" for name in GENERATED}) - in_archive(Path(archive)),
    }
    for path, names in lacking.items():
        if names:
            print(f"{path} lacks {', '.join(sorted(names))}", file=sys.stderr)
    return 1 if any(lacking.values()) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
