# SPDX-License-Identifier: Apache-2.0
"""Whose persistent definitions are repaired."""

from __future__ import annotations

from dataclasses import replace

from kongming_sched.agent.act.definitions import Definitions
from kongming_sched.cpuset import CpuSet
from kongming_sched.nova_numa.keys import GuestCell, NovaCpuPolicy, NovaNuma
from testbed.simulated_host import SimulatedHost
from tests.unit.agent.hosts import POOLS, TOPOLOGY, tenant


def test_novas_own_pins_stay() -> None:
    """A guest that Nova lays out itself is started on them again; those of others are of another host."""
    plain, led = (tenant(name, "gold", [0], "1", "9").guest for name in ("plain", "led"))
    numa = NovaNuma(2048, NovaCpuPolicy.DEDICATED, (GuestCell(None, 512),))
    led = replace(led, request=replace(led.request, nova_numa=numa))
    host = SimulatedHost(TOPOLOGY, POOLS.dedicated)
    for guest in (plain, led):
        host.arrive(guest.uuid, {}, [CpuSet.of([1]), CpuSet.of([9])], CpuSet.of([0]), "")
        host.stale_definitions.add(guest.uuid)

    repaired, problems = Definitions(host).repair([plain, led])

    assert ((plain.domain.name,), ()) == (repaired, problems)
    assert {led.uuid} == host.stale_definitions
