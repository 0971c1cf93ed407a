# SPDX-License-Identifier: Apache-2.0
"""Gives a running server another template than its flavor's, or that of its flavor again: its class and its claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kongming_sched import exceptions
from kongming_sched.cloud.classes.read import mark_of
from kongming_sched.cloud.classes.situation import FreshSource, Situation, Source, in_words
from kongming_sched.cloud.compute import Server
from kongming_sched.placement.classes import claims as class_claims
from kongming_sched.placement.classes import records as class_records
from kongming_sched.placement.classes.claims import Place
from kongming_sched.placement.classes.records import ServerClass
from kongming_sched.placement.classes.request_ids import request_mark
from kongming_sched.placement.client import Claim, PlacementClient
from kongming_sched.placement.conflict import retry_on_conflict
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.request import PinningRequest

_STATES = ("ACTIVE", "SHUTOFF")
"""Those in which the claim of a server is its own alone, and stays as it is until Nova is asked for something."""


@dataclass(frozen=True, slots=True)
class ClassChange:
    """What is to be written.

    :ivar template: that the server has then; None if it has none
    :ivar claims: the server's and the record's; empty if nothing would change
    """

    before: Situation
    after: Claim
    server_class: ServerClass | None
    template: str | None
    claims: tuple[Claim, ...]

    def nodes_after(self) -> dict[int, Mapping[str, int]]:
        """What the server will have claimed of each node."""
        by_uuid = {state.uuid: number for number, state in self.before.states.items()}
        return {by_uuid[uuid]: amounts for uuid, amounts in self.after.resources.items() if uuid in by_uuid}


class ClassDecider:
    """Decides what a change of class writes; it writes nothing itself.

    :param source: what there is
    :param request_id: of the command, which the record of a class names; empty for none
    :raises ClassRefused: from every call, if a server cannot have what it is to have
    """

    def __init__(self, source: Source, request_id: str = "") -> None:
        self._source = source
        self._request_mark = request_mark(request_id)

    def decide(self, server: Server, template: str | None, node: int | None = None) -> ClassChange:
        """What changes if a server gets a template instead of its flavor's.

        :param template: None for that of its flavor, or none if that names none
        :param node: the NUMA node that it is to be on; None for the one that it is on, or another if that has no room
        :raises TemplateNotFound: if there is none of this name
        :raises InvalidTraits: if its traits are not a template
        :raises InvalidRequest: if the server's flavor asks for what cannot be
        """
        request = PinningRequest.from_extra_specs(server.flavor.extra_specs)
        _check_state(server)
        wanted = None
        if template is not None and (request is None or request.template != template):
            self._check(server, template, request)
            wanted = ServerClass(template, mark_of(server), self._request_mark)
        before = self._source.read(server)
        place, vcpus = self._place(server, wanted, request, before, node)
        after = class_claims.placed_claim(before.claim, before.root_uuid, before.states, place, vcpus)
        claims = [] if after.resources == before.claim.resources else [after]
        if wanted != before.server_class or (claims and wanted is not None):
            record = class_records.record_of(server.id, wanted, before.record)
            # With the claim, even if that stays: it must not have changed in between.
            claims = [after, *([record] if record else [])]
        template_after = wanted.template if wanted else request.template if request else None
        return ClassChange(before, after, wanted, template_after, tuple(claims))

    def _check(self, server: Server, template: str, request: PinningRequest | None) -> None:
        """Refuse a template that the server can have nowhere."""
        found = self._source.find_template(template)
        if found.vcpus != server.flavor.vcpus:
            reason = f"it has {server.flavor.vcpus} vCPUs and template {template!r} has {found.vcpus}"
            raise exceptions.ClassRefused(in_words(server), reason)
        why_not = class_claims.why_not_live(found) or class_claims.why_flavor_bars(server.flavor.extra_specs, request)
        if why_not:
            raise exceptions.ClassRefused(in_words(server), why_not)

    def _place(
        self,
        server: Server,
        wanted: ServerClass | None,
        request: PinningRequest | None,
        before: Situation,
        node: int | None,
    ) -> tuple[Place | None, int]:
        """Where the server's cells are to be, and the VCPU that it takes of the compute node."""
        of_flavor = [request.cells] if request else []
        ways = self._ways(server, wanted, before) if wanted else of_flavor
        if not ways:
            return None, class_claims.root_vcpus(server.flavor.extra_specs, server.flavor.vcpus)
        of_now = self._ways(server, before.server_class, before) if before.server_class else []
        present = class_claims.claimed_nodes([*of_now, *of_flavor], class_claims.claim_on(before.states, server.id))
        place, reason = class_claims.find_place(ways, before.states, server.id, present, node)
        if place is None:
            raise exceptions.ClassRefused(in_words(server), f"host {server.host}: {reason}")
        return place, 0

    def _ways(self, server: Server, server_class: ServerClass, before: Situation) -> list[class_claims.Cells]:
        template = self._source.find_template(server_class.template)
        return class_claims.ways_to_count(template, server.flavor.memory_mb, before.states.values())


class ClassChanger:
    """Changes the class of servers, each by itself."""

    def __init__(self, client: PlacementClient, templates: TemplateStore) -> None:
        self._client = client
        self.source: Source = FreshSource(client, templates)

    def decide(self, server: Server, template: str | None, node: int | None = None) -> ClassChange:
        """As :meth:`ClassDecider.decide`."""
        return ClassDecider(self.source, self._client.request_id).decide(server, template, node)

    def has_record(self, server: Server) -> bool:
        """Whether a class of the server is recorded, be it in force or of a flavor that it had before."""
        return class_records.read_record(self._client, server.id) is not None

    @retry_on_conflict
    def change(self, server: Server, template: str | None, node: int | None = None) -> ClassChange:
        """Give a server a template instead of its flavor's: both its class and its claim are written, or neither.

        Raises what :meth:`decide` raises.

        :raises PlacementError: if Placement does not take it; then nothing has changed
        """
        change = self.decide(server, template, node)
        self._write(change)
        return change

    def write(self, change: ClassChange, server: Server, template: str | None, node: int | None = None) -> None:
        """Write what was decided with this template and node; if something has changed since, as :meth:`change`."""
        try:
            self._write(change)
        except exceptions.PlacementConflict:
            self.change(server, template, node)

    def _write(self, change: ClassChange) -> None:
        if change.claims:
            if change.server_class is not None:
                class_records.ensure_class_provider(self._client, change.server_class.template)
            self._client.replace_claims(change.claims)


def _check_state(server: Server) -> None:
    if not server.host:
        raise exceptions.ClassRefused(in_words(server), f"it is on no host ({server.status})")
    if server.task:
        raise exceptions.ClassRefused(in_words(server), f"Nova is busy with it ({server.task}); try again later")
    if server.status not in _STATES:
        reason = f"it is {server.status}, and only servers that are {' or '.join(_STATES)} can change"
        raise exceptions.ClassRefused(in_words(server), reason)
