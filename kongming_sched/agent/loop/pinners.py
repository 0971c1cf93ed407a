# SPDX-License-Identifier: Apache-2.0
"""What pins the guests of an observation, and which of them it leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from kongming_sched.agent.act.pinning import Pinner
from kongming_sched.agent.decide.layout import lay_out
from kongming_sched.agent.loop.observation import Observation, PlacementView
from kongming_sched.agent.loop.observe import Observer
from kongming_sched.agent.loop.parts import ReconcilerParts
from kongming_sched.agent.model.guest import Guest
from kongming_sched.agent.model.problem import Problem, Reason, Subject
from kongming_sched.agent.model.view import HostLayout, HostView, RunningGuests


def pinner_for(
    parts: ReconcilerParts,
    observer: Observer,
    seen: Observation,
    placement: PlacementView,
    read_again: Callable[[], RunningGuests],
    decide: Callable[[HostView], HostLayout] = lay_out,
) -> Pinner:
    """What pins the guests that were seen, by what Placement holds.

    :param read_again: reads the running guests, after a change of one has failed
    :param decide: where everything belongs
    """

    def lay_out_round(guests: tuple[Guest, ...], immovable: frozenset[str]) -> HostLayout:
        return decide(observer.view(replace(seen, guests=guests), placement, immovable))

    return Pinner(
        parts.hypervisor,
        parts.kernel,
        lay_out_round,
        read_again,
        (*seen.incoming.reserved.values(), *seen.starting, *seen.unread),
        seen.cpus.pools.dedicated,
        seen.cpus.housekeeping,
    )


def failed_before(
    parts: ReconcilerParts, subjects: Mapping[str, Subject], released: Collection[str]
) -> dict[str, Problem]:
    """The guests that are left alone for a while, by server id, with the change that failed.

    :param subjects: the guests that can be changed, by server id
    :param released: server ids of those that are left alone anyway
    """
    return {
        uuid: Problem(Reason.REFUSED, subjects[uuid], text)
        for uuid, text in parts.backoff.waiting().items()
        if uuid in subjects and uuid not in released
    }


def texts(problems: Mapping[str, Problem]) -> dict[str, str]:
    """The words of each problem."""
    return {uuid: problem.text for uuid, problem in problems.items()}
