# SPDX-License-Identifier: Apache-2.0
"""Changes the class of many servers with at most three requests to Placement each, whatever their hosts are.

What all have in common is read once: the templates, the records of classes, and the nodes of all hosts with what is
free of them. Of each server its claim is read then, and the record of its class if it has one; one request writes both.
What is written is added to what was read. If Placement refuses it, for there others write as well, all that the server
needs is read anew, and the change is decided again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from kongming_sched import exceptions
from kongming_sched.cloud.classes.change import ClassChange, ClassChanger, ClassDecider
from kongming_sched.cloud.classes.read import template_of
from kongming_sched.cloud.classes.situation import FreshSource, Situation, no_claim
from kongming_sched.cloud.compute import Server
from kongming_sched.cloud.nodes import Node, read_nodes
from kongming_sched.placement import candidates, names
from kongming_sched.placement.classes import records as class_records
from kongming_sched.placement.client import Claim, Inventory, PlacementClient
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.placement.tree import NodeState
from kongming_sched.template import PinningTemplate

_OTHERS = "others"
"""Stands for all consumers of a node but one."""


class SnapshotSource:
    """What there is in the whole cloud, read in three requests, and three for each template of several.

    A server that is on a node without CPUs for templates, or on a host that is new, is read by itself.
    """

    def __init__(self, client: PlacementClient, templates: TemplateStore) -> None:
        self._client = client
        self._templates = templates.list()
        self.classes = templates.read_classes(self._templates)
        self._hosts: dict[str, list[Node]] = {}
        for node in read_nodes(client):
            self._hosts.setdefault(node.host, []).append(node)
        self._changed: Counter[tuple[str, str]] = Counter()
        self._fresh = FreshSource(client, templates)

    def find_template(self, name: str) -> PinningTemplate:
        """See :class:`Source`."""
        return self._templates.find(name)

    def read(self, server: Server) -> Situation:
        """See :class:`Source`."""
        nodes = self._hosts.get(server.host)
        if nodes is None:
            return self._fresh.read(server)
        claim = self._client.claim(server.id)
        if claim is None:
            raise no_claim(server)
        root, known = nodes[0].host_uuid, {node.summary.uuid for node in nodes}
        if any(candidates.node_id(root, uuid) is not None for uuid in claim.resources.keys() - known):
            return self._fresh.read(server)
        record = None
        found = self.classes.get(names.class_consumer(server.id))
        if found is not None:
            record = class_records.read_record(self._client, server.id)
            found = class_records.class_of_record(record, [found.template])
        states = {node.id: self._state(node, claim) for node in nodes}
        return Situation(root, states, claim, record, found)

    def note(self, change: ClassChange) -> None:
        """Count with a change from now on, be it written or only what a dry run says."""
        for claim, sign in ((change.before.claim, -1), (change.after, 1)):
            for uuid, resources in claim.resources.items():
                for name, amount in resources.items():
                    self._changed[uuid, name] += sign * amount

    def _state(self, node: Node, claim: Claim) -> NodeState:
        """A node as it is now, with what a server has of it, and what all others have."""
        uuid, mine = node.summary.uuid, claim.resources.get(node.summary.uuid, {})
        used = {name: amount + self._changed[uuid, name] for name, amount in node.summary.used.items()}
        others = {name: amount - mine.get(name, 0) for name, amount in used.items()}
        inventories = {name: Inventory(capacity) for name, capacity in node.summary.capacity.items()}
        allocations: dict[str, Mapping[str, int]] = {_OTHERS: others, **({claim.consumer: mine} if mine else {})}
        return NodeState(uuid, names.node_name(node.host, node.id), 0, node.summary.traits, inventories, allocations)


class ManyChanger:
    """Changes the class of many servers; each of them has both its class and its claim changed, or neither.

    :ivar source: what there is, with what was written since
    """

    def __init__(self, client: PlacementClient, templates: TemplateStore) -> None:
        self._client = client
        self.source = SnapshotSource(client, templates)
        self._single = ClassChanger(client, templates)
        self._ready: set[str] = set()

    def template_of(self, server: Server) -> str | None:
        """The template that a server had when this began; None if it had none."""
        return template_of(server, self.source.classes)

    def decide(self, server: Server, template: str | None, node: int | None = None) -> ClassChange:
        """As :meth:`ClassDecider.decide`."""
        return ClassDecider(self.source, self._client.request_id).decide(server, template, node)

    def write(self, change: ClassChange, server: Server, template: str | None, node: int | None = None) -> None:
        """Write what was decided; if Placement refuses it, read and decide again.

        :param template: with which it was decided, as the node
        :raises ClassRefused: if the server cannot have it any more
        :raises PlacementError: if Placement does not take it; then nothing has changed
        """
        if change.server_class is not None and change.server_class.template not in self._ready:
            class_records.ensure_class_provider(self._client, change.server_class.template)
            self._ready.add(change.server_class.template)
        try:
            if change.claims:
                self._client.replace_claims(change.claims)
        except exceptions.PlacementError as error:
            if error.status != 409:
                raise
            change = self._single.change(server, template, node)
        self.source.note(change)
