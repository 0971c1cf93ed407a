# SPDX-License-Identifier: Apache-2.0
"""What Placement holds for a server whose class is to change: its host's nodes, its claim, the record of its class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from kongming_sched import exceptions
from kongming_sched.cloud.classes.read import read_class
from kongming_sched.cloud.compute import Server
from kongming_sched.cloud.nodes import node_id
from kongming_sched.placement.classes.records import ServerClass, read_record
from kongming_sched.placement.client import Claim, PlacementClient
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.placement.tree import NodeState
from kongming_sched.template import PinningTemplate


@dataclass(frozen=True, slots=True)
class Situation:
    """What Placement holds for a server.

    :ivar states: the nodes of its host, by number
    :ivar record: what records its class; None if it has none
    :ivar server_class: its class, be it in force or of a flavor that it had before
    """

    root_uuid: str
    states: Mapping[int, NodeState]
    claim: Claim
    record: Claim | None
    server_class: ServerClass | None


class Source(Protocol):
    """Where a change of class learns what there is."""

    def find_template(self, name: str) -> PinningTemplate:
        """One template.

        :raises TemplateNotFound: if there is none of this name
        :raises InvalidTraits: if its traits are not a template
        """

    def read(self, server: Server) -> Situation:
        """What Placement holds for a server.

        :raises ClassRefused: if its host is no compute node in Placement, or it has no claim
        """


class FreshSource:
    """Asks Placement anew for each server: some twelve requests for a host of two nodes."""

    def __init__(self, client: PlacementClient, templates: TemplateStore) -> None:
        self._client = client
        self._templates = templates

    def find_template(self, name: str) -> PinningTemplate:
        """See :class:`Source`."""
        return self._templates.get(name).template

    def read(self, server: Server) -> Situation:
        """See :class:`Source`."""
        try:
            root, _, states = NodeRegistry(self._client, server.host).observe()
        except exceptions.ProviderNotFound as error:
            raise no_compute_node(server) from error
        claim = self._client.claim(server.id)
        if claim is None:
            raise no_claim(server)
        record = read_record(self._client, server.id)
        by_number = {node_id(state.name): state for state in states.values()}
        return Situation(root.uuid, by_number, claim, record, read_class(self._client, record))


def no_compute_node(server: Server) -> exceptions.ClassRefused:
    """The error for a server whose host Placement does not know."""
    return exceptions.ClassRefused(in_words(server), f"its host {server.host} is no compute node in Placement")


def no_claim(server: Server) -> exceptions.ClassRefused:
    """The error for a server that has claimed nothing."""
    return exceptions.ClassRefused(in_words(server), "it has no claim in Placement")


def in_words(server: Server) -> str:
    """A server in messages, as in ``web (5e00e000-0000-4000-8000-00000000000a)``."""
    return f"{server.name} ({server.id})"
