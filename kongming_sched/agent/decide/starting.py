# SPDX-License-Identifier: Apache-2.0
"""Guests that start on CPUs which Nova has chosen: who is in their way, and who would have to make way. Pure.

Nova's XML pins a guest that it lays out itself to CPUs of the dedicated pool. Nothing can change that before it runs,
so others go elsewhere where there is room for them. One that has no other place stays: what runs goes before what could
start on another host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from kongming_sched.agent.decide.blocked import pinned_cpus
from kongming_sched.agent.model.guest import ObservedGuest
from kongming_sched.agent.model.view import GuestLayout, HostLayout, HostView
from kongming_sched.cpuset import CpuSet


def pushed_off(view: HostView, layout: HostLayout) -> frozenset[str]:
    """The guests with CPUs of the dedicated pool for which a layout has no place."""
    return frozenset(
        guest.uuid
        for guest in view.guests
        if guest.uuid in layout.unplaced
        and guest.uuid not in view.immovable
        and pinned_cpus(guest, view.pools.dedicated)
    )


def pins_only(layout: HostLayout) -> HostLayout:
    """A layout that moves threads and changes nothing else: memory takes long to follow, and a hook waits."""
    guests = {uuid: GuestLayout(guest.vcpus, guest.emulator) for uuid, guest in layout.guests.items()}
    return replace(layout, guests=guests)


def in_the_way(wanted: CpuSet, others: Iterable[ObservedGuest], dedicated: CpuSet) -> dict[str, CpuSet]:
    """The guests that are pinned to CPUs which a starting guest is to have: server id to these CPUs."""
    found = {guest.uuid: pinned_cpus(guest, dedicated) & wanted for guest in others}
    return {uuid: cpus for uuid, cpus in found.items() if cpus}


def still_in_the_way(
    wanted: CpuSet, others: Iterable[ObservedGuest], layouts: Mapping[str, GuestLayout], dedicated: CpuSet
) -> dict[str, CpuSet]:
    """The guests that would be pinned to such CPUs by a layout: server id to these CPUs."""
    found: dict[str, CpuSet] = {}
    for guest in others:
        layout = layouts[guest.uuid]
        places = (layout.affinity(thread, current) for thread, current in guest.threads.by_key().items())
        if cpus := CpuSet.union(place for place in places if place <= dedicated) & wanted:
            found[guest.uuid] = cpus
    return found
