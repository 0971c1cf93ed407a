# SPDX-License-Identifier: Apache-2.0
"""The parts of the emulated host that need no machine."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

from kongming_sched.agent.model.guest import Domain, identify
from kongming_sched.cpuset import CpuSet
from kongming_sched.request import PinningRequest
from testbed.lab.process import REPOSITORY
from testbed.numa_host.domains import write_domain
from testbed.numa_host.host import within_capabilities
from testbed.numa_host.image import CLOUD, PROOF, agent_words, frozen_words, halting_firmware
from testbed.numa_host.kernel_view import describe_host, largest_mapping, mapping_of_size
from testbed.numa_host.proof_setup import LARGE_MB, MEMORY_MB, SERVERS, UNIT

NUMA_MAPS = """\
55d0 default file=/usr/bin/qemu-system-x86_64 mapped=2000 N1=2000 kernelpagesize_kB=4
7f00 bind:0 anon=32768 dirty=32768 N0=30000 N1=2768 kernelpagesize_kB=4
7f10 default heap anon=12 dirty=12 N1=12 kernelpagesize_kB=4
"""


def test_memory_is_largest_mapping() -> None:
    """The pages of a guest's memory are those of the largest mapping, by node."""
    assert {0: 30000, 1: 2768} == largest_mapping(NUMA_MAPS)


def test_memory_that_is_hardly_used_is_known_by_its_size() -> None:
    """QEMU's own code may then have more pages than it."""
    maps = "55d0-65d0 r-xp 00000000 08:01 1 /usr/bin/qemu-system-x86_64\n7f00-7f10 rw-p 00000000 00:00 0\n"
    assert {0: 30000, 1: 2768} == mapping_of_size(0x10, maps, NUMA_MAPS)


def test_every_cpu_of_this_machine_is_on_a_node_and_a_core() -> None:
    """On machines without NUMA too."""
    described = json.loads(json.dumps(describe_host()))
    online = CpuSet.parse(described["online"])
    assert (online, set(map(str, online))) == (
        CpuSet.union(map(CpuSet.parse, described["nodes"].values())),
        set(described["siblings"]),
    )


def test_cloud_image_has_the_packages_of_the_cloud() -> None:
    """In their versions, but those that are compiled for one machine."""
    assert CLOUD.frozen is not None
    words = frozen_words(CLOUD.frozen.read_text())
    assert ("--no-deps", True, False) == (
        words[0],
        any(word.startswith("nova==") for word in words),
        any(word.startswith("libvirt-python") for word in words),
    )


def test_proof_image_has_what_the_agent_needs() -> None:
    """All that the package's extra names, but libvirt's binding, which is Debian's."""
    assert PROOF.setup is not None
    words = agent_words(PROOF.setup.read_text())
    assert (True, False) == (
        any(word.startswith("prometheus_client") for word in words),
        any(word.startswith("libvirt-python") for word in words),
    )


def test_firmware_of_guests_stops_the_cpu() -> None:
    """At the address where a CPU begins, 16 bytes before the end: cli, hlt, and a jump back to hlt."""
    firmware = halting_firmware()
    assert (256 << 10, "faf4ebfd") == (len(firmware), firmware[-16:-12].hex())


def test_domain_carries_request() -> None:
    """The agent reads from a domain what its server claims."""
    server = SERVERS["both"]
    identity = identify(Domain(server.uuid, server.name, write_domain(server)))
    assert PinningRequest.from_extra_specs(server.extra_specs) == identity.request


@pytest.mark.parametrize(("name", "memory_mb"), [("right", MEMORY_MB), ("large", LARGE_MB)])
def test_domain_allocates_memory_at_once(name: str, memory_mb: int) -> None:
    """There are pages to be moved although no guest uses them."""
    domain = ET.fromstring(write_domain(SERVERS[name]))
    allocation = domain.find("memoryBacking/allocation")
    assert allocation is not None
    assert ("immediate", str(memory_mb * 1024)) == (allocation.get("mode"), domain.findtext("memory"))


def test_agent_has_the_capabilities_of_its_unit() -> None:
    """All others of root's are taken from what it may have; those of the real unit can be read in that way."""
    unit = "[Service]\nExecStart=/usr/bin/agent\nCapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_SYS_PTRACE\n"
    assert ["setpriv", "--bounding-set=-all,+dac_override,+sys_ptrace", "--no-new-privs", "--"] == (
        within_capabilities(unit)
    )
    assert "+sys_ptrace" in within_capabilities((REPOSITORY / "etc" / UNIT).read_text())[1]
