# SPDX-License-Identifier: Apache-2.0
"""What the emulated host is handed at each start: this checkout's package, installed, and what proves it there."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from testbed.lab.process import REPOSITORY
from testbed.numa_host.image import install_packages, run_program

_SOURCES = ("README.md", "etc", "kongming_sched", "pyproject.toml", "requirements.txt", "setup.cfg", "setup.py")


@contextmanager
def parcel(directory: Path, files: Mapping[str, str]) -> Iterator[Path]:
    """A parcel that is there as long as the context lasts.

    :param directory: where it is
    :param files: further files by name
    """
    with tempfile.TemporaryDirectory(prefix="parcel-", dir=directory) as scratch:
        archive = Path(scratch) / "parcel.tar"
        write_parcel(archive, files)
        yield archive


def write_parcel(archive: Path, files: Mapping[str, str]) -> None:
    """Write a tar with the package, the part of the testbed that runs inside, and further files by name."""
    with tempfile.TemporaryDirectory(prefix="packing-", dir=archive.parent) as scratch:
        contents = Path(scratch) / "contents"
        install_packages(contents / "site", "--no-deps", _build_wheel(Path(scratch)))
        testbed = contents / "testbed"
        for package in ("cloud", "lab", "numa_host"):
            shutil.copytree(REPOSITORY / "testbed" / package, testbed / package)
        shutil.copy2(REPOSITORY / "testbed" / "__init__.py", testbed)
        for name, text in files.items():
            path = contents / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        run_program(["tar", "-cf", archive, "--exclude=__pycache__", "-C", contents, "."])


def _build_wheel(scratch: Path) -> Path:
    """Build the package from a copy, because setuptools leaves its files beside the sources."""
    sources = scratch / "sources"
    sources.mkdir()
    for name in _SOURCES:
        run_program(["cp", "-r", REPOSITORY / name, sources])
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps"]
    version = {"PBR_VERSION": metadata.version("kongming-sched")}
    run_program(pip, ["--wheel-dir", scratch / "wheels", sources], environment=version)
    (wheel,) = (scratch / "wheels").iterdir()
    return wheel
