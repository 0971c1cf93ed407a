# SPDX-License-Identifier: Apache-2.0
"""The domains of the emulated host's servers that Nova lays out on NUMA nodes."""

from __future__ import annotations

import pytest

from testbed.lab.process import LabError
from testbed.lab.scheduler import Flavor
from testbed.numa_host.domains import write_domain
from testbed.numa_host.nova_layout import lay_out
from testbed.numa_host.proof_layout import memory_nodes
from testbed.numa_host.proof_setup import SERVERS, TEMPLATES

LAID_OUT = [name for name, server in SERVERS.items() if TEMPLATES[server.template].needs_nova_numa]


@pytest.mark.parametrize("name", LAID_OUT)
def test_each_cell_is_bound_to_the_node_of_its_claim(name: str) -> None:
    """By Nova's own fit, which the markers lead there."""
    assert SERVERS[name].nodes == memory_nodes(write_domain(SERVERS[name]))


def test_nodes_without_room_are_refused() -> None:
    """As they are by Nova."""
    flavor = Flavor("large", "large", 8, 64, 0, 0, 0, {"hw:mem_page_size": "2MB", "hw:cpu_policy": "dedicated"})

    with pytest.raises(LabError, match="does not lay large out"):
        lay_out(flavor, (0,))
