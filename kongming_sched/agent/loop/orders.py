# SPDX-License-Identifier: Apache-2.0
"""Carries out what an operator orders, in the agent's own loop, so that nothing else changes the host meanwhile.

An order comes as JSON over the agent's socket (ipc/client.py). It is read into a value before anything is done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from oslo_log import log

from kongming_sched import exceptions
from kongming_sched.agent.act.mover import Mover
from kongming_sched.agent.decide.rebalance import describe, rebalance, rooms_of
from kongming_sched.agent.host.ports import Hypervisor
from kongming_sched.agent.loop.reconcile import Reconciler
from kongming_sched.agent.model.guest import Guest
from kongming_sched.agent.model.outcome import Outcome
from kongming_sched.agent.model.problem import Subject
from kongming_sched.agent.model.view import HostView, RunningGuests
from kongming_sched.placement.client import PlacementClient
from kongming_sched.pools import HostCpus
from kongming_sched.texts.printable import clean, quote, shorten
from kongming_sched.texts.whole_number import NODE_IDS, is_whole_number

LOG = log.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MoveOrder:
    """Move a server to another NUMA node.

    :ivar server: its id, its name, or libvirt's name of it
    :ivar cell: the cell of its template that moves; None if there is one alone
    :ivar is_dry_run: whether only to say what would be done
    """

    server: str
    node: int
    cell: int | None = None
    is_dry_run: bool = False

    def __str__(self) -> str:
        cell = "" if self.cell is None else f", cell {self.cell},"
        return f"move server {clean(self.server)}{cell} to node {self.node}{' (dry run)' * self.is_dry_run}"


@dataclass(frozen=True, slots=True)
class RebalanceOrder:
    """Find the moves that would make the most room."""

    def __str__(self) -> str:
        return "find the moves that make the most room"


Order = MoveOrder | RebalanceOrder


@dataclass(frozen=True, slots=True)
class OrderAnswer:
    """The answer to an order.

    :ivar lines: what was done or would be done
    :ivar moves: for a rebalance, the moves to order next, as the command reads them
    :ivar error: why it was not done; empty if it was. The middle of one that is longer than anybody reads is left out
    """

    lines: tuple[str, ...] = ()
    moves: tuple[Mapping[str, object], ...] | None = None
    error: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", shorten(self.error))

    def as_json(self) -> dict[str, object]:
        """The answer as the command reads it."""
        if self.error:
            return {"error": self.error}
        moves = {} if self.moves is None else {"moves": list(self.moves)}
        return {"lines": list(self.lines), **moves}

    def __str__(self) -> str:
        return f"not done: {self.error}" if self.error else "; ".join(self.lines)


class ReconcilerAccess:
    """What an order needs of the running agent.

    :param reconcile: runs a reconcile pass, and reports it; by default the reconciler's own, which reports nothing
    :param note_claim: writes down from where and to where the claim of a server was moved; by default nothing does
    """

    def __init__(
        self,
        reconciler: Reconciler,
        cpus: HostCpus,
        reconcile: Callable[[HostCpus], Outcome] | None = None,
        note_claim: Callable[[Subject, str, str], None] | None = None,
    ) -> None:
        self._reconciler = reconciler
        self._cpus = cpus
        self._reconcile = reconciler.run if reconcile is None else reconcile
        self._note_claim = note_claim

    def view(self) -> HostView:
        """The host and its claims as they are."""
        return self._reconciler.view(self._cpus)

    def guests(self) -> RunningGuests:
        """The running guests as they are now."""
        return self._reconciler.guests()

    def reconcile(self) -> Outcome:
        """Bring the host to what the claims say."""
        return self._reconcile(self._cpus)

    def note_claim(self, server: Subject, before: str, after: str) -> None:
        """Write down that the claim of a server was moved.

        :param before: where it was, in words
        :param after: where it is now
        """
        if self._note_claim is not None:
            self._note_claim(server, before, after)

    def reset_backoff(self, server: str) -> None:
        """Let a guest be changed although a change of it has just failed."""
        self._reconciler.reset_backoff(server)


def parse_order(text: str) -> Order:
    """Read an order.

    :param text: the order as it came
    :raises InvalidOrder: if it is none, or one that this agent does not know
    """
    try:
        order = json.loads(text)
        name, server = order["order"], order.get("server")
        if name == "rebalance":
            return RebalanceOrder()
        if name != "move" or not isinstance(server, str):
            reason = f"this agent knows no order {quote(name)}; it may be of another release than the command"
            raise exceptions.InvalidOrder(reason)
        node, cell, is_dry_run = order["node"], order.get("cell"), bool(order.get("dry_run"))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise exceptions.InvalidOrder(f"this is no order: {error!r}") from error
    if not is_whole_number(node, NODE_IDS) or not (cell is None or is_whole_number(cell, NODE_IDS)):
        raise exceptions.InvalidOrder(f"this is no order: node {quote(node)}, cell {quote(cell)}")
    return MoveOrder(server, node, cell, is_dry_run)


def answer_order(text: str, do: Callable[[Order], OrderAnswer]) -> OrderAnswer:
    """Read an order, have it carried out, and log both.

    :param text: the order as it came
    """
    try:
        order = parse_order(text)
    except exceptions.InvalidOrder as error:
        LOG.warning("an operator's order is refused: %s", error)
        return OrderAnswer(error=str(error))
    LOG.info("an operator orders: %s", order)
    answer = do(order)
    LOG.info("answered the operator: %s", answer)
    return answer


def carry_out(order: Order, agent: ReconcilerAccess, hypervisor: Hypervisor, client: PlacementClient) -> OrderAnswer:
    """Do what an order says.

    :raises KongMingError: if it cannot be done
    """
    if isinstance(order, RebalanceOrder):
        return _rebalance(agent, hypervisor)
    mover = Mover(agent, hypervisor, client)
    lines = (mover.explain if order.is_dry_run else mover.move)(order.server, order.node, order.cell)
    return OrderAnswer(tuple(lines))


def _rebalance(agent: ReconcilerAccess, hypervisor: Hypervisor) -> OrderAnswer:
    """The moves that would make the most room. The command orders them one by one."""
    view = agent.view()
    found = rebalance(rooms_of(view, {guest.uuid for guest in view.guests if _is_busy(hypervisor, guest)}))
    moves = tuple({"server": move.server, "name": move.name, "node": move.target} for move in found.moves)
    return OrderAnswer(tuple(describe(found)), moves)


def _is_busy(hypervisor: Hypervisor, guest: Guest) -> bool:
    """Whether a guest cannot be moved now, be it because libvirt does not say that it can.

    :raises HypervisorUnavailable: if libvirt went away
    """
    try:
        return hypervisor.is_busy(guest.domain)
    except exceptions.HypervisorUnavailable:
        raise
    except (exceptions.GuestGone, exceptions.HypervisorError):
        return True
