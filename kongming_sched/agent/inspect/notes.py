# SPDX-License-Identifier: Apache-2.0
"""Why the threads and the memory of a guest are where they should be, in words, and its huge pages. Pure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping

from kongming_sched.agent.decide.preview import EMULATOR_REASONS, Preview
from kongming_sched.agent.model.actions import Kind, ThreadKey
from kongming_sched.agent.model.domain_xml import huge_pages
from kongming_sched.agent.model.guest import Guest
from kongming_sched.page_sizes import page_size_of, size_name
from kongming_sched.request import PinningRequest
from kongming_sched.template import CpuPolicy

WITH_EMULATOR = "with the emulator"


class Notes:
    """Explains a host's guests; of one that has no place now nothing is said.

    :param preview: with the layout that is explained
    """

    def __init__(self, preview: Preview) -> None:
        self._preview = preview

    def of_thread(self, guest: Guest, thread: ThreadKey) -> str:
        """Why a thread belongs where it does."""
        nodes = self._nodes(guest)
        if not nodes:
            return ""
        template = self._preview.templates[guest.request.template]
        if thread.kind is Kind.EMULATOR:
            return EMULATOR_REASONS[template.emulator]
        if thread.kind is Kind.IOTHREAD:
            return WITH_EMULATOR
        if self._preview.layout.granted.get(guest.uuid):
            return "as the server's own metadata asks"
        for number, (cell, node) in enumerate(zip(template.cells, nodes, strict=True)):
            if thread.number in cell.vcpus:
                if cell.cpus is CpuPolicy.EXPLICIT:
                    return "the CPUs that the template names"
                if thread.number in cell.floating_vcpus:
                    return f"floats over the shared pool of node {node}"
                return f"dedicated, cell {number} on node {node}"
        return ""

    def of_memory(self, guest: Guest) -> str:
        """Where each cell of a guest is that Nova has laid out."""
        cells = guest.identity.cell_nodes
        if not cells:
            return ""
        where = ", ".join(f"cell {number} on node {nodes}" for number, nodes in enumerate(cells))
        return f"Nova has laid it out for good: {where}"

    def claimed_pages(self, guest: Guest) -> Counter[tuple[int, int]]:
        """How many huge pages a guest has claimed, whether it has a place or not, by host NUMA node and size in KiB."""
        found: Counter[tuple[int, int]] = Counter()
        nodes = self._preview.layout.claims.get(guest.uuid, ())
        for cell, node in zip(guest.request.cells, nodes, strict=False):
            for name, amount in cell.resources.items():
                if size_kib := page_size_of(name):
                    found[node, size_kib] += amount
        return found

    def _nodes(self, guest: Guest) -> tuple[int, ...]:
        """The node of each cell; empty for a guest that has no place."""
        layout = self._preview.layout
        return () if guest.uuid in layout.unplaced else layout.claims.get(guest.uuid, ())


def has_huge_pages(request: PinningRequest) -> bool:
    """Whether a guest asks for huge pages."""
    return any(page_size_of(name) for cell in request.cells for name in cell.resources)


def pages_in_xml(guest: Guest) -> Counter[tuple[int, int]]:
    """How many huge pages libvirt has given a guest, by host NUMA node and size in KiB."""
    return huge_pages(ET.fromstring(guest.domain.xml))


def describe_pages(pages: Mapping[tuple[int, int], int]) -> str:
    """Huge pages in words, as in "node 0: 128 of 2MiB"."""
    words = [f"node {node}: {count} of {size_name(kib)}" for (node, kib), count in sorted(pages.items())]
    return ", ".join(words) or "none"
