# SPDX-License-Identifier: Apache-2.0
"""Carries out a plan, action by action: a guest for which one fails is set back, and the others go on.

A guest whose CPUs do not become free, because another one failed, is set back too. It has not failed itself, and may
find other CPUs in the next plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kongming_sched import exceptions
from kongming_sched.agent.decide.occupancy import Occupancy
from kongming_sched.agent.host.ports import Hypervisor, Kernel, pin_thread
from kongming_sched.agent.model.actions import Action, Kind, ThreadKey, Unit
from kongming_sched.agent.model.guest import ObservedGuest, Threads
from kongming_sched.cpuset import CpuSet


@dataclass(slots=True)
class Applied:
    """What came of a plan.

    :ivar done: the actions that were carried out and not undone
    :ivar failed: server id to the reason why a change of its guest failed
    :ivar kept_out: server id to which guest still uses the CPUs that its guest should have; another plan may give it
        others
    :ivar seen: server id to the threads of each guest that was pinned, as the kernel has them now
    """

    done: list[Action] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    kept_out: dict[str, str] = field(default_factory=dict)
    seen: dict[str, Threads] = field(default_factory=dict)


class Applier:
    """Carries out one plan.

    :param units: all threads of all guests as they are, of which the plan moves some
    :param dedicated: the host's dedicated pool, of whose CPUs no two guests may have one
    :ivar occupancy: who is on which of these CPUs
    """

    def __init__(
        self,
        hypervisor: Hypervisor,
        kernel: Kernel,
        guests: Iterable[ObservedGuest],
        units: Iterable[Unit],
        dedicated: CpuSet,
    ) -> None:
        self._hypervisor = hypervisor
        self._kernel = kernel
        self._guests = {guest.uuid: guest for guest in guests}
        self._dedicated = dedicated
        self.occupancy = Occupancy(units, dedicated)
        self._gone: set[str] = set()

    def run(self, actions: Sequence[Action]) -> Applied:
        """Carry out the actions in their order, and then compare with the kernel.

        :raises HypervisorUnavailable: if libvirtd went away; the next pass repairs what is half done
        """
        applied = Applied()
        for action in actions:
            if action.guest in applied.failed or action.guest in applied.kept_out or action.guest in self._gone:
                continue
            # The plan is safe as long as everything in it works. After a failure a guest is still where the plan has
            # it gone, so each pin is checked against where all threads are known, or may be, by now.
            if action.is_pin and (blocker := self.occupancy.blocker(action.guest, action.cpus)):
                applied.kept_out[action.guest] = (
                    f"server {self._guests.get(blocker, blocker)} still uses CPU {action.cpus} and could not be moved"
                )
                self._undo(action.guest, applied)
                continue
            try:
                self._do(action)
                applied.done.append(action)
            except exceptions.GuestGone:
                self._forget(action.guest)
            except exceptions.HypervisorUnavailable:
                raise
            except exceptions.HypervisorError as error:
                applied.failed[action.guest] = str(error)
                self._undo(action.guest, applied, action)
        self._check(applied)
        return applied

    def _do(self, action: Action) -> None:
        if action.is_pin:
            # A call that fails may have had its effect, so until it succeeds both the old and the new CPUs are taken.
            self.occupancy.doubt(action)
        self._call(action)
        if action.is_pin:
            self.occupancy.move(action)

    def _call(self, action: Action) -> None:
        domain = self._guests[action.guest].domain
        if action.is_pin:
            pin_thread(self._hypervisor, domain, ThreadKey(action.kind, action.index), action.cpus)
        elif action.kind is Kind.MEMORY:
            self._hypervisor.bind_memory(domain, action.cpus)
        elif action.kind is Kind.QUOTA:
            self._kernel.set_vcpu_quota(domain, action.index, action.parameters["quota_us"])
        else:
            self._hypervisor.set_scheduler(domain, action.parameters)

    def _undo(self, guest: str, applied: Applied, failed: Action | None = None) -> None:
        """Set a guest back to how it was, except for CPUs that another guest has taken meanwhile.

        :param failed: the action that failed, which may have been carried out in part; None if the guest is kept out
        """
        reasons = applied.failed if failed else applied.kept_out
        # Last done, first undone: so a thread that stepped aside to the housekeeping CPUs passes them on its way back.
        done = [action for action in applied.done if action.guest == guest]
        for action in reversed([*done, failed] if failed else done):
            back = self._reverse(action)
            if not back.cpus and not back.parameters:
                continue  # libvirt cannot set what was there before, such as memory that was not bound
            if back.is_pin and (owner := self.occupancy.owner(guest, back.cpus)):
                server = self._guests.get(owner, owner)
                reasons[guest] += f"; and it cannot go back to CPU {back.cpus}, which server {server} has now"
                continue
            try:
                self._do(back)
                if action is not failed:  # which was never noted as done
                    applied.done.remove(action)
            except exceptions.GuestGone:
                self._forget(guest)
                return
            except exceptions.HypervisorUnavailable:
                raise
            except exceptions.SlowGuest:  # no further call would be let through; the next passes find what it has
                return
            except exceptions.HypervisorError as error:
                reasons[guest] += f"; and then, {error}"

    def _reverse(self, action: Action) -> Action:
        """The action that sets an action back.

        A thread that floated keeps off the dedicated pool: others may have been pinned to its CPUs in the meantime, and
        floating was not where it belonged.
        """
        cpus = action.before
        if action.is_pin and not cpus <= self._dedicated:
            cpus -= self._dedicated
        return Action(
            action.guest,
            action.kind,
            action.index,
            cpus,
            action.cpus,
            action.parameters_before,
            action.parameters,
        )

    def _check(self, applied: Applied) -> None:
        """Compare what was pinned with the kernel: libvirt may report a pin that the kernel did not take."""
        wanted = {action.key: action.cpus for action in applied.done if action.is_pin}
        for guest in sorted({key[0] for key in wanted} - applied.failed.keys() - self._gone):
            try:
                threads = self._kernel.threads(self._guests[guest].domain)
            except exceptions.GuestGone:
                self._forget(guest)
                continue
            except exceptions.KernelError as error:
                applied.failed[guest] = str(error)
                continue
            applied.seen[guest] = threads
            for thread, cpus in threads.by_key().items():
                pinned = wanted.get((guest, *thread), cpus)
                if pinned != cpus:
                    applied.failed[guest] = f"libvirt pinned {thread} to {pinned}, but the kernel has it on {cpus}"

    def _forget(self, guest: str) -> None:
        self._gone.add(guest)
        self.occupancy.drop(guest)
