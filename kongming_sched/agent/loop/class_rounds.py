# SPDX-License-Identifier: Apache-2.0
"""The beginning of a pass: Placement and the host are seen, and servers are brought back to their class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kongming_sched import exceptions
from kongming_sched.agent.loop.observation import Observation, PlacementView
from kongming_sched.agent.loop.observe import Observer
from kongming_sched.agent.loop.parts import ReconcilerParts

_ROUNDS = 3
"""Of servers that were brought back in one round, another may have room in the next. What is left waits for a pass."""

Asked = PlacementView | exceptions.PlacementError


def _ask(observer: Observer, parts: ReconcilerParts) -> Asked:
    """What Placement says, or why it does not: that becomes a problem only where it is used."""

    def ask() -> Asked:
        try:
            return observer.placement()
        except exceptions.PlacementError as error:
            return error

    return parts.attend(ask)


def see(observer: Observer, look: Callable[[], Observation], parts: ReconcilerParts) -> tuple[Asked, Observation]:
    """Placement and the host, once each server that has room has the claim of its class.

    Placement is asked first, for libvirt reports a guest that starts only when it has started, and has claimed.

    :param look: sees the host
    :raises HypervisorError: if libvirt does not say what runs
    """
    keeper = parts.class_keeper
    asked, seen = _ask(observer, parts), look()
    for _ in range(_ROUNDS):
        if keeper is None or isinstance(asked, exceptions.PlacementError):
            break
        guests = (*seen.guests, *seen.unmanaged)
        ours = [guest for guest in guests if not seen.released.covers(*guest.run)]
        running = {guest.uuid for guest in (*guests, *seen.unread)}
        kept = keeper.run(ours, running, asked.classes, asked.root.uuid)
        if not kept.returned:
            return asked, replace(seen, problems=(*seen.problems, *kept.problems))
        asked, seen = _ask(observer, parts), look()
    return asked, seen
