# SPDX-License-Identifier: Apache-2.0
"""Brings servers back to their class where Nova has claimed by their flavor: after a migration, above all.

The claim is changed in one request with the record of the class, which stays as it is: if that was changed meanwhile,
nothing is written. What a server has claimed says where it belongs, so there is nothing to undo.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from oslo_log import log

from kongming_sched import exceptions
from kongming_sched.agent.host.ports import Hypervisor
from kongming_sched.agent.model.guest import RunningGuest
from kongming_sched.agent.model.host_classes import HostClasses, Return
from kongming_sched.agent.model.problem import Problem, Reason, server
from kongming_sched.placement.classes.claims import placed_claim
from kongming_sched.placement.classes.records import class_of_record, read_record
from kongming_sched.placement.client import PlacementClient

LOG = log.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """What came of it.

    :ivar returned: whether a claim has changed, so that Placement has to be asked again
    :ivar problems: why servers do not have their class
    """

    returned: bool = False
    problems: tuple[Problem, ...] = ()


class ClassKeeper:
    """Changes the claims of one host's guests."""

    def __init__(self, client: PlacementClient, hypervisor: Hypervisor) -> None:
        self._client = client
        self._hypervisor = hypervisor

    def run(
        self, guests: Iterable[RunningGuest], running: Collection[str], classes: HostClasses, root_uuid: str
    ) -> Kept:
        """Bring each guest that has room back to its class.

        :param guests: all that may be changed, those without a template included
        :param running: the ids of all servers that run here
        :param root_uuid: the compute node's provider
        """
        problems, returned = [], False
        for guest in guests:
            found = classes.find_return(guest, running)
            if found is None:
                continue
            name = guest.identity.server_class
            try:
                if found.place is None:
                    raise exceptions.ClassRefused(guest.uuid, found.reason)
                if self._return(guest, found, classes, root_uuid):
                    LOG.info("server %s has template %r again, as its class says", guest, name)
                    returned = True  # what the others find is not so any more; Placement refuses what is too much
            except exceptions.ClassRefused as error:
                problems.append(_problem(guest, error.reason))
            except (exceptions.PlacementError, exceptions.HypervisorError) as error:
                problems.append(_problem(guest, str(error)))
        return Kept(returned, tuple(problems))

    def _return(self, guest: RunningGuest, found: Return, classes: HostClasses, root_uuid: str) -> bool:
        """Write the claim; false if the server is being moved, or its class was changed meanwhile."""
        if self._hypervisor.is_busy(guest.domain):
            return False
        claim, record = self._client.claim(guest.uuid), read_record(self._client, guest.uuid)
        if claim is None or record is None or root_uuid not in claim.resources:
            return False
        if class_of_record(record, [found.server_class.template]) != found.server_class:
            return False
        after = placed_claim(claim, root_uuid, classes.states, found.place, 0)
        self._client.replace_claims([after, record])
        return True


def _problem(guest: RunningGuest, reason: str) -> Problem:
    now = guest.identity.request.template if guest.identity.request else None
    meanwhile = f"it has template {now!r} meanwhile" if now else "it has no template meanwhile"
    text = f"it cannot have template {guest.identity.server_class!r}, its class: {reason}; {meanwhile}"
    return Problem(Reason.NO_PLACE, server(guest), text)
