# SPDX-License-Identifier: Apache-2.0
"""Which tests go to one worker, and which of them first."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.functional.schedule import FIRST, HERE, ROOT, rank, unit_of

FILES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / HERE).rglob("test_*.py"))
STARTS_LIBVIRT = re.compile(r"\b(?:compute_host|hypervisor)\(")


@pytest.mark.parametrize("path", [path for path in FILES if STARTS_LIBVIRT.search(Path(ROOT, path).read_text())])
def test_files_that_start_libvirtd_are_of_its_group(path: str) -> None:
    """There is one libvirtd on a machine, so that others would wait for it in their workers."""
    assert "libvirt" == unit_of(path)


def test_classes_of_a_file_are_units_of_their_own() -> None:
    """As they are for xdist, unless their file is of a group."""
    scope = f"{HERE}nova/test_servers.py::CreateTest"

    assert scope == unit_of(scope)


def test_what_comes_first_exists() -> None:
    """Each name is of a group or of a file, whose tests are handed out in this order and before all others."""
    units = {unit_of(path) for path in FILES}

    assert [] == [name for name in FIRST if name not in units and HERE + name not in units]
    assert [*range(len(FIRST))] == [rank(name if name in units else HERE + name) for name in FIRST]
    assert len(FIRST) == rank(f"{HERE}test_schedule.py")
