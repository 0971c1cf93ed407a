# SPDX-License-Identifier: Apache-2.0
"""Moves a running guest to another NUMA node on an operator's word: its claim first, then its pins and its memory.

The claim says where a guest belongs, so that an agent which is killed halfway finishes the move at its next start. If
the pins or the memory cannot follow, the claim goes back and the guest with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from kongming_sched import exceptions
from kongming_sched.agent.decide.layout import lay_out
from kongming_sched.agent.decide.move import Move, decide_move, guest_to_move
from kongming_sched.agent.decide.plan import plan
from kongming_sched.agent.host.ports import Hypervisor
from kongming_sched.agent.model.outcome import Outcome
from kongming_sched.agent.model.problem import PLACEMENT, Problem, Subject, server
from kongming_sched.agent.model.view import HostView, RunningGuests
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.client import Claim, PlacementClient


class HostAccess(Protocol):
    """What a move needs of the agent; see loop.orders.ReconcilerAccess."""

    def view(self) -> HostView: ...  # noqa: D102
    def guests(self) -> RunningGuests: ...  # noqa: D102
    def reconcile(self) -> Outcome: ...  # noqa: D102
    def reset_backoff(self, server: str) -> None: ...  # noqa: D102
    def note_claim(self, server: Subject, before: str, after: str) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class _Decided:
    """A move that can be tried.

    :ivar problem: what was wrong with the guest before the move
    """

    view: HostView
    move: Move
    problem: Problem | None

    def why_elsewhere(self, running: RunningGuests, node_id: int) -> str | None:
        """Why the cell is not on a node now; None if it is."""
        guest = self.move.guest
        observed = (*running.managed, *running.unread)
        threads = next((each.threads for each in observed if each.uuid == guest.uuid), None)
        if threads is None:
            return "it has ended meanwhile"
        node, cell = self.view.topology.node(node_id), self.view.templates[guest.request.template].cells[self.move.cell]
        for vcpu in cell.vcpus:
            on = threads.vcpus.get(vcpu, CpuSet())
            if node is None or not on <= node.cpus:
                return f"its vCPU {vcpu} is on CPU {on}, which is not on node {node_id}"
        return None


class Mover:
    """Moves the guests of one host, one at a time.

    :param agent: the running one, so that nothing else changes the host meanwhile
    """

    def __init__(self, agent: HostAccess, hypervisor: Hypervisor, client: PlacementClient) -> None:
        self._agent = agent
        self._hypervisor = hypervisor
        self._client = client

    def explain(self, server: str, node: int, cell: int | None = None) -> list[str]:
        """What a move would do, line by line; nothing is done.

        :raises MoveRefused: if it cannot be
        """
        decided = self._decide(server, node, cell)
        if decided is None:
            return [_there_already(server, node)]
        view = decided.move.seen_after(decided.view)
        layout, before = lay_out(view), lay_out(decided.view).problems
        unread = {guest.uuid: guest for guest in view.unread}
        everyone = {guest.uuid: guest for guest in view.guests} | unread
        pools = view.pools.dedicated, view.cpus.housekeeping
        actions = plan(tuple(everyone.values()), layout.guests, *pools, unread.keys())
        lines = [f"would move {decided.move}"]
        lines += [f"server {everyone[action.guest]}: {action}" for action in actions]
        new = (problem for uuid, problem in sorted(layout.problems.items()) if before.get(uuid) != problem)
        return lines + [str(problem) for problem in new]

    def move(self, server: str, node: int, cell: int | None = None) -> list[str]:
        """Move a guest; gives what was done, line by line.

        :raises MoveRefused: if it cannot be; nothing was done
        :raises MoveFailed: if it was tried and undone
        """
        decided = self._decide(server, node, cell)
        if decided is None:
            return [_there_already(server, node)]
        move = decided.move
        claim = self._client.claim(move.guest.uuid)
        if claim is None:
            raise exceptions.MoveRefused(str(move.guest), "its claim has just gone")
        moved = move.applied_to(claim, decided.view.root_uuid)
        reason = self._try(decided, moved)
        if reason is None:
            return [f"moved {move}"]
        raise exceptions.MoveFailed(str(move.guest), reason, self._undo(decided, claim, moved))

    def _decide(self, server: str, node: int, cell: int | None) -> _Decided | None:
        view = self._agent.view()
        guest, layout = guest_to_move(view.guests, server), lay_out(view)
        move = decide_move(view, layout, guest, node, cell)
        if move is None:
            return None
        if self._hypervisor.is_busy(guest.domain):
            raise exceptions.MoveRefused(str(guest), "it is migrating or being saved; try again when that is over")
        return _Decided(view, move, layout.problems.get(guest.uuid))

    def _try(self, decided: _Decided, moved: Claim) -> str | None:
        """Move the claim and let everything follow; gives why that failed, or None."""
        try:
            self._client.replace_claim(moved)
        except exceptions.PlacementError as error:
            return str(error)
        self._note(decided.move, decided.move.source, decided.move.target)
        return self._follow(decided, decided.move.target)

    def _note(self, move: Move, before: int, after: int) -> None:
        self._agent.note_claim(server(move.guest), f"node {before}", f"node {after}")

    def _follow(self, decided: _Decided, node: int) -> str | None:
        """Run a pass; gives why the guest is not on a node then, or None if it is."""
        guest = decided.move.guest
        self._agent.reset_backoff(guest.uuid)
        try:
            outcome = self._agent.reconcile()
            problem = outcome.problem_of(server(guest))
            if problem is None or problem == decided.problem:
                problem = outcome.problem_of(PLACEMENT)
            return problem.text if problem else decided.why_elsewhere(self._agent.guests(), node)
        except exceptions.KongMingError as error:
            return str(error)

    def _undo(self, decided: _Decided, claim: Claim, moved: Claim) -> str:
        """Put the claim back, and let everything follow; gives how that ended."""
        try:
            now = self._client.claim(claim.consumer)
            if now is None:
                return "it has no claim any more"
            if now.resources == moved.resources:
                self._client.replace_claim(replace(claim, generation=now.generation))
                self._note(decided.move, decided.move.target, decided.move.source)
            elif now.resources != claim.resources:
                return "another program has changed its claim meanwhile, and the agent follows that"
        except exceptions.PlacementError as error:
            return f"its claim could not be set back ({error}), so that the agent goes on trying to move it"
        source = decided.move.source
        reason = self._follow(decided, source)
        if reason is None:
            return f"it is on node {source} as before"
        return f"its claim is on node {source} again, and the agent goes on bringing it back there ({reason})"


def _there_already(server: str, node: int) -> str:
    return f"server {server} is on node {node} already"
