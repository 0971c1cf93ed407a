# SPDX-License-Identifier: Apache-2.0
"""The parts of the emulated host that need no machine."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from kongming_sched.agent.guest import Domain, identify
from kongming_sched.request import PinningRequest
from tests.numa_host.cast import MEMORY_MB, SERVERS
from tests.numa_host.domains import write_domain
from tests.numa_host.looks import largest_mapping

NUMA_MAPS = """\
55d0 default file=/usr/bin/qemu-system-x86_64 mapped=2000 N1=2000 kernelpagesize_kB=4
7f00 bind:0 anon=32768 dirty=32768 N0=30000 N1=2768 kernelpagesize_kB=4
7f10 default heap anon=12 dirty=12 N1=12 kernelpagesize_kB=4
"""


def test_memory_is_largest_mapping():
    """The pages of a guest's memory are those of the largest mapping, by node."""
    assert {0: 30000, 1: 2768} == largest_mapping(NUMA_MAPS)


def test_domain_carries_request():
    """The agent reads from a domain what its server claims."""
    server = SERVERS["both"]
    identity = identify(Domain(server.uuid, server.name, write_domain(server)))
    assert PinningRequest.from_extra_specs(server.extra_specs) == identity.request


def test_domain_allocates_memory_at_once():
    """There are pages to be moved although no guest uses them."""
    domain = ET.fromstring(write_domain(SERVERS["left"]))
    assert ("immediate", str(MEMORY_MB * 1024)) == (
        domain.find("memoryBacking/allocation").get("mode"),
        domain.findtext("memory"),
    )
