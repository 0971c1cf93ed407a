# SPDX-License-Identifier: Apache-2.0
"""By what a machine differs from another."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kongming_sched.agent.host.machine import machine_mark, uuid_of

DMI = "4c4c4544-0042-3310-8056-b7c04f4d5831"
OTHER_DMI = "4c4c4544-0042-3310-8056-b7c04f4d5832"
MADE_UP = "03000200-0400-0500-0006-000700080009"
LIBVIRT = "30e5dbad-b2c5-4c70-8f5f-ccbd0cc0d0a7"
OTHER_LIBVIRT = "30e5dbad-b2c5-4c70-8f5f-ccbd0cc0d0a8"
MACHINE_ID = "1f3a9cbb5d3f4b0e8c6c5dbb0d1e2f3a"
OTHER_MACHINE_ID = "2f3a9cbb5d3f4b0e8c6c5dbb0d1e2f3a"


def mark(directory: Path, firmware: str, libvirt: str, machine_id: str) -> str:
    """The mark of a machine; files are absent where a text is empty."""
    for path, text in (("sys/class/dmi/id/product_uuid", firmware), ("etc/machine-id", machine_id)):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).unlink(missing_ok=True)
        if text:
            (directory / path).write_text(text + "\n")
    return machine_mark(libvirt, directory)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        pytest.param((DMI, DMI, MACHINE_ID), (OTHER_DMI, OTHER_DMI, MACHINE_ID), False, id="cloned disk"),
        pytest.param((DMI, LIBVIRT, MACHINE_ID), (OTHER_DMI, LIBVIRT, MACHINE_ID), False, id="with libvirtd.conf"),
        pytest.param((DMI, LIBVIRT, MACHINE_ID), (DMI, OTHER_LIBVIRT, MACHINE_ID), False, id="boards of one UUID"),
        pytest.param((DMI, DMI, MACHINE_ID), (DMI, DMI, OTHER_MACHINE_ID), True, id="reinstalled, or a new container"),
        pytest.param((DMI, DMI, MACHINE_ID), (DMI.upper(), DMI.upper(), MACHINE_ID), True, id="written otherwise"),
        pytest.param(("", LIBVIRT, MACHINE_ID), ("", OTHER_LIBVIRT, MACHINE_ID), True, id="libvirt's is made up"),
        pytest.param((MADE_UP, LIBVIRT, MACHINE_ID), (MADE_UP, OTHER_LIBVIRT, MACHINE_ID), True, id="firmware's too"),
        pytest.param(("", LIBVIRT, MACHINE_ID), ("", LIBVIRT, OTHER_MACHINE_ID), False, id="by the machine-id"),
        pytest.param(("f" * 32, "", MACHINE_ID), ("Not Settable", "", MACHINE_ID), True, id="no UUID at all"),
    ],
)
def test_machines(tmp_path: Path, one: tuple[str, str, str], other: tuple[str, str, str], *, is_same: bool) -> None:
    """Two machines have one mark only if firmware and libvirt agree, or else the machine-id."""
    assert is_same == (mark(tmp_path, *one) == mark(tmp_path, *other))


def test_a_machine_of_which_nothing_is_known(tmp_path: Path) -> None:
    """It has no mark, for libvirt's UUID may be another one after its next start."""
    assert "" == mark(tmp_path, "", LIBVIRT, "")


def test_marks_make_traits(tmp_path: Path) -> None:
    """A mark is short, and has only what a trait may have."""
    assert re.fullmatch("[0-9A-F]{12}", mark(tmp_path, DMI, DMI, ""))


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        (f"<capabilities>\n\n  <host>\n    <uuid>{LIBVIRT}</uuid>\n  </host></capabilities>", LIBVIRT),
        ("<capabilities><host><cpu/></host><guest><uuid>1</uuid></guest></capabilities>", ""),
    ],
)
def test_capabilities(capabilities: str, expected: str) -> None:
    """The UUID is the host's own; the test driver has none."""
    assert expected == uuid_of(capabilities)
