# SPDX-License-Identifier: Apache-2.0
"""What the XML of a running domain says of the machine that the guest sees."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from kongming_sched.cpuset import CpuSet
from kongming_sched.texts.whole_number import NODE_IDS, THREADS_PER_CORE, find_whole_number, read_whole_number


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
