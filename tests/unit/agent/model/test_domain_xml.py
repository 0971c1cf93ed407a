# SPDX-License-Identifier: Apache-2.0
"""What the XML of a domain says of the guest's memory."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from kongming_sched.agent.model.domain_xml import huge_pages

CELLS = "<cell id='0' cpus='0-1' memory='2097152' unit='KiB'/><cell id='1' cpus='2' memory='1048576' unit='KiB'/>"
NODES = "<memnode cellid='0' mode='strict' nodeset='1'/><memnode cellid='1' mode='strict' nodeset='0'/>"
BOTH = "<page size='1048576' unit='KiB' nodeset='0-1'/>"


def root(pages: str = BOTH, nodes: str = NODES, cells: str = CELLS) -> ET.Element:
    """A domain as libvirt prints it."""
    return ET.fromstring(
        f"<domain><memoryBacking><hugepages>{pages}</hugepages></memoryBacking><numatune>{nodes}</numatune>"
        f"<cpu><numa>{cells}</numa></cpu></domain>"
    )


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        pytest.param(root(), {(1, 1 << 20): 2, (0, 1 << 20): 1}, id="unequal cells on crossed nodes"),
        pytest.param(root("<page size='1048576' unit='KiB'/>"), {(1, 1 << 20): 2, (0, 1 << 20): 1}, id="for all cells"),
        pytest.param(root("<page size='2048' unit='KiB' nodeset='1'/>"), {(0, 2048): 512}, id="of one cell"),
        pytest.param(root(nodes=""), {}, id="bound to no node"),
        pytest.param(root(nodes=NODES.replace("nodeset='1'", "nodeset='0-1'")), {(0, 1 << 20): 1}, id="to several"),
        pytest.param(root(""), {}, id="pages of the usual size"),
        pytest.param(ET.fromstring("<domain/>"), {}, id="nothing"),
    ],
)
def test_huge_pages(domain: ET.Element, expected: dict[tuple[int, int], int]) -> None:
    """Each node of the guest has as many as its memory is large, on the host's node that it is bound to."""
    assert expected == huge_pages(domain)
