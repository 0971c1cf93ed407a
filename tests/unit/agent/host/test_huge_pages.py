# SPDX-License-Identifier: Apache-2.0
"""The pools of huge pages, on files laid out as the kernel lays them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.host.kernel import Host
from kongming_sched.pools import HugePages


def write_pool(nodes: Path, node: int, size_kib: int, count: int, surplus: int = 0) -> None:
    """Give a node so many pages of a size."""
    pool = nodes / f"node{node}/hugepages/hugepages-{size_kib}kB"
    pool.mkdir(parents=True, exist_ok=True)
    for name, number in (("nr_hugepages", count), ("free_hugepages", 0), ("surplus_hugepages", surplus)):
        (pool / name).write_text(f"{number}\n")


def test_pools_of_all_nodes(tmp_path: Path) -> None:
    """Those with pages, the smallest first; what else is in the directory is no node."""
    (tmp_path / "power").mkdir()
    (tmp_path / "online").write_text("0-2\n")
    (tmp_path / "node2").mkdir()
    write_pool(tmp_path, 0, 1048576, 4)
    write_pool(tmp_path, 0, 2048, 512, surplus=12)
    write_pool(tmp_path, 1, 2048, 0)

    assert {0: (HugePages(2048, 512, 12), HugePages(1048576, 4))} == Host(nodes=tmp_path).huge_pages()


def test_pools_that_change(tmp_path: Path) -> None:
    """They are read anew each time."""
    host = Host(nodes=tmp_path)
    write_pool(tmp_path, 0, 2048, 512)
    before = host.huge_pages()
    write_pool(tmp_path, 0, 2048, 256)

    assert [{0: (HugePages(2048, 512),)}, {0: (HugePages(2048, 256),)}] == [before, host.huge_pages()]


def test_a_kernel_without_nodes(tmp_path: Path) -> None:
    """It has no huge pages to give."""
    assert {} == Host(nodes=tmp_path / "node").huge_pages()


def test_pools_that_cannot_be_read(tmp_path: Path) -> None:
    """No pass goes on as if the host had no huge pages."""
    write_pool(tmp_path, 0, 2048, 512)
    (tmp_path / "node0/hugepages/hugepages-2048kB/nr_hugepages").write_text("many\n")

    with pytest.raises(exceptions.InvalidTopology, match=r"the pools of huge pages in .* cannot be read: .*many"):
        Host(nodes=tmp_path).huge_pages()
