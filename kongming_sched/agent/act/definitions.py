# SPDX-License-Identifier: Apache-2.0
"""Takes the pins of another host out of the persistent definition that a migrated guest has brought along.

A guest that Nova lays out itself has Nova's own pins there. They stay: without them a start from the definition, as
after a shutdown from inside, would let it float over the dedicated CPUs of others.
"""

from __future__ import annotations

from collections.abc import Iterable

from kongming_sched import exceptions
from kongming_sched.agent.host.ports import Hypervisor
from kongming_sched.agent.model.guest import Guest
from kongming_sched.agent.model.problem import Problem, Reason, Subject, SubjectKind


class Definitions:
    """Repairs the definition of each guest once it is there, and asks for no guest again that is well."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor
        self._well: set[str] = set()

    def repair(self, guests: Iterable[Guest]) -> tuple[tuple[str, ...], tuple[Problem, ...]]:
        """Repair what is to be repaired.

        :param guests: all running guests of templates
        :returns: the domains whose definition was changed, and why others could not be
        :raises HypervisorUnavailable: if libvirt went away
        """
        running = {guest.uuid: guest.domain for guest in guests if guest.request.nova_numa is None}
        repaired: list[str] = []
        problems: list[Problem] = []
        self._well &= running.keys()
        for uuid in sorted(running.keys() - self._well):
            name = running[uuid].name
            try:
                is_changed = self._hypervisor.repair_definition(running[uuid])
            except exceptions.GuestGone:
                continue
            except exceptions.HypervisorUnavailable:
                raise
            except exceptions.HypervisorError as error:
                problems.append(Problem(Reason.DEFINITION, Subject(SubjectKind.DEFINITION, name), str(error)))
                continue
            if is_changed is not None:  # there is a definition: a transient domain may get one yet
                self._well.add(uuid)
            if is_changed:
                repaired.append(name)
        return tuple(repaired), tuple(problems)
