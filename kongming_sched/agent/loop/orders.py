# SPDX-License-Identifier: Apache-2.0
"""Does what an operator orders, in the agent's own loop, so that nobody works beside it; see order_client.py."""

from __future__ import annotations

import json
from collections.abc import Callable

from kongming_sched import exceptions
from kongming_sched.agent.act.mover import Mover
from kongming_sched.agent.decide.rebalance import describe, rebalance, rooms_of
from kongming_sched.agent.host.ports import Hypervisor
from kongming_sched.agent.loop.reconcile import Reconciler
from kongming_sched.agent.model.guest import Guest
from kongming_sched.agent.model.outcome import Outcome
from kongming_sched.agent.model.view import HostView
from kongming_sched.placement.client import PlacementClient
from kongming_sched.pools import HostCpus
from kongming_sched.texts.printable import quote
from kongming_sched.texts.whole_number import NODE_IDS, is_whole_number


class HostLooks:
    """What an order needs of the running agent.

    :param reconcile: runs a reconcile pass, and reports it; by default the reconciler's own, which reports nothing
    """

    def __init__(
        self,
        reconciler: Reconciler,
        cpus: HostCpus,
        reconcile: Callable[[HostCpus], Outcome] | None = None,
    ) -> None:
        self._reconciler = reconciler
        self._cpus = cpus
        self._reconcile = reconciler.run if reconcile is None else reconcile

    def view(self) -> HostView:
        """The host and its claims as they are."""
        return self._reconciler.view(self._cpus)

    def guests(self) -> tuple[Guest, ...]:
        """The running guests of templates."""
        return self._reconciler.guests()

    def look(self) -> Outcome:
        """Bring the host to what the claims say."""
        return self._reconcile(self._cpus)

    def reset_backoff(self, server: str) -> None:
        """Do not leave a guest alone although a change of it has just failed."""
        self._reconciler.reset_backoff(server)


def carry_out(text: str, looks: HostLooks, hypervisor: Hypervisor, client: PlacementClient) -> dict[str, object]:
    """Do what an order says; gives the answer.

    :param text: the order as it came
    :raises KongMingError: if it cannot be done
    """
    try:
        order = json.loads(text)
        name, server = order["order"], order.get("server")
        if name == "rebalance":
            return _rebalance(looks, hypervisor)
        if name != "move" or not isinstance(server, str):
            return {"error": f"this agent knows no order {name!r}; it may be of another release than the command"}
        node, cell, is_dry_run = order["node"], order.get("cell"), bool(order.get("dry_run"))
        if not is_whole_number(node, NODE_IDS) or not (cell is None or is_whole_number(cell, NODE_IDS)):
            return {"error": f"this is no order: node {quote(node)}, cell {quote(cell)}"}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        return {"error": f"this is no order: {error!r}"}
    mover = Mover(looks, hypervisor, client)
    return {"lines": (mover.explain if is_dry_run else mover.move)(server, node, cell)}


def _rebalance(looks: HostLooks, hypervisor: Hypervisor) -> dict[str, object]:
    """The moves that would make the most room. The command orders them one by one."""
    view = looks.view()
    found = rebalance(rooms_of(view, {guest.uuid for guest in view.guests if _is_busy(hypervisor, guest)}))
    moves = [{"server": move.server, "name": move.name, "node": move.target} for move in found.moves]
    return {"lines": describe(found), "moves": moves}


def _is_busy(hypervisor: Hypervisor, guest: Guest) -> bool:
    try:
        return hypervisor.is_busy(guest.domain)
    except exceptions.GuestGone:
        return True
