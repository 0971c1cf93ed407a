# SPDX-License-Identifier: Apache-2.0
"""What pins the guests of an observation: it lays them out anew whenever one turns out not to be movable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kongming_sched.agent.act.pinning import Pinner
from kongming_sched.agent.decide.layout import lay_out
from kongming_sched.agent.loop.observation import Observation, PlacementView
from kongming_sched.agent.loop.observe import Observer
from kongming_sched.agent.loop.parts import ReconcilerParts
from kongming_sched.agent.model.guest import Guest
from kongming_sched.agent.model.view import HostLayout, RunningGuests


def pinner_for(
    parts: ReconcilerParts,
    observer: Observer,
    seen: Observation,
    placement: PlacementView,
    read_again: Callable[[], RunningGuests],
) -> Pinner:
    """What pins the guests that were seen, by what Placement holds.

    :param read_again: reads the running guests, after a change of one has failed
    """

    def lay_out_round(guests: tuple[Guest, ...], immovable: frozenset[str]) -> HostLayout:
        return lay_out(observer.view(replace(seen, guests=guests), placement, immovable))

    return Pinner(
        parts.hypervisor,
        parts.kernel,
        lay_out_round,
        read_again,
        (*seen.incoming.reserved.values(), *seen.unread),
        seen.cpus.pools.dedicated,
        seen.cpus.housekeeping,
    )
