# SPDX-License-Identifier: Apache-2.0
"""The virtual machine that the emulated hosts are in."""

from __future__ import annotations

from pathlib import Path

from testbed.numa_host import machine


def test_huge_pages_are_beside_the_memory_of_a_node() -> None:
    """The kernel sets them aside on each node, and what is left is what was asked for."""
    command = machine.command_line(Path("vmlinuz"), "tcg", "kongming=door", node_memory_mb=1000)

    assert str(2 * (1000 + 1024 + 512)) == command[command.index("-m") + 1]
    words = command[command.index("-append") + 1]
    assert "hugepagesz=1048576K hugepages=0:1,1:1 hugepagesz=2048K hugepages=0:256,1:256" in words
