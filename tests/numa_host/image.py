# SPDX-License-Identifier: Apache-2.0
"""The disk and the kernel of the emulated host: Debian 12, made anew only when what they are made of has changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.process import REPOSITORY, LabError

SUITE = "bookworm"
KERNEL_PACKAGE = "linux-image-cloud-amd64"
PACKAGES = (
    "iproute2",
    "libvirt-daemon",
    "libvirt-daemon-driver-qemu",
    "python3",
    "python3-libvirt",
    "qemu-system-x86",
)
"""What the host needs beyond Debian's required packages; libvirt's Python binding is the one that Debian has."""

DISK_SIZE = "2G"

_DIST_PACKAGES = Path("usr/local/lib/python3.11/dist-packages")
_PYTHON = ("--python-version", "3.11", "--implementation", "cp")
_PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")

_TAKE_KERNEL = f"""
set -e
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
cd "$1/tmp"
package=$(apt-cache depends {KERNEL_PACKAGE} | sed -n 's/.*Depends: //p')
apt-get -q download "$package"
dpkg-deb -x linux-image-*.deb kernel
mv kernel/boot/vmlinuz-* ../boot/vmlinuz
rm -r kernel linux-image-*.deb
"""
"""Only the kernel itself: it has all that it needs to mount its disk, and an initramfs would take long to make."""


@dataclass(frozen=True)
class Image:
    """What a virtual machine boots from."""

    disk: Path
    kernel: Path


def prepare_image(directory: Path, rebuild: bool, tell: Callable[[str], None]) -> Image:
    """The image in a directory, made if it is not there or not of these parts.

    :param rebuild: make it in any case
    :param tell: called with a line before what takes long
    """
    place = directory / "image"
    image = Image(place / "disk.img", place / "vmlinuz")
    stamp = place / "fingerprint"
    if not rebuild and stamp.exists() and stamp.read_text() == fingerprint():
        tell(f"the image {image.disk} is as it should be")
        return image
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="building-", dir=directory) as scratch:
        new = Path(scratch) / "image"
        new.mkdir()
        _build(new, Path(scratch), tell)
        (new / "fingerprint").write_text(fingerprint())
        shutil.rmtree(place, ignore_errors=True)
        new.rename(place)
    return image


def fingerprint() -> str:
    """What the image is made of: this file, the first process, and the versions of the Python packages."""
    parts = (Path(__file__), Path(__file__).with_name("init"), *_version_files())
    return hashlib.sha256(b"\0".join(part.read_bytes() for part in parts)).hexdigest()


def install_packages(target: Path, *words: str | Path) -> None:
    """Install Python packages, from wheels for the host's Python, into a directory."""
    versions = [word for path in _version_files() for word in ("-c", path)]
    platforms = [word for platform in _PLATFORMS for word in ("--platform", platform)]
    run_program(
        [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile"],
        ["--only-binary", ":all:", *_PYTHON, *platforms, *versions, "--target", target, *words],
    )


def _version_files() -> list[Path]:
    return [REPOSITORY / name for name in ("constraints.txt", "test-requirements.txt")]


def _build(place: Path, scratch: Path, tell: Callable[[str], None]) -> None:
    root = scratch / "root"
    archive = scratch / "root.tar"
    tell(f"making Debian {SUITE} with {', '.join(PACKAGES)}; with the next step this takes some minutes")
    hook = scratch / "take-kernel"
    hook.write_text(f"#!/bin/sh\n{_TAKE_KERNEL}")
    hook.chmod(0o755)
    run_program(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", f"--customize-hook={hook}"],
        [SUITE, archive],
    )
    root.mkdir()
    run_program(["tar", "-xf", archive, "-C", root])
    tell("installing the Python packages of the agent and of Placement in it")
    install_packages(root / _DIST_PACKAGES, "openstack-placement", "-r", REPOSITORY / "requirements.txt")
    run_program(["chroot", root, "python3", "-m", "compileall", "-q", "-j", str(os.cpu_count()), f"/{_DIST_PACKAGES}"])
    run_program(["install", "-m", "755", Path(__file__).with_name("init"), root / "init"])
    shutil.move(root / "boot" / "vmlinuz", place / "vmlinuz")
    run_program(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", root, place / "disk.img", DISK_SIZE])


def run_program(*parts: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
    """Run a program.

    :param environment: variables on top of our own
    :raises LabError: with the end of what it says, if it fails
    """
    command = [str(word) for part in parts for word in part]
    variables = os.environ | dict(environment or {})
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=variables)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
        raise LabError(f"{command[0]} ended with {done.returncode}:\n{said}")
