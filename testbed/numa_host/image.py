# SPDX-License-Identifier: Apache-2.0
"""Disk and kernel of an emulated host: Debian 12, made anew only when what they are made of has changed."""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.lab.process import REPOSITORY, LabError

SUITE = "bookworm"
KERNEL_PACKAGE = "linux-image-cloud-amd64"
PACKAGES = (
    "iproute2",
    "kmod",
    "libvirt-daemon",
    "libvirt-daemon-driver-qemu",
    "procps",
    "python3",
    "python3-libvirt",
    "qemu-system-x86",
)
"""What every host needs beyond Debian's required packages; libvirt's Python binding is the one that Debian has."""

DISK_SIZE = "2G"
PARCEL = Path("/parcel")
"""Where the host finds what it is handed at each start."""

PROGRAMS = Path("/usr/local/lib/python3.11/dist-packages/bin")
"""The Python packages' programs in the host; their first lines name a Python that is not there."""

_DIST_PACKAGES = Path("usr/local/lib/python3.11/dist-packages")
_PYTHON = ("--python-version", "3.11", "--implementation", "cp")
_PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")

_FIRMWARE = Path("usr/share/seabios/bios-256k.bin")
_FIRMWARE_BYTES = 256 << 10
_RESET_VECTOR = _FIRMWARE_BYTES - 16
_HALT = bytes([0xFA, 0xF4, 0xEB, 0xFD])
"""cli; again: hlt; jmp again"""

_TAKE_KERNEL = f"""
set -e
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
cd "$1/tmp"
package=$(apt-cache depends {KERNEL_PACKAGE} | sed -n 's/.*Depends: //p')
apt-get -q download "$package"
dpkg-deb -x linux-image-*.deb kernel
mv kernel/boot/vmlinuz-* ../boot/vmlinuz
version=$(ls kernel/lib/modules)
for module in drivers/virtio net/core/failover.ko drivers/net/net_failover.ko drivers/net/virtio_net.ko; do
    mkdir -p "../lib/modules/$version/kernel/$(dirname "$module")"
    mv "kernel/lib/modules/$version/kernel/$module" "../lib/modules/$version/kernel/$module"
done
rm -r kernel linux-image-*.deb ../usr/bin/qemu-system-i386
chroot "$1" depmod "$version"
"""
"""Only the kernel itself, which has all that it needs to mount its disk, and the driver of a network card: an initramfs
would take long to make. And only one QEMU, for libvirtd runs each to see what it can."""


@dataclass(frozen=True)
class Recipe:
    """What a disk is made of.

    :ivar name: of the folder that keeps it
    :ivar packages: Debian's
    :ivar install: what pip is to install
    :ivar setup: the setup.cfg whose extra "agent" pip installs too; None for none
    :ivar frozen: a file that names every Python package with its version, which pip installs too; None for none
    :ivar journal: whether the file system shall stand a crash; else it is faster
    """

    name: str
    packages: tuple[str, ...]
    install: tuple[str | Path, ...] = ()
    setup: Path | None = None
    frozen: Path | None = None
    journal: bool = False

    @property
    def files(self) -> list[Path]:
        """The files that pip reads."""
        return [word for word in (*self.install, self.setup, self.frozen) if isinstance(word, Path)]


PROOF = Recipe(
    "image",
    PACKAGES,
    (
        *("--only-binary", ":all:", "openstack-placement", "-r", REPOSITORY / "requirements.txt"),
        *("-c", REPOSITORY / "constraints.txt", "-c", REPOSITORY / "test-requirements.txt"),
    ),
    REPOSITORY / "setup.cfg",
)
"""For what tools/numa-host proves."""

CLOUD = Recipe(
    "cloud-image",
    (*PACKAGES, "qemu-utils", "socat"),
    frozen=REPOSITORY / "testbed/cloud/constraints.txt",
    journal=True,
)
"""For a compute host of tools/cloud, with the very packages that the cloud has outside."""

_BUILT_HERE = ("libvirt-python", "uwsgi")
"""Packages that are compiled for the machine that they are installed on: one is Debian's, the other not needed."""


def frozen_words(text: str) -> list[str]:
    """What pip shall install by a file with versions, and nothing else."""
    return ["--no-deps", *_portable(text)]


def agent_words(text: str) -> list[str]:
    """What pip shall install for the agent by a setup.cfg."""
    setup = configparser.ConfigParser()
    setup.read_string(text)
    return _portable(setup["extras"]["agent"])


def _portable(requirements: str) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in requirements.splitlines())
    return [line for line in lines if line and re.split("[<>=~!]", line)[0].lower() not in _BUILT_HERE]


@dataclass(frozen=True)
class Image:
    """What a virtual machine boots from."""

    disk: Path
    kernel: Path


def default_directory(environment: Mapping[str, str]) -> Path:
    """Where images are kept unless another place is named."""
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kongming" / "numa-host"


def prepare_image(directory: Path, recipe: Recipe, rebuild: bool, report: Callable[[str], None]) -> Image:
    """The image in a directory, made if it is not there or not of these parts.

    :param rebuild: make it in any case
    :param report: called with a line before what takes long
    """
    place = directory / recipe.name
    image = Image(place / "disk.img", place / "vmlinuz")
    stamp = place / "fingerprint"
    if not rebuild and stamp.exists() and stamp.read_text() == fingerprint(recipe):
        report(f"the image {image.disk} is as it should be")
        return image
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="building-", dir=directory) as scratch:
        new = Path(scratch) / "image"
        new.mkdir()
        _build(recipe, new, Path(scratch), report)
        (new / "fingerprint").write_text(fingerprint(recipe))
        shutil.rmtree(place, ignore_errors=True)
        new.rename(place)
    return image


def fingerprint(recipe: Recipe) -> str:
    """What the image is made of: this file, the first process, and the versions of the Python packages."""
    parts = (Path(__file__), Path(__file__).with_name("init"), *recipe.files)
    return hashlib.sha256(b"\0".join(part.read_bytes() for part in parts)).hexdigest()


def halting_firmware() -> bytes:
    """What guests in the host have for a firmware: it stops the CPU.

    They have nothing to boot, and an emulated machine within an emulated machine takes half a minute to find that out.
    """
    return _HALT.rjust(_RESET_VECTOR + len(_HALT), b"\0").ljust(_FIRMWARE_BYTES, b"\0")


def install_packages(target: Path, *words: str | Path) -> None:
    """Install Python packages, for the host's Python, into a directory.

    :param words: for pip, which for another Python takes packages without their dependencies or wheels alone
    """
    platforms = [word for platform in _PLATFORMS for word in ("--platform", platform)]
    run_program(
        [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile"],
        [*_PYTHON, *platforms, "--target", target, *words],
    )


def _build(recipe: Recipe, place: Path, scratch: Path, report: Callable[[str], None]) -> None:
    root = scratch / "root"
    archive = scratch / "root.tar"
    report(f"making Debian {SUITE} with {', '.join(recipe.packages)}; with the next step this takes some minutes")
    hook = scratch / "take-kernel"
    hook.write_text(f"#!/bin/sh\n{_TAKE_KERNEL}")
    hook.chmod(0o755)
    run_program(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(recipe.packages)}"],
        [f"--customize-hook={hook}", SUITE, archive],
    )
    root.mkdir()
    run_program(["tar", "-xf", archive, "-C", root])
    report("installing the Python packages in it")
    if recipe.install:
        extra = agent_words(recipe.setup.read_text()) if recipe.setup else []
        install_packages(root / _DIST_PACKAGES, *recipe.install, *extra)
    if recipe.frozen:
        install_packages(root / _DIST_PACKAGES, *frozen_words(recipe.frozen.read_text()))
    run_program(["chroot", root, "python3", "-m", "compileall", "-q", "-j", str(os.cpu_count()), f"/{_DIST_PACKAGES}"])
    (root / _FIRMWARE).write_bytes(halting_firmware())
    run_program(["install", "-m", "755", Path(__file__).with_name("init"), root / "init"])
    shutil.move(root / "boot" / "vmlinuz", place / "vmlinuz")
    features = "has_journal" if recipe.journal else "^has_journal"
    run_program(["mke2fs", "-q", "-t", "ext4", "-O", features, "-d", root, place / "disk.img", DISK_SIZE])


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
