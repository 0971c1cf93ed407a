# SPDX-License-Identifier: Apache-2.0
"""What the XML of a running domain says of the machine that the guest sees."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter

from kongming_sched.cpuset import CpuSet
from kongming_sched.texts.whole_number import AMOUNTS, NODE_IDS, THREADS_PER_CORE, find_whole_number, read_whole_number


def threads_per_core(root: ET.Element) -> int:
    """The threads of each core that a guest sees; 1 if its XML says nothing of it, or nothing sensible."""
    topology = root.find("cpu/topology")
    text = "" if topology is None else topology.get("threads", "")
    return find_whole_number(text, THREADS_PER_CORE) or 1


def cell_nodes(root: ET.Element) -> tuple[CpuSet, ...]:
    """The host NUMA nodes of each node that the guest sees."""
    found = {
        read_whole_number(node.get("cellid", ""), NODE_IDS): CpuSet.parse(node.get("nodeset", ""))
        for node in root.iterfind("numatune/memnode")
    }
    return tuple(found[cell] for cell in sorted(found))


def huge_pages(root: ET.Element) -> Counter[tuple[int, int]]:
    """How many huge pages the memory of a guest consists of, by host NUMA node and size in KiB.

    Counted are nodes of the guest that are bound to one node of the host, as Nova binds them.
    """
    nodes = dict(enumerate(cell_nodes(root)))
    found: Counter[tuple[int, int]] = Counter()
    for page in root.iterfind("memoryBacking/hugepages/page"):
        size_kib = find_whole_number(page.get("size", ""), AMOUNTS)
        cells = CpuSet.parse(page.get("nodeset") or f"0-{len(nodes)}")
        for cell in root.iterfind("cpu/numa/cell"):
            number = read_whole_number(cell.get("id", ""), NODE_IDS)
            memory_kib = find_whole_number(cell.get("memory", ""), AMOUNTS) or 0
            if size_kib and number in cells and len(on := nodes.get(number, CpuSet())) == 1:
                found[min(on), size_kib] += memory_kib // size_kib
    return found
