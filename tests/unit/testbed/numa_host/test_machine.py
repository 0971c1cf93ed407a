# SPDX-License-Identifier: Apache-2.0
"""The virtual machine that the emulated hosts are in."""

from __future__ import annotations

from pathlib import Path

from testbed.numa_host import machine

_BELOW_THE_HOLE_MB = 2048
"""Of the first node; the rest of it begins at 4 GiB."""


def test_huge_pages_are_beside_the_memory_of_a_node() -> None:
    """The kernel sets them aside on each node, and what is left is what a node has."""
    command = machine.command_line(Path("vmlinuz"), "tcg", "kongming=door")

    assert str(2 * (machine.NODE_MEMORY_MB + 1024 + 512)) == command[command.index("-m") + 1]
    words = command[command.index("-append") + 1]
    assert "hugepagesz=1048576K hugepages=0:1,1:1 hugepagesz=2048K hugepages=0:256,1:256" in words


def test_the_first_node_has_room_for_a_page_of_one_gib() -> None:
    """Below the hole the firmware and the initial file system lie, and the kernel's own data at the end of the node."""
    above_the_hole_mb = machine.NODE_MEMORY_MB + 1024 + 512 - _BELOW_THE_HOLE_MB

    assert above_the_hole_mb > 1024
