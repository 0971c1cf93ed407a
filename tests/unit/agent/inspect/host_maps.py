# SPDX-License-Identifier: Apache-2.0
"""Named pictures of hosts for tests of the map."""

from __future__ import annotations

import uuid

from kongming_sched.agent.inspect.hostmap import HostMap, draw
from kongming_sched.agent.model.guest import Domain, Identity, ObservedGuest, Threads
from kongming_sched.cpuset import CpuSet
from kongming_sched.pools import HostCpus, HostPools
from kongming_sched.request import PinningRequest
from testbed.topologies import make_topology

POOLS = HostPools(
    CpuSet.parse("2-7,10-15,18-23,26-31"), CpuSet.parse("1,9,17,25"), CpuSet.parse("0,8,16,24"), 4.0, 1024
)


def request(template: str) -> PinningRequest:
    """What a flavor of one cell asks for."""
    return PinningRequest.from_extra_specs(
        {"kongming:template": template, "resources_KONGMING0:CUSTOM_KONGMING_PCPU": "1"}
    )  # type: ignore[return-value]  # it names a template


def guest(server: str, template: str, *vcpus: str, emulator: str = "0,8,16,24") -> ObservedGuest:
    """A running guest; without a template it is none of the agent's."""
    pins = {number: CpuSet.parse(cpus) for number, cpus in enumerate(vcpus)}
    identity = Identity(server, len(vcpus), request(template) if template else None)
    domain = Domain(str(uuid.uuid5(uuid.NAMESPACE_DNS, ascii(server))), server, "")
    return ObservedGuest(domain, identity, Threads(pins, CpuSet.parse(emulator)))


def two_nodes(*more: ObservedGuest, unmanaged: str = "") -> HostMap:
    """Two nodes of eight cores of two threads, four cores to a cache, with guests of all kinds.

    :param more: guests beside those
    :param unmanaged: what keeps guests without a template off the dedicated CPUs, in words
    """
    topology = make_topology(2, 8, 2, cores_per_cache=4, memory_mb=64 * 1024)
    running = [
        guest("web-frontend-1", "gold", "2", "3", "4", "5"),
        guest("database", "silver", "10", "26", "11", "27", "12", "28", emulator="10-12,26-28"),
        guest("packet-gateway", "pair", "6", "22", "7", "23"),
        guest("batch-1", "bronze", "1,17", "1,17"),
        guest("batch-2", "bronze", "1,17", "1,17"),
        guest("cache-with-a-rather-long-name", "bronze", "9,25"),
        guest("router", "exact", "13", "29"),
        guest("build-agent", "", "0-31", "0-31", emulator="0-31"),
        *more,
    ]
    return draw("compute-1.example.org", HostCpus(topology, POOLS), running, unmanaged=unmanaged)
