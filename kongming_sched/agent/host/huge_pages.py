# SPDX-License-Identifier: Apache-2.0
"""Reads the kernel's pools of huge pages.

libvirt's capabilities have them too, but take long to make, so that the agent asks for them only when CPUs come or go.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from kongming_sched import exceptions
from kongming_sched.pools import HugePages
from kongming_sched.texts.whole_number import read_whole_number

_NODE = re.compile(r"node([0-9]{1,3})")
_SIZE = re.compile(r"hugepages-([0-9]{1,9})kB")
_COUNTS = range(2**40)


def read_huge_pages(nodes: Path = Path("/sys/devices/system/node")) -> dict[int, tuple[HugePages, ...]]:
    """The huge pages of each NUMA node, the smallest first; nodes and sizes without any are left out.

    :param nodes: the kernel's directory of NUMA nodes; where there is none the host has no huge pages
    :raises InvalidTopology: if it cannot be read
    """
    found = {}
    try:
        for name in sorted(os.listdir(nodes)) if nodes.is_dir() else ():  # noqa: PTH208  # asked for in each pass
            match = _NODE.fullmatch(name)
            if match and (pools := _pools(nodes / name / "hugepages")):
                found[int(match[1])] = pools
    except (OSError, exceptions.InvalidNumber) as error:
        raise exceptions.InvalidTopology(f"the pools of huge pages in {nodes} cannot be read: {error}") from error
    return dict(sorted(found.items()))


def _pools(directory: Path) -> tuple[HugePages, ...]:
    """The pools of a node; none if its kernel has no huge pages."""
    if not directory.is_dir():
        return ()
    pools = []
    for name in os.listdir(directory):  # noqa: PTH208  # as above
        match = _SIZE.fullmatch(name)
        if match and (count := _read(directory / name / "nr_hugepages")):
            pools.append(HugePages(int(match[1]), count, _read(directory / name / "surplus_hugepages")))
    return tuple(sorted(pools, key=lambda pool: pool.size_kib))


def _read(file: Path) -> int:
    return read_whole_number(file.read_text().strip(), _COUNTS)
