# SPDX-License-Identifier: Apache-2.0
"""Acts with servers that Nova lays out on NUMA nodes itself: huge pages, and nodes that the guest sees."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path

from kongming_sched.cpuset import CpuSet
from kongming_sched.page_sizes import page_size_of
from kongming_sched.placement import names
from kongming_sched.template import PinningTemplate
from testbed.numa_host import kernel_view, machine
from testbed.numa_host.kernel_view import Affinity
from testbed.numa_host.proof_setup import DEDICATED, HOUSEKEEPING, SERVERS, TEMPLATES
from testbed.numa_host.proof_steps import Acts

_PAGE_KIB = 2048


class LayoutActs:
    """Plays on a host on which nothing else runs.

    :param acts: what they are played with
    """

    def __init__(self, acts: Acts) -> None:
        self._acts = acts
        self._host = acts.host
        self._screen = acts.host.screen

    def play(self) -> None:
        """All acts in order."""
        pages = names.pages_class(_PAGE_KIB)
        self._screen.section("Huge pages, and NUMA nodes that the guest sees")
        self._acts.await_totals(pages, dict.fromkeys(machine.NODES, machine.HUGE_PAGES[_PAGE_KIB]))
        self._acts.await_offered("unequal", [*machine.NODES])
        for servers in (("paged0", "paged1"), ("halves",), ("parts",), ("helped",)):
            self._host.boot(*servers)
            for name in servers:
                self._agree(name)
            self._acts.claim_exclusive()
            self._host.delete(*servers)

    def _agree(self, name: str) -> None:
        """State that claim, XML and kernel have a server on the same nodes."""
        server = SERVERS[name]
        template = TEMPLATES[server.template]
        self._acts.await_claim(
            f"{name}: the vCPUs of each cell are on its node, {_emulator_words(template)}",
            partial(self._host.affinity, name),
            lambda seen: _is_right(template, server.nodes, seen),
        )
        memory = memory_nodes(self._host.xml(name))
        self._screen.claim(
            f"{name}: memnode binds cell by cell to node {server.nodes}", memory == server.nodes, f"{memory}"
        )
        claims = self._host.cloud.claims(server, server.nodes)
        claimed = {
            node: amount
            for node in server.nodes
            for resource_class, amount in claims[self._host.cloud.node_uuid(node)].items()
            if page_size_of(resource_class) == _PAGE_KIB
        }
        seen = kernel_view.huge_pages(Path(f"/proc/{self._host.pid(name)}/numa_maps").read_text())
        self._screen.claim(
            f"{name}: numa_maps has as many huge pages on each node as are claimed: {claimed}",
            seen == {_PAGE_KIB: claimed},
            f"{seen}",
        )


def memory_nodes(xml: str) -> tuple[int, ...]:
    """The host's node of each node of a guest, by its XML."""
    return tuple(
        CpuSet.parse(node.get("nodeset", "")).first for node in ET.fromstring(xml).iterfind("numatune/memnode")
    )


def _emulator_words(template: PinningTemplate) -> str:
    if template.emulator_threads is None:
        return "the emulator on those for housekeeping"
    return "the emulator on one of its own there"


def _is_right(template: PinningTemplate, nodes: tuple[int, ...], seen: Affinity) -> bool:
    pools = [kernel_view.node_cpus(node) & DEDICATED for node in nodes]
    together = zip(template.cells, pools, strict=True)
    pinned = seen.is_pinned and all(seen.vcpus[vcpu] <= pool for cell, pool in together for vcpu in cell.vcpus)
    if template.emulator_threads is None:
        return pinned and seen.emulator == HOUSEKEEPING
    return pinned and len(seen.emulator) == 1 and seen.emulator <= pools[0] - seen.cpus
